import { describe, expect, it } from "vitest";
import { decideStart } from "../../../components/mongodb/member";

describe("an empty or a filled volume before the server starts", () => {
  const formed = { formed: true, clusterId: "ours" } as const;

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

  it("waits with a lost volume that the set has no place for, and says how a person makes one", () => {
    const vote = { state: "stranger" as const, host: "b:27017", hosts: ["a:27017", "c:27017"] };
    const action = decideStart({ data: "empty", marker: formed, vote }, "mongodb-1");
    expect(action).toEqual({
      kind: "wait",
      reason:
        "the volume of mongodb-1 is empty, and the replica set has a:27017, c:27017, without it; at the primary, " +
        'rs.add({ host: "b:27017", votes: 0, priority: 0 })',
    });
  });

  it("waits with a lost volume while no primary answers, and says what a person can do", () => {
    const vote = { state: "unknown" as const, reason: "mongodb-0: connection refused" };
    const action = decideStart({ data: "empty", marker: formed, vote }, "mongodb-1");
    expect(action.kind).toBe("wait");
    expect(action.reason).toContain("mongodb-0: connection refused");
    expect(action.reason).toContain("destroy the component, delete its marker and volume claims");
  });
});

/** What the volume says; "ours" is the set of the marker. */
