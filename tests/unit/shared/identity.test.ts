import { beforeEach, describe, expect, it } from "vitest";
import { keepMarker, noteRestore, preflight, readMarker } from "../../../components/shared/agent/guard";
import type { KubernetesApi, KubernetesObject } from "../../../components/shared/agent/kubernetes";
import type { Examine } from "../../../components/shared/agent/roll";
import {
  classContradiction,
  livingContradiction,
  rotationContradiction,
  sizeContradiction,
  smallerClaims,
  userContradiction,
} from "../../../components/shared/core/change";
import { type Marker, peerTls, toMarker } from "../../../components/shared/core/marker";
import type { PreflightSettings, SetupSettings } from "../../../components/shared/core/settings";
import { ensembleSettings, etcdPreflight } from "../../support/settings";

const marker: Marker = { clusterId: "77", members: 3, tls: "on", bootstrappedAt: "2026-01-01T00:00:00Z" };
const data = { ...marker, members: "3" };

describe("the data of a marker", () => {
  it.each<[string, Record<string, string>, Marker]>([
    ["as they are written", data, marker],
    ["without TLS", { ...data, tls: "off" }, { ...marker, tls: "off" }],
    ...(
      [
        ["https", "on"],
        ["tls", "on"],
        ["http", "off"],
        ["nats", "off"],
      ] as const
    ).map(([scheme, tls]): [string, Record<string, string>, Marker] => {
      const former = { clusterId: "77", members: "3", scheme, bootstrappedAt: marker.bootstrappedAt };
      return [`as they were written at first, ${scheme}`, former, { ...marker, tls }];
    }),
  ])("can be read: %s", (_, given, expected) => {
    expect(toMarker("etcd-marker", given, undefined)).toEqual(expected);
  });

  it("say another number of members once it has changed", () => {
    expect(toMarker("etcd-marker", data, { "cells-services/members": "5" })).toEqual({ ...marker, members: 5 });
  });

  it("say other TLS once it was switched", () => {
    const former = { clusterId: "77", members: "3", scheme: "https", bootstrappedAt: marker.bootstrappedAt };
    for (const given of [data, former]) {
      expect(toMarker("etcd-marker", given, { "cells-services/tls": "off" })).toEqual({ ...marker, tls: "off" });
    }
    expect(() => toMarker("etcd-marker", data, { "cells-services/tls": "maybe" })).toThrow("restore it");
  });

  it.each<[string, Record<string, string>, string]>([
    ["none", {}, "nothing"],
    ["a key is missing", { clusterId: "77", members: "3" }, "clusterId, members"],
    ["a number that nobody wrote", { ...data, members: "many" }, "clusterId, members, tls, bootstrappedAt"],
    ["a word that nobody wrote", { ...data, tls: "maybe" }, "clusterId, members, tls, bootstrappedAt"],
  ])("are refused: %s", (_, given, keys) => {
    expect(() => toMarker("etcd-marker", given, undefined)).toThrow(
      `the ConfigMap etcd-marker must have clusterId, members, tls and bootstrappedAt, got ${keys}; restore it`,
    );
  });
});

describe("another rotation of passwords", () => {
  it.each([
    [undefined, 0],
    [0, 0],
    [0, 1],
    [7, 8],
  ])("after %s accepts %i", (accepted, wanted) => {
    expect(rotationContradiction(accepted, wanted)).toBeUndefined();
  });

  it.each([
    [1, 3],
    [1, 0],
  ])("after %i refuses %i, which would replace the password that clients hold", (accepted, wanted) => {
    expect(rotationContradiction(accepted, wanted)).toBe(
      `the passwords were rotated to passwords.rotation 1, got ${wanted}; it goes up by one at a time, each time after a pulumi up ` +
        "that succeeded; set it to 1 or 2",
    );
  });

  it("is refused where the members do not know of rotations yet", () => {
    expect(rotationContradiction(undefined, 1)).toContain("run pulumi up with 0 once");
  });
});

