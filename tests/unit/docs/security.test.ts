/** Holds the tables of docs/security.md to the golden graphs: accounts, rights, ports, Secrets of containers, egress. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { inlineCodeOf, root, tableOf } from "./pages";

interface Entry {
  type: string;
  inputs: { metadata: { name: string; namespace?: string; labels: Labels }; [key: string]: unknown };
}

type Labels = Record<string, string>;

interface Container {
  name: string;
  ports?: { name: string; containerPort: number }[];
  env?: { valueFrom?: { secretKeyRef?: { name: string } } }[];
  volumeMounts?: { name: string }[];
}

interface Volume {
  name: string;
  secret?: { secretName: string };
  projected?: { sources: { secret?: { name: string } }[] };
}

interface Template {
  metadata: { labels: Labels };
  spec: { initContainers?: Container[]; containers: Container[]; volumes?: Volume[] };
}

interface PolicyRule {
  from?: { namespaceSelector?: { matchLabels: Labels }; podSelector?: { matchLabels: Labels } }[];
  to?: { podSelector: { matchLabels: Labels } }[];
  ports?: { port: number; protocol: string }[];
}

const entries = ["dev", "prod"].map(
  (stack) => JSON.parse(readFileSync(join(root, "tests", "golden", `${stack}.json`), "utf8")) as Entry[],
);

/** Of Kubernetes: AWS has a Role too. */
const ofKind = (graph: Entry[], kind: string): Entry[] =>
  graph.filter(({ type }) => type.startsWith("kubernetes:") && type.endsWith(`:${kind}`));

const instanceOf = (labels: Labels): string => labels["app.kubernetes.io/instance"] ?? "";
const serviceOf = (labels: Labels): string => labels["app.kubernetes.io/name"] ?? "";
const componentOf = (labels: Labels): string => labels["app.kubernetes.io/component"] ?? "";

/** As the page writes the name of an object. */
function generic(name: string, labels: Labels): string {
  return name
    .replace(new RegExp(`^(data-)?${instanceOf(labels)}(?=-|$)`), "$1NAME")
    .replace(/^NAME-application-.+$/, "NAME-application-<application>")
    .replace(/^(data-)?NAME(-backup)?-\d$/, "$1NAME$2-<n>");
}

// --- the page

const table = (...head: string[]) => tableOf("docs/security.md", ...head);

const services = ["etcd", "vault", "nats", "redis", "mongodb", "mysql", "objectstore"];
/** "all, with TLS" is all: a stack may have no TLS for one of them. */
const servicesIn = (cell = ""): string[] => (cell.startsWith("all") ? services : cell.split(", "));

const accountRows = table("ServiceAccount", "service", "pods that run as it", "rights").flatMap((row) =>
  servicesIn(row["service"]).map(
    (service) =>
      `${service}: ${inlineCodeOf(row["ServiceAccount"] ?? "")[0]}${row["rights"] === "none" ? " (none)" : ""}`,
  ),
);

/** By service: a fact that is on the page for all services must be true for one of them. */
const ruleRows = table("ServiceAccount", "service", "resource", "verbs", "objects", "why").map((row) => {
  const { ServiceAccount: account = "", resource = "", verbs = "", objects = "" } = row;
  const [kind = ""] = inlineCodeOf(resource);
  const [, group = ""] = /\((.+)\)/.exec(resource) ?? [];
  const names = objects === "any" ? ["any"] : inlineCodeOf(objects);
  const facts = names.flatMap((name) =>
    inlineCodeOf(verbs).map((verb) => rightText(inlineCodeOf(account)[0] ?? "", group, kind, verb, name)),
  );
  return { services: servicesIn(row["service"]), facts };
});

function rightText(account: string, group: string, resource: string, verb: string, object: string): string {
  return `${account} may ${verb} ${resource}${group === "" ? "" : `.${group}`} ${object}`;
}

/** The namespace of Cells, in the golden graphs. */
const ofCells = "cells-app";
const elsewhere = "where an application is: ";

const elsewhereRows = table("ServiceAccount", "service", "may", "of the Secret", "why").map((row) => {
  const { ServiceAccount: accounts = "", may = "", "of the Secret": object = "" } = row;
  const facts = inlineCodeOf(accounts).flatMap((account) =>
    inlineCodeOf(may).map((verb) => elsewhere + rightText(account, "", "secrets", verb, inlineCodeOf(object)[0] ?? "")),
  );
  return { services: servicesIn(row["service"]), facts };
});

