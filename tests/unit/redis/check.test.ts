import { describe, expect, it } from "vitest";
import {
  check,
  type MemberState,
  oneMaster,
  type SentinelState,
  sentinelProblems,
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

describe("the master", () => {
  const master: MemberState = {
    member: "redis-0",
    state: "up",
    role: "master",
    linked: false,
    syncing: false,
    priority: 100,
    keys: 0,
    position: 0,
    clusterId: undefined,
    offset: 0,
    replicas: 2,
  };
  const replica = (ordinal: number, changes: Partial<MemberState> = {}): MemberState => ({
    ...master,
    member: `redis-${ordinal}`,
    role: "replica",
    follows: "redis-0",
    linked: true,
    ...changes,
  });

  it("is one that all others have the data of", () => {
    expect(oneMaster([master, replica(1), replica(2)])).toBe("redis-0; 2 replicas follow it");
  });

  it.each<[string, MemberState[], string]>([
    ["none", [replica(0), replica(1)], "no member that answers is master"],
    ["several", [master, { ...master, member: "redis-1" }], "several members are master: redis-0, redis-1"],
    [
      "one that another one does not replicate",
      [master, replica(1, { follows: "redis-2" })],
      "redis-1 replicates redis-2",
    ],
    [
      "one that another one is not connected to",
      [master, replica(1, { linked: false })],
      "redis-1 is not connected to its master",
    ],
    [
      "one that another one gets a copy from",
      [master, replica(1, { linked: false, syncing: true })],
      "redis-1 gets a whole copy from its master",
    ],
  ])("must not be %s", (_, states, problem) => {
    expect(() => oneMaster(states)).toThrow(problem);
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
