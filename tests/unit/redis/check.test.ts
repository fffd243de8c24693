import { describe, expect, it } from "vitest";
import {
  check,
  memberProblem,
  type SentinelState,
  sentinelProblems,
  toMemberState,
} from "../../../components/redis/check";
import { password, targetOf, unreachable } from "../../support/check";

const target = targetOf("redis", { clientPort: 6379, metricsPort: 8008, durability: "everysecond" });

describe("the check when nothing works", () => {
  it("reports every member and does not throw", async () => {
    const findings = await check(target, unreachable());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "administrator admin and trust bundle found"],
      ["member redis-0", false, "the pod redis-0 is not running"],
      ["member redis-1", false, "the pod redis-1 is not running"],
      ["member redis-2", false, "the pod redis-2 is not running"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain(password);
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, unreachable({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret redis-admin is missing" },
    ]);
  });
});

describe("a member", () => {
  it.each<[string, Record<string, string>, string | undefined]>([
    ["master", { role: "master" }, undefined],
    ["replica", { role: "slave", master_link_status: "up", master_sync_in_progress: "0" }, undefined],
    [
      "replica without its master",
      { role: "slave", master_host: "redis-1", master_link_status: "down" },
      "it is a replica and not connected to its master redis-1",
    ],
    [
      "replica that gets a copy",
      { role: "slave", master_host: "redis-1", master_link_status: "down", master_sync_in_progress: "1" },
      "it gets a whole copy from redis-1",
    ],
  ])("as %s", (_, info, expected) => {
    expect(memberProblem(toMemberState("redis-0", info))).toBe(expected);
  });
});

describe("the sentinels", () => {
  const well: SentinelState = {
    member: "redis-0",
    master: "redis-1.redis-peers.cells.svc",
    flags: "master",
    otherSentinels: 2,
    replicas: 2,
    quorum: "OK 3 usable Sentinels. Quorum and failover authorization can be reached",
  };
  const judge = (changes: Partial<SentinelState>): string[] =>
    sentinelProblems([{ ...well, ...changes }], 3, "redis-1.redis-peers.cells.svc");

  it.each<[Partial<SentinelState>, string[]]>([
    [{}, []],
    [{ master: "redis-2" }, ["redis-0 names redis-2, the master is redis-1.redis-peers.cells.svc"]],
    [{ flags: "master,s_down" }, ["redis-0 takes the master for master,s_down"]],
    [{ otherSentinels: 3 }, ["redis-0 knows 3 of 2 other sentinels"]],
    [{ replicas: 1 }, ["redis-0 knows 1 of 2 replicas"]],
    [{ quorum: "NOQUORUM 1 usable Sentinels" }, ["redis-0: NOQUORUM 1 usable Sentinels"]],
  ])("%j", (changes, expected) => {
    expect(judge(changes)).toEqual(expected);
  });
});
