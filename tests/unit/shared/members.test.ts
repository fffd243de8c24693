/** What the components of all services have in common: guard, bundles, protection, and names. */
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster } from "../../../components/etcd";
import { MongodbCluster } from "../../../components/mongodb";
import { MysqlCluster } from "../../../components/mysql";
import { NatsCluster } from "../../../components/nats";
import { ObjectStore } from "../../../components/objectstore";
import { RedisCluster } from "../../../components/redis";
import { parseCpu } from "../../../components/shared/core/quantity";
import { createBundle } from "../../../components/shared/deploy/bundle";
import { agentImage } from "../../../components/shared/deploy/images";
import { VaultCluster } from "../../../components/vault";
import { vaultForCells } from "../../../stacks/cells";
import { at, listAt, type Properties } from "../../support/graph";
import { type Graph, type ProgramFailure, type Recorded, record } from "../../support/recorder";
import { builtBundle, ensureAgentBundles } from "../../support/stacks";

beforeAll(ensureAgentBundles);

type Options = pulumi.ComponentResourceOptions;
const args = { namespace: "cells", applications: ["cells"] };
const seal = { type: "shamir" } as const;
const services: [string, (more?: object, options?: Options) => pulumi.Resource][] = [
  ["etcd", (more, options) => new EtcdCluster("db", { ...args, ...more }, options)],
  ["vault", (more, options) => new VaultCluster("db", { ...args, ...vaultForCells, seal, ...more }, options)],
  ["nats", (more, options) => new NatsCluster("db", { ...args, ...more }, options)],
  ["redis", (more, options) => new RedisCluster("db", { ...args, ...more }, options)],
  ["mongodb", (more, options) => new MongodbCluster("db", { ...args, ...more }, options)],
  ["mysql", (more, options) => new MysqlCluster("db", { ...args, ...more }, options)],
  ["objectstore", (more, options) => new ObjectStore("db", { ...args, buckets: ["files"], ...more }, options)],
];

const kindOf = (each: Recorded): string => each.type.split(":").at(-1) ?? "";
const objectsOf = ({ resources }: Pick<Graph, "resources">): Recorded[] =>
  resources.filter(({ type }) => type.startsWith("kubernetes:"));

const containersOf = (pod: unknown): Properties[] => [...listAt(pod, "initContainers"), ...listAt(pod, "containers")];
const mountsOf = (container: Properties): unknown[] => listAt(container, "volumeMounts").map(({ name }) => name);

function podsOf(graph: Graph): { owner: Recorded; template: unknown; pod: unknown }[] {
  return objectsOf(graph).flatMap((owner) => {
    const template = at(owner.inputs, "spec.jobTemplate.spec.template") ?? at(owner.inputs, "spec.template");
    return template === undefined ? [] : [{ owner, template, pod: at(template, "spec") }];
  });
}

function expectVolumesToBeMounted(graph: Graph): void {
  const pods = podsOf(graph);
  expect(pods.length).toBeGreaterThan(4);
  for (const { owner, pod } of pods) {
    const claims = listAt(owner.inputs, "spec.volumeClaimTemplates").map((claim) => at(claim, "metadata.name"));
    const volumes = [...listAt(pod, "volumes").map(({ name }) => name), ...claims];
    expect(new Set(containersOf(pod).flatMap(mountsOf)), owner.name).toEqual(new Set(volumes));
  }
}

async function failureOf(program: () => void): Promise<ProgramFailure> {
  return record(program).then(
    () => expect.unreachable("the program succeeded"),
    (failure: ProgramFailure) => failure,
  );
}

