import { describe, expect, it } from "vitest";
import { whyNotWhole } from "../../../components/mysql/check";
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
  it("is", () => expect(whyNotWhole(members, views())).toBeUndefined());

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
    expect(whyNotWhole(members, views(change))).toBe(reason);
  });

  it("says who does not answer", () => {
    const two = views();
    two.delete("mysql-1");
    expect(whyNotWhole(members, two)).toBe("mysql-1 does not answer");
  });
});
