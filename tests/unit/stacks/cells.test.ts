import { describe, expect, it } from "vitest";
import { redacted } from "../../support/recorder";
import { recordStack, stackNames } from "../../support/stacks";

const chartSecrets = ["cells-etcd", "cells-mariadb", "cells-minio", "cells-nats", "cells-redis", "mongodb"];

interface Metadata {
  name: string;
  namespace: string;
}

const metadataOf = (inputs: Record<string, unknown>): Metadata => inputs["metadata"] as Metadata;

/** The Secrets of the chart of Cells, which are of no component, by the name of the object. */
async function secretsForCells(...given: Parameters<typeof recordStack>) {
  const graph = await recordStack(...given);
  const secrets = graph
    .byType("kubernetes:core/v1:Secret")
    .filter(({ urn }) => urn.includes("::kubernetes:core/v1:Secret::cells-"));
  return { graph, secrets: new Map(secrets.map((each) => [metadataOf(each.inputs).name, each])) };
}

describe.each(stackNames)("what Cells gets in %s", (stack) => {
  it("is a Secret for each service with a password, with nothing readable in it", async () => {
    const { secrets } = await secretsForCells(stack);
    expect([...secrets.keys()].sort()).toEqual(chartSecrets);
    for (const { inputs } of secrets.values()) {
      expect(metadataOf(inputs).namespace).toBe("cells-app");
      expect(new Set(Object.values(inputs["data"] as object))).toEqual(new Set([redacted]));
    }
  });

  it("comes when its users can log in", async () => {
    const { graph, secrets } = await secretsForCells(stack);
    const setup = graph.byType("kubernetes:batch/v1:Job").find(({ name }) => name === "mysql-setup");
    expect(secrets.get("cells-mariadb")?.options.dependsOn).toContain(setup?.urn);
  });
});

describe("the files of Cells in prod", () => {
  it("are in S3, with an access key of a user that may do nothing else", async () => {
    const { graph, secrets } = await secretsForCells("prod");
    const [user, ...others] = graph.byType("aws:iam/user:User");
    expect(others).toEqual([]);
    expect(user?.inputs).toMatchObject({ name: "example-cells-cells" });
    expect(graph.byType("aws:iam/userPolicy:UserPolicy")).toHaveLength(1);
    expect(secrets.get("cells-minio")?.inputs).toMatchObject({
      data: { "root-user": redacted, "root-password": redacted },
    });
  });
});

const made = "cells-services:cells.namespace";

