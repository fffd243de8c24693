import { describe, expect, it } from "vitest";
import type { KubernetesApi, KubernetesObject } from "../../../components/shared/agent/kubernetes";
import { takeTurn } from "../../../components/shared/agent/lease";
import {
  type Condition,
  type MemberPod,
  roll,
  rollTurn,
  toRollMember,
  whyAway,
} from "../../../components/shared/agent/roll";
import { nextStep, type RollMember, type RollStep } from "../../../components/shared/core/roll";
import { ensembleSettings } from "../../support/settings";

const container = "server";

function member(ordinal: number, changes: Partial<RollMember> = {}): RollMember {
  const whole = { revision: "stale", condition: "whole", reason: "", leads: false, ready: true } as const;
  return { name: `etcd-${ordinal}`, ...whole, ...changes };
}
const behind = { condition: "behind", reason: "catches up" } as const;
const away = { condition: "away", reason: "crashed" } as const;
const current = { revision: "current" } as const;
const apart = { revision: "otherTls" } as const;
const evicted = (ordinal: number): RollStep => ({ kind: "evict", members: [`etcd-${ordinal}`] });
const deleted = (ordinal: number): RollStep => ({ kind: "delete", members: [`etcd-${ordinal}`] });
const waitFor = (ordinal: number, reason: string): RollStep => ({ kind: "wait", member: `etcd-${ordinal}`, reason });

describe("a roll", () => {
  it.each<[string, RollMember[], RollStep]>([
    ["is done when all are current and whole", [0, 1, 2].map((n) => member(n, current)), { kind: "done" }],
    ["begins with the highest follower", [member(0, { leads: true }), member(1), member(2)], evicted(2)],
    ["passes over the leader", [member(0), member(1), member(2, { leads: true })], evicted(1)],
    ["ends with the leader", [member(0, current), member(1, current), member(2, { leads: true })], evicted(2)],
    ["waits for the one before", [member(0), member(1), member(2, { ...current, ...away })], waitFor(2, "crashed")],
    [
      "waits for a new one that is behind",
      [member(0), member(1), member(2, { ...current, ...behind })],
      waitFor(2, "catches up"),
    ],
    [
      "waits for a pod that is being made",
      [member(0), member(1), member(2, { revision: "missing", ...away })],
      waitFor(2, "crashed"),
    ],
    [
      "does not take one away while another is behind",
      [member(0, behind), member(1), member(2)],
      waitFor(0, "catches up"),
    ],
    [
      "does not take the one that is behind",
      [member(0, current), member(1, current), member(2, behind)],
      waitFor(2, "catches up"),
    ],
    ["takes what counts for nothing first", [member(0, away), member(1), member(2)], deleted(0)],
    [
      "cures an ensemble that only what is new can start",
      [member(0, away), member(1, away), member(2, { ...current, ...behind })],
      deleted(0),
    ],
    [
      "leaves one that may be back in a moment while what is new does not start",
      [member(0), member(1, away), member(2, { ...current, ...away })],
      waitFor(1, "crashed"),
    ],
    [
      "keeps those that work when what is new does not",
      [member(0, { leads: true }), member(1), member(2, { ...current, ...away })],
      waitFor(2, "crashed"),
    ],
    [
      "stops all with other TLS at once, whatever the others are",
      [member(0, { ...apart, leads: true }), member(1, { ...apart, ...away }), member(2, { ...current, ...behind })],
      { kind: "stop", members: ["etcd-0", "etcd-1"] },
    ],
    [
      "waits for all after that",
      [member(0, { revision: "missing", ...away }), member(1, { ...current, ...away }), member(2, current)],
      waitFor(0, "crashed"),
    ],
    ["is set back by the same rule", [member(0, current), member(1, current), member(2, away)], deleted(2)],
  ])("%s", (_, members, step) => {
    expect(nextStep(members, false)).toEqual(step);
  });

  it.each<[string, RollMember[], RollStep]>([
    [
      "takes a stale member that does not become whole among whole ones",
      [member(0, current), member(1), member(2, behind)],
      evicted(2),
    ],
    [
      "takes one after the other when none becomes whole",
      [member(0, behind), member(1, behind), member(2, { ...current, ...behind })],
      evicted(0),
    ],
    [
      "does not ask the disruption budget when Kubernetes takes none for ready",
      [
        member(0, { ...behind, ready: false }),
        member(1, { ...behind, ready: false }),
        member(2, { ...behind, ready: false }),
      ],
      deleted(0),
    ],
    [
      "takes what counts for nothing, whether what is new starts or not",
      [member(0), member(1, away), member(2, { ...current, ...away })],
      deleted(1),
    ],
    [
      "takes none that the others may need",
      [member(0, behind), member(1), member(2, { ...current, ...away })],
      waitFor(0, "catches up"),
    ],
    [
      "waits for a new one, and for one that is stopping",
      [member(0), member(1), member(2, { revision: "missing", condition: "behind", reason: "stopping" })],
      waitFor(2, "stopping"),
    ],
  ])("that is late %s", (_, members, step) => {
    expect(nextStep(members, true)).toEqual(step);
  });
});

