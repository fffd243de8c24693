import { expect, it, describe as suite } from "vitest";
import { parseGtidSet } from "../../../components/mysql/gtid";
import {
  type Answer,
  clusterOf,
  type Decision,
  decide,
  decideRelease,
  describe,
  type GroupMember,
  hasMajority,
  isPrimary,
  isReady,
  isWhole,
  mayServe,
  type Observed,
  type Server,
} from "../../../components/mysql/membership";

const group = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const stranger = "99999999-bbbb-cccc-dddd-eeeeeeeeeeee";

const row = (ordinal: number, state: GroupMember["state"], role: GroupMember["role"] = "SECONDARY"): GroupMember => ({
  uuid: `uuid-${ordinal}`,
  host: `mysql-${ordinal}.mysql-peers.cells.svc`,
  state,
  role: state === "ONLINE" || state === "RECOVERING" || state === "UNREACHABLE" ? role : "",
});

const whole = (primary = 0): GroupMember[] =>
  [0, 1, 2].map((each) => row(each, "ONLINE", each === primary ? "PRIMARY" : "SECONDARY"));

function server(
  ordinal: number,
  transactions: string,
  members: GroupMember[] = [],
  more: Partial<Server> = {},
): Server {
  return {
    uuid: `uuid-${ordinal}`,
    group,
    executed: parseGtidSet(transactions === "" ? "" : `${group}:${transactions}`),
    received: new Map(),
    members,
    superReadOnly: true,
    offlineMode: false,
    ...more,
  };
}

const outside = (ordinal: number, transactions: string, more: Partial<Server> = {}): Answer => ({
  member: `mysql-${ordinal}`,
  server: server(ordinal, transactions, [], more),
});
/** In a group without the first secondary. */
const without = whole().filter(({ uuid }) => uuid !== "uuid-1");
const inside = (ordinal: number, transactions: string, members = without): Answer => ({
  member: `mysql-${ordinal}`,
  server: server(ordinal, transactions, members, { superReadOnly: ordinal !== 0 }),
});
const away = (ordinal: number): Answer => ({ member: `mysql-${ordinal}`, reason: "connection refused" });

function observed(self: number, transactions: string, others: Answer[], more: Partial<Observed> = {}): Observed {
  return {
    self: `mysql-${self}`,
    namespace: "cells",
    members: 3,
    local: server(self, transactions),
    bootstrapArmed: false,
    certificate: { file: undefined, loaded: undefined },
    requests: { recover: false, discard: false },
    others,
    marker: { reason: "not read" },
    gauges: {},
    ...more,
  };
}

const formed = { marker: { formed: true, clusterId: "ours", members: 3 } } as const;
const unformed = { marker: { formed: false } } as const;
const grown = { marker: { formed: true, clusterId: "ours", members: 5 } } as const;
const unknown = { marker: { reason: "no answer" } };

const kinds = (decisions: Decision[]): string[] => decisions.map(({ kind }) => kind);
const reasonOf = (decision: Decision): string => ("reason" in decision ? decision.reason : "");

/** What each member decides when all see the same. `undefined`: it does not answer. */
function everybody(sets: (string | undefined)[], more: Partial<Observed> = formed): Decision[] {
  return sets.flatMap((own, self) => {
    if (own === undefined) return [];
    const others = sets.flatMap((set, ordinal) =>
      ordinal === self ? [] : [set === undefined ? away(ordinal) : outside(ordinal, set)],
    );
    return [decide(observed(self, own, others, more))];
  });
}

