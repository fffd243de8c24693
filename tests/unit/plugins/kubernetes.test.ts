import { describe, expect, it } from "vitest";
import { conflictMessage, fieldManager, refuseExisting } from "../../../sandbox/plugins/kubernetes/apply";
import { timeoutSecondsOf } from "../../../sandbox/plugins/kubernetes/await";
import { autoname, checkInputs, refusal } from "../../../sandbox/plugins/kubernetes/check";
import { loadKubeConfig, readConfiguration } from "../../../sandbox/plugins/kubernetes/configuration";
import { deletionProgress, propagationPolicy } from "../../../sandbox/plugins/kubernetes/delete";
import { diffObjects } from "../../../sandbox/plugins/kubernetes/diff";
import { configDifference } from "../../../sandbox/plugins/kubernetes/provider";
import { importedInputs, refreshInputs } from "../../../sandbox/plugins/kubernetes/read";
import type { PropertyMap } from "../../../sandbox/plugins/server/values";

const seed = Buffer.from("seed");
const immutable = { enableConfigMapMutable: false, enableSecretMutable: false };
const mutable = { enableConfigMapMutable: true, enableSecretMutable: true };

const object = (kind: string, rest: PropertyMap, apiVersion = "v1", metadata: PropertyMap = {}): PropertyMap => ({
  apiVersion,
  kind,
  metadata: { name: "a", namespace: "n", ...metadata },
  ...rest,
});

describe("check", () => {
  const check = (type: string, value: PropertyMap, olds?: PropertyMap) =>
    checkInputs({
      type,
      logicalName: "etcd",
      olds: olds === undefined ? undefined : { value: olds, secrets: [] },
      news: { value, secrets: [] },
      randomSeed: seed,
      namespace: "default",
    });

  it("fills apiVersion, kind, namespace and a name", () => {
    const { inputs, failures } = check("kubernetes:apps/v1:StatefulSet", {});
    expect(failures).toEqual([]);
    expect(inputs.value).toMatchObject({ apiVersion: "apps/v1", kind: "StatefulSet" });
    const metadata = inputs.value["metadata"] as PropertyMap;
    expect(metadata["name"]).toMatch(/^etcd-[0-9a-f]{8}$/);
    expect(metadata["namespace"]).toBe("default");
    expect(metadata["annotations"]).toEqual({ "pulumi.com/autonamed": "true" });
  });

  it("reads core/v1 as the group without a name", () => {
    expect(check("kubernetes:core/v1:ConfigMap", {}).inputs.value["apiVersion"]).toBe("v1");
  });

  it("keeps the name it gave before", () => {
    const olds = { metadata: { name: "etcd-00000000", annotations: { "pulumi.com/autonamed": "true" } } };
    expect(check("kubernetes:core/v1:ConfigMap", {}, olds).inputs.value["metadata"]).toMatchObject({
      name: "etcd-00000000",
    });
  });

  it("does not keep a name that the program had given", () => {
    const { inputs } = check("kubernetes:core/v1:ConfigMap", {}, { metadata: { name: "given" } });
    expect((inputs.value["metadata"] as PropertyMap)["name"]).not.toBe("given");
  });

  it("marks the data of a Secret", () => {
    const { inputs } = check("kubernetes:core/v1:Secret", { metadata: { name: "s" }, data: { a: "YQ==" } });
    expect(inputs.secrets).toEqual([["data"]]);
  });

  it("fails on names that no object can have", () => {
    const { failures } = check("kubernetes:core/v1:Secret", { metadata: { name: "a b" } });
    expect(failures).toEqual([
      { property: "metadata.name", reason: 'metadata.name must be a DNS name of at most 253 characters, got "a b"' },
    ]);
  });

  it.each([
    ["kubernetes:helm.sh/v3:Release", /official plugin/],
    ["kubernetes:yaml:ConfigFile", /official plugin/],
    ["kubernetes:core/v1:ConfigMapPatch", /official plugin/],
    ["kubernetes:core/v1:ConfigMapList", /one by one/],
  ])("fails on %s", (type, reason) => expect(refusal(type)).toMatch(reason));

  it("cuts long names to what labels hold", () => {
    expect(autoname("x".repeat(300), "Job", seed)).toHaveLength(63);
  });
});