describe("what a living cluster cannot do", () => {
  it.each(["required", "optional"] as const)("accepts what it was formed with, and tls %s", (tls) => {
    expect(peerTls(tls)).toBe("on");
    expect(livingContradiction(marker, { members: 3, tls })).toBeUndefined();
  });

  it.each<[string, Marker, Parameters<typeof livingContradiction>[1], string]>([
    [
      "another number of members",
      marker,
      { members: 5, tls: "required" },
      "the cluster has 3 members, as its marker says, got members 5; their number changes while all that stay are whole; set members to 3",
    ],
    [
      "TLS switched off",
      marker,
      { members: 3, tls: "off" },
      'the cluster has TLS between its members, as its marker says, got tls "off"; they can change it only all at once; ' +
        'set tls to "required" or "optional"',
    ],
    [
      "TLS switched on",
      { ...marker, tls: "off" },
      { members: 3, tls: "optional" },
      'the cluster has no TLS between its members, as its marker says, got tls "optional"; they can change it only all at ' +
        'once; set tls to "off"',
    ],
  ])("refuses %s", (_, formed, wanted, reason) => {
    expect(livingContradiction(formed, wanted)).toBe(reason);
  });

  it.each<[string, string | undefined, string | undefined, string | undefined]>([
    ["the same", "gp3", "gp3", undefined],
    ["the default class", undefined, undefined, undefined],
    [
      "another class",
      undefined,
      "gp3",
      "the volumes were made with storage.class the default class, got gp3; the class cannot be changed while the cluster " +
        "lives; set storage.class as it was",
    ],
    [
      "the default class again",
      "gp3",
      undefined,
      "the volumes were made with storage.class gp3, got the default class; the class cannot be changed while the " +
        "cluster lives; set storage.class as it was",
    ],
  ])("storage.class: %s", (_, existing, wanted, expected) => {
    expect(classContradiction(existing, wanted)).toBe(expected);
  });

  it.each<[string, string[], string, string | undefined, string[]]>([
    ["the same", ["8Gi", "8Gi"], "8Gi", undefined, []],
    ["the same in other words", ["8Gi"], "8192Mi", undefined, []],
    ["more", ["8Gi", "8Gi"], "16Gi", undefined, ["data-0", "data-1"]],
    ["that of a volume that was lost since", ["16Gi", "8Gi"], "16Gi", undefined, ["data-1"]],
    [
      "less",
      ["8Gi", "16Gi"],
      "8Gi",
      "the claim data-1 has 16Gi, got storage.size 8Gi; a volume cannot become smaller; set storage.size to 16Gi or more",
      [],
    ],
  ])("storage.size: %s", (_, sizes, wanted, reason, growing) => {
    const claims = sizes.map((size, ordinal) => ({ name: `data-${ordinal}`, size, bound: true }));
    expect(sizeContradiction(claims, wanted)).toBe(reason);
    expect(smallerClaims(claims, wanted).map(({ name }) => name)).toEqual(growing);
  });
});

