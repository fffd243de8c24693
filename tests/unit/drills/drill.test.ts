import { describe, expect, it } from "vitest";
import { openBarrier } from "../../../drills/barrier";
import { aboutLeader, chooseDrills, chooseTasks, groupsOf, main, mostFrequent, withBudgets } from "../../../drills/cli";
import {
  allOf,
  brokenOff,
  clusterFailures,
  type DrillName,
  drillNames,
  gapBudgetOf,
  leadershipFailures,
  lossOf,
  oneCluster,
  readBack,
  recoveryBudgetOf,
  victimOf,
  withFailures,
} from "../../../drills/drill";
import { etcdProfile } from "../../../drills/etcd";
import { judge } from "../../../drills/ledger";
import { natsProfile } from "../../../drills/nats";
import { renderDrills, summarizeDrills } from "../../../drills/report";
import {
  bounded,
  commonBudgets,
  firstAnswer,
  inTurn,
  type Profile,
  rotation,
  type Workload,
} from "../../../drills/workload";
import { target } from "../checks/target";
import { passedDrill as passed } from "./sample";

const counting: Pick<Profile, "budgets" | "loss" | "lossSeconds" | "sidecar"> = {
  budgets: { ...commonBudgets, kill: 15, handOver: 3, follower: 1, volume: 60, fullStop: 61 },
  loss: "counted",
  lossSeconds: 10,
  sidecar: true,
};

describe("the report of drills", () => {
  it("shows numbers and leaders in a table, then what was done and what was wrong", () => {
    const failed = {
      ...passed,
      result: "failed" as const,
      lostWrites: 2,
      reasons: ["etcd-2 lacks 2 acknowledged writes"],
      notes: ["and this is worth knowing"],
    };
    expect(renderDrills(summarizeDrills([passed, failed]))).toMatchInlineSnapshot(`
      "SERVICE  DRILL        RESULT  GAP s  BUDGET s  P99 BEFORE s  ACKNOWLEDGED  LOST  UNKNOWN  RECOVERED s  BUDGET s  LEADER
      etcd     leader-kill  ok       1.88         5         0.031          1234     0        7          3.2       120  etcd-1 (term 2) -> etcd-0 (term 3)
      etcd     leader-kill  FAILED   1.88         5         0.031          1234     2        7          3.2       120  etcd-1 (term 2) -> etcd-0 (term 3)

      etcd leader-kill: process 10 killed, runs again as 12 in the same pod

      etcd leader-kill: process 10 killed, runs again as 12 in the same pod
        etcd-2 lacks 2 acknowledged writes
        and this is worth knowing

      2 drills: 1 passed, 1 NOT passed
        etcd leader-kill: etcd-2 lacks 2 acknowledged writes
      "
    `);
  });

  it("is a success only if there was a drill and all passed", () => {
    expect(summarizeDrills([]).ok).toBe(false);
    expect(summarizeDrills([passed]).ok).toBe(true);
    const broken = brokenOff("leader-kill", target("etcd"), counting, new Error("x"));
    expect(broken).toMatchObject({ result: "invalid", budgetSeconds: 15, recoveryBudgetSeconds: 120 });
    expect(summarizeDrills([passed, broken]).ok).toBe(false);
    const late = withFailures({ ...passed, lost: {} }, ["late"]);
    expect(late).toMatchObject({ result: "failed", reasons: ["late"] });
  });
});

