import { describe, expect, it } from "vitest";
import {
  agreed,
  agreement,
  type Decision,
  decide,
  describe as describeMember,
  type Identity,
  lag,
  namedMaster,
  type Observed,
  type Sentinel,
  type Server,
} from "../../../components/redis/membership";

const members = ["redis-0", "redis-1", "redis-2"];
const [a, b, c] = members as [string, string, string];
const self = (name: string): Identity => ({ name, namespace: "cells", members });

type Up<T> = Extract<T, { state: "up" }>;
const away = { state: "away", reason: "connection refused" } as const;
const loading: Server = { state: "loading" };
/** Just started: follows nobody, may not be elected. */
const parked = (position = 10, changes: Partial<Up<Server>> = {}): Server => ({
  state: "up",
  role: "replica",
  follows: "nobody",
  linked: false,
  syncing: false,
  priority: 0,
  keys: position > 0 ? 5 : 0,
  position,
  clusterId: position > 0 ? "id" : undefined,
  offset: 0,
  replicas: 0,
  ...changes,
});
const empty = parked(0);
const master = (position = 10, changes: Partial<Up<Server>> = {}): Server => {
  const server = parked(position, { role: "master", replicas: 2, ...changes }) as Up<Server>;
  delete server.follows;
  return server;
};
const replica = (follows: string, changes: Partial<Up<Server>> = {}): Server =>
  parked(10, { follows, linked: true, priority: 100, ...changes });
const names = (master: string | undefined, epoch = 1, failover = false): Sentinel => ({
  state: "up",
  master,
  epoch,
  failover,
});

function observed(servers: Server[], sentinels: Sentinel[], changes: Partial<Observed> = {}): Observed {
  const byMember = <T>(values: T[]) => Object.fromEntries(members.map((each, index) => [each, values[index] as T]));
  return {
    servers: byMember(servers),
    sentinels: byMember(sentinels),
    marker: "unknown",
    approval: undefined,
    ...changes,
  };
}

/** In short: what each of the three does. */
function deeds(look: Observed): string[] {
  return members.map((name) => {
    const decision = decide(look, self(name));
    const object = "master" in decision ? ` ${decision.master}` : "value" in decision ? ` ${decision.value}` : "";
    return `${decision.kind}${object}`;
  });
}
const reasonOf = (decision: Decision): string => ("reason" in decision ? decision.reason : "");
const all = (sentinel: Sentinel): Sentinel[] => [sentinel, sentinel, sentinel];

describe("what the sentinels agree on", () => {
  it.each<[string, Sentinel[], ReturnType<typeof agreement>]>([
    ["all", all(names(a)), { kind: "agreed", master: a }],
    ["a majority", [names(a), names(a), away], { kind: "agreed", master: a }],
    ["a failover under way", [names(a), names(a, 1, true), names(a)], { kind: "failover" }],
    ["none knows", all(names(undefined)), { kind: "none" }],
    ["one remembers", [names(undefined), names(b), names(undefined)], { kind: "remembered", master: b }],
    [
      "one was told of a later failover, the others not yet",
      [names(a, 1), names(a, 1), names(b, 2)],
      { kind: "remembered", master: b },
    ],
    ["two were told", [names(a, 1), names(b, 2), names(b, 2)], { kind: "agreed", master: b }],
    [
      "one answers",
      [names(a), away, away],
      { kind: "unclear", reason: "1 of 3 sentinels answer and they do not agree on redis-0 (away: redis-1, redis-2)" },
    ],
    [
      "two answer and know nothing",
      [names(undefined), names(undefined), away],
      { kind: "unclear", reason: "2 of 3 sentinels answer and none of them names a master (away: redis-2)" },
    ],
    [
      "they differ",
      [names(a), names(b), names(undefined)],
      { kind: "unclear", reason: "the sentinels name different masters: redis-0 and redis-1" },
    ],
  ])("%s", (_, sentinels, expected) => {
    expect(agreement(observed([], sentinels), members)).toEqual(expected);
  });

  it("counts the names whatever is under way", () => {
    expect(namedMaster(observed([], [names(a, 1, true), names(a), away]), members)).toBe(a);
    expect(namedMaster(observed([], [names(a), away, away]), members)).toBeUndefined();
  });
});

