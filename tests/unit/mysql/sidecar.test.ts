import { describe, expect, it } from "vitest";
import type { GroupMember, Server } from "../../../components/mysql/membership";
import { backOffSeconds, gauges } from "../../../components/mysql/sidecar";

describe("after failed starts", () => {
  it("waits longer each time, and never long", () => {
    expect([0, 1, 2, 3, 4, 5, 60].map(backOffSeconds)).toEqual([1, 2, 4, 8, 16, 30, 30]);
  });
});

describe("the gauges", () => {
  const server = (...states: GroupMember["state"][]): Server => ({
    uuid: "uuid-0",
    group: "group",
    executed: new Map(),
    received: new Map(),
    members: states.map((state, ordinal) => ({ uuid: `uuid-${ordinal}`, host: "", state, role: "SECONDARY" })),
    superReadOnly: true,
    offlineMode: false,
  });
  const load = { used: "12", connections: 550, queue: 3, behind: "4.5" };

  it("are those of the group and of the server", () => {
    expect(gauges(server("ONLINE", "ONLINE", "RECOVERING"), load)).toEqual({
      members: 3,
      members_online: 2,
      majority: 1,
      connections: 12,
      max_connections: 550,
      applier_queue: 3,
      applier_lag_seconds: 4.5,
    });
  });

  it("know no majority where others are out of reach", () => {
    expect(gauges(server("ONLINE", "UNREACHABLE", "UNREACHABLE"), load)).toMatchObject({ majority: 0 });
    expect(gauges(server(), load)).toMatchObject({ members: 0, majority: 0 });
  });

  it.each([
    [null, 0],
    ["-0.2", 0],
  ])("have no lag where nothing is applied, or a clock is ahead: %s", (behind, lag) => {
    expect(gauges(server("ONLINE"), { ...load, behind }).applier_lag_seconds).toBe(lag);
  });
});