describe("budgets", () => {
  it("are multiplied for a machine that is too small", () => {
    const wide = withBudgets(counting, 2);
    expect([gapBudgetOf("leader-kill", wide), recoveryBudgetOf("volume-loss", wide)]).toEqual([30, 120]);
    expect(gapBudgetOf("leader-kill", counting)).toBe(15);
    // Whoever waits for the end of the fault has not helped itself.
    expect(["leader-pause", "node-cut"].map((drill) => gapBudgetOf(drill as DrillName, wide))).toEqual([15, 30]);
  });

  it("are those of the fault, with the recovery apart from the gap", () => {
    const table = drillNames.map((drill) => [drill, gapBudgetOf(drill, counting), recoveryBudgetOf(drill, counting)]);
    expect(table).toEqual([
      ["leader-kill", 15, 120],
      ["leader-pause", 10, 120],
      ["leader-delete", 15, 120],
      ["leader-repeat", 30, 120],
      ["hand-over", 3, 120],
      ["member-crash", 1, 120],
      ["agent-kill", 1, 120],
      // As long as after a kill: a member that does not lead is replaced.
      ["volume-loss", 15, 60],
      ["leader-loss", 15, 60],
      // 30 s without space, and two minutes to go on.
      ["disk-full", 150, 150],
      ["node-cut", 20, 275],
      ["node-stop", 20, 275],
      ["full-stop", 61, 61],
    ]);
  });

  it("of etcd allow a stall while a lost member is removed, and no longer than an election otherwise", () => {
    expect(gapBudgetOf("volume-loss", etcdProfile)).toBe(15);
    expect(gapBudgetOf("leader-kill", etcdProfile)).toBe(5);
    expect(recoveryBudgetOf("volume-loss", etcdProfile)).toBe(120);
    expect(gapBudgetOf("volume-loss", natsProfile)).toBe(natsProfile.budgets.kill);
  });

  it("allow losses only where the service counts them and its leader died unasked", () => {
    expect(drillNames.filter((drill) => lossOf(drill, counting, [1]) !== undefined)).toEqual([
      "leader-kill",
      "leader-pause",
      "leader-delete",
      "leader-repeat",
      "leader-loss",
      "node-cut",
      "node-stop",
      "full-stop",
    ]);
    expect(lossOf("leader-kill", counting, [1, 2])).toEqual({ strikes: [1, 2], seconds: 10 });
    expect(lossOf("leader-kill", { loss: "counted" }, [1])).toEqual({ strikes: [1] });
    expect(lossOf("leader-kill", etcdProfile, [1])).toBeUndefined();
  });
});

describe("what the members hold", () => {
  it("is nothing for a member that cannot be read, which fails the drill and keeps the ledger", async () => {
    const stored = async (member: string): Promise<Set<string>> => {
      if (member === "b") throw new Error("no leader");
      return new Set(["1", "2"]);
    };
    const read = await readBack({ stored }, ["a", "b"]);
    expect(read.unreadable).toEqual(["b could not be read: no leader"]);
    const writes = ["1", "2"].map((id, at) => ({
      id,
      writer: 0,
      started: at * 10,
      ended: at * 10 + 1,
      outcome: "ok" as const,
    }));
    const verdict = judge({
      writes,
      window: { fault: 5, end: 12 },
      proof: { proven: true, detail: "gone" },
      stored: read.stored,
      budgetSeconds: 5,
      minimum: 1,
    });
    expect(verdict).toMatchObject({ result: "failed", acknowledged: 2, lost: { a: [], b: ["1", "2"] }, lostWrites: 2 });
  });
});

describe("the cluster", () => {
  it("is the one that all members name, before a drill may begin", () => {
    expect(oneCluster({ a: "7", b: "7" })).toBe("7");
    expect(() => oneCluster({ a: "7", b: "8" })).toThrow("the members are not in one cluster: a in 7, b in 8");
    expect(() => oneCluster({})).toThrow(/not in one cluster/);
  });

  it("is the same afterwards, for each of them", () => {
    expect(clusterFailures("7", { a: "7", b: "7" })).toEqual([]);
    expect(clusterFailures("7", { a: "7", b: "8" })).toEqual(["b is in the cluster 8, before the fault it was 7"]);
  });
});

