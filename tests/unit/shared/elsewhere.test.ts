import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster } from "../../../components/etcd";
import { ObjectStore } from "../../../components/objectstore";
import { VaultCluster } from "../../../components/vault";
import { at, type Properties } from "../../support/graph";
import { type Graph, type Recorded, record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

const kinds = {
  secret: "kubernetes:core/v1:Secret",
  role: "kubernetes:rbac.authorization.k8s.io/v1:Role",
  binding: "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
  job: "kubernetes:batch/v1:Job",
  cronJob: "kubernetes:batch/v1:CronJob",
} as const;

const nameOf = ({ inputs }: Recorded): string => at(inputs, "metadata.name") as string;

/** The objects of a kind in the namespace of the application, by their names. */
function elsewhere(graph: Graph, kind: keyof typeof kinds): Record<string, Properties> {
  const there = graph.byType(kinds[kind]).filter(({ inputs }) => at(inputs, "metadata.namespace") === "shop");
  return Object.fromEntries(there.map((each) => [nameOf(each), each.inputs]));
}

/** What the pods of a Job or CronJob are told. */
function settingsOf(graph: Graph, kind: "job" | "cronJob", name: string): Properties {
  const [found] = graph.byType(kinds[kind]).filter((each) => each.name === name);
  const text = JSON.stringify(found?.inputs);
  const [, value = '"{}"'] = /"name":"SETTINGS","value":("(?:[^"\\]|\\.)*")/.exec(text) ?? [];
  return JSON.parse(JSON.parse(value) as string) as Properties;
}

describe("an application that runs in another namespace", () => {
  let graph: Graph;
  const names = ["etcd", "vault", "objectstore"];
  const secrets = names.map((name) => `${name}-application-shop`);

  beforeAll(async () => {
    await ensureAgentBundles();
    const args = {
      namespace: "cells",
      applications: ["shop", "other"],
      applicationNamespaces: { shop: "shop" },
    };
    graph = await record(() => {
      new EtcdCluster("etcd", args);
      new VaultCluster("vault", {
        ...args,
        seal: { type: "shamir" },
        mounts: { secret: {} },
        policies: {
          shop: [{ path: "secret/data/*", capabilities: ["read"] }],
          other: [{ path: "secret/data/*", capabilities: ["read"] }],
        },
      });
      new ObjectStore("objectstore", {
        ...args,
        buckets: ["files", "more"],
        applicationBuckets: { shop: ["files"], other: ["more"] },
      });
    });
  });

  it("has its Secrets there too, with the same content, and no other application has", () => {
    const there = elsewhere(graph, "secret");
    expect(Object.keys(there).sort()).toEqual([...secrets].sort());
    for (const [name, inputs] of Object.entries(there)) {
      const [own] = graph
        .byType(kinds.secret)
        .filter((each) => nameOf(each) === name && at(each.inputs, "metadata.namespace") === "cells");
      expect(Object.keys(inputs["data"] as object)).toEqual(Object.keys(own?.inputs["data"] as object));
    }
  });

  it("is kept up to date by agents that may write these Secrets there and nothing else", () => {
    const roles = elsewhere(graph, "role");
    const agents = { "vault-setup": "vault", "vault-tokens": "vault" };
    const expected = { ...Object.fromEntries(names.map((name) => [`${name}-certificates`, name])), ...agents };
    expect(Object.keys(roles).sort()).toEqual(Object.keys(expected).sort());
    for (const [account, name] of Object.entries(expected)) {
      const rule = { apiGroups: [""], resources: ["secrets"], verbs: ["create", "patch"] };
      expect(roles[account]?.["rules"]).toEqual([{ ...rule, resourceNames: [`${name}-application-shop`] }]);
      expect(elsewhere(graph, "binding")[account]).toMatchObject({
        roleRef: { kind: "Role", name: account },
        subjects: [{ kind: "ServiceAccount", name: account, namespace: "cells" }],
      });
    }
  });

  it("is written to by Jobs that wait for the right to do so", () => {
    const waits: [keyof typeof kinds, string, string][] = [
      ["job", "etcd-certificates", "etcd-certificates"],
      ["cronJob", "etcd-certificates", "etcd-certificates"],
      ["job", "vault-setup", "vault-setup"],
      ["cronJob", "vault-tokens", "vault-tokens"],
    ];
    for (const [kind, job, account] of waits) {
      const [found] = graph.byType(kinds[kind]).filter(({ name }) => name === job);
      const bound = graph.byType(kinds.binding).find(({ name }) => name === `shop/${account}`);
      expect(found?.options.dependsOn, job).toContain(bound?.urn);
    }
  });

  it("is known to the agents", () => {
    for (const kind of ["job", "cronJob"] as const) {
      expect(settingsOf(graph, kind, "etcd-certificates")).toMatchObject({
        publishTo: ["etcd-admin", "etcd-application-shop", "etcd-application-other"],
        publishElsewhere: [{ namespace: "shop", name: "etcd-application-shop" }],
      });
    }
    expect(settingsOf(graph, "job", "vault-setup")).toMatchObject({ applicationNamespaces: { shop: "shop" } });
    expect(settingsOf(graph, "cronJob", "vault-tokens")).toMatchObject({ applicationNamespaces: { shop: "shop" } });
  });
});
