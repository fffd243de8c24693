import { describe, expect, it } from "vitest";
import type { Status } from "../../../components/etcd/client";
import {
  decideHousekeeping,
  isHousekeepingDue,
  type MemberStatus,
  outlived,
} from "../../../components/etcd/maintenance";

const mebibyte = 2 ** 20;

function member(name: string, changes: Partial<Status> = {}): MemberStatus {
  const status = {
    clusterId: "77",
    memberId: name,
    version: "3.6.16",
    leader: "etcd-1",
    learner: false,
    dbSize: 200 * mebibyte,
    dbSizeInUse: 190 * mebibyte,
    revision: "9",
  };
  return { name, status: { ...status, ...changes } };
}

const fragmented = { dbSizeInUse: 50 * mebibyte };

describe("housekeeping", () => {
  const nothing = { defragment: [], full: [] };

  it("is due every tenth minute, and at once when etcd has raised an alarm", () => {
    expect(isHousekeepingDue([], 10)).toBe(true);
    expect(isHousekeepingDue([], 9.9)).toBe(false);
    expect(isHousekeepingDue([{ memberId: "etcd-0", alarm: "NOSPACE" }], 1)).toBe(true);
  });

  it("withdraws alarms of members that were removed, and no others", () => {
    const alarms = [
      { memberId: "8", alarm: "CORRUPT" },
      { memberId: "9", alarm: "NOSPACE" },
      // Of nobody: the members differ, and etcd cannot tell whose data is corrupt.
      { memberId: "0", alarm: "CORRUPT" },
    ];
    expect(outlived(alarms, ["9", "10"])).toEqual([alarms[0]]);
  });

  it("leaves a compact database alone", () => {
    expect(decideHousekeeping([member("etcd-0"), member("etcd-1"), member("etcd-2")], 3, [])).toEqual(nothing);
  });

  it("leaves a small database alone, however fragmented", () => {
    const small = { dbSize: 10 * mebibyte, dbSizeInUse: mebibyte };
    const members = ["etcd-0", "etcd-1", "etcd-2"].map((name) => member(name, small));
    expect(decideHousekeeping(members, 3, [])).toEqual(nothing);
  });

  it("defragments followers first and the leader last", () => {
    const members = ["etcd-1", "etcd-2", "etcd-0"].map((name) => member(name, fragmented));
    expect(decideHousekeeping(members, 3, [])).toEqual({ defragment: ["etcd-0", "etcd-2", "etcd-1"], full: [] });
  });

  it("defragments only those that need it", () => {
    const members = [member("etcd-0"), member("etcd-1", fragmented), member("etcd-2")];
    expect(decideHousekeeping(members, 3, [])).toEqual({ defragment: ["etcd-1"], full: [] });
  });

  it("frees space on all members when the quota is used up", () => {
    const members = [member("etcd-0"), member("etcd-1"), member("etcd-2")];
    const alarms = [{ memberId: "etcd-0", alarm: "NOSPACE" }];
    expect(decideHousekeeping(members, 3, alarms)).toEqual({
      defragment: ["etcd-0", "etcd-2", "etcd-1"],
      full: alarms,
    });
  });

  it("frees space as soon as a majority is well: a member that is away must not keep all others read-only", () => {
    const alarms = [{ memberId: "etcd-0", alarm: "NOSPACE" }];
    const members = [member("etcd-0"), member("etcd-1")];
    expect(decideHousekeeping(members, 3, alarms)).toEqual({ defragment: ["etcd-0", "etcd-1"], full: alarms });
    const reasons = [[member("etcd-1")], [member("etcd-0", { leader: "x" }), member("etcd-1")]].map((few) => {
      const decision = decideHousekeeping(few, 3, alarms);
      return "reason" in decision ? decision.reason : undefined;
    });
    expect(reasons).toEqual(["1 of 3 members answer", "the members do not agree on a leader"]);
  });

  it.each<[string, MemberStatus[], RegExp]>([
    ["a member is away", [member("etcd-0", fragmented), member("etcd-1", fragmented)], /^2 of 3 members answer$/],
    [
      "a member learns",
      [member("etcd-0"), member("etcd-1"), member("etcd-2", { learner: true })],
      /^etcd-2 is still a learner$/,
    ],
    [
      "two leaders",
      [member("etcd-0", { leader: "x" }), member("etcd-1"), member("etcd-2")],
      /do not agree on a leader/,
    ],
    ["no leader", ["etcd-0", "etcd-1", "etcd-2"].map((name) => member(name, { leader: "0" })), /there is no leader/],
    [
      "two clusters",
      [member("etcd-0", { clusterId: "78" }), member("etcd-1"), member("etcd-2")],
      /belong to different clusters: 78, 77/,
    ],
  ])("does nothing while %s", (_, members, reason) => {
    const decision = decideHousekeeping(members, 3, []);
    expect("reason" in decision ? decision.reason : "").toMatch(reason);
  });

  it("leaves corrupt data to a person", () => {
    const members = [member("etcd-0", fragmented), member("etcd-1"), member("etcd-2")];
    const decision = decideHousekeeping(members, 3, [{ memberId: "etcd-0", alarm: "CORRUPT" }]);
    expect("reason" in decision ? decision.reason : "").toMatch(/^etcd reports that the data of etcd-0 is corrupt/);
    const unclear = decideHousekeeping(members, 3, [{ memberId: "0", alarm: "CORRUPT" }]);
    expect("reason" in unclear ? unclear.reason : "").toMatch(/cannot tell whose is corrupt; take a snapshot of each/);
  });
});