const allRows = [...ruleRows, ...elsewhereRows];
const rightsOnPage = allRows.flatMap((row) =>
  row.services.flatMap((service) => row.facts.map((fact) => `${service}: ${fact}`)),
);

const listed = (who: string[]): string => [...new Set(who)].sort().join(" and ") || "nobody";

/** Without `metrics.from`, which both stacks leave empty. */
const portRows = table("service", "pod", "port", "name", "who may connect", "transport", "who is let in").map((row) => {
  const who = (row["who may connect"] ?? "")
    .split(", ")
    .filter((each) => each !== "`metrics.from`" && each !== "nobody");
  return `${row["service"]}: ${row["pod"]} ${row["port"]} ${row["name"]} from ${listed(who)}`;
});

const secretRows = table("service", "container", "Secrets, mounted or in the environment").flatMap((row) =>
  inlineCodeOf(row["Secrets, mounted or in the environment"] ?? "").map(
    (secret) => `${row["service"]}: ${row["container"]} reads ${secret}`,
  ),
);

const egressRows = table("port", "protocol", "to", "why").flatMap(({ port = "", protocol = "", to = "" }) =>
  protocol === "all"
    ? [`to ${to}`]
    : port.split(", ").flatMap((each) => protocol.split(", ").map((one) => `${each}/${one} to ${to}`)),
);

// --- the graphs

const rightsOf = (graph: Entry[]): string[] =>
  ofKind(graph, "Role").flatMap(({ inputs }) => {
    const { name, labels, namespace } = inputs.metadata;
    const where = { cells: "", [ofCells]: elsewhere }[namespace ?? ""] ?? `in ${namespace}: `;
    const rules = inputs["rules"] as {
      apiGroups: string[];
      resources: string[];
      verbs: string[];
      resourceNames?: string[];
    }[];
    return rules.flatMap(({ apiGroups, resources, verbs, resourceNames = ["any"] }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.flatMap((verb) =>
            resourceNames.map((object) => {
              const right = rightText(generic(name, labels), group, resource, verb, generic(object, labels));
              return `${serviceOf(labels)}: ${where}${right}`;
            }),
          ),
        ),
      ),
    );
  });

const accountsOf = (graph: Entry[]): string[] => {
  const roles = ofKind(graph, "Role").map(({ inputs }) => inputs.metadata.name);
  return ofKind(graph, "ServiceAccount").map(({ inputs: { metadata } }) => {
    const none = roles.includes(metadata.name) ? "" : " (none)";
    return `${serviceOf(metadata.labels)}: ${generic(metadata.name, metadata.labels)}${none}`;
  });
};

function templatesOf(graph: Entry[]): Template[] {
  const specs = ["StatefulSet", "Deployment", "Job"].flatMap((kind) =>
    ofKind(graph, kind).map(({ inputs }) => inputs["spec"] as { template: Template }),
  );
  const nightly = ofKind(graph, "CronJob").map(
    ({ inputs }) => (inputs["spec"] as { jobTemplate: { spec: { template: Template } } }).jobTemplate.spec,
  );
  return [...specs, ...nightly].map(({ template }) => template);
}

const containersOf = ({ spec }: Template): Container[] => [...(spec.initContainers ?? []), ...spec.containers];

const includes = (labels: Labels, wanted: Labels): boolean =>
  Object.entries(wanted).every(([key, value]) => labels[key] === value);

/** Whom the policies that select a pod with these labels let in. */
function sources(graph: Entry[], labels: Labels, port: number): string[] {
  const policies = ofKind(graph, "NetworkPolicy").map(
    ({ inputs }) => inputs["spec"] as { podSelector: { matchLabels: Labels }; ingress?: PolicyRule[] },
  );
  return policies
    .filter(({ podSelector }) => includes(labels, podSelector.matchLabels))
    .flatMap(({ ingress = [] }) => ingress.filter(({ ports = [] }) => ports.some((each) => each.port === port)))
    .flatMap(({ from = [] }) => from)
    .map((peer) => {
      if (peer.podSelector === undefined) {
        const [[key, value] = [], ...more] = Object.entries(peer.namespaceSelector?.matchLabels ?? {});
        const isOfCells = key === "kubernetes.io/metadata.name" && value === ofCells && more.length === 0;
        return isOfCells ? "`clients`" : JSON.stringify(peer);
      }
      const { matchLabels } = peer.podSelector;
      // The default of the argument: any pod of the namespace.
      if (Object.keys(matchLabels).length === 0) return peer.namespaceSelector ? JSON.stringify(peer) : "`clients`";
      if (instanceOf(matchLabels) !== instanceOf(labels)) return JSON.stringify(matchLabels);
      return { "": "component", server: "members" }[componentOf(matchLabels)] ?? componentOf(matchLabels);
    });
}

