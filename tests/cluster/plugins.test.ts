import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kubeconfig } from "../../sandbox/paths";
import { kubernetesProvider } from "../../sandbox/plugins/kubernetes/provider";
import { type Context, InitializationError, type Provider } from "../../sandbox/plugins/server/provider";
import { at, type Properties, type PropertyMap } from "../../sandbox/plugins/server/values";

const namespace = "plugins-test-objects";
const image = "docker.io/library/node:22.23.3-bookworm-slim";
const context: Context = { log: () => undefined, signal: new AbortController().signal };
const nothing: Properties = { value: {}, secrets: [] };
const properties = (value: PropertyMap): Properties => ({ value, secrets: [] });

function resource(kind: string, apiVersion: string, name: string) {
  const type = `kubernetes:${apiVersion === "v1" ? "core/v1" : apiVersion}:${kind}`;
  return { urn: `urn:pulumi:test::plugins::${type}::${name}`, type, name };
}

function object(kind: string, apiVersion: string, name: string, rest: PropertyMap, annotations?: PropertyMap) {
  const metadata = { name, namespace, ...(annotations === undefined ? {} : { annotations }) };
  return properties({ apiVersion, kind, metadata, ...rest });
}

describe("the stand-in for kubernetes", () => {
  let provider: Provider;
  const space = { ...resource("Namespace", "v1", namespace), id: namespace };
  const spaceInputs = properties({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });

  beforeAll(async () => {
    provider = kubernetesProvider("0.0.0");
    await provider.configure({ kubeconfig, enableConfigMapMutable: "true" }, context);
    await provider.create({ ...space, inputs: spaceInputs, preview: false, timeoutSeconds: 60 }, context);
  });

  afterAll(async () => {
    await provider.delete({ ...space, inputs: spaceInputs, state: spaceInputs, timeoutSeconds: 120 }, context);
    const left = await provider.read({ ...space, inputs: spaceInputs, state: spaceInputs }, context);
    expect(left).toBeUndefined();
  });

  const create = (kind: string, apiVersion: string, name: string, inputs: Properties, timeoutSeconds = 60) =>
    provider.create({ ...resource(kind, apiVersion, name), inputs, preview: false, timeoutSeconds }, context);

  it("previews without leaving anything behind", async () => {
    const inputs = object("ConfigMap", "v1", "preview", { data: { a: "1" } });
    const named = resource("ConfigMap", "v1", "preview");
    const { state } = await provider.create({ ...named, inputs, preview: true, timeoutSeconds: 0 }, context);
    expect(at(state.value, ["data", "a"])).toBe("1");
    expect(await provider.read({ ...named, id: `${namespace}/preview`, inputs, state }, context)).toBeUndefined();
  });

  it("creates, reads without drift, sees drift, updates, deletes", async () => {
    const named = resource("ConfigMap", "v1", "life");
    const inputs = object("ConfigMap", "v1", "life", { data: { a: "1" } });
    const { id, state } = await create("ConfigMap", "v1", "life", inputs);
    expect(id).toBe(`${namespace}/life`);
    const same = await provider.read({ ...named, id, inputs, state }, context);
    expect(same?.inputs.value).toEqual(inputs.value);

    // Somebody else takes the field over by force.
    const forced = object("ConfigMap", "v1", "life", { data: { a: "2" } }, { "pulumi.com/patchForce": "true" });
    const other = { ...resource("ConfigMap", "v1", "other"), id, oldInputs: nothing, oldState: nothing };
    await provider.update({ ...other, inputs: forced, preview: false, timeoutSeconds: 0 }, context);
    const drifted = await provider.read({ ...named, id, inputs, state }, context);
    expect(at(drifted?.inputs.value, ["data", "a"])).toBe("2");

    const update = { ...named, id, oldInputs: inputs, oldState: state, preview: false, timeoutSeconds: 0 };
    await expect(provider.update({ ...update, inputs }, context)).rejects.toThrow(
      /ConfigMap .*life has fields that another field manager set: \.data\.a \(managed by "pulumi-kubernetes-/,
    );
    const mine = object("ConfigMap", "v1", "life", { data: { a: "3" } }, { "pulumi.com/patchForce": "true" });
    const updated = await provider.update({ ...update, inputs: mine }, context);
    expect(at(updated.value, ["data", "a"])).toBe("3");

    await provider.delete({ ...named, id, inputs: mine, state: updated, timeoutSeconds: 0 }, context);
    expect(await provider.read({ ...named, id, inputs: mine, state: updated }, context)).toBeUndefined();
    await provider.delete({ ...named, id, inputs: mine, state: updated, timeoutSeconds: 0 }, context);
  });

  it("fails on an object that somebody else made and takes up its own", async () => {
    const inputs = object("ConfigMap", "v1", "taken", { data: { a: "1" } });
    await create("ConfigMap", "v1", "taken", inputs);
    await expect(create("ConfigMap", "v1", "another", inputs)).rejects.toThrow(/taken already exists; import it/);
    await expect(create("ConfigMap", "v1", "taken", inputs)).resolves.toMatchObject({ id: `${namespace}/taken` });
  });

  it("sees no drift where the server writes quantities in its own way, and keeps Secrets secret", async () => {
    const quota = object("ResourceQuota", "v1", "quota", {
      spec: { hard: { "requests.storage": "2048Mi", services: 100 } },
    });
    const made = await create("ResourceQuota", "v1", "quota", quota);
    const named = resource("ResourceQuota", "v1", "quota");
    const read = await provider.read({ ...named, id: made.id, inputs: quota, state: made.state }, context);
    expect(read?.inputs.value).toEqual(quota.value);
    const secret = await create("Secret", "v1", "secret", object("Secret", "v1", "secret", { stringData: { a: "1" } }));
    expect(secret.state.secrets).toContainEqual(["data"]);
  });

  it("imports an object", async () => {
    const id = `${namespace}/kube-root-ca.crt`;
    const named = resource("ConfigMap", "v1", "imported");
    const read = await provider.read({ ...named, id, inputs: nothing, state: nothing }, context);
    expect(Object.keys(read?.inputs.value ?? {}).sort()).toEqual(["apiVersion", "data", "kind", "metadata"]);
  });

  it("waits for a Job, and tells the last words of one that failed", async () => {
    const job = (name: string, script: string) =>
      object("Job", "batch/v1", name, {
        spec: {
          backoffLimit: 0,
          template: {
            spec: { restartPolicy: "Never", containers: [{ name: "c", image, command: ["node", "-e", script] }] },
          },
        },
      });
    const { state } = await create("Job", "batch/v1", "good", job("good", ""));
    expect(at(state.value, ["status", "succeeded"])).toBe(1);
    const failure = await create("Job", "batch/v1", "bad", job("bad", "console.log('no way');process.exit(3)")).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(InitializationError);
    expect((failure as Error).message).toMatch(/Job .*bad failed: BackoffLimitExceeded[^]*last exit 3[^]*no way/);
  });

  it("waits for a StatefulSet and says what it saw last when it takes too long", async () => {
    const inputs = object("StatefulSet", "apps/v1", "slow", {
      spec: {
        serviceName: "slow",
        selector: { matchLabels: { app: "slow" } },
        template: {
          metadata: { labels: { app: "slow" } },
          spec: { nodeSelector: { "no.such/label": "" }, containers: [{ name: "c", image }] },
        },
      },
    });
    await expect(create("StatefulSet", "apps/v1", "slow", inputs, 5)).rejects.toThrow(
      /slow was not ready within 5 s; last seen: 0 of 1 replicas ready[^]*Unschedulable/,
    );
  });

  it("says in one sentence that a cluster is unreachable, and previews without it", async () => {
    const unreachable = kubernetesProvider("0.0.0");
    const nowhere = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "x",
      clusters: [{ name: "x", cluster: { server: "https://127.0.0.1:9" } }],
      users: [{ name: "x", user: {} }],
      contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
    });
    await unreachable.configure({ kubeconfig: nowhere }, context);
    const inputs = object("ConfigMap", "v1", "far", { data: {} });
    const request = { ...resource("ConfigMap", "v1", "far"), inputs, timeoutSeconds: 0 };
    await expect(unreachable.create({ ...request, preview: false }, context)).rejects.toThrow(
      /^configured Kubernetes cluster is unreachable: https:\/\/127\.0\.0\.1:9: connect ECONNREFUSED/,
    );
    expect((await unreachable.create({ ...request, preview: true }, context)).state).toEqual(inputs);
  });
});