describe("another user of living members", () => {
  it.each<[string, number | undefined, (number | undefined)[], number | "namespace"]>([
    ["the same", 1000, [1000, 1000, 1000], 1000],
    ["none, as before", undefined, [1000680000, 1000680000, 1000680000], "namespace"],
    ["back to the one that most have, after a change that came to one member only", 2000, [1000, 1000, 2000], 1000],
    ["back to a number, after that of the namespace came to one member only", undefined, [1000, undefined, 1000], 1000],
    ["back to that of the namespace, after a number came to one member only", 1000, [1000680000, 1000], "namespace"],
  ])("is accepted: %s", (_, template, pods, wanted) => {
    expect(userContradiction(template, pods, wanted)).toBeUndefined();
  });

  it.each<[string, number | undefined, (number | undefined)[], number | "namespace", string, string]>([
    ["another number", 1000, [1000, 1000, 1000], 2000, "1000", "2000"],
    ["a third number, after a change that came to one member only", 2000, [1000, 1000, 2000], 3000, "2000", "3000"],
    ["another number while all are away", 1000, [], 2000, "1000", "2000"],
    ["that of the namespace", 1000, [1000], "namespace", "1000", '"namespace"'],
    ["a number instead of that of the namespace", undefined, [1000680000], 1000680000, '"namespace"', "1000680000"],
  ])("is refused: %s", (_, template, pods, wanted, former, given) => {
    expect(userContradiction(template, pods, wanted)).toBe(
      `the members run with pod.userId ${former}, got ${given}; files on their volumes keep the user that wrote them, and a server may ` +
        `not open files of another user; set pod.userId to ${former}`,
    );
  });
});

const settings: SetupSettings = { ...ensembleSettings, passwords: { rotation: 0 } };
const markerPath = "/api/v1/namespaces/cells/configmaps/etcd-marker";
const accountPath = "/api/v1/namespaces/cells/serviceaccounts/etcd-setup";
const setPath = "/apis/apps/v1/namespaces/cells/statefulsets/etcd";

interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

/** Keeps what is posted; an apply sets the owners only, and refuses an object of another uid as Kubernetes does. */
function fakeApi() {
  const objects = new Map<string, ConfigMap & { spec?: object }>([
    [accountPath, { metadata: { name: "etcd-setup", uid: "account" } }],
  ]);
  const applied: { path: string; manager: string; object: KubernetesObject }[] = [];
  const api: KubernetesApi = {
    get: async <T extends KubernetesObject>(path: string) => structuredClone(objects.get(path)) as T | undefined,
    create: async (path, object) => {
      const own = `${path}/${object.metadata?.name}`;
      if (objects.has(own)) return "exists";
      objects.set(own, { ...structuredClone(object), metadata: { ...object.metadata, uid: `uid-${objects.size}` } });
      return "created";
    },
    apply: async (path, object, manager) => {
      applied.push({ path, manager, object: structuredClone(object) });
      const existing = objects.get(path);
      const { uid } = object.metadata ?? {};
      if (existing === undefined || (uid !== undefined && existing.metadata?.uid !== uid))
        throw new Error("uid mismatch");
      objects.set(path, { ...existing, ...object, metadata: { ...existing.metadata, ...object.metadata } });
    },
    remove: () => Promise.reject(new Error("nothing is removed")),
    evict: () => Promise.reject(new Error("nothing is evicted")),
  };
  return { api, objects, applied };
}

let cluster: ReturnType<typeof fakeApi>;
beforeEach(() => {
  cluster = fakeApi();
});

function keep(changes: Partial<SetupSettings> = {}, clusterId = "77"): Promise<void> {
  return keepMarker({ ...settings, ...changes }, "cells", cluster.api, clusterId);
}

const owners = () => cluster.objects.get(markerPath)?.metadata?.ownerReferences;
const account = { apiVersion: "v1", kind: "ServiceAccount", name: "etcd-setup", uid: "account" };

