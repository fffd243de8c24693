import { describe, expect, it } from "vitest";
import {
  decide,
  decideStart,
  gauges,
  describe as view,
  initialConfig,
  type Observed,
  type Server,
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

describe("an empty or a filled volume before the server starts", () => {
  const formed = { formed: true };

  it("starts with data whatever the others say", () => {
    expect(decideStart({ data: "present", marker: { reason: "no API" }, vote: undefined }, "mongodb-1").kind).toBe(
      "start",
    );
  });

  it("starts empty when the set was never formed", () => {
    expect(decideStart({ data: "empty", marker: { formed: false }, vote: undefined }, "mongodb-1").kind).toBe("start");
  });

  it("waits empty when it is unknown whether the set was formed", () => {
    const action = decideStart({ data: "empty", marker: { reason: "no API" }, vote: undefined }, "mongodb-1");
    expect(action).toEqual({
      kind: "wait",
      reason: "the volume is empty, and whether the set was formed is unknown: no API",
    });
  });

  it("gives its vote away before it starts with a lost volume", () => {
    expect(decideStart({ data: "empty", marker: formed, vote: { state: "member", votes: 1 } }, "mongodb-1").kind).toBe(
      "silence",
    );
    expect(decideStart({ data: "empty", marker: formed, vote: { state: "member", votes: 0 } }, "mongodb-1").kind).toBe(
      "start",
    );
  });

  it("waits with a lost volume while no primary answers, and says what a person can do", () => {
    const vote = { state: "unknown" as const, reason: "mongodb-0: connection refused" };
    const action = decideStart({ data: "empty", marker: formed, vote }, "mongodb-1");
    expect(action.kind).toBe("wait");
    expect(action.reason).toContain("mongodb-0: connection refused");
    expect(action.reason).toContain("destroy the component, delete its marker and volume claims");
  });
});

describe("the agent beside a server", () => {
  const observed = (changes: Partial<Observed>): Observed => ({
    self: "mongodb-0",
    servers: { "mongodb-0": unconfigured, "mongodb-1": unconfigured, "mongodb-2": unconfigured },
    marker: { formed: false },
    votes: undefined,
    administrator: undefined,
    certificate: { file: "a", loaded: "a" },
    metrics: {},
    ...changes,
  });
  const asMember = (role: "primary" | "secondary" | "other", changes: Partial<Observed> = {}): Observed =>
    observed({
      servers: { "mongodb-0": member(role), "mongodb-1": away, "mongodb-2": away },
      marker: undefined,
      votes: 1,
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
    const decision = decide(observed({ marker: { formed: true } }));
    expect(decision.kind).toBe("refuse");
    expect(view(observed({ marker: { formed: true } })).detail).toContain("it was formed before, so volumes are lost");
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
    expect(decide(asMember("secondary", { votes: 0 })).kind).toBe("vote");
    expect(decide(asMember("other", { votes: 0 })).kind).toBe("none");
  });

  it("makes the server read renewed certificates, and once after its own start", () => {
    expect(decide(asMember("secondary", { certificate: { file: "b", loaded: "a" } })).kind).toBe("reload");
    expect(decide(asMember("secondary", { certificate: { file: "a", loaded: undefined } })).kind).toBe("reload");
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
      servers: { "mongodb-1": member("secondary") },
      marker: undefined,
      votes: 0,
      administrator: undefined,
      certificate: { file: "a", loaded: "a" },
      metrics: {},
    };
    expect(view(observed)).toMatchObject({ ready: false, primary: false });
    expect(view(observed).detail).toContain("secondary, without a vote, primary mongodb-0");
    expect(view({ ...observed, votes: 1 }).ready).toBe(true);
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
});

describe("the configuration of the set", () => {
  it("numbers the members and shortens the time until an election", () => {
    expect(initialConfig("mongodb", ["a:27017", "b:27017"])).toEqual({
      _id: "mongodb",
      members: [
        { _id: 0, host: "a:27017" },
        { _id: 1, host: "b:27017" },
      ],
      settings: { electionTimeoutMillis: 5_000 },
    });
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
});
