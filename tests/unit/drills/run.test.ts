import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type DrillName, type DrillOptions, type DrillReport, runDrill, type Strike } from "../../../drills/drill";
import type { Fault } from "../../../drills/faults";
import { commonBudgets, type Profile, type Workload } from "../../../drills/workload";
import { target } from "../checks/target";

/** An ensemble in memory: what a drill sees of a service, and what a fault does to it. */
function ensemble() {
  const members = ["redis-0", "redis-1", "redis-2"];
  const stored = new Map(members.map((member) => [member, new Set<string>()]));
  const state = { leader: "redis-0", term: 1, cluster: "one", up: true, closed: false };
  const workload: Workload = {
    prepare: async () => undefined,
    async write(id) {
      if (!state.up) throw new Error("nobody leads");
      for (const ids of stored.values()) ids.add(id);
    },
    leader: async () => ({ member: state.leader, term: String(state.term) }),
    converged: async () => (state.up ? { done: true } : { waiting: "nobody leads" }),
    holders: async () => members,
    identity: async (member) => member,
    clusterIdentity: async () => state.cluster,
    stored: async (member) => stored.get(member) ?? new Set(),
    close: async () => void (state.closed = true),
  };
  const elect = async (): Promise<void> => {
    state.up = false;
    await delay(20);
    state.leader = members[(members.indexOf(state.leader) + 1) % members.length] ?? "";
    state.term += 1;
    state.up = true;
  };
  return { members, stored, state, workload, elect };
}

type Ensemble = ReturnType<typeof ensemble>;

const fault = (proof: Promise<unknown>, more: Partial<Fault> = {}): Fault => ({
  at: performance.now(),
  proof: proof.then(() => ({ proven: true, detail: "struck" })),
  ...more,
});

function run(
  drill: DrillName,
  service: Ensemble,
  strike: Strike,
  more: Partial<Profile> = {},
  options: Partial<DrillOptions> = {},
): Promise<DrillReport> {
  const profile: Profile = {
    container: "redis",
    processes: ["redis-server"],
    sidecar: true,
    budgets: { ...commonBudgets, kill: 5, handOver: 5, follower: 5, volume: 5, fullStop: 10 },
    loss: "none",
    renews: false,
    open: async () => service.workload,
    ...more,
  };
  const settings = { steadySeconds: 0.2, writers: 2, paceMilliseconds: 2, log: () => undefined, ...options };
  return runDrill(drill, target("redis"), profile, strike, {} as never, settings);
}