describe("diff", () => {
  const statefulSet = (spec: PropertyMap) => object("StatefulSet", { spec }, "apps/v1");
  it.each([
    ["replicas of a StatefulSet", statefulSet({ replicas: 1 }), statefulSet({ replicas: 3 }), immutable, false],
    ["serviceName", statefulSet({ serviceName: "a" }), statefulSet({ serviceName: "b" }), immutable, true],
    [
      "a claim",
      statefulSet({ volumeClaimTemplates: [{ a: 1 }] }),
      statefulSet({ volumeClaimTemplates: [{ a: 2 }] }),
      immutable,
      true,
    ],
    [
      "a selector label",
      statefulSet({ selector: { matchLabels: { a: "1" } } }),
      statefulSet({ selector: { matchLabels: {} } }),
      immutable,
      true,
    ],
    ["a template", statefulSet({ template: { a: 1 } }), statefulSet({ template: { a: 2 } }), immutable, false],
    [
      "a Job's template",
      object("Job", { spec: { template: { a: 1 } } }, "batch/v1"),
      object("Job", { spec: { template: { a: 2 } } }, "batch/v1"),
      immutable,
      true,
    ],
    [
      "the size of a claim",
      object("PersistentVolumeClaim", { spec: { resources: { requests: { storage: "1Gi" } } } }),
      object("PersistentVolumeClaim", { spec: { resources: { requests: { storage: "2Gi" } } } }),
      immutable,
      false,
    ],
    [
      "the class of a claim",
      object("PersistentVolumeClaim", { spec: { storageClassName: "a" } }),
      object("PersistentVolumeClaim", { spec: { storageClassName: "b" } }),
      immutable,
      true,
    ],
    [
      "an immutable ConfigMap",
      object("ConfigMap", { data: { a: "1" } }),
      object("ConfigMap", { data: { a: "2" } }),
      immutable,
      true,
    ],
    [
      "a mutable ConfigMap",
      object("ConfigMap", { data: { a: "1" } }),
      object("ConfigMap", { data: { a: "2" } }),
      mutable,
      false,
    ],
    [
      "a ConfigMap that says immutable",
      object("ConfigMap", { data: { a: "1" } }),
      object("ConfigMap", { immutable: true, data: { a: "2" } }),
      mutable,
      true,
    ],
    [
      "a mutable Secret",
      object("Secret", { stringData: { a: "1" } }),
      object("Secret", { stringData: { a: "2" } }),
      mutable,
      false,
    ],
    ["the type of a Secret", object("Secret", { type: "a" }), object("Secret", { type: "b" }), mutable, true],
    [
      "a roleRef",
      object("RoleBinding", { roleRef: { name: "a" } }, "rbac.authorization.k8s.io/v1"),
      object("RoleBinding", { roleRef: { name: "b" } }, "rbac.authorization.k8s.io/v1"),
      immutable,
      true,
    ],
    [
      "an image of a Pod",
      object("Pod", { spec: { containers: [{ image: "a" }] } }),
      object("Pod", { spec: { containers: [{ image: "b" }] } }),
      immutable,
      true,
    ],
  ] as const)("%s", (_name, oldInputs, news, mutability, replaces) => {
    const difference = diffObjects({ oldInputs, news, mutability });
    expect(difference.changed).toBe(true);
    expect(Object.values(difference.detailed).some((kind) => kind.endsWith("-replace"))).toBe(replaces);
    expect(difference.deleteBeforeReplace).toBe(replaces);
  });

  it("finds nothing in equal inputs", () => {
    const same = statefulSet({ replicas: 3 });
    expect(diffObjects({ oldInputs: same, news: structuredClone(same), mutability: immutable })).toEqual({
      changed: false,
      detailed: {},
      deleteBeforeReplace: false,
    });
  });

  it("creates autonamed objects before it deletes the old ones", () => {
    const named = (name: string, data: PropertyMap) =>
      object("ConfigMap", { data }, "v1", { name, annotations: { "pulumi.com/autonamed": "true" } });
    const difference = diffObjects({
      oldInputs: named("a-1", { a: "1" }),
      news: named("a-1", { a: "2" }),
      mutability: immutable,
    });
    expect(difference).toMatchObject({ detailed: { "data.a": "update-replace" }, deleteBeforeReplace: false });
  });

  it("does not see what is to be ignored", () => {
    const difference = diffObjects({
      oldInputs: statefulSet({ replicas: 1 }),
      news: statefulSet({ replicas: 3 }),
      mutability: immutable,
      ignoreChanges: ["spec.replicas"],
    });
    expect(difference.changed).toBe(false);
  });

  it("replaces a Job that did not complete when asked to", () => {
    const job = object("Job", {}, "batch/v1");
    expect(diffObjects({ oldInputs: job, news: job, mutability: immutable, unready: true })).toMatchObject({
      changed: true,
      deleteBeforeReplace: true,
    });
  });
});

