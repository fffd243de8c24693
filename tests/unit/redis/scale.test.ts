import { describe, expect, it } from "vitest";
import {
  countMembers,
  decide,
  haveLeft,
  mayForget,
  type Observed,
  type Sentinel,
  type Server,
} from "../../../components/redis/membership";
import { afterForgetting, nextRelease } from "../../../components/redis/release";

type Up<T> = Extract<T, { state: "up" }>;
const five = ["redis-0", "redis-1", "redis-2", "redis-3", "redis-4"];
const [a, b, c, d, e] = five as [string, string, string, string, string];
const staying = [a, b, c];
const leaving = [d, e];
const away = { state: "away", reason: "no address" } as const;
const replica = (follows: string, changes: Partial<Up<Server>> = {}): Up<Server> => ({
  state: "up",
  role: "replica",
  follows,
  linked: true,
  syncing: false,
  priority: 100,
  keys: 5,
  position: 10,
  clusterId: "id",
  offset: 0,
  replicas: 0,
  ...changes,
});
const master = (priority = 100): Server => {
  const server = replica("", { role: "master", linked: false, replicas: 2, priority });
  delete server.follows;
  return server;
};
const byMember = <T>(values: T[]): Record<string, T> =>
  Object.fromEntries(values.map((value, ordinal) => [five[ordinal] ?? "", value]));

describe("the members that count", () => {
  it.each<[string, number, number[], number]>([
    ["three", 3, [0, 2, 1], 3],
    ["a Sentinel that knows nobody", 3, [0, 0, -1], 3],
    ["growth: the first new one is known", 3, [0, 3, 1], 5],
    ["growth: a new one is master", 3, [0, 2, 4], 5],
    ["five", 5, [4, 4, 3], 5],
    ["five, of which none was heard of yet", 5, [4, 0, -1], 5],
    ["fewer: those that have left are still known", 3, [0, 4, 1], 5],
    ["fewer: of one that is to leave", 3, [4, 0, -1], 5],
  ])("%s", (_, settled, known, expected) => {
    expect(countMembers(settled, known)).toBe(expected);
  });
});

describe("members that have left", () => {
  const entry = (member: string, flags: string) => ({ member, flags });
  it.each<[string, { member: string; flags: string }[], boolean]>([
    ["are none", [entry(b, "sentinel"), entry(c, "s_down,slave,disconnected")], false],
    ["are dead", [entry(b, "sentinel"), entry(d, "s_down,sentinel,disconnected"), entry(e, "s_down,slave")], true],
    ["are still there in part", [entry(d, "s_down,sentinel,disconnected"), entry(e, "sentinel")], false],
  ])("%s", (_, entries, expected) => {
    expect(haveLeft(entries, leaving)).toBe(expected);
  });

  const knows = (others: number, replicas = others, changes: Partial<Up<Sentinel>> = {}): Sentinel => ({
    state: "up",
    master: a,
    epoch: 1,
    failover: false,
    others,
    replicas,
    ...changes,
  });
  const look = (sentinels: Sentinel[], servers: Server[] = [master(), replica(a), replica(a)]): Observed => ({
    servers: byMember([...servers, away, away]),
    sentinels: byMember([...sentinels, away, away]),
    marker: "unknown",
    approval: undefined,
  });
  it.each<[string, Observed, string[]]>([
    ["by the first", look([knows(4), knows(4), knows(4)]), [a]],
    ["by nobody else while the first learns its Sentinels anew", look([knows(0), knows(4), knows(4)]), [a]],
    ["by nobody else while the first learns its replicas anew", look([knows(2, 0), knows(4), knows(4)]), [a]],
    ["by the second then", look([knows(2), knows(4), knows(4)]), [a, b]],
    ["by the last", look([knows(2), knows(2), knows(4)]), [a, b, c]],
    ["not while a Sentinel is away", look([knows(4), away, knows(4)]), []],
    ["not during an election", look([knows(4), knows(4, 4, { failover: true }), knows(4)]), []],
    ["not before all name the same master", look([knows(4), knows(4), knows(4, 4, { master: b })]), []],
    ["not while one that has left is named", look(Array(3).fill(knows(4, 4, { master: d })) as Sentinel[]), []],
    ["not without the master", look([knows(4), knows(4), knows(4)], [away, replica(a), replica(a)]), []],
    [
      "not while a replica is not connected",
      look([knows(4), knows(4), knows(4)], [master(), replica(a), replica(a, { linked: false })]),
      [],
    ],
  ])("are forgotten %s", (_, observed, expected) => {
    // One that has forgotten is not asked: nobody is left in its tables.
    expect(staying.filter((member) => mayForget(observed, member, staying))).toEqual(expected);
  });

  it("are waited for by the roll", () => {
    const whole = { whole: true, leads: false, detail: "up to date" };
    const page = (count: number) =>
      `# TYPE cells_services_redis_members gauge\ncells_services_redis_members ${count}\nother 1`;
    expect(afterForgetting(whole, page(5), 3)).toMatchObject({ whole: false, leads: false });
    expect(afterForgetting(whole, page(3), 3)).toBe(whole);
    expect(afterForgetting(whole, page(3), 5)).toBe(whole);
    expect(afterForgetting(whole, "of an older release", 3)).toBe(whole);
  });
});