describe("the start", () => {
  it.each<[string, Observed, string[]]>([
    [
      "first formation",
      observed([empty, empty, empty], all(names(undefined)), { marker: "absent" }),
      ["promote", "wait", "wait"],
    ],
    [
      "first formation, one not there yet",
      observed([empty, empty, away], all(names(undefined))),
      ["wait", "wait", "wait"],
    ],
    [
      "first formation, one sentinel not there yet",
      observed([empty, empty, empty], [names(undefined), names(undefined), away], { marker: "absent" }),
      ["wait", "wait", "wait"],
    ],
    [
      "first formation, marker not read",
      observed([empty, empty, empty], all(names(undefined))),
      ["wait", "wait", "wait"],
    ],
    [
      "founded, sentinels know nothing",
      observed([master(0), empty, empty], all(names(undefined))),
      ["monitor redis-0", "monitor redis-0", "monitor redis-0"],
    ],
    [
      "founded, one sentinel told of the master and not how to log in there",
      observed(
        [master(), replica(a), replica(a)],
        [names(a), names(a), { ...(names(a) as Up<Sentinel>), outdated: true }],
      ),
      ["mark", "none", "watch"],
    ],
    [
      "founded, sentinels told",
      observed([master(0, { replicas: 0 }), empty, empty], all(names(a))),
      ["wait", "follow redis-0", "follow redis-0"],
    ],
    [
      "founded, stopped before the first write",
      observed([empty, empty, empty], all(names(b)), { marker: "absent" }),
      ["wait", "promote", "wait"],
    ],
    [
      "all volumes lost",
      observed([empty, empty, empty], all(names(undefined)), { marker: "present" }),
      ["refuse", "refuse", "refuse"],
    ],
    ["full stop", observed([parked(), parked(), parked()], all(names(b))), ["wait", "promote", "wait"]],
    [
      "full stop, the master reads its files",
      observed([parked(), loading, parked()], all(names(b))),
      ["wait", "wait", "wait"],
    ],
    [
      "full stop, another reads its files",
      observed([parked(), parked(), loading], all(names(b))),
      ["wait", "wait", "wait"],
    ],
    [
      "full stop, one not back",
      observed([away, parked(), parked()], [away, names(b), names(b)]),
      ["wait", "promote", "wait"],
    ],
    [
      "full stop, the master not back",
      observed([parked(), away, parked()], [names(b), away, names(b)]),
      ["refuse", "wait", "refuse"],
    ],
    [
      "full stop, the volume of the master lost",
      observed([parked(9), empty, parked(10)], [names(b), names(undefined), names(b)]),
      ["wait", "monitor redis-1", "elect"],
    ],
    ["the same, its sentinel told", observed([parked(9), empty, parked(10)], all(names(b))), ["wait", "wait", "elect"]],
    [
      "the same, one not back",
      observed([parked(9), empty, away], [names(b), names(b), away]),
      ["refuse", "refuse", "wait"],
    ],
    [
      "the master has older data than a replica",
      observed([parked(11), parked(10), parked(9)], all(names(b))),
      ["elect", "wait", "wait"],
    ],
    [
      "equal data: the master wins",
      observed([parked(10), parked(10), parked(9)], all(names(b))),
      ["wait", "promote", "wait"],
    ],
    [
      "two volumes lost",
      observed([empty, empty, parked(10)], [names(undefined), names(undefined), names(b)]),
      ["monitor redis-1", "monitor redis-1", "wait"],
    ],
    ["two volumes lost, told", observed([empty, empty, parked(10)], all(names(b))), ["wait", "wait", "elect"]],
    [
      "what the sentinels knew is lost, the data not",
      observed([parked(9), parked(10), parked(10)], all(names(undefined))),
      ["wait", "promote", "wait"],
    ],
    [
      "while a failover is under way",
      observed([parked(), parked(), parked()], [names(b, 1, true), names(b), names(b)]),
      ["wait", "wait", "wait"],
    ],
    [
      "volumes of different ensembles",
      observed([parked(9), empty, parked(10, { clusterId: "other" })], all(names(b))),
      ["refuse", "refuse", "refuse"],
    ],
  ])("%s", (_, look, expected) => {
    expect(deeds(look)).toEqual(expected);
  });

  it("never makes an empty or older member master, whoever is named and whoever answers", () => {
    const servers = [away, loading, empty, parked(9), parked(10)];
    const views = [away, names(undefined), names(a), names(b), names(c)] as Sentinel[];
    const triples = <T>(from: T[]): T[][] => from.flatMap((x) => from.flatMap((y) => from.map((z) => [x, y, z])));
    for (const each of triples<Server>(servers)) {
      for (const sentinels of triples(views)) {
        for (const marker of ["present", "unknown"] as const) {
          const look = observed(each, sentinels, { marker });
          const chosen = members.filter((name) => ["promote", "elect"].includes(decide(look, self(name)).kind));
          expect(chosen.length, JSON.stringify(look)).toBeLessThanOrEqual(1);
          for (const name of chosen) {
            const server = look.servers[name] as Up<Server>;
            expect(server.keys).toBeGreaterThan(0);
            for (const other of Object.values(look.servers)) {
              if (other.state === "up") expect(server.position).toBeGreaterThanOrEqual(other.position);
              expect(other.state).not.toBe("loading");
            }
            // Without the word of a majority for it, everybody must have told what they have.
            if (namedMaster(look, members) !== name) expect(each.every(({ state }) => state === "up")).toBe(true);
          }
        }
      }
    }
  });

  it("says what a person can do when the master does not come back", () => {
    const look = observed([parked(), away, parked(9)], [names(b), away, names(b)]);
    expect(reasonOf(decide(look, self(a)))).toBe(
      "nobody is master, and a member that does not answer may have the newest data (redis-1: connection refused); " +
        "bring it back, or, when its data is lost: " +
        "kubectl -n cells exec redis-0 -c redis -- sh -c 'echo redis-0:10,redis-1:away,redis-2:9 > /data/elect'",
    );
  });

  it.each<[string, Server[], string, string]>([
    ["the case it was given for", [parked(), away, parked(9)], a, "elect"],
    ["another member than the newest", [parked(), away, parked(9)], c, "wait"],
    ["later data", [parked(12), away, parked(9)], a, "refuse"],
    ["another one missing", [parked(), parked(9), away], a, "refuse"],
    ["one more missing", [parked(), away, away], a, "refuse"],
    ["one that is back with newer data", [parked(), parked(11), parked(9)], a, "wait"],
  ])("takes an approval for what it says: %s", (_, servers, name, kind) => {
    const look = observed(servers, all(names(b)), { approval: "redis-0:10,redis-1:away,redis-2:9" });
    expect(decide(look, self(name)).kind).toBe(kind);
  });

  it("refuses to found a second ensemble when all volumes are lost", () => {
    const look = observed([empty, empty, empty], all(names(undefined)), { marker: "present" });
    expect(reasonOf(decide(look, self(a)))).toBe(
      "all volumes are empty, but the ensemble was formed before, so its data is lost; restore a volume, or destroy the " +
        "component, delete its marker and volume claims if they were kept, and deploy it again",
    );
  });
});