describe("read", () => {
  it("sees no drift where the server writes a value in its own way", () => {
    const inputs = { spec: { cpu: "1000m", ports: [{ port: 80 }] } };
    const state = { spec: { cpu: "1", ports: [{ port: 80, protocol: "TCP" }], extra: 1 }, status: { a: 1 } };
    expect(refreshInputs(inputs, state, { ...state, status: { a: 2 } })).toEqual(inputs);
  });

  it("sees changed and removed values, and nobody else's additions", () => {
    const inputs = { metadata: { labels: { a: "1", b: "1" } }, spec: { containers: [{ name: "c", image: "x" }] } };
    const state = inputs;
    const live = {
      metadata: { labels: { a: "2", c: "1" } },
      spec: { containers: [{ name: "injected" }, { name: "c", image: "y", tty: false }] },
    };
    expect(refreshInputs(inputs, state, live)).toEqual({
      metadata: { labels: { a: "2" } },
      spec: { containers: [{ name: "c", image: "y" }] },
    });
  });

  it("compares stringData with the data it became", () => {
    const encoded = (value: string) => Buffer.from(value).toString("base64");
    const inputs = { stringData: { a: "1", b: "2" } };
    const state = { data: { a: encoded("1"), b: encoded("2") } };
    expect(refreshInputs(inputs, state, state)).toEqual(inputs);
    expect(refreshInputs(inputs, state, { data: { a: encoded("9") } })).toEqual({ stringData: { a: "9" } });
  });

  it("imports what a program would have said", () => {
    const live = object("ConfigMap", { data: { a: "1" }, status: {} }, "v1", {
      uid: "u",
      resourceVersion: "1",
      generation: 2,
    });
    expect(importedInputs(live)).toEqual(object("ConfigMap", { data: { a: "1" } }));
  });
});