describe("the namespace of Cells", () => {
  const elsewhere = { config: { cells: '{"namespace":"app"}' } };
  const cells = { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "app" } } };
  const beside = { podSelector: { matchLabels: {} } };

  it("has the Secrets of its chart", async () => {
    const { secrets } = await secretsForCells("dev", elsewhere);
    expect([...secrets.values()].map(({ inputs }) => metadataOf(inputs).namespace)).toEqual(
      chartSecrets.map(() => "app"),
    );
  });

  it("has the Secrets of all services there, which the agents keep up to date", async () => {
    const config = { ...elsewhere.config, services: '["vault","redis","objectstore"]' };
    const graph = await recordStack("dev", { config });
    const namesOf = (kind: string): string[] =>
      graph
        .byType(kind)
        .filter(({ inputs }) => metadataOf(inputs).namespace === "app")
        .map(({ inputs }) => metadataOf(inputs).name)
        .filter((each) => !chartSecrets.includes(each))
        .sort();
    expect(namesOf("kubernetes:core/v1:Secret")).toEqual([
      "objectstore-application-cells",
      "redis-application-cells",
      "vault-application-cells",
    ]);
    // Redis has no TLS.
    expect(namesOf("kubernetes:rbac.authorization.k8s.io/v1:Role")).toEqual([
      "objectstore-certificates",
      "vault-certificates",
      "vault-setup",
      "vault-tokens",
    ]);
  });

  it("is one for all services", async () => {
    const config = { etcd: '{"applicationNamespaces":{"cells":"other"}}' };
    await expect(recordStack("dev", { config })).rejects.toThrow(
      'cells-services:etcd.applicationNamespaces must not contain cells, got "other"; ' +
        "remove it, and say in cells-services:cells.namespace where Cells runs",
    );
  });

  it.each(stackNames)("is made by %s, for its chart, and kept with the data of the stack", async (stack) => {
    const graph = await recordStack(stack);
    const { inputs, options } = graph.get(made);
    expect(inputs["metadata"]).toEqual({
      name: "cells-app",
      labels: {
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/part-of": "cells-services",
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "baseline",
        "pod-security.kubernetes.io/warn": "baseline",
      },
    });
    expect(options.retainOnDelete ?? false).toBe(stack === "prod");
    expect(options.protect ?? false).toBe(stack === "prod");
    expect(graph.get("namespace").options.dependsOn).toEqual([graph.get(made).urn]);
  });

  it("can exist, and is looked for before anything is made", async () => {
    const config = { cells: '{"namespace":"app","createNamespace":false}' };
    const { graph, secrets } = await secretsForCells("dev", { config });
    expect(secrets.size).toBe(chartSecrets.length);
    expect(graph.byType("kubernetes:core/v1:Namespace").map(({ inputs }) => metadataOf(inputs).name)).toEqual([
      "cells",
    ]);
    expect(graph.get("namespace").options.dependsOn).toEqual([
      expect.stringMatching(/Namespace::cells-services:cells.namespace app$/),
    ]);
  });

  /** Who may connect, by the name of the policy. */
  const sources = async (config: Record<string, string>): Promise<Record<string, unknown[]>> => {
    const policies = (await recordStack("dev", { config })).byType("kubernetes:networking.k8s.io/v1:NetworkPolicy");
    const ingressOf = ({ inputs }: (typeof policies)[number]) =>
      (inputs["spec"] as { ingress?: { from: unknown[] }[] }).ingress ?? [];
    return Object.fromEntries(policies.map((each) => [each.name, ingressOf(each)[0]?.from ?? []]));
  };

  it("is admitted by every service, beside the clients of the configuration", async () => {
    const seen = await sources({ ...elsewhere.config, nats: '{"clients":[{"podLabels":{"app":"x"}}]}' });
    // Clients of Redis and MySQL come to the gateway.
    for (const name of ["etcd", "vault", "redis-gateway", "mongodb", "mysql-gateway", "objectstore"]) {
      expect(seen[name], name).toEqual(expect.arrayContaining([beside, cells]));
    }
    expect(seen["nats"]).toEqual(expect.arrayContaining([{ podSelector: { matchLabels: { app: "x" } } }, cells]));
    expect(seen["nats"]).not.toContainEqual(beside);
  });

  it("can be that of the services: Cells is a client as any other there, and has no second Secret", async () => {
    const config = { services: '["etcd"]', cells: '{"namespace":"cells"}' };
    expect(JSON.stringify((await sources(config))["etcd"])).not.toContain("namespaceSelector");
    const graph = await recordStack("dev", { config });
    expect(graph.byType("kubernetes:core/v1:Namespace").map(({ name }) => name)).toEqual(["namespace"]);
    const secrets = graph.byType("kubernetes:core/v1:Secret").map(({ inputs }) => metadataOf(inputs));
    expect(secrets.filter(({ name }) => name === "etcd-application-cells")).toHaveLength(1);
    expect(new Set(secrets.map(({ namespace }) => namespace))).toEqual(new Set(["cells"]));
  });
});

describe("a namespace that a stack makes", () => {
  it.each(["namespace", made])("is not taken over when it exists, as server-side apply would: %s", async (name) => {
    const graph = await recordStack("dev", { config: { services: '["etcd"]' } });
    expect(graph.get(name).options.provider).toBe(graph.get("cluster-namespaces").urn);
    expect(graph.get("cluster-namespaces").inputs).toEqual({
      ...graph.get("cluster").inputs,
      enableConfigMapMutable: undefined,
      enableSecretMutable: undefined,
      enableServerSideApply: "false",
    });
  });
});

describe("a service without a user for Cells", () => {
  it("gives Cells nothing", async () => {
    const { secrets } = await secretsForCells("dev", { config: { etcd: '{"applications":["other"]}' } });
    expect([...secrets.keys()].sort()).toEqual(chartSecrets.filter((each) => each !== "cells-etcd"));
  });
});
