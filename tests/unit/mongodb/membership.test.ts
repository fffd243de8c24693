import { describe, expect, it } from "vitest";
import {
  decide,
  gauges,
  initialConfig,
  loadGauges,
  nextRelease,
  type Observed,
  type Server,
  type SetConfig,
  setSettings,
  describe as view,
  withMember,
  withSettings,
  withVotes,
} from "../../../components/mongodb/membership";

const unconfigured: Server = { state: "unconfigured" };
const away: Server = { state: "away", reason: "connection refused" };
const member = (role: "primary" | "secondary" | "other"): Server => ({
  state: "configured",
  set: "mongodb",
  role,
  primary: "mongodb-0",
});

const stored = (votes = 1, id = "ours", hosts = ["mongodb-0:27017", "mongodb-1:27017"]): SetConfig => ({
  _id: "mongodb",
  version: 1,
  members: hosts.map((host, ordinal) => ({ _id: ordinal, host, votes, priority: votes })),
  settings: { replicaSetId: id },
});

describe("the agent beside a server", () => {
  const marked = { formed: true, clusterId: "ours", members: 3 } as const;
  const observed = (changes: Partial<Observed>): Observed => ({
    self: "mongodb-0",
    host: "mongodb-0:27017",
    config: undefined,
    servers: { "mongodb-0": unconfigured, "mongodb-1": unconfigured, "mongodb-2": unconfigured },
    marker: { formed: false },
    administrator: undefined,
    certificate: { file: "a", loaded: "a", failed: undefined },
    metrics: {},
    ...changes,
  });
  const asMember = (role: "primary" | "secondary" | "other", changes: Partial<Observed> = {}): Observed =>
    observed({
      servers: { "mongodb-0": member(role), "mongodb-1": away, "mongodb-2": away },
      marker: undefined,
      config: stored(),
      ...changes,
    });

  it("forms the set as the first member, when all answer and are empty", () => {
    expect(decide(observed({})).kind).toBe("initiate");
  });

  it.each(["mongodb-1", "mongodb-2"])("leaves that to the first member as %s", (self) => {
    expect(decide(observed({ self }))).toEqual({ kind: "wait", reason: "mongodb-0 forms the set" });
  });

  it("does not form the set while a member is away, which may have it already", () => {
    const servers = { "mongodb-0": unconfigured, "mongodb-1": unconfigured, "mongodb-2": away };
    expect(decide(observed({ servers }))).toEqual({
      kind: "wait",
      reason: "the set is formed when all members answer (mongodb-2: connection refused)",
    });
  });

  it("never forms a second set beside one that another member knows", () => {
    const servers = { "mongodb-0": unconfigured, "mongodb-1": member("secondary"), "mongodb-2": away };
    expect(decide(observed({ servers })).kind).toBe("wait");
  });

  it("never forms a set again after the first, even when all volumes are empty", () => {
    const decision = decide(observed({ marker: marked }));
    expect(decision.kind).toBe("refuse");
    expect(view(observed({ marker: marked }))).toMatchObject({
      refused: true,
      detail: expect.stringContaining("it was formed before, so volumes are lost") as string,
    });
    expect(view(observed({}))).toMatchObject({ refused: false });
  });

  it("does not form a set when the marker cannot be read", () => {
    expect(decide(observed({ marker: { reason: "no API" } })).kind).toBe("wait");
  });

  it("does nothing as a healthy member", () => {
    expect(decide(asMember("primary", { administrator: "usable" }))).toEqual({ kind: "none" });
    expect(decide(asMember("secondary"))).toEqual({ kind: "none" });
  });

  it("gives the administrator its password, as the primary", () => {
    expect(decide(asMember("primary", { administrator: "unusable" })).kind).toBe("administrator");
  });

  it("takes its vote back when it has all data, and not before", () => {
    expect(decide(asMember("secondary", { config: stored(0) })).kind).toBe("vote");
    expect(decide(asMember("other", { config: stored(0) })).kind).toBe("none");
  });

  it("makes the server read renewed certificates, and once after its own start", () => {
    for (const loaded of ["a", undefined]) {
      const certificate = { file: "b", loaded, failed: undefined };
      expect(decide(asMember("secondary", { certificate }))).toMatchObject({ kind: "reload", certificate: "b" });
    }
  });

  it.each([
    [59, "wait"],
    [60, "reload"],
  ])("%d seconds after the server has refused its certificates: %s", (secondsAgo, kind) => {
    const certificate = { file: "b", loaded: "a", failed: { reason: "no certificate in the file", secondsAgo } };
    expect(decide(asMember("secondary", { certificate }))).toMatchObject({
      kind,
      reason: "its server has not read its renewed certificates: no certificate in the file",
    });
    expect(view(asMember("secondary", { certificate }))).toMatchObject({
      ready: true,
      metrics: { certificate_reload_failed: 1 },
    });
  });

  describe("with a volume that has no place in the set", () => {
    const foreign =
      "the volume of mongodb-0 is of the replica set mongodb theirs with mongodb-0:27017, mongodb-1:27017";
    const removed =
      "the volume of mongodb-0 is of the replica set mongodb ours with mongodb-1:27017, and not this member";
    const without = stored(1, "ours", ["mongodb-1:27017"]);
    it.each([
      [
        "of another set",
        member("secondary"),
        stored(1, "theirs"),
        marked,
        `${foreign}; the cluster is ours, as its marker`,
      ],
      [
        "that was taken out",
        unconfigured,
        without,
        marked,
        `${removed}, although the set is the one of the marker; at the`,
      ],
      [
        "that was taken out, while its server runs",
        { ...member("other"), primary: undefined } as Server,
        without,
        marked,
        `${removed}, although the set is the one of the marker; at the`,
      ],
      ["of a former set", unconfigured, without, { formed: false } as const, `${removed}; there is no marker; when`],
      [
        "of who knows what",
        unconfigured,
        without,
        { reason: "no API" },
        `${removed}; whether the set is this cluster's is unknown: no API`,
      ],
    ])("refuses one %s and is not ready", (_, server, config, marker, reason) => {
      const seen = observed({ servers: { "mongodb-0": server, "mongodb-1": member("primary") }, config, marker });
      const decision = decide(seen);
      expect(decision.kind).toBe("refuse");
      expect("reason" in decision && decision.reason).toContain(reason);
      expect(view(seen).ready).toBe(false);
    });
  });

  it("waits for a server that has not looked for itself in its set yet", () => {
    const servers = { "mongodb-0": unconfigured, "mongodb-1": unconfigured, "mongodb-2": away };
    expect(decide(observed({ config: stored(), marker: marked, servers }))).toEqual({
      kind: "wait",
      reason: "the volume has the set, in which its server has not found itself as mongodb-0:27017 yet",
    });
  });

  it("does nothing while the server does not answer", () => {
    expect(decide(observed({ servers: { "mongodb-0": away } }))).toEqual({ kind: "none" });
  });

  it.each([
    ["primary", true, true],
    ["secondary", true, false],
    ["other", false, false],
  ] as const)("is as %s ready: %s, primary: %s", (role, ready, primary) => {
    expect(view(asMember(role))).toMatchObject({ ready, primary });
  });
});