const running = { state: { running: {} } };
function pod(revision: string, changes: MemberPod["status"] = {}, metadata: MemberPod["metadata"] = {}): MemberPod {
  return {
    metadata: { uid: `uid-${revision}`, labels: { "controller-revision-hash": revision }, ...metadata },
    spec: { containers: [{ name: container }, { name: "beside" }] },
    status: {
      conditions: [{ type: "Ready", status: "True" }],
      containerStatuses: [{ name: container, ...running }],
      ...changes,
    },
  };
}
const whole: Condition = { whole: true, leads: false, detail: "" };
/** What the init container of each member is told. */
const initContainers = (tls: string) => [
  { name: "member", env: [{ name: "POD_NAME" }, { name: "SETTINGS", value: JSON.stringify({ tls }) }] },
];
const withTls = (each: MemberPod, tls: string): MemberPod => ({
  ...each,
  spec: { ...each.spec, initContainers: initContainers(tls) },
});

describe("a member", () => {
  it.each<[string, MemberPod | undefined, Condition | undefined, Partial<RollMember>]>([
    ["without a pod", undefined, undefined, { revision: "missing", condition: "away" }],
    ["of the former revision", pod("a"), whole, { revision: "stale", condition: "whole" }],
    ["with TLS of the former revision", withTls(pod("a"), "optional"), whole, { revision: "stale" }],
    ["without the TLS that is wanted", withTls(pod("a"), "off"), whole, { revision: "otherTls", condition: "whole" }],
    [
      "without TLS that is stopping",
      withTls(pod("a", {}, { deletionTimestamp: "now" }), "off"),
      whole,
      { revision: "missing" },
    ],
    ["that started with another authority", pod("b", {}, { uid: "former" }), whole, { revision: "stale" }],
    ["that is new", pod("b"), { ...whole, leads: true }, { revision: "current", condition: "whole", leads: true }],
    [
      "that is stopping",
      pod("a", {}, { deletionTimestamp: "now" }),
      whole,
      { revision: "missing", condition: "behind", reason: "it is stopping" },
    ],
    [
      "that catches up",
      pod("b"),
      { ...whole, whole: false, detail: "12 behind" },
      { condition: "behind", reason: "12 behind" },
    ],
    ["that nobody could ask", pod("b"), undefined, { condition: "behind", reason: "it was not asked" }],
  ])("%s", (_, each, condition, expected) => {
    expect(toRollMember("etcd-0", each, { revision: "b", tls: "on", stalePods: ["former"] }, condition)).toMatchObject(
      expected,
    );
  });

  it("is stopped with all others only for a TLS that its template names", () => {
    const { revision } = toRollMember(
      "etcd-0",
      withTls(pod("a"), "off"),
      { revision: "b", tls: undefined, stalePods: [] },
      whole,
    );
    expect(revision).toBe("stale");
  });

  it.each<[string, MemberPod["status"], string | undefined]>([
    [
      "nothing while the server runs, whatever runs beside it",
      { containerStatuses: [{ name: container, ...running }, { name: "x" }] },
      undefined,
    ],
    [
      "of an image that cannot be had",
      {
        containerStatuses: [{ name: container, state: { waiting: { reason: "ErrImagePull", message: "not found" } } }],
      },
      "ErrImagePull (server): not found",
    ],
    [
      "of an init container that refuses",
      {
        initContainerStatuses: [
          {
            name: "member",
            state: { waiting: { reason: "CrashLoopBackOff", message: "back-off" } },
            lastState: { terminated: { exitCode: 1, message: "member failed: the volume is of another cluster" } },
          },
        ],
        containerStatuses: [{ name: container, state: { waiting: { reason: "PodInitializing" } } }],
      },
      "CrashLoopBackOff (member): member failed: the volume is of another cluster",
    ],
    [
      "of a server that ended",
      { containerStatuses: [{ name: container, state: { terminated: { exitCode: 137, reason: "OOMKilled" } } }] },
      "OOMKilled (server): it ended with exit code 137",
    ],
    [
      "of a pod that fits on no node",
      {
        containerStatuses: [],
        conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes" }],
      },
      "Unschedulable: 0/3 nodes",
    ],
    [
      "of what is wrong now, not of what was wrong once",
      {
        initContainerStatuses: [{ name: "agent", ...running, lastState: { terminated: { exitCode: 1 } } }],
        containerStatuses: [{ name: container, state: { waiting: { reason: "ErrImagePull", message: "not found" } } }],
      },
      "ErrImagePull (server): not found",
    ],
    ["of a start that has only begun", { containerStatuses: [] }, "its containers are being started"],
  ])("has the words %s", (_, status, words) => {
    expect(whyAway(pod("b", status))).toBe(words);
  });
});

