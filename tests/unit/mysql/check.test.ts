import { describe, expect, it } from "vitest";
import { groupProblems, settingProblems, timeZoneProblems } from "../../../components/mysql/check";
import type { GroupMember, Server } from "../../../components/mysql/membership";

const members = ["mysql-0", "mysql-1", "mysql-2"];
const rows = (primary = 0): GroupMember[] =>
  members.map((host, index) => ({
    uuid: `u${index}`,
    host,
    state: "ONLINE",
    role: index === primary ? "PRIMARY" : "SECONDARY",
  }));

function views(change: (index: number) => Partial<Server> = () => ({})): Map<string, Server> {
  return new Map(
    members.map((member, index) => [
      member,
      {
        uuid: `u${index}`,
        group: "g",
        executed: new Map(),
        received: new Map(),
        members: rows(),
        superReadOnly: index !== 0,
        offlineMode: false,
        ...change(index),
      },
    ]),
  );
}

const at =
  (index: number, change: Partial<Server>) =>
  (each: number): Partial<Server> =>
    each === index ? change : {};

describe("whether a group is whole", () => {
  it("is", () => expect(groupProblems(members, views())).toEqual([]));

  it.each<[string, (index: number) => Partial<Server>]>([
    ["mysql-1 is OFFLINE", at(1, { members: [] })],
    ["the members belong to different groups: g, other", at(2, { group: "other" })],
    ["the group of mysql-1 has 2 members, expected 3", at(1, { members: rows().slice(0, 2) })],
    ["mysql-0 is the primary, and read-only", at(0, { superReadOnly: true })],
    ["mysql-2 is not the primary, and not read-only", at(2, { superReadOnly: false })],
    ["mysql-2 is closed for clients", at(2, { offlineMode: true })],
    ["the members see 2 primaries", at(2, { members: rows(1) })],
    [
      "mysql-0 sees mysql-2 as RECOVERING",
      at(0, { members: rows().map((row) => (row.host === "mysql-2" ? { ...row, state: "RECOVERING" } : row)) }),
    ],
  ])("%s", (reason, change) => {
    expect(groupProblems(members, views(change))).toEqual([reason]);
  });

  it("is judged for each member", () => {
    const change = (index: number) => (index === 1 ? { offlineMode: true } : { superReadOnly: true });
    expect(groupProblems(members, views(change))).toEqual([
      "mysql-0 is the primary, and read-only",
      "mysql-1 is closed for clients",
    ]);
  });
});

describe("the settings of a running server", () => {
  const well = {
    innodb_flush_log_at_trx_commit: "1",
    sync_binlog: "1",
    innodb_doublewrite: "ON",
    gtid_mode: "ON",
    group_replication_single_primary_mode: "ON",
    group_replication_bootstrap_group: "OFF",
  };

  it("are those of the configuration", () => expect(settingProblems(well)).toEqual([]));

  it("are all named when they are not", () => {
    expect(settingProblems({ ...well, sync_binlog: "0", innodb_doublewrite: undefined })).toEqual([
      "it acknowledges before the binary log is on disk: sync_binlog is 0, expected 1",
      "it may tear pages when it dies: innodb_doublewrite is unknown, expected ON",
    ]);
  });
});

describe("named time zones", () => {
  it("are right", () => {
    expect(timeZoneProblems(["2026-07-01 02:00", "2026-12-01 01:00", "2026-07-01 05:30"])).toEqual([]);
  });

  it("are missing while the tables are empty", () => {
    expect(timeZoneProblems([null, null, null])).toEqual([
      "in Europe/Paris it is NULL at 2026-07-01 00:00 UTC, expected 2026-07-01 02:00",
      "in Europe/Paris it is NULL at 2026-12-01 00:00 UTC, expected 2026-12-01 01:00",
      "in Asia/Kolkata it is NULL at 2026-07-01 00:00 UTC, expected 2026-07-01 05:30",
    ]);
    expect(timeZoneProblems([])).toHaveLength(3);
  });
});