describe("a filled member without a vote", () => {
  it("is not ready, so that no other may be taken away for its sake", () => {
    const observed: Observed = {
      self: "mongodb-1",
      host: "mongodb-1:27017",
      config: stored(0),
      servers: { "mongodb-1": member("secondary") },
      marker: undefined,
      administrator: undefined,
      certificate: { file: "a", loaded: "a", failed: undefined },
      metrics: {},
    };
    expect(view(observed)).toMatchObject({ ready: false, primary: false });
    expect(view(observed).detail).toContain("secondary, without a vote, primary mongodb-0");
    expect(view({ ...observed, config: stored() }).ready).toBe(true);
  });
});

describe("the gauges", () => {
  const at = (seconds: number) => new Date(seconds * 1000);

  it("count the members that serve, and how far this one is behind the primary", () => {
    const members = [
      { health: 1, stateStr: "PRIMARY", optimeDate: at(107) },
      { health: 1, stateStr: "SECONDARY", optimeDate: at(100), self: true },
      { health: 0, stateStr: "(not reachable/healthy)", optimeDate: at(0) },
    ];
    expect(gauges({ members })).toEqual({ members_healthy: 2, lag_seconds: 7 });
  });

  it("say nothing of a lag without a primary, and never a negative one", () => {
    const own = { health: 1, stateStr: "SECONDARY", optimeDate: at(100), self: true };
    expect(gauges({ members: [own] })).toEqual({ members_healthy: 1 });
    expect(gauges({ members: [own, { health: 1, stateStr: "PRIMARY", optimeDate: at(98) }] })).toMatchObject({
      lag_seconds: 0,
    });
  });

  it("say nothing of the lag of a member that is filled, whose data are of 1970", () => {
    const members = [
      { health: 1, stateStr: "PRIMARY", optimeDate: at(107) },
      { health: 1, stateStr: "STARTUP2", optimeDate: at(0), self: true },
    ];
    expect(gauges({ members })).toEqual({ members_healthy: 1 });
  });

  it("say how far the oplog reaches back, once there is one", () => {
    const connections = { current: 4, available: 15_996 };
    const load = { connections: 4, connections_available: 15_996 };
    const oplog = { earliestOptime: { t: 1_000 }, latestOptime: { t: 1_307 } };
    expect(loadGauges({ connections, oplog })).toEqual({ ...load, oplog_window_seconds: 307 });
    expect(loadGauges({ connections })).toEqual(load);
  });
});