describe("leadership", () => {
  const a = { member: "a", term: "1" };
  const again = { member: "a", term: "2" };
  const b = { member: "b", term: "2" };

  it("must change its term when the leader is killed, where the service tells", () => {
    const failures = (after: typeof a | { member: string }) =>
      leadershipFailures("leader-kill", { before: a, during: undefined, after });
    expect(failures(b)).toEqual([]);
    expect(failures(again)).toEqual([]);
    expect(failures({ member: "a" })).toEqual([]);
    expect(failures(a)).toEqual(["no election took place: the term is still 1"]);
  });

  it.each(["hand-over", "leader-pause"] as const)("must move in %s", (drill) => {
    const untold = { member: "a" };
    const failures = (during: { member: string } | undefined, after: { member: string }) =>
      leadershipFailures(drill, { before: untold, during, after });
    expect(failures({ member: "b" }, { member: "a" })).toEqual([]);
    expect(failures(undefined, { member: "b" })).toEqual([]);
    expect(failures(undefined, { member: "a" })).toEqual([
      "a could not lead any more, and nobody was seen to lead in its place",
    ]);
  });

  it.each(["agent-kill", "member-crash"] as const)("must stay in %s", (drill) => {
    const failures = (after: typeof a) => leadershipFailures(drill, { before: a, during: undefined, after });
    expect(failures(a)).toEqual([]);
    expect(failures(b)).toEqual(["b (term 2) leads instead of a (term 1), and nothing had happened to the leader"]);
    expect(failures(again)).toHaveLength(1);
  });

  it("is free after everything was stopped, and is not judged when nobody leads", () => {
    expect(leadershipFailures("full-stop", { before: a, during: undefined, after: a })).toEqual([]);
    expect(leadershipFailures("leader-kill", { before: a, during: undefined, after: undefined })).toEqual([]);
  });
});

describe("several faults", () => {
  it("are proven when each is", () => {
    const yes = { proven: true, detail: "pod 1 replaced by 2" };
    expect(allOf([yes, yes])).toEqual({ proven: true, detail: "pod 1 replaced by 2; pod 1 replaced by 2" });
    expect(allOf([yes, { proven: false, detail: "still there" }]).proven).toBe(false);
    expect(allOf([]).proven).toBe(false);
  });
});

describe("a fault of all services at once", () => {
  it("waits for the last of them", async () => {
    const barrier = openBarrier(2);
    const order: string[] = [];
    const first = barrier.arrive().then(() => order.push("struck"));
    await Promise.resolve();
    order.push("second arrives");
    await Promise.all([first, barrier.arrive()]);
    expect(order).toEqual(["second arrives", "struck"]);
    barrier.giveUp("too late");
    await barrier.arrive();
  });

  it("does not take place when one is not ready", async () => {
    const barrier = openBarrier(2);
    const first = barrier.arrive();
    barrier.giveUp("nats is not ready");
    await expect(first).rejects.toThrow("nats is not ready");
    await expect(barrier.arrive()).rejects.toThrow("nats is not ready");
  });
});

