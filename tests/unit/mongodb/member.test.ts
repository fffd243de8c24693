import { describe, expect, it } from "vitest";
import { decideStart, type StartObserved } from "../../../components/mongodb/member";

describe("an empty or a filled volume before the server starts", () => {
  const formed = { formed: true, clusterId: "ours", members: 3 } as const;

  const decide = (observed: Partial<StartObserved>) =>
    decideStart({ data: "empty", marker: formed, vote: undefined, ...observed }, "mongodb-1");

  it("starts with data whatever the others say", () => {
    expect(decide({ data: "present", marker: { reason: "no API" } }).kind).toBe("start");
  });

  it("starts empty when the set was never formed", () => {
    expect(decide({ marker: { formed: false } }).kind).toBe("start");
  });

  it("waits empty when it is unknown whether the set was formed", () => {
    const action = decide({ marker: { reason: "no API" } });
    expect(action).toEqual({
      kind: "wait",
      reason: "the volume is empty, and whether the set was formed is unknown: no API",
    });
  });

  it("gives its vote away before it starts with a lost volume", () => {
    expect(decide({ vote: { state: "member", votes: 1 } }).kind).toBe("silence");
    expect(decide({ vote: { state: "member", votes: 0 } }).kind).toBe("start");
  });

  it("adds itself to the set of the marker, which does not know it, and to no other", () => {
    expect(decide({ vote: { state: "stranger", set: "ours" } }).kind).toBe("join");
    expect(decide({ vote: { state: "stranger", set: "theirs" } })).toEqual({
      kind: "wait",
      reason:
        "the volume of mongodb-1 is empty, and the other members are the replica set theirs; the cluster is ours, as its " +
        "marker says; bring back the volumes that belong here",
    });
  });

  it.each([
    ["with data", { data: "present" }],
    ["while the set was not formed", { marker: { formed: false } }],
    ["without the marker", { marker: { reason: "the cluster has 3 members, got members 5" } }],
  ] as const)("does not add itself %s", (_, observed) => {
    expect(decide({ vote: { state: "stranger", set: "ours" }, ...observed }).kind).not.toBe("join");
  });

  it("waits with a lost volume while no primary answers, and says what a person can do", () => {
    const vote = { state: "unknown" as const, reason: "mongodb-0: connection refused" };
    const action = decide({ vote });
    expect(action.kind).toBe("wait");
    expect(action.reason).toContain("mongodb-0: connection refused");
    expect(action.reason).toContain("destroy the component, delete its marker and volume claims");
  });
});

/** What the volume says; "ours" is the set of the marker. */
