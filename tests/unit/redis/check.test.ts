import { describe, expect, it } from "vitest";
import { check, oneMaster, type SentinelState, sentinelProblems, toMemberState } from "../../../components/redis/check";
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

describe("the master", () => {
  const host = (ordinal: number): string => `redis-${ordinal}.redis-peers.cells.svc`;
  const follows = (ordinal: number, changes: Record<string, string> = {}): Record<string, string> => ({
    role: "slave",
    master_host: host(ordinal),
    master_link_status: "up",
    master_sync_in_progress: "0",
    ...changes,
  });
  const judge = (...infos: Record<string, string>[]): string =>
    oneMaster(
      target,
      infos.map((info, ordinal) => toMemberState(`redis-${ordinal}`, info)),
    );

  it("is one that all others have the data of", () => {
    expect(judge({ role: "master" }, follows(0), follows(0))).toBe("redis-0; 2 replicas follow it");
  });

  it.each<[string, Record<string, string>[], string]>([
    ["none", [follows(1), follows(0)], "no member that answers is master"],
    ["several", [{ role: "master" }, { role: "master" }], "several members are master: redis-0, redis-1"],
    ["one that another one does not replicate", [{ role: "master" }, follows(2)], `redis-1 replicates ${host(2)}`],
    [
      "one that another one is not connected to",
      [{ role: "master" }, follows(0, { master_link_status: "down" })],
      "redis-1 is not connected to its master",
    ],
    [
      "one that another one gets a copy from",
      [{ role: "master" }, follows(0, { master_link_status: "down", master_sync_in_progress: "1" })],
      "redis-1 gets a whole copy from its master",
    ],
  ])("must not be %s", (_, infos, problem) => {
    expect(() => judge(...infos)).toThrow(problem);
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