describe.each(services)("%s", (service, create) => {
  it.each([{}, { tls: "off" }, { certificates: { issuerRef: { name: "vault" } } }])(
    "lets the guard come before everything that a refused change would alter: %o",
    async (more) => {
      const graph = await record(() => void create(more));
      const guard = graph.byType("kubernetes:batch/v1:Job").find(({ name }) => name === "db-preflight");
      const others = graph.resources.filter(({ custom }) => custom && guard !== undefined);
      const unguarded = others.filter(({ options }) => !options.dependsOn?.includes(guard?.urn ?? ""));
      // The program and the rights of the guard itself, and whom it may reach.
      expect(unguarded.map(kindOf).sort()).toEqual([
        "ConfigMap",
        "Job",
        "NetworkPolicy",
        "Role",
        "RoleBinding",
        "ServiceAccount",
      ]);
      for (const { urn } of unguarded.filter((each) => each !== guard)) {
        expect(guard?.options.dependsOn).toContain(urn);
      }
    },
  );

  it("runs the program of the guard everywhere, from a ConfigMap that nothing changes", async () => {
    const graph = await record(() => void create());
    const { checksum } = builtBundle(service as "etcd");
    const name = `db-agent-${checksum}`;
    const bundle = graph.get(name);
    expect(bundle.inputs).toMatchObject({ immutable: true, metadata: { name } });
    const mounting = objectsOf(graph).filter(({ inputs }) => JSON.stringify(inputs).includes('"mountPath":"/agent"'));
    for (const each of mounting.filter((other) => other.name !== "db-gateway")) {
      expect(JSON.stringify(each.inputs), each.urn).toContain(`{"configMap":{"name":"${name}"},"name":"agent"}`);
    }
    expect(mounting.length).toBeGreaterThan(4);
  });

  it("protects what holds or opens data, and nothing that an update replaces", async () => {
    const graph = await record(() => void create({}, { protect: true }));
    const isOfApplication = ({ name }: Recorded): boolean => name === "db-application-cells";
    const expected = objectsOf(graph).filter(
      (each) => ["StatefulSet", "Secret"].includes(kindOf(each)) && !isOfApplication(each),
    );
    const found = graph.resources.filter(({ custom, options }) => custom && options.protect === true);
    expect(found.map(({ urn }) => urn)).toEqual(expected.map(({ urn }) => urn));
    expect(found.map(kindOf)).toContain("StatefulSet");
  });

  it("protects nothing when it is not told to", async () => {
    const { resources } = await record(() => void create());
    expect(resources.filter(({ options }) => options.protect)).toEqual([]);
  });

  it("puts everything under the component and into the namespace", async () => {
    const graph = await record(() => void create());
    const component = graph.resources.find(({ type }) => type.startsWith("cells-services:"));
    const inside = graph.resources.filter(({ custom, type }) => custom && !type.startsWith("pulumi:"));
    for (const each of inside) expect(each.options.parent, each.name).toBe(component?.urn);
    for (const each of objectsOf(graph)) {
      expect(at(each.inputs, "metadata.namespace"), each.name).toBe("cells");
      expect(at(each.inputs, "metadata.labels"), each.name).toMatchObject({
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/instance": "db",
      });
    }
  });

  it("freezes the selector, whatever the version", async () => {
    const [set] = objectsOf(await record(() => void create({ version: "8.0.99" }))).filter(
      (each) => kindOf(each) === "StatefulSet",
    );
    const selector = {
      "app.kubernetes.io/name": service,
      "app.kubernetes.io/instance": "db",
      "app.kubernetes.io/component": "server",
    };
    expect(at(set?.inputs, "spec.selector.matchLabels")).toEqual(selector);
    expect(at(set?.inputs, "spec.volumeClaimTemplates.0.metadata.labels")).toEqual(selector);
    expect(at(set?.inputs, "spec.template.metadata.labels")).toMatchObject(selector);
  });

  it("gives the token of an account to agents only", async () => {
    const pods = podsOf(await record(() => void create()));
    expect(pods.length).toBeGreaterThan(4);
    for (const { owner, pod } of pods) {
      for (const container of containersOf(pod)) {
        const has = mountsOf(container).includes("token");
        expect(has, `${owner.name} ${String(container["name"])}`).toBe(container["image"] === agentImage);
      }
    }
  });

  it.each([{}, { tls: "off" }])("mounts the volumes that it names, and no others: %o", async (more) => {
    expectVolumesToBeMounted(await record(() => void create(more)));
  });

  it("puts what `pod` says on every pod, and changes nothing else", async () => {
    const limits = { resources: { limits: { cpu: "4" } } };
    const pod = {
      labels: { "example.com/team": "platform" },
      annotations: { "example.com/contact": "databases@example.com" },
      imagePullSecrets: ["registry"],
      priorityClassName: "databases",
      imageRegistry: "registry.example.com/mirror",
      userId: 2000,
      agentCpuLimit: "500m",
    };
    const [plain, found] = [
      podsOf(await record(() => void create(limits))),
      podsOf(await record(() => void create({ ...limits, pod }))),
    ];
    expect(found.map(({ owner }) => owner.urn)).toEqual(plain.map(({ owner }) => owner.urn));
    expect(new Set(found.map(({ owner }) => kindOf(owner)))).toEqual(
      new Set([
        "StatefulSet",
        "Job",
        "CronJob",
        ...(["etcd", "nats", "redis", "mysql"].includes(service) ? ["Deployment"] : []),
      ]),
    );
    const completed = (container: Properties): Properties => ({
      ...container,
      image: String(container["image"]).replace(/^[^/]+/, pod.imageRegistry),
      // The preflight refuses another user, so it is told which one is wanted.
      ...("env" in container
        ? {
            env: JSON.parse(
              JSON.stringify(container["env"]).replace('{\\"userId\\":1000}', '{\\"userId\\":2000}'),
            ) as unknown,
          }
        : {}),
      resources: {
        ...(container["resources"] as Properties),
        limits: { cpu: "500m", ...(at(container, "resources.limits") as Properties) },
      },
    });
    const ids = { runAsUser: pod.userId, runAsGroup: pod.userId, fsGroup: pod.userId };
    plain.forEach(({ owner, pod: spec, template }, index) => {
      const initContainers = listAt(spec, "initContainers").map(completed);
      expect(found[index]?.template, owner.name).toEqual({
        metadata: {
          labels: { ...(at(template, "metadata.labels") as Properties), ...pod.labels },
          annotations: {
            ...(at(template, "metadata.annotations") as Properties),
            ...(at(template, "metadata.annotations.cells-services/members") === undefined
              ? {}
              : { "cells-services/members": expect.any(String) as unknown }),
            ...pod.annotations,
          },
        },
        spec: {
          ...(spec as Properties),
          imagePullSecrets: [{ name: "registry" }],
          priorityClassName: pod.priorityClassName,
          securityContext: { ...(at(spec, "securityContext") as Properties), ...ids },
          containers: listAt(spec, "containers").map(completed),
          ...(initContainers.length > 0 ? { initContainers } : {}),
        },
      });
    });
    const roll = (pods: typeof found) =>
      pods.find(({ owner }) => owner.name === "db-roll" && kindOf(owner) === "Job")?.template;
    const digest = "metadata.annotations.cells-services/members";
    expect(at(roll(found), digest), "another template runs the roll").not.toBe(at(roll(plain), digest));
  });

  it("runs no image but those that are given, such as by digest", async () => {
    const [image, agent, gateway] = ["server", "agent", "gateway"].map((name) => `${name}:1@sha256:${"0".repeat(64)}`);
    const given = { image, pod: { agentImage: agent, gatewayImage: gateway, imageRegistry: "localhost" } };
    const pods = podsOf(await record(() => void create(given)));
    const found = new Set(pods.flatMap(({ pod }) => containersOf(pod)).map((container) => container["image"]));
    const expected = ["redis", "mysql"].includes(service) ? [image, agent, gateway] : [image, agent];
    expect([...found].sort()).toEqual(expected.sort());
  });

  it("has no container that requests more CPU than the least limit for agents", async () => {
    const small = await record(
      () => void create({ pod: { agentCpuLimit: "20m" }, resources: { requests: { cpu: "1m" } } }),
    );
    for (const container of podsOf(small).flatMap(({ pod }) => containersOf(pod))) {
      expect(parseCpu(String(at(container, "resources.requests.cpu"))), String(container["name"])).toBeLessThanOrEqual(
        0.02,
      );
    }
  });

  it("says its version on the members only, so that another version changes nothing else", async () => {
    const graph = await record(() => void create());
    const versioned = objectsOf(graph).filter(({ inputs }) => JSON.stringify(inputs).includes("io/version"));
    expect(versioned.map(kindOf)).toEqual(["StatefulSet"]);
  });
});