suite("the first formation", () => {
  it("is begun by the first member, when all are there and empty", () => {
    expect(kinds(everybody(["", "", ""], unformed))).toEqual(["bootstrap", "wait", "wait"]);
  });

  it("waits for all, whoever is away", () => {
    expect(kinds(everybody(["", "", undefined], unformed))).toEqual(["wait", "wait"]);
    expect(kinds(everybody([undefined, "", ""], unformed))).toEqual(["wait", "wait"]);
    expect(reasonOf(everybody([undefined, "", ""], unformed)[0] as Decision)).toBe(
      "a group is formed when all members answer (mysql-0: connection refused)",
    );
  });

  it("does nothing while nobody can say whether there was one before", () => {
    expect(kinds(everybody(["", "", ""], unknown))).toEqual(["wait", "wait", "wait"]);
    expect(kinds(everybody(["1-10", "1-10", "1-10"], unknown))).toEqual(["wait", "wait", "wait"]);
  });

  it("is joined by the others, without a copy", () => {
    expect(decide(observed(1, "", [inside(0, "1-3"), outside(2, "")], unformed)).kind).toBe("join");
  });

  it("goes on where it was interrupted: the founder had written, and then all were stopped", () => {
    expect(kinds(everybody(["1-3", "", ""], unformed))).toEqual(["bootstrap", "wait", "wait"]);
    expect(kinds(everybody(["", "1-3", "1-2"], unformed))).toEqual(["wait", "bootstrap", "wait"]);
  });
});

suite("a member that comes back", () => {
  it.each<[string, string, Answer[]]>([
    ["with all that the group has", "1-10", [inside(0, "1-10"), inside(2, "1-10")]],
    ["with less", "1-4", [inside(0, "1-10"), inside(2, "1-10")]],
    ["with what one of the others has not executed yet", "1-10", [inside(0, "1-10"), inside(2, "1-8")]],
    ["while another one is away", "1-4", [inside(0, "1-10"), away(2)]],
    ["while another one is outside, with more than the group", "1-4", [inside(0, "1-10"), outside(2, "1-12")]],
  ])("joins: %s", (_, own, others) => {
    expect(decide(observed(1, own, others, formed)).kind).toBe("join");
  });

  it.each<[string, GroupMember]>([
    ["its former run", row(1, "ONLINE")],
    ["its former run, not heard any more", row(1, "UNREACHABLE")],
    ["a former run with another volume", { ...row(1, "UNREACHABLE"), uuid: "former" }],
  ])("waits while the group has %s", (_, former) => {
    const others = [inside(0, "1-10", [...without, former]), inside(2, "1-10")];
    for (const [own, marker] of [
      ["1-10", formed],
      ["", formed],
      ["", unformed],
    ] as const) {
      const decision = decide(observed(1, own, others, marker));
      expect(reasonOf(decision)).toContain("the group has mysql-1 already");
      expect(decision.kind).toBe("wait");
    }
    // A server that has left by itself has the first step of a join yet to take.
    const local = server(1, "1-10", [row(1, "ERROR")]);
    expect(decide(observed(1, "1-10", others, { ...formed, local })).kind).toBe("join");
  });

  it("is filled when it is empty, by a member that is not the primary", () => {
    const decision = decide(observed(1, "", [inside(0, "1-10"), inside(2, "1-10")], formed));
    expect(decision).toMatchObject({ kind: "clone", donor: "mysql-2" });
    expect(decide(observed(1, "", [inside(0, "1-10"), away(2)], formed))).toMatchObject({ donor: "mysql-0" });
  });

  it("waits, empty, while the marker cannot be read", () => {
    expect(decide(observed(1, "", [inside(0, "1-10"), inside(2, "1-10")], unknown)).kind).toBe("wait");
  });

  it("is never filled over what only it has", () => {
    const decision = decide(observed(1, "1-12", [inside(0, "1-10"), inside(2, "1-10")], formed));
    expect(decision).toEqual({
      kind: "refuse",
      reason:
        `mysql-1 has transactions that the group lacks: ${group}:11-12; mysql-1 has ${group}:1-12, the group has ` +
        `${group}:1-10; save what is needed of them, and then let mysql-1 lose them with: ` +
        "kubectl -n cells exec mysql-1 -c agent -- touch /run/mysql/discard-and-clone",
    });
  });

  it("is filled over it when a person has said so", () => {
    const requests = { recover: false, discard: true };
    const decision = decide(observed(1, "1-12", [inside(0, "1-10"), inside(2, "1-10")], { ...formed, requests }));
    expect(decision).toMatchObject({ kind: "clone", donor: "mysql-2" });
    expect(reasonOf(decision)).toContain(`loses ${group}:11-12`);
  });

  it("does not found a group beside a living one, whatever a person has said", () => {
    const requests = { recover: true, discard: false };
    expect(decide(observed(1, "1-10", [inside(0, "1-10"), away(2)], { ...formed, requests })).kind).toBe("join");
  });

  it("joins neither of two groups", () => {
    const other: Answer = { member: "mysql-0", server: server(0, "1-3", [row(0, "ONLINE")], { group: stranger }) };
    const one = inside(2, "1-3", [row(2, "ONLINE")]);
    expect(reasonOf(decide(observed(1, "1-3", [other, one], formed)))).toContain("a second group was formed");
  });

  it.each<[string, GroupMember[]]>([
    ["has lost its majority", [row(0, "ONLINE", "PRIMARY"), row(1, "UNREACHABLE"), row(2, "UNREACHABLE")]],
    ["is still being filled itself", [row(0, "RECOVERING")]],
  ])("waits for a member that %s", (_, members) => {
    expect(decide(observed(1, "1-10", [inside(0, "1-10", members), away(2)], formed)).kind).toBe("wait");
  });
});

