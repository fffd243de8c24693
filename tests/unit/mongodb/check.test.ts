import { describe, expect, it } from "vitest";
import { check, durabilityProblems, type SetView, topologyProblems } from "../../../components/mongodb/check";
import { setSettings } from "../../../components/mongodb/membership";
import { password, targetOf, unreachable } from "../../support/check";

const target = targetOf("mongodb", { clientPort: 27017, metricsPort: 8008 });

// The driver tries a member for two seconds.
describe("the check when nothing works", { timeout: 30_000 }, () => {
  it("reports every member, says what to look at, and does not throw", async () => {
    const findings = await check(target, unreachable());
    expect(findings.map(({ check: step, ok }) => [step, ok])).toEqual([
      ["credentials", true],
      ["member mongodb-0", false],
      ["member mongodb-1", false],
      ["member mongodb-2", false],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain(password);
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, unreachable({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret mongodb-admin is missing" },
    ]);
  });

  it("says when it was stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped after 60 seconds"));
    const findings = await check(target, unreachable({ signal }));
    expect(findings).toMatchObject([{ check: "credentials", ok: false, detail: "stopped after 60 seconds" }]);
  });
});

describe("the topology", () => {
  const hosts = ["m-0:27017", "m-1:27017", "m-2:27017"];
  const states = hosts.map((name, index) => ({ name, stateStr: index === 1 ? "PRIMARY" : "SECONDARY", health: 1 }));
  const view = (member: string, changes: Partial<SetView> = {}): SetView => ({
    member,
    hosts,
    silent: [],
    version: "1/3",
    states,
    ...changes,
  });

  it("is whole", () => expect(topologyProblems(hosts, [view("m-0"), view("m-1"), view("m-2")])).toEqual([]));

  it.each<[Partial<SetView>, string]>([
    [{ hosts: hosts.slice(0, 2) }, "m-2 knows m-0:27017, m-1:27017, expected m-0:27017, m-1:27017, m-2:27017"],
    [{ silent: ["m-0:27017"] }, "m-2 sees without a vote, or without data: m-0:27017"],
    [
      { states: states.map((each) => (each.name === "m-0:27017" ? { ...each, stateStr: "RECOVERING" } : each)) },
      "m-2 sees m-0:27017 RECOVERING",
    ],
    [
      { states: states.map((each) => (each.name === "m-0:27017" ? { ...each, health: 0 } : each)) },
      "m-2 sees m-0:27017 SECONDARY",
    ],
    [
      { states: states.map((each) => (each.name === "m-0:27017" ? { ...each, stateStr: "PRIMARY" } : each)) },
      "no agreement on a primary: m-1:27017, m-0:27017",
    ],
    [{ version: "2/3" }, "members have different configurations: 1/3, 2/3"],
  ])("%j", (changes, problem) => {
    expect(topologyProblems(hosts, [view("m-0"), view("m-1"), view("m-2", changes)])).toEqual([problem]);
  });

  it("has a primary", () => {
    const none = states.map((each) => ({ ...each, stateStr: "SECONDARY" }));
    expect(topologyProblems(hosts, [view("m-0", { states: none })])).toEqual(["no agreement on a primary: none"]);
  });
});

describe("the durability of writes", () => {
  const durable = { writeConcernMajorityJournalDefault: true, settings: setSettings };
  it.each<[object | undefined, object, string[]]>([
    [{ w: "majority" }, durable, []],
    [{ w: 1 }, durable, ['the default write concern is {"w":1}']],
    [
      undefined,
      { settings: { ...setSettings, chainingAllowed: true, heartbeatTimeoutSecs: undefined } },
      [
        'the default write concern is "none"',
        "a majority acknowledges before its journal",
        'heartbeatTimeoutSecs is "not set" instead of 2',
        "chainingAllowed is true instead of false",
      ],
    ],
  ])("with %j and %j", (concern, config, problems) => {
    expect(durabilityProblems(concern, config)).toEqual(problems);
  });
});
