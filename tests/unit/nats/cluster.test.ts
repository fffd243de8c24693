import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { NatsCluster, type NatsClusterArguments } from "../../../components/nats";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<NatsClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const nats = new NatsCluster("nats", { namespace: "cells", applications: ["cells"], ...args });
      return {
        url: nats.url,
        trust: nats.certificateAuthority,
        check: nats.checkTarget,
        secret: (args.applications ?? ["cells"]).includes("cells") ? nats.application("cells").secret : "none",
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const deployment = "kubernetes:apps/v1:Deployment";
const job = "kubernetes:batch/v1:Job";

const serverOf = (graph: Graph): Properties =>
  listAt(inputs(graph, statefulSet, "nats"), "spec.template.spec.containers")[0] as Properties;
const annotationsOf = (graph: Graph, type: string, name: string): Properties =>
  at(inputs(graph, type, name), "spec.template.metadata.annotations") as Properties;

beforeAll(() => buildAgents(["nats"]));

describe("a NATS cluster", () => {
  it("gives out one name, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url: "tls://nats.cells.svc:4222",
      trust: "nats-ca",
      secret: "nats-application-cells",
      check: {
        service: "nats",
        name: "nats",
        namespace: "cells",
        members: ["nats-0", "nats-1", "nats-2"],
        peersService: "nats-peers",
        clientPort: 4222,
        metricsPort: 8222,
        host: "nats.cells.svc",
        tls: "required",
        trust: "nats-ca",
        adminSecret: "nats-admin",
        durability: "fsync",
        applications: { cells: "nats-application-cells" },
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("orders certificates and preflight, members, setup, reconciler", async () => {
    const graph = await deploy();
    const urn = (type: string, name: string): string => only(graph, type, name).urn;
    const servers = only(graph, statefulSet, "nats").options.dependsOn;
    expect(servers).toContain(urn(job, "nats-certificates"));
    expect(servers).toContain(urn(job, "nats-preflight"));
    expect(servers).not.toContain(urn("kubernetes:core/v1:Service", "nats"));
    expect(only(graph, job, "nats-setup").options.dependsOn).toContain(urn(statefulSet, "nats"));
    expect(only(graph, deployment, "nats-reconciler").options.dependsOn).toContain(urn(job, "nats-setup"));
  });

  it("needs no shell to start, to be probed and to stop", async () => {
    const server = serverOf(await deploy());
    expect(server["command"]).toEqual(["/nats-server", "-c", "/etc/nats/nats.conf"]);
    expect(at(server, "lifecycle.preStop.exec.command")).toEqual(["/nats-server", "-sl=ldm=/run/nats/nats.pid"]);
    expect(at(server, "startupProbe.httpGet.path")).toBe("/healthz?js-server-only=true");
    // Only a restart switches JetStream on again after the volume was full.
    expect(at(server, "livenessProbe.httpGet.path")).toBe("/healthz?js-enabled-only=true");
    expect(at(server, "readinessProbe.httpGet.path")).toBe("/healthz?js-meta-only=true");
  });

  it("keeps Go below the memory limit", async () => {
    const server = serverOf(await deploy({ resources: { limits: { memory: "1000Mi" } } }));
    expect(server["env"]).toContainEqual({ name: "GOMEMLIMIT", value: String(800 * 2 ** 20) });
  });

  it("keeps passwords in Secrets", async () => {
    const { resources, secrets } = await deploy();
    expect(secrets.length).toBeGreaterThan(0);
    for (const each of resources.filter(({ type }) => !type.endsWith(":Secret") && type.startsWith("kubernetes:"))) {
      const text = JSON.stringify(each.inputs);
      for (const secret of secrets.filter((known) => known.length > 8)) expect(text, each.name).not.toContain(secret);
    }
    const graph = await deploy();
    for (const name of ["nats-admin", "nats-application-cells", "nats-users", "nats-reconciler"]) {
      const { data } = inputs(graph, "kubernetes:core/v1:Secret", name);
      expect(JSON.stringify(data), name).toContain(redacted);
    }
  });

  it("restarts the members for their configuration, and neither them nor the reconciler for users", async () => {
    const base = await deploy();
    const members = (graph: Graph) => annotationsOf(graph, statefulSet, "nats")["cells-services/config"];
    expect(members(await deploy())).toBe(members(base));
    expect(members(await deploy({ durability: "replicated" }))).not.toBe(members(base));
    const more = await deploy({ applications: ["cells", "portal"] });
    expect(members(more)).toBe(members(base));
    for (const each of [more, await deploy({ durability: "replicated" })]) {
      expect(annotationsOf(each, deployment, "nats-reconciler")).toEqual(
        annotationsOf(base, deployment, "nats-reconciler"),
      );
    }
  });

  it("has a reconciler always, since it serves the metrics, and may read when copies were made", async () => {
    const graph = await deploy({ applications: [], tls: "off" });
    const [container] = listAt(inputs(graph, deployment, "nats-reconciler"), "spec.template.spec.containers");
    expect(container?.["ports"]).toEqual([{ name: "metrics", containerPort: 8008, protocol: "TCP" }]);
    const { rules } = inputs(graph, "kubernetes:rbac.authorization.k8s.io/v1:Role", "nats-reconciler");
    expect(rules).toEqual([
      {
        apiGroups: ["batch"],
        resources: ["cronjobs"],
        verbs: ["get"],
        resourceNames: ["nats-backup", "nats-backup-proof"],
      },
    ]);
  });

  it("gives the reconciler the certificates that the servers should show, and not their keys", async () => {
    const reconciler = inputs(await deploy({ applications: [] }), deployment, "nats-reconciler");
    const volumes = listAt(reconciler, "spec.template.spec.volumes");
    for (const secretName of ["nats-server-tls", "nats-peer-tls"]) {
      expect(volumes.map((volume) => volume["secret"])).toContainEqual(
        expect.objectContaining({ secretName, items: [{ key: "tls.crt", path: "tls.crt" }] }),
      );
    }
  });

  it("runs one lean reconciler with probes of its own and labels that no Job has", async () => {
    const graph = await deploy();
    const reconciler = inputs(graph, deployment, "nats-reconciler");
    expect(at(reconciler, "spec.replicas")).toBe(1);
    const selector = at(reconciler, "spec.selector.matchLabels") as Properties;
    const [container] = listAt(reconciler, "spec.template.spec.containers");
    expect(container?.["args"]).toEqual(["reconcile"]);
    expect(container?.["env"]).toContainEqual({
      name: "NODE_OPTIONS",
      value: "--max-old-space-size=64 --max-semi-space-size=1",
    });
    expect(at(container, "livenessProbe.httpGet.path")).toBe("/live");
    expect(at(container, "readinessProbe.httpGet.path")).toBe("/ready");
    for (const each of graph.byType(job)) {
      expect(at(each.inputs, "spec.template.metadata.labels"), each.name).not.toMatchObject(selector);
    }
  });

  it("lets members and agents ask whether a member runs, and nobody else read the monitoring port", async () => {
    const policy = inputs(await deploy(), "kubernetes:networking.k8s.io/v1:NetworkPolicy", "nats");
    const withMetrics = listAt(policy, "spec.ingress").filter((rule) =>
      listAt(rule, "ports").some((port) => port["port"] === 8222),
    );
    expect(withMetrics).toHaveLength(1);
    expect(listAt(withMetrics[0], "from")).toEqual([
      { podSelector: { matchLabels: { "app.kubernetes.io/name": "nats", "app.kubernetes.io/instance": "nats" } } },
    ]);
  });

  it("has neither certificates nor trust without TLS", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ url: "nats://nats.cells.svc:4222", trust: null });
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("nats-certificates");
    expect(JSON.stringify(inputs(graph, statefulSet, "nats"))).not.toMatch(/-tls|nats-ca|nats-trust/);
  });

  it.each<[string, Partial<NatsClusterArguments>, string]>([
    [
      "durability",
      { durability: "always" as never },
      'nats "nats": durability must be "fsync" or "replicated", got "always"; use one of these',
    ],
    [
      "the administrator as an application",
      { applications: ["cells", "admin"] },
      'nats "nats": applications must not contain "admin", which is the administrator; use another name',
    ],
    ["members", { members: 4 }, 'nats "nats": members must be odd so that a majority exists, got 4; use 3 or 5'],
    [
      "a volume too small",
      { storage: { size: "512Mi" } },
      'nats "nats": storage.size must be at least 1Gi, got "512Mi"; use 1Gi or more',
    ],
    [
      "a slip of the pen",
      { durabilty: "fsync" } as never,
      'nats "nats": durabilty is not an argument; did you mean durability',
    ],
    [
      "several at once",
      { members: 2, durability: "none" as never },
      'nats "nats": 2 arguments are wrong\n' +
        "  - members must be odd so that a majority exists, got 2; use 3 or 5\n" +
        '  - durability must be "fsync" or "replicated", got "none"; use one of these',
    ],
  ])("refuses %s", async (_, args, message) => {
    await expect(deploy(args)).rejects.toThrow(message);
  });

  it("names the applications that it has", async () => {
    const other = () => new NatsCluster("nats", { namespace: "cells", applications: ["cells"] }).application("portal");
    await expect(record(other)).rejects.toThrow(
      'nats "nats": "portal" is not one of its applications, which are "cells"; add it to applications',
    );
  });
});