describe("the marker", () => {
  it("is missing until the cluster has formed", async () => {
    expect(await readMarker("etcd", "cells", cluster.api)).toBeUndefined();
    await keep();
    expect(await readMarker("etcd", "cells", cluster.api)).toMatchObject({ clusterId: "77", members: 3, tls: "on" });
  });

  it("keeps its data whatever comes later", async () => {
    await keep();
    const first = cluster.objects.get(markerPath)?.data;
    await keep({ tls: "optional" });
    expect(cluster.objects.get(markerPath)?.data).toEqual(first);
    expect(Object.keys(first ?? {}).sort()).toEqual(["bootstrappedAt", "clusterId", "members", "tls"]);
    for (const { object } of cluster.applied) expect(Object.keys(object)).not.toContain("data");
  });

  it("goes with the setup's account or stays, as `deletion` says with the last run", async () => {
    await keep({ deletion: "delete" });
    expect(owners()).toEqual([account]);
    await keep({ deletion: "keep" });
    expect(owners()).toEqual([]);
    await keep({ deletion: "delete" });
    expect(owners()).toEqual([account]);
    expect(new Set(cluster.applied.map(({ manager }) => manager))).toEqual(new Set(["cells-services-setup"]));
  });

  it("follows a new account of the setup", async () => {
    await keep({ deletion: "delete" });
    cluster.objects.set(accountPath, { metadata: { name: "etcd-setup", uid: "another" } });
    await keep({ deletion: "delete" });
    expect(owners()).toEqual([{ ...account, uid: "another" }]);
  });

  it("gets its owner when the setup was killed between both writes", async () => {
    const killed: KubernetesApi = { ...cluster.api, apply: () => Promise.reject(new Error("killed")) };
    await expect(keepMarker({ ...settings, deletion: "delete" }, "cells", killed, "77")).rejects.toThrow("killed");
    expect(owners()).toBeUndefined();
    await keep({ deletion: "delete" });
    expect(owners()).toEqual([account]);
  });

  it("is not made again without data when it was removed in between", async () => {
    await keep();
    const removing: KubernetesApi = {
      ...cluster.api,
      get: async <T extends KubernetesObject>(path: string) => {
        const found = await cluster.api.get<T>(path);
        if (path === markerPath) cluster.objects.delete(path);
        return found;
      },
    };
    await expect(keepMarker(settings, "cells", removing, "77")).rejects.toThrow("uid mismatch");
    expect(cluster.objects.has(markerPath)).toBe(false);
  });

  it("refuses another cluster, and changes nothing then", async () => {
    await keep({ deletion: "delete" });
    await expect(keep({ deletion: "keep" }, "78")).rejects.toThrow(
      "the marker etcd-marker says cluster 77, but the members are cluster 78: a second cluster was formed beside the " +
        "first; find out which one holds the data before anything is changed",
    );
    expect(owners()).toEqual([account]);
  });

  it("refuses what a living cluster cannot do", async () => {
    await keep();
    await expect(keep({ members: 5 })).rejects.toThrow("the cluster has 3 members, as its marker says, got members 5");
  });
});