describe("the choice", () => {
  it("of drills keeps their order, and refuses unknown names", () => {
    expect(chooseDrills(["all"], "node")).toEqual(drillNames);
    expect(chooseDrills(["volume-loss", "leader-kill"], "node")).toEqual(["leader-kill", "volume-loss"]);
    expect(() => chooseDrills([], "node")).toThrow(/no drill is named/);
    expect(() => chooseDrills(["leader-kil"], "node")).toThrow(/no drill "leader-kil"; use one of leader-kill/);
  });

  it("of drills that take a node away needs a command that can", () => {
    expect(chooseDrills(["all"], undefined)).toEqual(drillNames.filter((name) => !name.startsWith("node-")));
    expect(() => chooseDrills(["node-cut", "leader-kill"], undefined)).toThrow("node-cut needs --node-command");
  });

  it("of faults that strike together is one drill of all services, of others each by itself", () => {
    const tasks = (["hand-over", "leader-kill", "hand-over"] as const).map((drill, id) => ({ drill, id }));
    expect(groupsOf(tasks).map((group) => group.map(({ id }) => id))).toEqual([[0], [1], [2]]);
    expect(groupsOf(tasks, true).map((group) => group.map(({ id }) => id))).toEqual([[1], [0, 2]]);
  });

  it("of a node is the one with most leaders", () => {
    expect(mostFrequent(["node-2", "node-3", "node-3", "node-1"])).toBe("node-3");
    expect(mostFrequent(["node-2", "node-1"])).toBe("node-1");
    const proof = { proven: true, detail: "node-3 was away" };
    expect(aboutLeader(proof, true, 1)).toEqual({ proven: true, detail: "node-3 was away; the leader was on it" });
    // With others it is what it says; alone it is another drill.
    expect(aboutLeader(proof, false, 2)).toEqual({
      proven: true,
      detail: "node-3 was away; the leader was on another node",
    });
    expect(aboutLeader(proof, false, 1).proven).toBe(false);
  });

  it("leaves out what makes no sense for a service, unless nothing would be left of a wish", () => {
    const etcd = { target: target("etcd"), profile: etcdProfile };
    const redis = { target: target("redis"), profile: { ...etcdProfile, sidecar: true } };
    const chosen = (...args: Parameters<typeof chooseTasks>) =>
      chooseTasks(...args).map((each) => `${each.target.name} ${each.drill}`);
    expect(chosen(["agent-kill", "full-stop"], [etcd, redis])).toEqual([
      "etcd full-stop",
      "redis agent-kill",
      "redis full-stop",
    ]);
    expect(chooseTasks([...drillNames], [etcd], true)).toHaveLength(drillNames.length - 1);
    expect(() => chosen(["agent-kill", "full-stop"], [etcd])).toThrow(
      "agent-kill needs a service with an agent beside its server, got etcd",
    );
  });

  it("of the victim is the leader only when the leader is to be hit", () => {
    expect(victimOf("leader-kill", target("etcd"), "etcd-2")).toBe("etcd-2");
    expect(victimOf("hand-over", target("etcd"), "etcd-2")).toBe("etcd-2");
    expect(victimOf("node-cut", target("etcd"), "etcd-2")).toBe("etcd-2");
    expect(victimOf("agent-kill", target("etcd"), "etcd-2")).toBe("etcd-2");
    expect(victimOf("member-crash", target("etcd"), "etcd-2")).toBe("etcd-1");
    expect(victimOf("volume-loss", target("etcd"), "etcd-0")).toBe("etcd-2");
    expect(victimOf("full-stop", target("etcd"), "etcd-0")).toBeUndefined();
    expect(() => victimOf("member-crash", { name: "one", members: ["one-0"] }, "one-0")).toThrow(/no other member/);
  });

  it("exits with 2 for bad input", async () => {
    const quiet = (): void => undefined;
    const run = (...args: string[]): Promise<number> => main(args, quiet, quiet);
    expect(await run()).toBe(2);
    expect(await run("all", "--steady", "0")).toBe(2);
    expect(await run("node-cut")).toBe(2);
    expect(await run("all", "--targets", "/nonexistent")).toBe(2);
  });

  it("is explained", async () => {
    let text = "";
    expect(await main(["--help"], (part) => void (text += part))).toBe(0);
    for (const name of drillNames) expect(text).toContain(`\n  ${name} `);
  });
});

describe("a workload whose connections hang", () => {
  it("answers all the same", async () => {
    const never = (): Promise<never> => new Promise(() => undefined);
    const names = [
      "prepare",
      "write",
      "leader",
      "converged",
      "identity",
      "clusterIdentity",
      "stored",
      "close",
    ] as const;
    const hanging = Object.fromEntries(names.map((name) => [name, never])) as unknown as Workload;
    const limits = Object.fromEntries(names.map((name) => [name, 0.01])) as unknown as Parameters<typeof bounded>[1];
    const workload = bounded(hanging, limits);
    const answers = await Promise.allSettled(names.map((name) => (workload[name] as () => Promise<unknown>)()));
    expect(answers.map(({ status }) => status)).toEqual([...names.slice(1).map(() => "rejected"), "fulfilled"]);
  });
});

describe("a client with a list of members", () => {
  it("stays with a member until it fails, each writer by itself", () => {
    const writers = rotation(["a", "b", "c"]);
    expect([0, 1, 2, 3].map((writer) => writers.current(writer))).toEqual(["a", "b", "c", "a"]);
    writers.next(2);
    expect([2, 0].map((writer) => writers.current(writer))).toEqual(["a", "a"]);
  });

  it("takes the first answer, and says what everybody said when there is none", async () => {
    const ask = async (member: string): Promise<string> => {
      if (member === "a") throw new Error("a is down");
      return member;
    };
    expect(await firstAnswer(["a", "b"], ask)).toBe("b");
    expect(await inTurn(["a", "b"], ask)).toBe("b");
    await expect(firstAnswer(["a"], ask)).rejects.toThrow("no member answered: a is down");
    await expect(inTurn(["a"], ask)).rejects.toThrow("no member answered: a: a is down");
  });
});