suite("after a full stop", () => {
  it.each<[string, string[], string[]]>([
    ["all have the same", ["1-10", "1-10", "1-10"], ["bootstrap", "wait", "wait"]],
    ["the last one has most", ["1-8", "1-9", "1-10"], ["wait", "wait", "bootstrap"]],
    ["two have most", ["1-8", "1-10", "1-10"], ["wait", "bootstrap", "wait"]],
    ["one has a gap that another one has not", ["1-8:10", "1-10", "1-9"], ["wait", "bootstrap", "wait"]],
  ])("the member with all transactions founds the group: %s", (_, sets, expected) => {
    expect(kinds(everybody(sets))).toEqual(expected);
  });

  it("nobody does it when no member has all of them", () => {
    const decisions = everybody(["1-8:10", "1-9", "1-9"]);
    expect(kinds(decisions)).toEqual(["refuse", "refuse", "refuse"]);
    expect(reasonOf(decisions[1] as Decision)).toBe(
      `no member is in a group, and no member has all transactions; mysql-0 has ${group}:1-8:10; mysql-1 has ${group}:1-9; ` +
        `mysql-2 has ${group}:1-9; bring the missing back, or accept that what only they have is lost, and go on with: ` +
        "kubectl -n cells exec mysql-0 -c agent -- touch /run/mysql/recover-from-here or " +
        "kubectl -n cells exec mysql-1 -c agent -- touch /run/mysql/recover-from-here or " +
        "kubectl -n cells exec mysql-2 -c agent -- touch /run/mysql/recover-from-here",
    );
  });

  it("nobody does it while a member is away, even if the others agree", () => {
    const decisions = everybody(["1-10", undefined, "1-10"]);
    expect(kinds(decisions)).toEqual(["refuse", "refuse"]);
    expect(reasonOf(decisions[0] as Decision)).toBe(
      "no member is in a group, and not all members answer (mysql-1: connection refused); " +
        `mysql-0 has ${group}:1-10; mysql-2 has ${group}:1-10; bring the missing back, or accept that what only they have is ` +
        "lost, and go on with: kubectl -n cells exec mysql-0 -c agent -- touch /run/mysql/recover-from-here",
    );
    expect(kinds(everybody(["1-10", undefined, undefined]))).toEqual(["refuse"]);
  });

  it("nobody does it when a volume was lost: it may have held what was acknowledged last", () => {
    const decisions = everybody(["1-10", "", "1-9"], formed);
    expect(kinds(decisions)).toEqual(["refuse", "refuse", "refuse"]);
    expect(reasonOf(decisions[2] as Decision)).toBe(
      `no member is in a group, and mysql-1 lost the volume; mysql-0 has ${group}:1-10; mysql-2 has ${group}:1-9; mysql-1 has ` +
        "nothing; bring the missing back, or accept that what only they have is lost, and go on with: " +
        "kubectl -n cells exec mysql-0 -c agent -- touch /run/mysql/recover-from-here",
    );
    expect(kinds(everybody(["1-10", "", "1-9"], unknown))).toEqual(["wait", "wait", "wait"]);
  });

  it("never founds a second cluster when all volumes are lost", () => {
    for (const sets of [
      ["", "", ""],
      ["", undefined, ""],
    ]) {
      for (const decision of everybody(sets, formed)) {
        expect(decision.kind).toBe("refuse");
        expect(reasonOf(decision)).toContain("the group was formed before");
      }
    }
  });

  it("goes on where a person says, and only there", () => {
    const requests = { recover: true, discard: false };
    expect(decide(observed(2, "1-9", [outside(0, "1-10"), away(1)], { ...formed, requests }))).toMatchObject({
      kind: "bootstrap",
      name: "new",
    });
    expect(decide(observed(1, "", [outside(0, "1-10"), away(2)], { ...formed, requests })).kind).toBe("refuse");
  });

  it("counts what was received and not yet executed", () => {
    const received = parseGtidSet(`${group}:11-12`);
    const others = [outside(0, "1-11"), outside(1, "1-10")];
    expect(decide(observed(2, "1-10", others, formed)).kind).toBe("wait");
    const local = server(2, "1-10", [], { received });
    expect(decide(observed(2, "1-10", others, { ...formed, local })).kind).toBe("bootstrap");
  });

  it("does not take for data what a copy left behind when it was interrupted", () => {
    const left = { received: parseGtidSet(`${group}:1-12`) };
    const others = [outside(0, "1-10"), outside(1, "1-10")];
    const local = server(2, "", [], left);
    expect(reasonOf(decide(observed(2, "", others, { ...formed, local })))).toContain("mysql-2 lost the volume");
    const view = whole().slice(0, 2);
    const living = [inside(0, "1-10", view), inside(1, "1-10", view)];
    expect(decide(observed(2, "", living, { ...formed, local })).kind).toBe("clone");
  });

  it("does not mix volumes of different groups", () => {
    const foreign = { executed: parseGtidSet(`${stranger}:1-10`), group: stranger };
    const others = [outside(1, "", foreign), outside(2, "1-10")];
    expect(reasonOf(decide(observed(0, "1-10", others, formed)))).toContain("no member has all transactions");
  });

  it("at most one member founds a group, whatever they have", () => {
    const sets = ["", "1-3", "1-5", "2-4", "1-2:4"];
    for (const a of sets) {
      for (const b of sets) {
        for (const c of sets) {
          for (const marker of [formed, unformed, unknown]) {
            const founders = everybody([a, b, c], marker).filter(({ kind }) => kind === "bootstrap");
            expect(founders.length, JSON.stringify([a, b, c])).toBeLessThanOrEqual(1);
          }
        }
      }
    }
  });
});