describe("a living ensemble", () => {
  it.each<[string, Observed, string[]]>([
    ["all well", observed([master(), replica(a), replica(a)], all(names(a))), ["mark", "none", "none"]],
    [
      "a member restarted",
      observed([master(), parked(), replica(a)], all(names(a))),
      ["mark", "follow redis-0", "none"],
    ],
    [
      "a volume lost",
      observed([master(), empty, replica(a)], [names(a), names(undefined), names(a)]),
      ["mark", "monitor redis-0", "none"],
    ],
    ["its sentinel told", observed([master(), empty, replica(a)], all(names(a))), ["mark", "follow redis-0", "none"]],
    [
      "it gets a copy",
      observed([master(), replica(a, { linked: false, syncing: true, priority: 0 }), replica(a)], all(names(a))),
      ["mark", "none", "none"],
    ],
    [
      "it has the copy",
      observed([master(), replica(a, { priority: 0 }), replica(a)], all(names(a))),
      ["mark", "priority 100", "none"],
    ],
    [
      "a replica needs a new copy",
      observed([master(), replica(a, { linked: false, syncing: true }), replica(a)], all(names(a))),
      ["mark", "priority 0", "none"],
    ],
    [
      "the master is gone",
      observed([away, replica(a, { linked: false }), replica(a, { linked: false })], [away, names(a), names(a)]),
      ["wait", "wait", "wait"],
    ],
    [
      "elected: a replica that was not told",
      observed([away, master(11), replica(a, { linked: false })], [away, names(b, 2), names(b, 2)]),
      ["wait", "mark", "follow redis-1"],
    ],
    [
      "the old master came back",
      observed([parked(), master(11), replica(b)], all(names(b, 2))),
      ["follow redis-1", "mark", "none"],
    ],
    [
      "an old master that was cut off is left to the sentinels",
      observed([master(), master(11), replica(b)], all(names(b, 2))),
      ["wait", "mark", "none"],
    ],
    [
      "during a failover all say so, and look more often",
      observed([master(), replica(a), replica(a)], [names(a), names(a, 1, true), names(a)]),
      ["wait", "wait", "wait"],
    ],
    [
      "a master without replicas makes no mark",
      observed([master(10, { replicas: 0 }), away, away], [names(a), names(a), away]),
      ["wait", "wait", "wait"],
    ],
    [
      "just promoted, one sentinel has told nobody yet",
      observed([master(), master(11), replica(a)], [names(a, 1), names(b, 2), names(a, 1)]),
      ["none", "none", "none"],
    ],
  ])("%s", (_, look, expected) => {
    expect(deeds(look)).toEqual(expected);
  });
});