describe("apply", () => {
  it("names fields, managers and remedies of a conflict", () => {
    const causes = [
      { reason: "FieldManagerConflict", field: ".spec.replicas", message: 'conflict with "kubectl" using apps/v1' },
      { reason: "FieldManagerConflict", field: ".spec.paused", message: 'conflict with "kubectl" using apps/v1' },
    ];
    expect(conflictMessage(object("Deployment", {}), { message: "", status: { details: { causes } } })).toBe(
      'Deployment n/a has fields that another field manager set: .spec.replicas, .spec.paused (managed by "kubectl"); ' +
        'leave them out of the program, or take them over with the annotation "pulumi.com/patchForce": "true"',
    );
  });

  it("has one field manager per resource, which the state and the program may decide", () => {
    const own = fieldManager("urn:a", {});
    expect(own).toMatch(/^pulumi-kubernetes-[0-9a-f]{8}$/);
    expect(fieldManager("urn:a", {})).toBe(own);
    expect(fieldManager("urn:b", {})).not.toBe(own);
    expect(fieldManager("urn:a", {}, { __fieldManager: "official" })).toBe("official");
    const annotations = { "pulumi.com/patchFieldManager": "me" };
    expect(fieldManager("urn:a", { metadata: { annotations } }, { __fieldManager: "official" })).toBe("me");
  });

  it("takes up its own interrupted create and fails on everything else", () => {
    const now = Date.parse("2026-01-01T00:30:00Z");
    const existing = (manager: string, extra: PropertyMap = {}) =>
      object("ConfigMap", {}, "v1", {
        creationTimestamp: "2026-01-01T00:00:00Z",
        managedFields: [{ manager }],
        ...extra,
      });
    const refuse =
      (found: PropertyMap, at = now) =>
      () =>
        refuseExisting(found, object("ConfigMap", {}), "me", at);
    expect(refuse(existing("me"))).not.toThrow();
    expect(refuse(existing("kubectl"))).toThrow(/ConfigMap n\/a already exists; import it/);
    expect(refuse(existing("me"), now + 3_600_000)).toThrow(/already exists/);
    expect(refuse(existing("me", { deletionTimestamp: "x" }))).toThrow(/being deleted/);
  });
});

describe("delete", () => {
  it("goes by the annotation", () => {
    const annotated = (value: string) =>
      object("StatefulSet", {}, "apps/v1", { annotations: { "pulumi.com/deletionPropagationPolicy": value } });
    expect(propagationPolicy(object("StatefulSet", {}))).toBe("Foreground");
    expect(propagationPolicy(annotated("orphan"))).toBe("Orphan");
    expect(propagationPolicy(annotated("background"))).toBe("Background");
  });

  it("tells what holds an object back", () => {
    expect(deletionProgress(object("Pod", {}, "v1", { finalizers: ["a/b"] }))).toBe("deleting, held by a/b");
  });
});

describe("configuration", () => {
  const kubeconfig = (server: string) =>
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "x",
      clusters: [{ name: "x", cluster: { server } }],
      users: [{ name: "x", user: {} }],
      contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
    });

  it("reads booleans that come as text, and the environment", () => {
    expect(readConfiguration({ enableSecretMutable: "true" }, {}).enableSecretMutable).toBe(true);
    expect(readConfiguration({}, { PULUMI_K8S_ENABLE_CONFIGMAP_MUTABLE: "true" }).enableConfigMapMutable).toBe(true);
  });

  it("fails on a context that the kubeconfig does not have", () => {
    const configuration = readConfiguration({ kubeconfig: kubeconfig("https://a"), context: "y" }, {});
    expect(() => loadKubeConfig(configuration)).toThrow('kubeconfig has no context "y"; it has x');
  });

  it.each([
    ["another server", { kubeconfig: kubeconfig("https://a") }, { kubeconfig: kubeconfig("https://b") }, true],
    [
      "the same server with another text",
      { kubeconfig: kubeconfig("https://a") },
      { kubeconfig: `${kubeconfig("https://a")}\n` },
      false,
    ],
    [
      "another server under one identifier",
      { clusterIdentifier: "c", kubeconfig: kubeconfig("https://a") },
      { clusterIdentifier: "c", kubeconfig: kubeconfig("https://b") },
      false,
    ],
    ["another identifier", { clusterIdentifier: "c" }, { clusterIdentifier: "d" }, true],
    ["another setting", { enableSecretMutable: "true" }, {}, false],
  ])("%s", (_name, olds, news, replaces) => {
    const { detailed, changed } = configDifference(olds, news);
    expect(changed).toBe(true);
    expect(Object.values(detailed).some((kind) => kind.endsWith("-replace"))).toBe(replaces);
  });

  it("lets customTimeouts win over the annotation and the annotation over ten minutes", () => {
    const annotated = object("Job", {}, "batch/v1", { annotations: { "pulumi.com/timeoutSeconds": "30" } });
    expect([timeoutSecondsOf(annotated, 5), timeoutSecondsOf(annotated, 0), timeoutSecondsOf({}, 0)]).toEqual([
      5, 30, 600,
    ]);
  });
});