suite("while the number of members changes", () => {
  const five = { ...grown, members: 5 };

  it.each<[string, (string | undefined)[], Partial<Observed>, string[]]>([
    [
      "grown, old agents, one of the new members had led",
      ["1-8", "1-8", "1-8", "1-10", "1-9"],
      grown,
      ["wait", "wait", "wait", "bootstrap", "wait"],
    ],
    [
      "grown, old agents, a new member is away",
      ["1-8", "1-8", "1-8", undefined, "1-8"],
      grown,
      ["refuse", "refuse", "refuse", "refuse"],
    ],
    [
      "grown, old agents, the new members never came",
      ["1-8", "1-8", "1-8", undefined, undefined],
      grown,
      ["refuse", "refuse", "refuse"],
    ],
    [
      "grown, the new members are empty",
      ["1-8", "1-8", "1-8", "", ""],
      five,
      ["refuse", "refuse", "refuse", "refuse", "refuse"],
    ],
    [
      "shrunk, the former members are gone",
      ["1-8", "1-9", "1-8", undefined, undefined],
      formed,
      ["wait", "bootstrap", "wait"],
    ],
    [
      "shrunk, a former member has less",
      ["1-9", "1-9", "1-9", "1-8", undefined],
      formed,
      ["bootstrap", "wait", "wait", "wait"],
    ],
    [
      "shrunk, a former member has more",
      ["1-9", "1-9", "1-9", "1-10", undefined],
      formed,
      ["wait", "wait", "wait", "bootstrap"],
    ],
    [
      "shrunk, a former member never joined",
      ["1-9", "1-9", "1-9", "", undefined],
      formed,
      ["bootstrap", "wait", "wait", "wait"],
    ],
    [
      "shrunk, old agents",
      ["1-9", "1-9", "1-9", undefined, undefined],
      { ...formed, members: 5 },
      ["refuse", "refuse", "refuse"],
    ],
    [
      "not formed, three of five",
      ["", "", "", undefined, undefined],
      { ...unformed, members: 5 },
      ["wait", "wait", "wait"],
    ],
  ])("after a full stop: %s", (_, sets, more, expected) => {
    expect(kinds(everybody(sets, more))).toEqual(expected);
  });

  it("fills new members from different ones", () => {
    const donor = (self: number): unknown =>
      decide(
        observed(self, "", [...[0, 1, 2].map((each) => inside(each, "1-9", whole())), outside(7 - self, "")], five),
      );
    expect(donor(3)).toMatchObject({ kind: "clone", donor: "mysql-2" });
    expect(donor(4)).toMatchObject({ kind: "clone", donor: "mysql-1" });
  });
});