const agentNames: Record<string, string> = { etcd: "maintenance", nats: "reconciler" };

function podNameOf(labels: Labels): string {
  const names: Record<string, string | undefined> = { server: "member", agent: agentNames[serviceOf(labels)] };
  return names[componentOf(labels)] ?? componentOf(labels);
}

const portsOf = (graph: Entry[]): string[] =>
  templatesOf(graph).flatMap((template) => {
    const { labels } = template.metadata;
    return containersOf(template).flatMap(({ ports = [] }) =>
      ports.map(({ name, containerPort }) => {
        const who = listed(sources(graph, labels, containerPort));
        return `${serviceOf(labels)}: ${podNameOf(labels)} ${containerPort} \`${name}\` from ${who}`;
      }),
    );
  });

const secretsOf = (graph: Entry[]): string[] =>
  templatesOf(graph).flatMap((template) => {
    const { labels } = template.metadata;
    return containersOf(template).flatMap(({ name, env = [], volumeMounts = [] }) => {
      const mounted = volumeMounts.flatMap((mount) => {
        const volume = template.spec.volumes?.find((each) => each.name === mount.name);
        const projected = volume?.projected?.sources.flatMap(({ secret }) => secret?.name ?? []) ?? [];
        return [...(volume?.secret === undefined ? [] : [volume.secret.secretName]), ...projected];
      });
      const variables = env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef?.name ?? []);
      return [...mounted, ...variables].map(
        (secret) => `${serviceOf(labels)}: \`${name}\` reads ${generic(secret, labels)}`,
      );
    });
  });

const egressOf = (graph: Entry[]): string[] =>
  ofKind(graph, "NetworkPolicy").flatMap(({ inputs }) => {
    const { egress = [] } = inputs["spec"] as { egress?: PolicyRule[] };
    return egress.flatMap(({ to, ports = [] }) => {
      const where = to === undefined ? "anywhere" : "pods of the component";
      return ports.length === 0
        ? [`to ${where}`]
        : ports.map(({ port, protocol }) => `${port}/${protocol} to ${where}`);
    });
  });

const all = (factsOf: (graph: Entry[]) => string[]): string[] => [...new Set(entries.flatMap(factsOf))].sort();

const without = (facts: string[], others: string[]): string[] => {
  const known = new Set(others);
  return [...new Set(facts)].filter((fact) => !known.has(fact)).sort();
};

describe("the page of security", () => {
  const rights = all(rightsOf);

  it("names every right", () => {
    expect(rights.length).toBeGreaterThan(200);
    expect(without(rights, rightsOnPage)).toEqual([]);
  });

  it("names no right that no Role has", () => {
    const known = new Set(rights);
    const former = allRows.flatMap((row) =>
      row.facts.filter((fact) => !row.services.some((service) => known.has(`${service}: ${fact}`))),
    );
    expect(former).toEqual([]);
  });

  it("says that there are Roles of a namespace only", () => {
    expect(
      entries.flatMap((graph) => [...ofKind(graph, "ClusterRole"), ...ofKind(graph, "ClusterRoleBinding")]),
    ).toEqual([]);
  });

  it("names every account, and those without rights", () => {
    const accounts = all(accountsOf);
    expect(without(accounts, accountRows)).toEqual([]);
    // The stacks have no TLS with Redis.
    expect(without(accountRows, [...accounts, "redis: NAME-certificates"])).toEqual([]);
  });

  it("names every port, and whom the policies let in", () => {
    expect([...portRows].sort()).toEqual(all(portsOf));
  });

  it("names the Secrets of every container", () => {
    expect([...secretRows].sort()).toEqual(all(secretsOf));
  });

  it("names all egress", () => {
    expect([...egressRows].sort()).toEqual(all(egressOf));
  });
});
