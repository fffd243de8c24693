/** Runs each example as the engine would, against the recorder. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { serviceNames } from "../../../stacks/config";
import { type Graph, record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

beforeAll(ensureAgentBundles);

const root = join(__dirname, "..", "..", "..", "examples");
const examples = readdirSync(root, { withFileTypes: true }).filter((each) => each.isDirectory());

const components = {
  etcd: { type: "EtcdCluster", name: "etcd" },
  vault: { type: "VaultCluster", name: "vault" },
  nats: { type: "NatsCluster", name: "nats" },
  redis: { type: "RedisCluster", name: "redis" },
  mongodb: { type: "MongodbCluster", name: "mongodb" },
  mysql: { type: "MysqlCluster", name: "mysql" },
  objectstore: { type: "ObjectStore", name: "s3" },
};

/** An example makes its resources when it is imported: without its former modules, so that it can be imported again. */
function recordExample(service: string, preview = false): Promise<Graph> {
  const program = async (): Promise<object> => {
    vi.resetModules();
    return { ...((await import(join(root, service, "index.ts"))) as object) };
  };
  return record(program, { preview, project: `example-${service}`, config: { "kubernetes:context": "mine" } });
}

it("has one example for each service, each a project of its own", () => {
  expect(examples.map((each) => each.name).sort()).toEqual([...serviceNames].sort());
  for (const { name } of examples) expect(existsSync(join(root, name, "Pulumi.yaml"))).toBe(true);
});

describe.each(serviceNames)("the example of %s", (service) => {
  const { type, name } = components[service];
  let graph: Graph;

  beforeAll(async () => {
    graph = await recordExample(service);
  });

  it("makes the component and its members", () => {
    const [component, ...others] = graph.byType(`cells-services:index:${type}`);
    expect(others).toEqual([]);
    expect(component?.name).toBe(name);
    const sets = graph.byType("kubernetes:apps/v1:StatefulSet");
    expect(sets.map((each) => [each.name, each.options.parent])).toEqual([[name, component?.urn]]);
    expect(sets[0]?.inputs["spec"]).toMatchObject({ replicas: service === "objectstore" ? 1 : 3 });
  });

  it("is in a namespace of its own", () => {
    const namespace = graph.get(`example-${service}`);
    const { name } = namespace.inputs["metadata"] as { name: string };
    const [set] = graph.byType("kubernetes:apps/v1:StatefulSet");
    const provider = graph.get("cluster");
    expect(provider.inputs).toMatchObject({ context: "mine" });
    expect([namespace, set].map((each) => each?.options.provider)).toEqual([provider.urn, provider.urn]);
    expect(set?.inputs["metadata"]).toMatchObject({ namespace: name });
  });

  it("gives out the address and the name of a Secret, and no secret", () => {
    const { url, endpoint, ...others } = graph.outputs;
    expect(url ?? endpoint).toMatch(`${name}${service === "mongodb" ? "-0" : ""}.`);
    expect(others).toMatchObject({ certificateAuthority: `${name}-ca`, secret: `${name}-application-shop` });
    expect(graph.secrets.filter((each) => JSON.stringify(graph.outputs).includes(each))).toEqual([]);
  });

  it("has the same resources in a preview", async () => {
    const urns = ({ resources }: Graph): string[] => resources.map((each) => each.urn).sort();
    expect(urns(await recordExample(service, true))).toEqual(urns(graph));
  });
});