suite("before members leave", () => {
  const leaving = ["mysql-3", "mysql-4"];
  const all = (primary: number): GroupMember[] =>
    [0, 1, 2, 3, 4].map((each) => row(each, "ONLINE", each === primary ? "PRIMARY" : "SECONDARY"));
  const group5 = (primary: number, sets: string[]): Answer[] =>
    sets.map((set, each) => ({
      member: `mysql-${each}`,
      server: server(each, set, all(primary), { superReadOnly: each !== primary }),
    }));
  const same = ["1-9", "1-9", "1-9", "1-9", "1-9"];

  it("has nothing to do while a member that stays leads and has everything", () => {
    const answers = group5(1, same);
    expect(decideRelease(answers, answers, leaving)).toEqual({ kind: "done" });
  });

  it.each<[string, Answer]>([
    ["is away", away(4)],
    ["never joined", outside(4, "")],
    ["was interrupted as it was filled", outside(4, "", { received: parseGtidSet(`${group}:1-50`) })],
    ["was expelled", outside(4, "1-7")],
  ])("does not mind a leaving member that %s", (_, last) => {
    const answers = [...group5(1, same).slice(0, 4), last];
    expect(decideRelease(answers, answers, leaving)).toEqual({ kind: "done" });
  });

  it("makes the first member that stays the primary", () => {
    const answers = group5(4, same);
    const elect = { kind: "elect", primary: "mysql-4", successor: "mysql-0", uuid: "uuid-0" };
    expect(decideRelease(answers, answers, leaving)).toEqual(elect);
    const without = [away(0), ...answers.slice(1)];
    expect(decideRelease(without, without, leaving)).toMatchObject({ successor: "mysql-1" });
    const alone = [away(0), away(1), away(2), ...answers.slice(3)];
    expect(decideRelease(alone, alone, leaving).kind).toBe("wait");
  });

  it("waits for the primary to execute what others had", () => {
    const before = group5(1, ["1-9", "1-9", "1-9", "1-10", "1-9"]);
    expect(decideRelease(before, before, leaving)).toEqual({
      kind: "wait",
      reason: `the primary mysql-1 lacks transactions: ${group}:10`,
    });
    expect(decideRelease(before, group5(1, ["1-9", "1-10", "1-9", "1-11", "1-9"]), leaving).kind).toBe("done");
    const received = [...group5(1, same).slice(0, 4), outside(4, "1-9", { received: parseGtidSet(`${group}:10`) })];
    expect(decideRelease(received, received, leaving).kind).toBe("wait");
  });

  it("waits while no member is the primary", () => {
    const answers = [outside(0, "1-9"), away(1)];
    expect(decideRelease(answers, answers, leaving)).toEqual({
      kind: "wait",
      reason: "no member is the primary (mysql-1: connection refused)",
    });
  });
});