describe("the configuration of the set", () => {
  it("numbers the members and shortens the time until an election", () => {
    expect(initialConfig("mongodb", ["a:27017", "b:27017"])).toEqual({
      _id: "mongodb",
      members: [
        { _id: 0, host: "a:27017" },
        { _id: 1, host: "b:27017" },
      ],
      settings: { electionTimeoutMillis: 5_000, heartbeatTimeoutSecs: 2, chainingAllowed: false },
    });
  });

  it("gives a set that was formed otherwise its settings, keeps the others, and asks for them once", () => {
    const settings = { replicaSetId: "ours", chainingAllowed: true };
    const changed = withSettings({ _id: "mongodb", version: 3, members: [], settings });
    expect(changed).toEqual({
      _id: "mongodb",
      version: 4,
      members: [],
      settings: { replicaSetId: "ours", ...setSettings },
    });
    expect(changed && withSettings(changed)).toBe(undefined);
  });

  it("changes vote and priority of one member and nothing else", () => {
    const config = {
      _id: "mongodb",
      version: 3,
      members: [
        { _id: 0, host: "a:27017", votes: 1, priority: 1, tags: { zone: "x" } },
        { _id: 1, host: "b:27017", votes: 1, priority: 1 },
      ],
    };
    expect(withVotes(config, "b:27017", 0)).toEqual({
      _id: "mongodb",
      version: 4,
      members: [
        { _id: 0, host: "a:27017", votes: 1, priority: 1, tags: { zone: "x" } },
        { _id: 1, host: "b:27017", votes: 0, priority: 0 },
      ],
    });
  });

  it("takes a new member in without a vote, under an _id that no member has", () => {
    const config = stored(1, "ours", ["a:27017", "b:27017"]);
    const [a, b] = config.members;
    expect(withMember({ ...config, members: [{ ...a!, _id: 7 }, b!] }, "c:27017")).toEqual({
      ...config,
      version: 2,
      members: [{ ...a, _id: 7 }, { ...b }, { _id: 8, host: "c:27017", votes: 0, priority: 0 }],
    });
  });
});

describe("the release of members", () => {
  const all = ["m-0:27017", "m-1:27017", "m-2:27017", "m-3:27017", "m-4:27017"];
  const leaving = all.slice(3);
  const config = (hosts: string[]): SetConfig => stored(1, "ours", hosts);

  it.each([
    ["the first while a member that stays leads", all, "m-0:27017", "m-3:27017"],
    ["the other one before the primary", all, "m-3:27017", "m-4:27017"],
    ["the other one before the primary, in any order", all, "m-4:27017", "m-3:27017"],
    ["the second one", [...all.slice(0, 3), "m-4:27017"], "m-0:27017", "m-4:27017"],
    ["one whose fellow never joined", all.slice(0, 4), "m-1:27017", "m-3:27017"],
  ])("removes %s", (_, hosts, primary, host) => {
    const before = config(hosts);
    const members = before.members.filter((each) => each.host !== host);
    expect(nextRelease(before, primary, leaving)).toEqual({
      kind: "remove",
      host,
      config: { ...before, version: 2, members },
    });
  });

  it("makes the primary step down when it is the last one to leave", () => {
    expect(nextRelease(config(all.slice(0, 4)), "m-3:27017", leaving)).toEqual({ kind: "stepDown" });
  });

  it.each([
    ["the set has forgotten all", all.slice(0, 3), leaving],
    ["none is to leave", all, []],
  ])("is done when %s", (_, hosts, gone) => {
    expect(nextRelease(config(hosts), "m-0:27017", gone)).toBeUndefined();
  });

  // A majority of each configuration must share a member with each majority of the next.
  it.each(all)("changes one voter at a time, and never removes the primary, when %s leads", (first) => {
    let now = config(all);
    let primary = first;
    const seen: string[] = [];
    for (let step = nextRelease(now, primary, leaving); step; step = nextRelease(now, primary, leaving)) {
      if (step.kind === "stepDown") {
        const heirs = now.members.map(({ host }) => host).filter((host) => host !== primary);
        expect(heirs).toEqual(all.slice(0, 3));
        primary = heirs[0] ?? "";
      } else {
        expect(step.host).not.toBe(primary);
        expect(step.config.version).toBe(now.version + 1);
        expect(step.config.members).toHaveLength(now.members.length - 1);
        now = step.config;
        seen.push(step.host);
      }
    }
    expect(seen.sort()).toEqual(leaving);
    expect(now.members.map(({ host }) => host)).toEqual(all.slice(0, 3));
  });
});
