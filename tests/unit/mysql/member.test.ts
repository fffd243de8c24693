import { describe, expect, it } from "vitest";
import { decideAdopt, decideMember, type MemberObserved, type MemberSelf } from "../../../components/mysql/member";
import type { Marker } from "../../../components/shared/core/marker";

const self: MemberSelf = { name: "mysql-2", tls: "required" };
const marker: Marker = { clusterId: "marked", members: 3, tls: "on", bootstrappedAt: "2026-01-01T00:00:00Z" };

describe("before a server starts", () => {
  it.each<[string, MemberObserved, object]>([
    [
      "first start",
      { data: "empty", kept: undefined, marker: undefined, configured: "new" },
      { kind: "start", data: "empty", group: "new", reason: "the group has not been formed yet" },
    ],
    [
      "restart, also while the API is away",
      { data: "present", kept: "kept", marker: undefined, configured: "new" },
      { kind: "start", data: "present", group: "kept", reason: "the volume has data" },
    ],
    [
      "volumes that were kept, deployed anew with another name",
      { data: "present", kept: "marked", marker, configured: "new" },
      { kind: "start", data: "present", group: "marked", reason: "the volume has data" },
    ],
    [
      "lost volume: the name of the group that lives, not that of the configuration",
      { data: "empty", kept: undefined, marker, configured: "new" },
      {
        kind: "start",
        data: "empty",
        group: "marked",
        reason: "the volume of mysql-2 is empty and is filled from another member",
      },
    ],
    [
      "interrupted before the data were in their place",
      { data: "empty", kept: "new", marker: undefined, configured: "new" },
      { kind: "start", data: "empty", group: "new", reason: "the group has not been formed yet" },
    ],
  ])("%s", (_, observed, expected) => {
    expect(decideMember(observed, self)).toEqual(expected);
  });

  it("refuses an empty volume in an ensemble without TLS, and starts while the number of members changes", () => {
    const empty = { data: "empty", kept: undefined, configured: "new" } as const;
    expect(decideMember({ ...empty, marker: { ...marker, members: 5 } }, self)).toMatchObject({ kind: "start" });
    expect(decideMember({ ...empty, marker: { ...marker, tls: "off" } }, self)).toMatchObject({ kind: "refuse" });
  });
});

it.each([
  [true, false, "rename"],
  [false, true, "keep"],
  [false, false, "refuse"],
])("a directory made: %s, data: %s: %s", (made, data, kind) => {
  expect(decideAdopt({ made, data }).kind).toBe(kind);
});