it("closes a server that is in no group and could be written to, before all else but the flag", () => {
  const local = server(0, "1-10", [], { superReadOnly: false });
  expect(decide(observed(0, "1-10", [inside(1, "1-10")], { ...formed, local })).kind).toBe("close");
});

suite("a member in the group", () => {
  const member = (more: Partial<Observed> = {}, local: Partial<Server> = {}): Observed =>
    observed(0, "1-10", [], { local: server(0, "1-10", whole(), { superReadOnly: false, ...local }), ...more });

  it("has nothing to do", () => {
    expect(decide(member())).toEqual({ kind: "none" });
  });

  it("takes back the flag that would found another group, before all else", () => {
    expect(decide(member({ bootstrapArmed: true })).kind).toBe("disarm");
    expect(decide({ ...observed(0, "1-10", []), bootstrapArmed: true }).kind).toBe("disarm");
  });

  it("lets clients in again, when it has a majority", () => {
    expect(decide(member({}, { offlineMode: true })).kind).toBe("open");
    const alone = [row(0, "ONLINE", "PRIMARY"), row(1, "UNREACHABLE"), row(2, "UNREACHABLE")];
    expect(decide(member({}, { offlineMode: true, members: alone })).kind).toBe("none");
  });

  it("forgets requests, so that they do not lie in wait", () => {
    expect(decide(member({ requests: { recover: true, discard: false } })).kind).toBe("forget");
    expect(decide(member({ requests: { recover: false, discard: true } })).kind).toBe("forget");
  });

  it("reads renewed certificates once", () => {
    expect(decide(member({ certificate: { file: "b", loaded: "a" } }))).toMatchObject({
      kind: "reload",
      certificate: "b",
    });
    expect(decide(member({ certificate: { file: "b", loaded: "b" } })).kind).toBe("none");
  });
});

suite("a group that a person has recovered", () => {
  const recovered = (transactions: string): Answer => ({
    member: "mysql-0",
    server: server(0, "", without, {
      group: stranger,
      superReadOnly: false,
      executed: parseGtidSet(`${group}:${transactions},${stranger}:1-3`),
    }),
  });

  it("takes in who has nothing that it lacks, under its new name", () => {
    expect(decide(observed(1, "1-9", [recovered("1-10"), away(2)], formed))).toMatchObject({
      kind: "join",
      group: stranger,
    });
  });

  it("does not take in an old tail", () => {
    expect(reasonOf(decide(observed(1, "1-12", [recovered("1-10"), away(2)], formed)))).toContain(
      `mysql-1 has transactions that the group lacks: ${group}:11-12;`,
    );
  });

  it("is still the cluster that the marker knows", () => {
    const own = server(0, "1-10", [], { group: stranger });
    expect(clusterOf(own, group)).toBe(group);
    expect(clusterOf(own, undefined)).toBe(stranger);
    expect(clusterOf(own, "77777777-bbbb-cccc-dddd-eeeeeeeeeeee")).toBe(stranger);
  });

  it("is not served beside another one", () => {
    const alone = [row(1, "ONLINE", "PRIMARY")];
    const local = server(1, "1-10", alone, { superReadOnly: false });
    const both = observed(1, "1-10", [recovered("1-10"), away(2)], { local });
    expect(mayServe(both)).toBe(false);
    expect(reasonOf(decide(both))).toContain(`mysql-0 is the primary of the group ${stranger} beside ${group}`);
    // A primary that was expelled from the same group and does not know it yet.
    expect(mayServe(observed(1, "1-10", [inside(0, "1-10")], { local }))).toBe(true);
  });
});

