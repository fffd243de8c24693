import { describe, expect, it } from "vitest";
import {
  differs,
  isTimeZone,
  mayBeTimeZone,
  parseTimeZone,
  readStatement,
  type Table,
  timeZoneTables,
  writeStatements,
} from "../../../components/mysql/timezones";

type Type = [offsetHours: number, daylight: boolean, abbreviation: string];

/** A file of tzdata: its part with times of 32 bits, and the rule for the years after it. */
function zoneFile(types: Type[], transitions: [utc: string, type: number][], rule: string): Buffer {
  const names = types.map(([, , abbreviation]) => `${abbreviation}\0`);
  const header = Buffer.alloc(44);
  header.write("TZif2");
  header.writeUInt32BE(transitions.length, 32);
  header.writeUInt32BE(types.length, 36);
  header.writeUInt32BE(names.join("").length, 40);
  const times = Buffer.alloc(4 * transitions.length);
  for (const [index, [utc]] of transitions.entries()) times.writeInt32BE(Date.parse(`${utc}Z`) / 1000, index * 4);
  const described = types.map(([offsetHours, daylight], index) => {
    const type = Buffer.alloc(6);
    type.writeInt32BE(offsetHours * 3600, 0);
    type.writeUInt8(daylight ? 1 : 0, 4);
    type.writeUInt8(names.slice(0, index).join("").length, 5);
    return type;
  });
  const indexes = Buffer.from(transitions.map(([, type]) => type));
  return Buffer.concat([header, times, indexes, ...described, Buffer.from(names.join("")), Buffer.from(`\n${rule}\n`)]);
}

const paris = zoneFile(
  [
    [1, false, "CET"],
    [2, true, "CEST"],
  ],
  [
    ["2025-10-26T01:00", 0],
    ["2026-03-29T01:00", 1],
    ["2026-10-25T01:00", 0],
    ["2037-03-29T01:00", 1],
    ["2037-10-25T01:00", 0],
  ],
  "CET-1CEST,M3.5.0,M10.5.0/3",
);
const adelaide = zoneFile(
  [
    [9.5, false, "ACST"],
    [10.5, true, "ACDT"],
  ],
  [
    ["2025-10-04T16:30", 1],
    ["2026-04-04T16:30", 0],
    ["2037-10-03T16:30", 1],
  ],
  "ACST-9:30ACDT,M10.1.0,M4.1.0/3",
);
const kolkata = zoneFile([[5.5, false, "IST"]], [["1945-10-14T17:30", 0]], "IST-5:30");
const files = new Map([
  ["Europe/Paris", paris],
  ["Australia/Adelaide", adelaide],
  ["Asia/Kolkata", kolkata],
  ["Asia/Calcutta", kolkata],
]);
const tables = timeZoneTables(files);
const rowsOf = (name: string): (string | number)[][] => tables.find((each) => each.name === name)?.rows ?? [];

/** As the server converts: by the last transition before the time. */
function localTime(name: string, utc: string): string {
  const id = rowsOf("time_zone_name").find((row) => row[0] === name)?.[1];
  const seconds = Date.parse(`${utc}Z`) / 1000;
  const past = rowsOf("time_zone_transition").filter((row) => row[0] === id && Number(row[1]) <= seconds);
  const type = past.sort((a, b) => Number(a[1]) - Number(b[1])).at(-1)?.[2];
  const offset = rowsOf("time_zone_transition_type").find((row) => row[0] === id && row[1] === type)?.[2];
  return new Date((seconds + Number(offset)) * 1000).toISOString().slice(0, 16);
}