it.each([{ serviceAccountAnnotations: {} }, { credentialsSecret: "aws" }])(
  "Vault with a key of AWS mounts the volumes that it names, and no others: %o",
  async (access) => {
    const seal = { type: "awskms", region: "r", keyId: "k", recovery: "none", ...access } as const;
    expectVolumesToBeMounted(await record(() => void new VaultCluster("db", { ...args, ...vaultForCells, seal })));
  },
);

describe("a bundle", () => {
  it("is another resource when its program changes, so that the former one outlives a failed update", async () => {
    const names = async (checksum: string): Promise<string[]> => {
      const ensemble = { name: "db", service: "etcd", namespace: pulumi.output("cells") };
      const create = () => void createBundle(ensemble as never, "db-agent", { content: "", checksum }, {});
      return objectsOf(await record(create)).map(({ urn }) => urn);
    };
    expect(await names("1")).not.toEqual(await names("2"));
  });
});

describe("names", () => {
  const etcd = (namespace: pulumi.Input<string>, name = "db", options: Options = {}) =>
    new EtcdCluster(name, { namespace }, options);
  const redis = (namespace: pulumi.Input<string>, name = "db", options: Options = {}) =>
    new RedisCluster(name, { namespace }, options);
  const refusal = (name: string): string =>
    `redis "${name}": name must be one that no object of another component has, ` +
    'got one of etcd "db" in the same namespace "cells"; use another name';

  it.each(["db", "db-peers", "db-setup"])(
    "of objects that two components would have are refused before anything is made: %s",
    async (name) => {
      const failure = await failureOf(() => {
        etcd("cells");
        redis("cells", name);
      });
      expect(failure.message).toBe(refusal(name));
      expect(failure.resources.filter(({ type }) => type.includes("Redis"))).toEqual([]);
    },
  );

  it("of backups are taken with backups only", async () => {
    const store = { url: "https://s3", bucket: "b", credentials: "keys" };
    const both = (backups: object) =>
      void [new EtcdCluster("db", { namespace: "cells", ...backups }), redis("cells", "db-backup")];
    expect((await failureOf(() => both({ backups: { store } }))).message).toBe(refusal("db-backup"));
    await record(() => both({}));
  });

  it("are refused before any object of theirs is made when the namespace is known later", async () => {
    const failure = await failureOf(() => {
      etcd(pulumi.output("cells"));
      redis(pulumi.output(Promise.resolve("cells")));
    });
    expect(failure.message).toBe(refusal("db"));
    expect(objectsOf(failure).filter(({ urn }) => urn.includes("Redis"))).toEqual([]);
  });

  it("are refused in whatever component they are", async () => {
    const failure = await failureOf(() => {
      etcd("cells", "db", { parent: new pulumi.ComponentResource("test:index:Platform", "one") });
      redis("cells", "db", { parent: new pulumi.ComponentResource("test:index:Other", "two") });
    });
    expect(failure.message).toBe(refusal("db"));
  });

  it("may be the same in two namespaces, in another program, and beginnings of each other", async () => {
    const program = () => {
      etcd("cells");
      redis("cache");
      redis(pulumi.output("other"), "db", { parent: new pulumi.ComponentResource("test:index:Platform", "one") });
      etcd("cells", "db-2");
      etcd("cells", "db2");
    };
    const namespaces = async () =>
      objectsOf(await record(program))
        .filter((each) => kindOf(each) === "StatefulSet")
        .map(({ inputs }) => JSON.stringify(inputs["metadata"]).match(/"namespace":"(\w+)"/)?.[1]);
    expect((await namespaces()).sort()).toEqual(["cache", "cells", "cells", "cells", "other"]);
    expect(await namespaces()).toHaveLength(5);
  });

  it("and options of a component inside another component are those of its parent", async () => {
    const graph = await record(() => {
      const platform = new pulumi.ComponentResource("test:index:Platform", "one", {}, { protect: true });
      etcd("cells", "db", { parent: platform });
    });
    const set = graph.byType("kubernetes:apps/v1:StatefulSet");
    expect(set.map(({ urn }) => urn)).toEqual([
      "urn:pulumi:dev::cells-services::test:index:Platform$cells-services:index:EtcdCluster$kubernetes:apps/v1:StatefulSet::db",
    ]);
    expect(set.map(({ options }) => options.protect)).toEqual([true]);
  });
});
