import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { EtcdCluster } from "../../../components/etcd";
import { kubernetesProvider } from "../../../components/provider";
import { type Graph, record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

beforeAll(ensureAgentBundles);
afterEach(() => vi.unstubAllEnvs());

/** What the recorder gives the default provider of other tests. */
const without = { "kubernetes:enableConfigMapMutable": "false", "kubernetes:enableSecretMutable": "false" };

function deploy(options: () => pulumi.ComponentResourceOptions, config: Record<string, string> = without) {
  return record(() => new EtcdCluster("config", { namespace: "cells" }, options()), { config });
}

describe("a provider made by kubernetesProvider", () => {
  const inputsOf = async (...args: Parameters<typeof kubernetesProvider>): Promise<object> =>
    (await record(() => void kubernetesProvider(...args))).get(args[0]).inputs;

  it("has the flags that components need, and its name as the identifier of its cluster", async () => {
    expect(await inputsOf("cluster", { context: "mine" })).toMatchObject({
      context: "mine",
      clusterIdentifier: "cluster",
      enableServerSideApply: "true",
      enableConfigMapMutable: "true",
      enableSecretMutable: "true",
    });
    expect(await inputsOf("cluster", { clusterIdentifier: "eu-1" })).toMatchObject({ clusterIdentifier: "eu-1" });
  });

  it.each<[string, () => pulumi.ComponentResourceOptions]>([
    ["as provider", () => ({ provider: kubernetesProvider("cluster") })],
    ["among providers", () => ({ providers: [kubernetesProvider("cluster")] })],
    [
      "of a parent",
      () => {
        const providers = { kubernetes: kubernetesProvider("cluster") };
        return { parent: new pulumi.ComponentResource("test:index:Platform", "platform", {}, { providers }) };
      },
    ],
  ])("is accepted %s", async (_, options) => {
    const graph: Graph = await deploy(options);
    expect(graph.byType("kubernetes:apps/v1:StatefulSet")[0]?.options.provider).toContain("::cluster");
  });
});

describe("a component refuses", () => {
  it("the default provider, and says what to do", async () => {
    await expect(deploy(() => ({}))).rejects.toThrow(
      'etcd "config": the default provider of Kubernetes lacks enableConfigMapMutable and enableSecretMutable; give the component ' +
        'a provider made by kubernetesProvider of "cells-services/provider", or run "pulumi config set kubernetes:enableConfigMapMutable true" ' +
        'and "pulumi config set kubernetes:enableSecretMutable true"',
    );
  });

  it("the default provider with one flag of two", async () => {
    const config = { ...without, "kubernetes:enableSecretMutable": "true" };
    await expect(deploy(() => ({}), config)).rejects.toThrow("lacks enableConfigMapMutable; give");
  });

  it("a provider that does not apply on the side of the server", async () => {
    const args = { enableSecretMutable: true, enableConfigMapMutable: true, enableServerSideApply: false };
    await expect(deploy(() => ({ provider: new kubernetes.Provider("mine", args) }))).rejects.toThrow(
      'etcd "config": its provider of Kubernetes lacks enableServerSideApply; make the provider with kubernetesProvider',
    );
  });

  it("a provider without the flags", async () => {
    const provider = () => ({ provider: new kubernetes.Provider("mine", { enableSecretMutable: true }) });
    await expect(deploy(provider)).rejects.toThrow(
      'etcd "config": its provider of Kubernetes lacks enableConfigMapMutable; make the provider with kubernetesProvider',
    );
  });
});

describe("a component accepts", () => {
  it("the default provider with the flags in the configuration", async () => {
    await deploy(() => ({}), {});
  });

  it("a provider that somebody else gave the flags", async () => {
    const args = { enableSecretMutable: true, enableConfigMapMutable: true };
    await deploy(() => ({ provider: new kubernetes.Provider("mine", args) }));
  });
});
