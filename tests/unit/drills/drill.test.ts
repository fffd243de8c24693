import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { chooseDrills, main } from "../../../drills/cli";
import { brokenOff, type DrillReport, readBack, victimOf, withFailures } from "../../../drills/drill";
import { processesOf, serverProcess } from "../../../drills/faults";
import { judge } from "../../../drills/ledger";
import { renderDrills, summarizeDrills } from "../../../drills/report";
import { firstAnswer, inTurn, rotation } from "../../../drills/workload";
import { target } from "../checks/target";

const passed: DrillReport = {
  drill: "leader-kill",
  service: "etcd",
  name: "etcd",
  result: "passed",
  reasons: [],
  victim: "etcd-1",
  fault: "process 10 killed, runs again as 12 in the same pod",
  budgetSeconds: 5,
  leaderBefore: "etcd-1 (term 2)",
  leaderAfter: "etcd-0 (term 3)",
  acknowledged: 1234,
  refused: 0,
  unknown: 7,
  lost: {},
  lostWrites: 0,
  gapSeconds: 1.876,
  baselineSeconds: 0.0312,
  recoveredSeconds: 3.21,
};

describe("the report of drills", () => {
  it("shows numbers and leaders in a table, then what was done and what was wrong", () => {
    const failed = {
      ...passed,
      result: "failed" as const,
      lostWrites: 2,
      reasons: ["etcd-2 lacks 2 acknowledged writes"],
    };
    expect(renderDrills(summarizeDrills([passed, failed]))).toMatchInlineSnapshot(`
      "SERVICE  DRILL        RESULT  GAP s  BUDGET s  P99 BEFORE s  ACKNOWLEDGED  LOST  UNKNOWN  RECOVERED s  LEADER
      etcd     leader-kill  ok       1.88         5         0.031          1234     0        7          3.2  etcd-1 (term 2) -> etcd-0 (term 3)
      etcd     leader-kill  FAILED   1.88         5         0.031          1234     2        7          3.2  etcd-1 (term 2) -> etcd-0 (term 3)

      etcd leader-kill: process 10 killed, runs again as 12 in the same pod

      etcd leader-kill: process 10 killed, runs again as 12 in the same pod
        etcd-2 lacks 2 acknowledged writes

      2 drills: 1 passed, 1 NOT passed
      "
    `);
  });

  it("is a success only if there was a drill and all passed", () => {
    expect(summarizeDrills([]).ok).toBe(false);
    expect(summarizeDrills([passed]).ok).toBe(true);
    expect(summarizeDrills([passed, brokenOff("leader-kill", target("etcd"), new Error("x"))]).ok).toBe(false);
    const late = withFailures({ ...passed, lost: {} }, ["late"]);
    expect(late).toMatchObject({ result: "failed", reasons: ["late"] });
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
    const writes = ["1", "2"].map((id, at) => ({ id, started: at * 10, ended: at * 10 + 1, outcome: "ok" as const }));
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

describe("the choice", () => {
  it("of drills keeps their order, and refuses unknown names", () => {
    expect(chooseDrills(["all"])).toEqual(["leader-kill", "leader-delete", "member-crash", "volume-loss"]);
    expect(chooseDrills(["volume-loss", "leader-kill"])).toEqual(["leader-kill", "volume-loss"]);
    expect(() => chooseDrills([])).toThrow(/no drill is named/);
    expect(() => chooseDrills(["leader-kil"])).toThrow(/no drill "leader-kil"; use one of leader-kill/);
  });

  it("of the victim is the leader only when the leader is to be killed", () => {
    expect(victimOf("leader-kill", target("etcd"), "etcd-2")).toBe("etcd-2");
    expect(victimOf("member-crash", target("etcd"), "etcd-2")).toBe("etcd-1");
    expect(victimOf("volume-loss", target("etcd"), "etcd-0")).toBe("etcd-2");
  });

  it("exits with 2 for bad input", async () => {
    const quiet = (): void => undefined;
    const run = (...args: string[]): Promise<number> => main(args, quiet, quiet);
    expect(await run()).toBe(2);
    expect(await run("all", "--steady", "0")).toBe(2);
    expect(await run("all", "--targets", "/nonexistent")).toBe(2);
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

describe("the server process of a pod", () => {
  const uid = "0f3c9a52-1111-2222-3333-444455556666";
  const proc = mkdtempSync(join(tmpdir(), "proc-"));
  const add = (pid: number, group: string, comm: string, cmdline = comm): void => {
    mkdirSync(join(proc, String(pid)));
    writeFileSync(join(proc, String(pid), "cgroup"), `4:memory:${group}\n`);
    writeFileSync(join(proc, String(pid), "comm"), `${comm}\n`);
    writeFileSync(join(proc, String(pid), "cmdline"), cmdline);
  };
  add(10, "/", "etcd");
  add(11, `/kubepods/pod${uid}/abc`, "pause");
  add(12, `/kubepods/pod${uid}/def`, "etcd", "");
  add(13, `/kubepods.slice/kubepods-pod${uid.replaceAll("-", "_")}.slice/def`, "etcd");
  mkdirSync(join(proc, "self"));

  it("is found by the control group of the pod, and is not a zombie or somebody else's", () => {
    expect(serverProcess(uid, "etcd", proc)).toBe(13);
    expect(serverProcess(uid, "nats-server", proc)).toBeUndefined();
    expect(processesOf(uid, proc).map((each) => each.pid)).toEqual([11, 13]);
  });

  it("is nothing for a pod without a uid", () => {
    expect(serverProcess("", "etcd", proc)).toBeUndefined();
  });
});