/** A StatefulSet of revision b, whose pods are made again at once; `broken`: which never become whole; `refusals`: of evictions. */
function cluster(
  pods: Record<string, MemberPod>,
  broken: "none" | "new" | "old" = "none",
  refusals = 0,
  stalePods = "",
) {
  const log: string[] = [];
  const lease = leaseApi();
  const renew = (name: string, how: string): void => {
    log.push(`${how} ${name}`);
    pods[name] = pod("b");
  };
  const api: KubernetesApi = {
    ...lease,
    get: async <T extends KubernetesObject>(path: string) => {
      if (path.includes("leases")) return lease.get<T>();
      if (path.includes("statefulsets")) {
        const template = { spec: { initContainers: initContainers("required") } };
        return { spec: { replicas: 3, template }, status: { updateRevision: "b" } } as unknown as T;
      }
      if (path.endsWith("/configmaps/etcd-ca")) {
        return { metadata: { annotations: { "cells-services/stale-pods": stalePods } } } as unknown as T;
      }
      return pods[path.split("/").at(-1) ?? ""] as T | undefined;
    },
    evict: async (_, name) => {
      expect(lease.holder()).toBe("etcd-roll-x");
      if (refusals > 0) {
        refusals -= 1;
        return "it would violate the disruption budget";
      }
      renew(name, "evicts");
      return undefined;
    },
    remove: async (path, uid) =>
      path.includes("leases") ? lease.remove(path, uid) : renew(path.split("/").at(-1) ?? "", "deletes"),
  };
  const examine = async (seen: ReadonlyMap<string, MemberPod>) =>
    new Map(
      [...seen].map(([name, each]): [string, Condition] => {
        const age = each.metadata?.labels?.["controller-revision-hash"] === "b" ? "new" : "old";
        return [name, { whole: age !== broken, leads: name === "etcd-1", detail: age === broken ? "it lags" : "" }];
      }),
    );
  const settings = {
    ...ensembleSettings,
    tls: "off" as const,
    storage: { size: "8Gi" },
    stepSeconds: 0.05,
    watchSeconds: 0.02,
  };
  const run = async () => {
    const timing = { patienceSeconds: 0.02, intervalSeconds: 0.01 };
    await roll({ settings, pod: "etcd-roll-x", namespace: "cells", api, examine }, timing).finally(() =>
      expect(lease.holder()).toBeUndefined(),
    );
  };
  return { log, run };
}

/** An API with nothing but the Lease. */
function leaseApi() {
  let lease: { uid: string; spec: { holderIdentity: string; renewTime: string } } | undefined;
  let made = 0;
  return {
    holder: () => lease?.spec.holderIdentity,
    get: async <T extends KubernetesObject>() =>
      (lease && { metadata: { uid: lease.uid }, spec: lease.spec }) as T | undefined,
    create: async (_: string, object: KubernetesObject) => {
      if (lease !== undefined) return "exists" as const;
      lease = { ...(object as unknown as { spec: NonNullable<typeof lease>["spec"] }), uid: String(made++) };
      return "created" as const;
    },
    apply: async (_: string, object: KubernetesObject) => {
      if (object.metadata?.uid !== lease?.uid) throw new Error("conflict");
      lease = { uid: lease?.uid ?? "", ...(object as unknown as { spec: NonNullable<typeof lease>["spec"] }) };
    },
    evict: () => Promise.reject(new Error("nothing is evicted")),
    remove: async (_: string, uid: string) => {
      if (lease?.uid === uid) lease = undefined;
    },
  };
}