describe.concurrent("a drill", () => {
  it("passes when somebody else leads in time and nothing is lost, and cleans up", async () => {
    const service = ensemble();
    const report = await run("leader-kill", service, async () => fault(service.elect()));
    expect(report).toMatchObject({
      result: "passed",
      reasons: [],
      victim: "redis-0",
      leaderBefore: "redis-0 (term 1)",
      leaderAfter: "redis-1 (term 2)",
      budgetSeconds: 5,
      recoveryBudgetSeconds: 120,
      lostWrites: 0,
    });
    expect(report.gapSeconds).toBeGreaterThan(0.015);
    expect(service.state.closed).toBe(true);
  });

  it("says what it waited for when the recovery was late", async () => {
    const late = async (fullStop: number): Promise<string[]> => {
      const service = ensemble();
      const lines: string[] = [];
      let waiting = false;
      service.workload.converged = async () => (waiting ? { waiting: "redis-2 is loading" } : { done: true });
      const strike: Strike = async () => {
        waiting = true;
        setTimeout(() => void (waiting = false), 400);
        return fault(service.elect());
      };
      const budgets = { ...commonBudgets, kill: 5, handOver: 5, follower: 5, volume: 5, fullStop };
      await run("full-stop", service, strike, { budgets }, { log: (line) => lines.push(line) });
      return lines.filter((line) => line.includes("waiting"));
    };
    expect(await late(0.4)).toEqual([
      expect.stringMatching(/^redis full-stop: 0\.\d s: waiting for recovery of all members: redis-2 is loading$/),
    ]);
    expect(await late(10)).toEqual([]);
  });

  it("goes on writing until those that were struck with it have recovered as well, and then for its own time", async () => {
    const service = ensemble();
    const write = service.workload.write.bind(service.workload);
    let last = 0;
    service.workload.write = async (id, writer) => {
      await write(id, writer);
      last = performance.now();
    };
    let all = Infinity;
    const recovered = async (): Promise<void> => {
      await delay(300);
      all = performance.now();
    };
    await run("full-stop", service, async () => fault(service.elect()), {}, { recovered });
    expect(last - all).toBeGreaterThan(150);
  });

  it("strikes one leader after the other, each when it serves", async () => {
    const service = ensemble();
    const victims: string[] = [];
    const report = await run("leader-repeat", service, async (victim) => {
      expect(service.state).toMatchObject({ leader: victim, up: true });
      victims.push(victim);
      return fault(service.elect());
    });
    expect(victims).toEqual(["redis-0", "redis-1", "redis-2"]);
    expect(report).toMatchObject({
      result: "passed",
      reasons: [],
      victim: "redis-0, redis-1, redis-2",
      fault: "struck; struck; struck",
      leaderAfter: "redis-1 (term 2)",
      budgetSeconds: 10,
    });
  });

  it("goes on to the verdict when a later fault cannot strike", async () => {
    const service = ensemble();
    const report = await run("leader-repeat", service, async (victim) => {
      if (victim === "redis-1") throw new Error("no such pod");
      return fault(service.elect());
    });
    expect(report).toMatchObject({ result: "failed", reasons: ["fault 2 of 3 could not strike: no such pod"] });
    expect(report.acknowledged).toBeGreaterThan(0);
  });

  it("fails when a planned stop moves nobody", async () => {
    const service = ensemble();
    const report = await run("hand-over", service, async () => fault(Promise.resolve()));
    expect(report).toMatchObject({ result: "failed", reasons: ["no election took place: the term is still 1"] });
  });

  it("fails when the death of an agent restarts a server, or moves the leadership", async () => {
    const service = ensemble();
    const left = await run("agent-kill", service, async (victim) => {
      expect(victim).toBe("redis-0");
      return fault(Promise.resolve(), { aftermath: async () => [] });
    });
    expect(left).toMatchObject({ result: "passed", victim: "redis-0", budgetSeconds: 5 });
    const restarted = await run("agent-kill", service, async () =>
      fault(Promise.resolve(), { aftermath: async () => ["the container redis of redis-0 restarted 1 times"] }),
    );
    expect(restarted.reasons).toEqual(["the container redis of redis-0 restarted 1 times"]);
    const moved = await run("agent-kill", service, async () => fault(service.elect()));
    expect(moved.result).toBe("failed");
    expect(moved.reasons[0]).toMatch(/^redis-1 \(term 2\) leads instead of redis-0/);
  });

  it("waits for the others before everything is stopped, and wants the same cluster back", async () => {
    const service = ensemble();
    let release: () => void = () => undefined;
    const others = new Promise<void>((resolve) => void (release = resolve));
    let struck = false;
    const work = run(
      "full-stop",
      service,
      async () => {
        struck = true;
        return fault(service.elect());
      },
      {},
      { ready: () => others },
    );
    await delay(400);
    expect(struck).toBe(false);
    release();
    expect(await work).toMatchObject({ result: "passed", victim: "all members", recoveryBudgetSeconds: 10 });

    const second = await run("full-stop", service, async () => {
      service.state.cluster = "another";
      return fault(service.elect());
    });
    expect(second.result).toBe("failed");
    expect(second.reasons).toContain("redis-2 is in the cluster another, before the fault it was one");
  });

  it("counts what an asynchronous service loses, where it may", async () => {
    const losing = (service: Ensemble): Strike => {
      return async () => {
        // The last ones, which only the old leader had.
        for (const ids of service.stored.values()) ids.delete([...ids].at(-1) ?? "");
        return fault(service.elect());
      };
    };
    const counted: Partial<Profile> = { loss: "counted", lossSeconds: 5 };
    const killed = ensemble();
    expect(await run("leader-kill", killed, losing(killed), counted)).toMatchObject({
      result: "passed",
      lostWrites: 1,
    });
    const stopped = ensemble();
    expect(await run("hand-over", stopped, losing(stopped), counted)).toMatchObject({
      result: "failed",
      lostWrites: 1,
    });
    const strict = ensemble();
    expect(await run("leader-kill", strict, losing(strict))).toMatchObject({ result: "failed", lostWrites: 1 });
  });
});
