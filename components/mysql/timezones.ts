/**
 * From the files of tzdata to the tables of the server, with the values that `mysql_tzinfo_to_sql` would write: pure.
 * Names with the same file share one zone, which leaves a quarter of the rows out.
 */
import { escape } from "mysql2/promise";

export interface TimeZone {
  transitions: { at: number; type: number }[];
  types: { offset: number; daylight: boolean; abbreviation: string }[];
}

/** With its rows as a query returns them. */
export interface Table {
  name: string;
  columns: readonly string[];
  rows: (string | number)[][];
}

/** The zone of the machine, a default for rules, and all zones again under other names, the latter with leap seconds. */
const left = /^(localtime|posixrules|posix|right)(\/|$)/;

export function mayBeTimeZone(name: string): boolean {
  return !left.test(name);
}

export function isTimeZone(file: Buffer): boolean {
  return file.toString("latin1", 0, 4) === "TZif";
}

const headerBytes = 44;
const lastYear = 2037;

/**
 * The part with times of 32 bits, see RFC 9636; it ends in 2037. Throws when the file leaves times to the rule in its
 * last line: the server knows no rules, and would give wrong times without an error.
 */
export function parseTimeZone(name: string, file: Buffer): TimeZone {
  const [times = 0, types = 0] = [32, 36].map((place) => file.readUInt32BE(place));
  const typesAt = headerBytes + times * 5;
  const abbreviationsAt = typesAt + types * 6;
  const abbreviation = (place: number) => file.toString("latin1", place, file.indexOf(0, place));
  const transitions = Array.from({ length: times }, (_, index) => ({
    at: file.readInt32BE(headerBytes + index * 4),
    type: file.readUInt8(headerBytes + times * 4 + index),
  }));
  const rule = file.toString("latin1").trimEnd().split("\n").at(-1) ?? "";
  const changesForEver = rule.includes(",");
  if (changesForEver && new Date((transitions.at(-1)?.at ?? 0) * 1000).getUTCFullYear() < lastYear) {
    throw new Error(`the file of time zone ${name} lists no changes until ${lastYear}, only the rule ${rule}`);
  }
  return {
    transitions,
    types: Array.from({ length: types }, (_, index) => {
      const place = typesAt + index * 6;
      return {
        offset: file.readInt32BE(place),
        daylight: file.readUInt8(place + 4) === 1,
        abbreviation: abbreviation(abbreviationsAt + file.readUInt8(place + 5)),
      };
    }),
  };
}

/** `files` by the name of the zone. The same files give the same rows. */
export function timeZoneTables(files: ReadonlyMap<string, Buffer>): Table[] {
  const ids = new Map<string, number>();
  const zones: (TimeZone & { id: number })[] = [];
  const names = [...files]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, file]): [string, number] => {
      const content = file.toString("latin1");
      const id = ids.get(content) ?? ids.size + 1;
      if (!ids.has(content)) zones.push({ id, ...parseTimeZone(name, file) });
      ids.set(content, id);
      return [name, id];
    });
  return [
    { name: "time_zone", columns: ["Time_zone_id", "Use_leap_seconds"], rows: zones.map(({ id }) => [id, "N"]) },
    { name: "time_zone_name", columns: ["Name", "Time_zone_id"], rows: names },
    {
      name: "time_zone_transition",
      columns: ["Time_zone_id", "Transition_time", "Transition_type_id"],
      rows: zones.flatMap(({ id, transitions }) => transitions.map(({ at, type }) => [id, at, type])),
    },
    {
      name: "time_zone_transition_type",
      columns: ["Time_zone_id", "Transition_type_id", "Offset", "Is_DST", "Abbreviation"],
      rows: zones.flatMap(({ id, types }) =>
        types.map(({ offset, daylight, abbreviation }, type) => [id, type, offset, daylight ? 1 : 0, abbreviation]),
      ),
    },
  ];
}

const listOf = (columns: readonly string[]): string => columns.map((column) => `\`${column}\``).join(", ");

export function readStatement({ name, columns }: Table): string {
  return `SELECT ${listOf(columns)} FROM mysql.${name}`;
}

/** Whether a server has other rows than these, in any order. */
export function differs(table: Table, found: Record<string, string | number | null>[]): boolean {
  const text = (rows: unknown[]) => JSON.stringify(rows.map((row) => JSON.stringify(row)).sort());
  return text(table.rows) !== text(found.map((row) => table.columns.map((column) => row[column])));
}

const batch = 1000;

/** One transaction, so that a server has all rows or those that it had before. */
export function writeStatements(tables: Table[]): string[] {
  return [
    "START TRANSACTION",
    ...tables.flatMap(({ name, columns, rows }) => [
      `DELETE FROM mysql.${name}`,
      ...Array.from({ length: Math.ceil(rows.length / batch) }, (_, index) => {
        const values = escape(rows.slice(index * batch, (index + 1) * batch));
        return `INSERT INTO mysql.${name} (${listOf(columns)}) VALUES ${values}`;
      }),
    ]),
    "COMMIT",
  ];
}