describe("what the gateway and the probes are told", () => {
  it.each<[string, Observed, string, { ready: boolean; primary: boolean; detail: string }]>([
    [
      "the master",
      observed([master(), replica(a), replica(a)], all(names(a))),
      a,
      { ready: true, primary: true, detail: "master, named by a majority of the sentinels" },
    ],
    [
      "a master whose sentinels are silent",
      observed([master(10, { replicas: 1 }), away, away], [away, away, away]),
      a,
      {
        ready: true,
        primary: true,
        detail:
          "master, but no majority of the sentinels names it; 0 of 3 sentinels answer and none of them names a " +
          "master (away: redis-0, redis-1, redis-2)",
      },
    ],
    [
      "a master that nobody follows",
      observed([master(10, { replicas: 0 }), replica(b), away], all(names(a))),
      a,
      {
        ready: false,
        primary: false,
        detail: "master, named by a majority of the sentinels; too few replicas are connected, so no write is accepted",
      },
    ],
    [
      "a replica",
      observed([master(), replica(a), replica(a)], all(names(a))),
      b,
      { ready: true, primary: false, detail: "replica of redis-0, up to date" },
    ],
    [
      "a master that nobody else sees",
      observed([master(10, { replicas: 0 }), away, away], [names(a), away, away]),
      a,
      {
        ready: false,
        primary: false,
        detail:
          "master, but no majority of the sentinels names it; too few replicas are connected, so no write is accepted",
      },
    ],
    [
      "the old master",
      observed([master(), master(11), replica(b)], all(names(b, 2))),
      a,
      {
        ready: false,
        primary: false,
        detail:
          "master, but no majority of the sentinels names it; the sentinels name redis-1, which this master has to follow",
      },
    ],
    [
      "a server that is away",
      observed([away, master(), replica(b)], all(names(b))),
      a,
      { ready: false, primary: false, detail: "the server does not answer: connection refused" },
    ],
    [
      "a server that reads its files",
      observed([loading, master(), replica(b)], all(names(b))),
      a,
      { ready: false, primary: false, detail: "the server reads its files" },
    ],
    [
      "a copy under way",
      observed([replica(b, { linked: false, syncing: true, priority: 0 }), master(), replica(b)], all(names(b))),
      a,
      { ready: false, primary: false, detail: "replica of redis-1, gets a whole copy" },
    ],
  ])("%s", (_, look, name, expected) => {
    expect(describeMember(look, self(name))).toMatchObject(expected);
  });

  it("is a refusal where a person can decide, and none where a new ensemble waits for its members", () => {
    const refused = (servers: Server[]) =>
      describeMember(observed(servers, all(names(undefined)), { marker: "present" }), self(a)).refused;
    expect(refused([parked(), away, parked(9)])).toBe(true);
    expect(refused([empty, empty, empty])).toBe(true);
    expect(refused([empty, away, empty])).toBe(false);
    expect(refused([parked(), parked(9), parked(9)])).toBe(false);
  });

  it("never gives two primaries, whatever sentinels answer to whom: a replica follows one of them", () => {
    const five = ["m-0", "m-1", "m-2", "m-3", "m-4"];
    for (const ensemble of [members, five]) {
      const followers = ensemble.length - 2;
      for (let first = 0; first <= followers; first++) {
        const isPrimary = (name: string | undefined, replicas: number): boolean =>
          describeMember(
            { ...observed([], []), servers: { [name ?? ""]: master(10, { replicas }) } },
            { name: name ?? "", namespace: "cells", members: ensemble },
          ).primary;
        expect([isPrimary(ensemble[0], first), isPrimary(ensemble[1], followers - first)]).not.toEqual([true, true]);
      }
    }
  });
});

describe("what a replica lacks", () => {
  const at = (server: Server, offset: number): Server => ({ ...(server as Up<Server>), offset });
  const look = (...servers: Server[]) => observed(servers, all(names(a)));

  it.each<[string, Server[], number | undefined]>([
    ["less than its master has", [at(master(), 900), at(replica(a), 600)], 300],
    ["nothing, and it answered later", [at(master(), 900), at(replica(a), 950)], 0],
    ["is unknown while it is not connected", [at(master(), 900), at(replica(a, { linked: false }), 600)], undefined],
    ["is unknown while the master does not answer", [away, at(replica(a), 600)], undefined],
    ["is unknown while it follows another replica", [at(replica(b), 900), at(replica(a), 600)], undefined],
  ])("%s", (_, servers, expected) => {
    expect(lag(look(...servers), b)).toBe(expected);
  });

  it("is nothing that a master has", () => {
    expect(lag(look(at(master(), 900)), a)).toBeUndefined();
  });
});

describe("the sentinels that agree", () => {
  it.each<[string, Sentinel[], number]>([
    ["all", all(names(a)), 3],
    ["without one that is away", [names(a), names(a), away], 2],
    ["without one that names another", [names(a), names(a), names(b)], 2],
    ["none without a majority", [names(a), names(b), away], 0],
  ])("%s", (_, sentinels, expected) => {
    expect(agreed({ sentinels: observed([], sentinels).sentinels }, members)).toBe(expected);
  });
});