suite("what it says of itself", () => {
  it.each<[string, Partial<Server>, boolean, boolean]>([
    ["primary", { members: whole(), superReadOnly: false }, true, true],
    ["secondary", { members: whole(1) }, true, false],
    ["elected, and still read-only", { members: whole() }, true, false],
    [
      "primary of a minority",
      { members: [row(0, "ONLINE", "PRIMARY"), row(1, "UNREACHABLE"), row(2, "UNREACHABLE")], superReadOnly: false },
      false,
      false,
    ],
    [
      "primary of two, one of them away",
      { members: [row(0, "ONLINE", "PRIMARY"), row(1, "UNREACHABLE")], superReadOnly: false },
      false,
      false,
    ],
    [
      "primary of a majority",
      { members: [row(0, "ONLINE", "PRIMARY"), row(1, "ONLINE"), row(2, "UNREACHABLE")], superReadOnly: false },
      true,
      true,
    ],
    [
      "the last one, the others have left",
      { members: [row(0, "ONLINE", "PRIMARY")], superReadOnly: false },
      true,
      true,
    ],
    ["closed for clients", { members: whole(), superReadOnly: false, offlineMode: true }, false, false],
    ["being filled", { members: [row(0, "RECOVERING"), row(1, "ONLINE", "PRIMARY"), row(2, "ONLINE")] }, false, false],
    ["expelled", { members: [row(0, "ERROR")] }, false, false],
    ["in no group, and writable", { members: [], superReadOnly: false }, false, false],
  ])("%s", (_, more, ready, primary) => {
    const each = server(0, "1-10", [], more);
    expect([isReady(each), isPrimary(each)]).toEqual([ready, primary]);
  });

  it("is not whole while it does not hear a member of its group", () => {
    expect(isWhole(server(0, "1-10", whole()))).toBe(true);
    expect(isWhole(server(0, "1-10", without))).toBe(true);
    expect(isWhole(server(0, "1-10", [...without, row(1, "RECOVERING")]))).toBe(true);
    expect(isWhole(server(0, "1-10", [...without, row(1, "UNREACHABLE")]))).toBe(false);
    expect(isWhole(server(0, "1-10", whole(), { offlineMode: true }))).toBe(false);
  });

  it("has a majority of five with three", () => {
    const of = (...states: GroupMember["state"][]) =>
      server(
        0,
        "",
        states.map((state, index) => row(index, state)),
      );
    expect(hasMajority(of("ONLINE", "ONLINE", "RECOVERING", "UNREACHABLE", "UNREACHABLE"))).toBe(true);
    expect(hasMajority(of("ONLINE", "ONLINE", "UNREACHABLE", "UNREACHABLE"))).toBe(false);
    expect(hasMajority(of())).toBe(false);
  });

  it("is one line", () => {
    expect(describe(observed(0, "1-10", [], { local: server(0, "1-10", whole()) }))).toBe(
      "ONLINE PRIMARY, 3 of 3 online",
    );
    expect(describe(observed(1, "", [inside(0, "1-10"), away(2)], formed))).toBe(
      "OFFLINE; clone: mysql-1 is empty and is filled from mysql-0",
    );
  });
});