describe("rolls in one namespace", () => {
  const timing = { durationSeconds: 0.2, renewSeconds: 0.05, intervalSeconds: 0.01 };

  it("go one after the other", async () => {
    const api = leaseApi();
    const end = await takeTurn(rollTurn, "mysql-roll-x", "cells", api, 1, timing);
    await expect(takeTurn(rollTurn, "etcd-roll-x", "cells", api, 0.4, timing)).rejects.toThrow(
      "its turn among the rolls of the namespace did not come within 0.4 seconds; last seen: mysql-roll-x replaces members",
    );
    await end();
    await (await takeTurn(rollTurn, "etcd-roll-x", "cells", api, 1, timing))();
    expect(api.holder()).toBeUndefined();
  });

  it("do not wait for one that was killed", async () => {
    const api = leaseApi();
    const killed = { ...api, apply: async () => undefined };
    const end = await takeTurn(rollTurn, "mysql-roll-x", "cells", killed, 1, timing);
    const next = await takeTurn(rollTurn, "etcd-roll-x", "cells", api, 1, timing);
    expect(api.holder()).toBe("etcd-roll-x");
    // It lives after all: what it gives back is not the Lease of the next one.
    await end();
    expect(api.holder()).toBe("etcd-roll-x");
    await next();
  });
});

describe("the Job", () => {
  const all = (revision: string) => ({ "etcd-0": pod(revision), "etcd-1": pod(revision), "etcd-2": pod(revision) });

  it("replaces all, the leader last", async () => {
    const { log, run } = cluster(all("a"));
    await run();
    expect(log).toEqual(["evicts etcd-2", "evicts etcd-0", "evicts etcd-1"]);
  });

  it("replaces those that started with another authority, also where it was killed between two of them", async () => {
    const started = { "etcd-0": pod("b", {}, { uid: "1" }), "etcd-1": pod("b", {}, { uid: "2" }), "etcd-2": pod("b") };
    const { log, run } = cluster(started, "none", 0, "1 2 3");
    await run();
    expect(log).toEqual(["evicts etcd-0", "evicts etcd-1"]);
    await run();
    expect(log).toHaveLength(2);
  });

  it("touches nobody when nothing has changed", async () => {
    const { log, run } = cluster(all("b"));
    await run();
    expect(log).toEqual([]);
  });

  it("stops at the first member that does not become whole, and says why and what to do", async () => {
    const { log, run } = cluster(all("a"), "new");
    await expect(run()).rejects.toThrow(
      "etcd-2 to be whole with what is new did not come within 0.05 seconds; last seen: etcd-2: it lags; " +
        "the other members run as they did; correct the change or set it back, and run pulumi up again",
    );
    expect(log).toEqual(["evicts etcd-2"]);
  });

  it("looks again when the disruption budget keeps a member", async () => {
    const { log, run } = cluster(all("a"), "none", 2);
    await run();
    expect(log).toEqual(["evicts etcd-2", "evicts etcd-0", "evicts etcd-1"]);
  });

  it("deletes all members without TLS before it looks at the first that has it", async () => {
    const plain = (revision: string) => withTls(pod(revision), "off");
    const { log, run } = cluster({ "etcd-0": plain("a"), "etcd-1": plain("a"), "etcd-2": plain("a") });
    await run();
    expect(log).toEqual(["deletes etcd-0", "deletes etcd-1", "deletes etcd-2"]);
  });

  it("does not say that others run when all were stopped", async () => {
    const plain = (revision: string) => withTls(pod(revision), "off");
    const { run } = cluster({ "etcd-0": plain("a"), "etcd-1": plain("a"), "etcd-2": plain("a") }, "new");
    await expect(run()).rejects.toThrow(
      "all members to be whole with what is new did not come within 0.05 seconds; last seen: etcd-0: it lags; correct the change",
    );
  });

  it("goes on where it was killed between two of them", async () => {
    const plain = withTls(pod("a"), "off");
    const renewed = withTls(pod("b"), "required");
    const { log, run } = cluster({ "etcd-0": renewed, "etcd-1": plain, "etcd-2": plain }, "old");
    await run();
    expect(log).toEqual(["deletes etcd-1", "deletes etcd-2"]);
  });

  it("deletes a member whose server does not run, and goes on from there", async () => {
    const crashed = { containerStatuses: [{ name: container, state: { waiting: { reason: "CrashLoopBackOff" } } }] };
    const { log, run } = cluster({ ...all("a"), "etcd-0": pod("a", crashed) });
    await run();
    expect(log).toEqual(["deletes etcd-0", "evicts etcd-2", "evicts etcd-1"]);
  });

  it("replaces members that run and that only what is new makes whole", async () => {
    const { log, run } = cluster(all("a"), "old");
    await run();
    expect(log).toEqual(["evicts etcd-0", "evicts etcd-1", "evicts etcd-2"]);
  });
});
