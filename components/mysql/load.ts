/**
 * Writes all schemas of one server into another one, through the protocol of clients: what Group Replication needs, since a group takes over
 * no files. The source makes the literals of the values, so that they are exact whatever a client library takes them for.
 */
import type { Connection } from "mysql2/promise";
import { log } from "../shared/core/log";
import { rows, streamRows } from "./client";
import { quoted } from "./configuration";
import { reservedDatabases } from "./layout";
import { identifier } from "./users";

/** Of the literals in one statement, which is one transaction. A group takes at least 8 MiB, and hexadecimal has twice the size. */
const batchLength = 2 ** 20;
/** Of the literals of a row. What is longer goes in pieces, and the servers put it together. */
const pieceLength = 2 * 2 ** 20;
/** Below `max_allowed_packet` of the members, which is the limit of a statement. */
const longestRow = 60 * 2 ** 20;

/** Schemas that are not the server's own. */
export const ofUsers = `NOT IN (${reservedDatabases.map(quoted).join(", ")})`;

/** Values that some modes refuse are in the data. What does not fit is found by the comparison of each table. */
const session = "SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

export interface Column {
  name: string;
  /** As in `information_schema.columns`. */
  type: string;
}

const numbers = ["tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "double", "year"];
const times = ["date", "datetime", "timestamp", "time"];

/** The expression that gives a value as a literal, in ASCII. */
export function literalOf({ name, type }: Column): string {
  const column = identifier(name);
  // NULL becomes the word. Text is converted to a number exactly, which a number in a statement is not.
  if (numbers.includes(type) || times.includes(type)) return `QUOTE(${column})`;
  // Its own text has six digits.
  if (type === "float") return `QUOTE(CAST(${column} AS DOUBLE))`;
  if (["bit", "enum", "set"].includes(type)) return `IFNULL(CAST(${column} AS UNSIGNED), 'NULL')`;
  // Bytes as they are stored, in the character set of the column.
  const bytes = `HEX(${column}), ''''`;
  return `IFNULL(CONCAT('${type === "json" ? "_utf8mb4 " : ""}x''', ${bytes}), 'NULL')`;
}

const literalsOf = (columns: Column[]): string => `CONCAT_WS(',', ${columns.map(literalOf).join(", ")})`;

/** Values of one statement after the other. */
export async function* batches(literals: AsyncIterable<string>): AsyncGenerator<string[]> {
  let batch: string[] = [];
  let length = 0;
  for await (const each of literals) {
    batch.push(`(${each})`);
    length += each.length;
    if (length < batchLength) continue;
    yield batch;
    [batch, length] = [[], 0];
  }
  if (batch.length > 0) yield batch;
}

/** Tables that an interrupted run has left are replaced. */
export async function loadAll(source: Connection, target: Connection): Promise<string> {
  const ask = <T>(sql: string) => rows<T>(source, sql);
  const write = (sql: string) => rows(target, sql);
  const both = async (sql: string) => {
    await ask(sql);
    await write(sql);
  };
  await both(session);
  await write("SET foreign_key_checks = OFF");
  // Releases before 8.4 do not know it.
  const stricter = await rows(target, "SHOW VARIABLES LIKE 'restrict_fk_on_non_standard_key'");
  if (stricter.length > 0) await write("SET restrict_fk_on_non_standard_key = OFF");

  const schemas = await ask<{ name: string; collation: string }>(
    "SELECT SCHEMA_NAME AS name, DEFAULT_COLLATION_NAME AS collation FROM information_schema.schemata " +
      `WHERE SCHEMA_NAME ${ofUsers}`,
  );
  let tables = 0;
  for (const { name, collation } of schemas) {
    const schema = identifier(name);
    await write(`CREATE DATABASE IF NOT EXISTS ${schema}`);
    await write(`ALTER DATABASE ${schema} COLLATE ${collation}`);
    await both(`USE ${schema}`);
    const found = await ask<{ name: string }>(
      "SELECT TABLE_NAME AS name FROM information_schema.tables WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'",
    );
    for (const table of found) await loadTable(source, target, name, table.name);
    tables += found.length;
    log(`${found.length} tables of ${name} are loaded`);
  }

  const programs = await ask<Program>(programStatement);
  await inAnyOrder(programs, async ({ db, kind, name }) => {
    await both(`USE ${identifier(db)}`);
    const [shown = {}] = await ask<Record<string, string | null>>(`SHOW CREATE ${kind} ${identifier(name)}`);
    for (const statement of programStatements(kind, name, shown)) await write(statement);
  });
  await write(session);
  const lacking = await rows<{ definer: string }>(target, definerStatement);
  const [events] = await rows<{ disabled: number }>(target, disabledEvents);
  return [
    `${tables} tables with the rows and checksums of the copy, and ${programs.length} routines, views, triggers and events`,
    ...lacking.map(({ definer }) => `what ${definer} has defined fails when it is used, until this user exists`),
    ...(Number(events?.disabled) === 0
      ? []
      : [
          `${events?.disabled} events are disabled, as on each secondary; enable those that shall run with ALTER EVENT`,
        ]),
  ].join("; ");
}

async function loadTable(source: Connection, target: Connection, schema: string, name: string): Promise<void> {
  const table = identifier(name);
  const [shown] = await rows<{ "Create Table": string }>(source, `SHOW CREATE TABLE ${table}`);
  await rows(target, `DROP TABLE IF EXISTS ${table}`);
  await rows(target, shown?.["Create Table"] ?? "");
  const columns = await rows<Column & { generation: string; place: string }>(
    source,
    "SELECT COLUMN_NAME AS name, DATA_TYPE AS type, GENERATION_EXPRESSION AS generation, COLUMN_KEY AS place " +
      `FROM information_schema.columns WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ${source.escape(name)}`,
  );
  const given = columns.filter(({ generation }) => generation === "");
  const row = literalsOf(given);
  const primary = columns.filter(({ place }) => place === "PRI");
  // A group accepts no rows without one.
  const key = literalsOf(primary.length > 0 ? primary : given);
  const insert = `INSERT INTO ${table} (${given.map((each) => identifier(each.name)).join(", ")}) VALUES `;
  const long: string[] = [];
  for await (const batch of batches(shortRows(source, { table, row, key }, long))) {
    await rows(target, insert + batch.join(","));
  }
  for (const each of long) {
    await rows(source, `SELECT ${row} INTO @row FROM ${table} WHERE ${key} = ${source.escape(each)}`);
    await loadLong(source, target, insert, `${schema}.${name}`);
  }
  // The text of JSON knows fewer types than MySQL: the values are the same, and the checksum of the table need not be.
  const others = columns.filter(({ type }) => type !== "json");
  const compare =
    others.length < columns.length && others.length > 0
      ? `SELECT COUNT(*) AS found, BIT_XOR(CRC32(${literalsOf(others)})) AS sum FROM ${table}`
      : `CHECKSUM TABLE ${table}`;
  const [there, here] = [await rows(source, compare), await rows(target, compare)].map((each) => JSON.stringify(each));
  if (there !== here) {
    throw new Error(
      `${schema}.${name} differs from the copy: it has ${here}, and the copy ${there}; nobody else may write`,
    );
  }
}

/** The keys of the others go to `long`. */
async function* shortRows(
  source: Connection,
  { table, row, key }: { table: string; row: string; key: string },
  long: string[],
): AsyncGenerator<string> {
  const isLong = `LENGTH(${row}) > ${pieceLength}`;
  const sql = `SELECT ${isLong} AS isLong, IF(${isLong}, ${key}, ${row}) AS text FROM ${table}`;
  for await (const found of streamRows<{ isLong: number; text: string }>(source, sql)) {
    if (Number(found.isLong) === 1) long.push(found.text);
    else yield found.text;
  }
}

/** From the variable of the source, through that of the target. */
async function loadLong(source: Connection, target: Connection, insert: string, table: string): Promise<void> {
  const [about] = await rows<{ length: number }>(source, "SELECT LENGTH(@row) AS length");
  const length = Number(about?.length);
  if (length > longestRow) {
    throw new Error(
      `${table} has a row of about ${Math.round(length / 2 ** 21)} MiB, and a restore loads at most 30; load it by hand`,
    );
  }
  await rows(target, `SET @row = ${target.escape(`${insert}(`)}`);
  for (let from = 1; from <= length; from += pieceLength) {
    const [piece] = await rows<{ text: string }>(source, `SELECT SUBSTRING(@row, ${from}, ${pieceLength}) AS text`);
    await rows(target, `SET @row = CONCAT(@row, ${target.escape(piece?.text)})`);
  }
  await rows(target, "SET @row = CONCAT(@row, ')')");
  await rows(target, "PREPARE load_row FROM @row");
  await rows(target, "EXECUTE load_row");
  await rows(target, "DEALLOCATE PREPARE load_row");
}

/** What is stored as a statement. */
type Kind = "FUNCTION" | "PROCEDURE" | "VIEW" | "TRIGGER" | "EVENT";
interface Program {
  db: string;
  kind: Kind;
  name: string;
}

/** Triggers of one kind run in the order in which they were created. */
const programStatement = [
  "SELECT db, kind, name FROM (" +
    "SELECT ROUTINE_SCHEMA AS db, ROUTINE_TYPE AS kind, ROUTINE_NAME AS name, 0 AS position FROM information_schema.routines",
  "SELECT TABLE_SCHEMA, 'VIEW', TABLE_NAME, 0 FROM information_schema.views",
  "SELECT TRIGGER_SCHEMA, 'TRIGGER', TRIGGER_NAME, ACTION_ORDER FROM information_schema.triggers",
  `SELECT EVENT_SCHEMA, 'EVENT', EVENT_NAME, 0 FROM information_schema.events) AS found WHERE db ${ofUsers} ORDER BY position`,
].join(" UNION ALL ");

/**
 * As text in the character set of this connection, which is that of the text that was shown. The other settings are those of its creation:
 * they decide what the statement means.
 */
export function programStatements(kind: Kind, name: string, shown: Record<string, string | null>): string[] {
  const text = shown["SQL Original Statement"] ?? Object.entries(shown).find(([key]) => /^Create /.test(key))?.[1];
  if (text === undefined || text === null) throw new Error(`the copy does not show the ${kind.toLowerCase()} ${name}`);
  const { sql_mode: mode, collation_connection: collation, time_zone: zone } = shown;
  return [
    `SET sql_mode = '${mode ?? ""}', collation_connection = ${collation}, time_zone = '${zone ?? "+00:00"}'`,
    `DROP ${kind} IF EXISTS ${identifier(name)}`,
    text,
  ];
}

/** A view may need another one. Throws the first error when no one is left that can be made. */
export async function inAnyOrder<T>(all: T[], make: (each: T) => Promise<void>): Promise<void> {
  const failed: T[] = [];
  let reason: unknown;
  for (const each of all) {
    await make(each).catch((error: unknown) => {
      reason ??= error;
      failed.push(each);
    });
  }
  if (failed.length === all.length && failed.length > 0) throw reason;
  if (failed.length > 0) await inAnyOrder(failed, make);
}

const definers = ["view TABLE_SCHEMA", "routine ROUTINE_SCHEMA", "trigger TRIGGER_SCHEMA", "event EVENT_SCHEMA"]
  .map((each) => each.split(" "))
  .map(([kind, schema]) => `SELECT DEFINER AS definer FROM information_schema.${kind}s WHERE ${schema} ${ofUsers}`)
  .join(" UNION ");
const definerStatement = `SELECT definer FROM (${definers}) AS found WHERE definer NOT IN (SELECT CONCAT(User, '@', Host) FROM mysql.user)`;

const disabledEvents = `SELECT COUNT(*) AS disabled FROM information_schema.events WHERE STATUS LIKE '%SIDE_DISABLED' AND EVENT_SCHEMA ${ofUsers}`;