describe("a member", () => {
  const observed = (servers: Server[], named: string): Observed => ({
    servers: byMember(servers),
    sentinels: byMember(servers.map(() => ({ state: "up", master: named, epoch: 1, failover: false }))),
    marker: "unknown",
    approval: undefined,
  });

  it("that is to leave may not be elected", () => {
    const servers = [master(), replica(a), replica(a), replica(a, { priority: 200 }), replica(a, { priority: 0 })];
    const decided = leaving.map((name) =>
      decide(observed(servers, a), { name, namespace: "cells", members: five, leaving: true }),
    );
    expect(decided).toMatchObject([{ kind: "priority", value: 0 }, { kind: "none" }]);
  });

  it("does not elect in the place of a master that it does not count", () => {
    const stopped = replica("nobody", { linked: false });
    const decision = decide(observed([stopped, stopped, stopped], d), {
      name: a,
      namespace: "cells",
      members: staying,
    });
    expect(decision).toMatchObject({ kind: "wait" });
  });
});

describe("the release of two members", () => {
  const left = (follows: string) => replica(follows, { priority: 200 });
  it.each<[string, Server[], ReturnType<typeof nextRelease>]>([
    [
      "lets the others be elected first",
      [master(), replica(a), replica(a), replica(a), left(a)],
      { kind: "lower", members: [d] },
    ],
    ["is done", [master(), replica(a), replica(a), left(a), left(a)], { kind: "done" }],
    ["is done when they never joined", [master(), replica(a), replica(a), away, away], { kind: "done" }],
    [
      "is done when one has just started",
      [master(), replica(a), replica(a), left(a), replica("nobody", { priority: 0, linked: false })],
      { kind: "done" },
    ],
    [
      "makes a master hand over",
      [replica(d), replica(d), replica(d), master(200), left(d)],
      { kind: "replace", member: d },
    ],
    [
      "does so only while all that stay have its data",
      [replica(d), replica(d), replica(d, { linked: false }), master(200), left(d)],
      { kind: "wait", reason: "not connected to redis-3: redis-2" },
    ],
    [
      "waits for the former master to follow",
      [master(), replica(a), replica(a), master(200), left(a)],
      { kind: "wait", reason: "masters: redis-0, redis-3" },
    ],
    [
      "waits for an election",
      [replica(d), replica(d), replica(d), away, left(d)],
      { kind: "wait", reason: "masters: none" },
    ],
    [
      "waits for one that stays and does not answer",
      [master(), away, replica(a), left(a), left(a)],
      { kind: "wait", reason: "not connected to redis-0: redis-1" },
    ],
  ])("%s", (_, servers, expected) => {
    expect(nextRelease(byMember(servers), staying, leaving)).toEqual(expected);
  });
});