describe("the time zones of the server", () => {
  it.each([
    ["Europe/Paris", "2026-07-01T00:00", "2026-07-01T02:00"],
    ["Europe/Paris", "2026-12-01T00:00", "2026-12-01T01:00"],
    ["Europe/Paris", "2026-03-29T00:59", "2026-03-29T01:59"],
    ["Europe/Paris", "2026-03-29T01:00", "2026-03-29T03:00"],
    ["Europe/Paris", "2037-10-25T00:59", "2037-10-25T02:59"],
    ["Australia/Adelaide", "2026-01-01T00:00", "2026-01-01T10:30"],
    ["Australia/Adelaide", "2026-07-01T00:00", "2026-07-01T09:30"],
    ["Asia/Kolkata", "2026-01-01T00:00", "2026-01-01T05:30"],
    ["Asia/Kolkata", "2026-07-01T00:00", "2026-07-01T05:30"],
  ])("are right: in %s it is at %s UTC %s", (name, utc, local) => {
    expect(localTime(name, utc)).toBe(local);
  });

  it("have one zone for all names with the same file", () => {
    expect(rowsOf("time_zone_name")).toEqual([
      ["Asia/Calcutta", 1],
      ["Asia/Kolkata", 1],
      ["Australia/Adelaide", 2],
      ["Europe/Paris", 3],
    ]);
    expect(rowsOf("time_zone")).toEqual([1, 2, 3].map((id) => [id, "N"]));
  });

  it("tell summer from winter", () => {
    const { types } = parseTimeZone("Europe/Paris", paris);
    expect(types).toContainEqual({ offset: 7200, daylight: true, abbreviation: "CEST" });
    expect(types).toContainEqual({ offset: 3600, daylight: false, abbreviation: "CET" });
  });

  it("refuse a file that leaves the years to a rule, which the server does not know", () => {
    const slim = zoneFile([[1, false, "CET"]], [], "CET-1CEST,M3.5.0,M10.5.0/3");
    expect(() => timeZoneTables(new Map([["Europe/Berlin", slim]]))).toThrow(
      "the file of time zone Europe/Berlin lists no changes until 2037, only the rule CET-1CEST,M3.5.0,M10.5.0/3",
    );
  });

  it("are the files of tzdata that a name may stand for", () => {
    const names = ["UTC", "US/Pacific", "posixrules", "localtime", "posix/UTC", "right/UTC", "Etc/GMT+5"];
    expect(names.filter(mayBeTimeZone)).toEqual(["UTC", "US/Pacific", "Etc/GMT+5"]);
    expect(isTimeZone(kolkata)).toBe(true);
    expect(isTimeZone(Buffer.from("# tzdb links"))).toBe(false);
  });
});

describe("the tables of time zones", () => {
  /** As the client returns them. */
  const asRead = ({ columns, rows }: Table): Record<string, string | number>[] =>
    [...rows].reverse().map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index] ?? ""])));

  it("are left as they are while the server has the same rows, in any order", () => {
    for (const table of tables) expect(differs(table, asRead(table)), table.name).toBe(false);
  });

  it("are written when the server has none, fewer or other rows", () => {
    for (const table of tables) {
      const [first, ...others] = asRead(table);
      expect(differs(table, []), table.name).toBe(true);
      expect(differs(table, others), table.name).toBe(true);
      expect(differs(table, [{ ...first, [table.columns[1] ?? ""]: 9 }, ...others]), table.name).toBe(true);
    }
  });

  it("are written as a whole or not at all", () => {
    const statements = writeStatements(tables);
    expect(statements[0]).toBe("START TRANSACTION");
    expect(statements.at(-1)).toBe("COMMIT");
    expect(statements.filter((each) => each.startsWith("DELETE"))).toEqual(
      tables.map(({ name }) => `DELETE FROM mysql.${name}`),
    );
    expect(statements.join()).not.toContain("TRUNCATE");
  });

  it("are written in statements of a thousand rows", () => {
    const rows = Array.from({ length: 2001 }, (_, index) => [index, "N"]);
    const table = { name: "time_zone", columns: ["Time_zone_id", "Use_leap_seconds"], rows };
    const inserts = writeStatements([table]).filter((each) => each.startsWith("INSERT"));
    expect(inserts).toHaveLength(3);
    expect(inserts.at(-1)).toBe("INSERT INTO mysql.time_zone (`Time_zone_id`, `Use_leap_seconds`) VALUES (2000, 'N')");
    expect(readStatement(table)).toBe("SELECT `Time_zone_id`, `Use_leap_seconds` FROM mysql.time_zone");
  });
});
