import { beforeEach, describe, expect, it } from "vitest";
import { watchMarker } from "../../../components/shared/agent/guard";
import type { KubernetesApi, KubernetesObject } from "../../../components/shared/agent/kubernetes";
import type { Examine } from "../../../components/shared/agent/roll";
import { changeMembers } from "../../../components/shared/agent/scale";
import type { MarkerAnswer } from "../../../components/shared/core/marker";
import { etcdPreflight } from "../../support/settings";

const settings = { ...etcdPreflight, members: 5 };
const whole = { whole: true, leads: false, detail: "" };
let objects: Record<string, KubernetesObject>;
let said: Record<string, { whole: boolean; leads: boolean; detail: string }>;
let done: string[];

const claim = (phase: string) =>
  ({ spec: { resources: { requests: { storage: "8Gi" } } }, status: { phase } }) as KubernetesObject;
const never = () => Promise.reject(new Error("not asked for"));
const api: KubernetesApi = {
  get: async <T extends KubernetesObject>(path: string) => objects[path.split("/").at(-1) ?? ""] as T | undefined,
  create: never,
  apply: never,
  remove: async (path) => void done.push(`removed ${path.split("/").at(-1)}`),
  evict: never,
};
const examine: Examine = async (pods) => new Map([...pods.keys()].map((member) => [member, said[member] ?? whole]));
const release = async (leaving: string[]): Promise<void> => void done.push(`released ${leaving.join(" ")}`);
const change = (from: number, members: number, released = release) =>
  changeMembers(
    {
      examine,
      release: released,
      settings: { ...settings, members },
      from,
      namespace: "cells",
      api,
      record: async () => void done.push(`recorded ${members}`),
    },
    0,
  );

beforeEach(() => {
  const running = { status: { containerStatuses: [{ name: "etcd", state: { running: {} } }] } };
  const pod = { metadata: { uid: "1" }, spec: { containers: [{ name: "etcd" }] }, ...running } as KubernetesObject;
  objects = Object.fromEntries([0, 1, 2, 3, 4].map((ordinal) => [`etcd-${ordinal}`, pod]));
  for (const ordinal of [0, 1, 2]) objects[`data-etcd-${ordinal}`] = claim("Bound");
  said = {};
  done = [];
});

describe("another number of members", () => {
  it("is on the marker before one more is made", async () => {
    await change(3, 5);
    expect(done).toEqual(["recorded 5"]);
  });

  it("is on the marker when those that leave are forgotten, and then their pods end", async () => {
    await change(5, 3);
    const released = "released etcd-3 etcd-4";
    expect(done).toEqual([released, "recorded 3", "removed etcd-3", "removed etcd-4", released]);
  });

  it("is not on the marker while one that leaves is not forgotten", async () => {
    const failing = () => Promise.reject(new Error("etcd-4 still leads"));
    await expect(change(5, 3, failing)).rejects.toThrow("etcd-4 still leads");
    expect(done).toEqual([]);
  });

  it.each([
    [3, 5],
    [5, 3],
  ])("from %i to %i waits for those that stay, not for those that leave", async (from, to) => {
    said = { "etcd-3": { ...whole, whole: false } };
    delete objects["etcd-4"];
    await change(from, to);
    said = { "etcd-1": { ...whole, whole: false, detail: "it is behind" } };
    delete objects["etcd-2"];
    done = [];
    await expect(change(from, to)).rejects.toThrow("last seen: etcd-1: it is behind; etcd-2: there is no pod yet");
    expect(done).toEqual([]);
  });

  it("is refused when new members would find volumes that are there already", async () => {
    objects["data-etcd-3"] = claim("Pending");
    objects["data-etcd-4"] = claim("Bound");
    await expect(change(3, 5)).rejects.toThrow(
      "the cluster has 3 members, got members 5, and the volume claims data-etcd-4 are there already",
    );
    expect(done).toEqual([]);
  });
});

describe("what the marker said last", () => {
  const formed = { formed: true, clusterId: "77", members: 3 } as const;
  const watch = async (answers: MarkerAnswer[]) => {
    let now = 0;
    const last = watchMarker(
      () => Promise.resolve(answers.shift() ?? { reason: "no API" }),
      () => now,
    );
    const seen: MarkerAnswer[] = [];
    for (const count = answers.length + 1; seen.length < count; now += 5_000) {
      last();
      await Promise.resolve();
      await Promise.resolve();
      seen.push(last());
    }
    return seen;
  };

  it("stays true while the Kubernetes API is away, once the cluster was formed", async () => {
    const grown = { ...formed, members: 5 };
    expect(await watch([{ formed: false }, formed, { reason: "no API" }, grown])).toEqual([
      { formed: false },
      formed,
      formed,
      grown,
      grown,
    ]);
  });

  it("is not known any more while the API is away, when the cluster was not formed", async () => {
    expect(await watch([{ formed: false }])).toEqual([{ formed: false }, { reason: "no API" }]);
  });
});