describe("the preflight", () => {
  const run = (
    changes: Partial<PreflightSettings> = {},
    size = "8Gi",
    version = "3.6.8",
    service: Parameters<typeof preflight>[3] = {},
  ) => preflight({ ...etcdPreflight, ...changes, version, storage: { size } }, "cells", cluster.api, service);

  it("lets the first deployment pass", async () => {
    await expect(run()).resolves.toBeUndefined();
  });

  it("compares with the marker", async () => {
    await keep();
    await expect(run({ tls: "optional" })).resolves.toBeUndefined();
    await expect(run({ tls: "off" })).rejects.toThrow("the cluster has TLS between its members");
  });

  it("refuses a restore that has come to its end, and lets one go on that was interrupted", async () => {
    await keep();
    await noteRestore(etcdPreflight, "cells", cluster.api, { copy: "20260101T021300Z of etcd in cells" });
    await expect(run({ restores: true })).resolves.toBeUndefined();
    await expect(run()).rejects.toThrow("etcd has only a part of 20260101T021300Z of etcd in cells");
    const endedAt = "2026-01-02T00:00:00Z";
    await noteRestore(etcdPreflight, "cells", cluster.api, { copy: "20260101T021300Z of etcd in cells", endedAt });
    await expect(run({ restores: true })).rejects.toThrow(
      `etcd was restored from 20260101T021300Z of etcd in cells at ${endedAt}, got backups.restoreFrom`,
    );
    await expect(run()).resolves.toBeUndefined();
  });

  it("changes the number of living members only, by agents that know of it", async () => {
    await keep();
    const grow = () => run({ members: 5 }, "8Gi", "3.6.8", { examine, release });
    const examine: Examine = async () => new Map();
    const release = async () => undefined;
    await expect(grow()).rejects.toThrow("the cluster has 3 members, as its marker says, got members 5");
    const volumes = [{ name: "agent", configMap: { name: "etcd-agent-0" } }];
    const securityContext = { runAsUser: 1000 };
    const spec = { replicas: 3, template: { spec: { volumes, securityContext } }, volumeClaimTemplates: [] };
    cluster.objects.set(setPath, { spec });
    await expect(grow()).rejects.toThrow("run pulumi up with members 3 once, and then with members 5");
  });

  it("compares with the versions of the members of a cluster that has formed", async () => {
    const spec = {
      replicas: 3,
      volumeClaimTemplates: [],
      template: { spec: { securityContext: { runAsUser: 1000 } } },
    };
    cluster.objects.set(setPath, { spec });
    const runs = (ordinal: number, version: string, imageID = "sha256:1"): void => {
      const object = { metadata: { labels: { "app.kubernetes.io/version": version } } };
      const status = { containerStatuses: [{ imageID }] };
      cluster.objects.set(`/api/v1/namespaces/cells/pods/etcd-${ordinal}`, { ...object, status } as KubernetesObject);
    };
    runs(0, "3.6.8");
    runs(1, "3.6.8");
    runs(2, "9.9.9", "");
    await expect(run({}, "8Gi", "3.5.21")).resolves.toBeUndefined();
    await keep();
    await expect(run({}, "8Gi", "3.7.0")).resolves.toBeUndefined();
    await expect(run({}, "8Gi", "3.5.21")).rejects.toThrow(
      "members run version 3.6.8, got version 3.5.21, which is older",
    );
  });

  it("compares with the user of the members of a cluster that has formed", async () => {
    const spec = { securityContext: { runAsUser: 1000 } };
    cluster.objects.set(setPath, { spec: { replicas: 3, volumeClaimTemplates: [], template: { spec } } });
    cluster.objects.set("/api/v1/namespaces/cells/pods/etcd-0", { spec });
    const change = () => run({ pod: { userId: 2000 } });
    await expect(change()).resolves.toBeUndefined();
    await keep();
    await expect(run()).resolves.toBeUndefined();
    await expect(change()).rejects.toThrow("the members run with pod.userId 1000, got 2000");
  });

  it("compares with the class of the volumes, also of a cluster that has not formed", async () => {
    cluster.objects.set(setPath, { spec: { volumeClaimTemplates: [{ spec: { storageClassName: "gp3" } }] } });
    await expect(run()).rejects.toThrow("the volumes were made with storage.class gp3, got the default class");
  });

  it("grows claims, and refuses to shrink one before it has changed any", async () => {
    const path = (ordinal: number) => `/api/v1/namespaces/cells/persistentvolumeclaims/data-etcd-${ordinal}`;
    const sizes = () => [0, 1].map((ordinal) => cluster.objects.get(path(ordinal))?.spec);
    const of = (storage: string) => ({ resources: { requests: { storage } } });
    for (const ordinal of [0, 1]) cluster.objects.set(path(ordinal), { spec: of("8Gi") });
    await run({}, "16Gi");
    expect(sizes()).toEqual([of("16Gi"), of("16Gi")]);
    cluster.objects.set(path(0), { spec: of("8Gi") });
    await expect(run({}, "12Gi")).rejects.toThrow("the claim data-etcd-1 has 16Gi, got storage.size 12Gi");
    expect(sizes()).toEqual([of("8Gi"), of("16Gi")]);
  });

  it("writes nothing", async () => {
    await run();
    expect([...cluster.objects.keys()]).toEqual([accountPath]);
    expect(cluster.applied).toEqual([]);
  });
});
