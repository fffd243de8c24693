/**
 * What only MySQL knows of its backups. A copy is what the clone plugin makes of a secondary: the files of a data directory, at one point in
 * time that the copying server does not name. So the position is what the member had before: the copy has it, and maybe more.
 */
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Connection } from "mysql2/promise";
import { type BackupService, fromThrowAway } from "../shared/agent/backup";
import { readCredentials } from "../shared/agent/logins";
import type { Ensemble } from "../shared/agent/main";
import { BadCopy, backupPaths, type Manifest } from "../shared/core/backup";
import { type Refuse, refuse } from "../shared/core/decision";
import { memberNames } from "../shared/core/names";
import { openMember, openSocket, rows, withConnection } from "./client";
import { countOf, formatGtidSet, isEmpty, parseGtidSet, subtract } from "./gtid";
import { backupFiles, databaseOf, paths } from "./layout";
import { loadAll, ofUsers } from "./load";
import { type Answer, type Found, isPrimary, isWhole } from "./membership";
import { askMembers, cloneFrom } from "./sidecar";
import { identifier, madeBySetup } from "./users";

/** At so many waiting transactions the group slows its primary down (`group_replication_flow_control_applier_threshold`). */
const mostLacking = 25_000n;

/** A secondary: the primary has enough to do. The one that lacks least. */
export function decideSource(answers: Answer[]): ({ kind: "copy" } & Found) | Refuse {
  const found = answers.filter((each) => "server" in each);
  const silent = answers.filter((each) => "reason" in each).map(({ member, reason }) => `${member}: ${reason}`);
  const primary = found.find(({ server }) => isPrimary(server));
  if (primary === undefined) return refuse(["no member is the primary", ...silent].join("; "));
  const lackingOf = ({ server }: Found): bigint => countOf(subtract(primary.server.executed, server.executed));
  const [best] = found
    .filter(({ server }) => server.group === primary.server.group && isWhole(server) && !isPrimary(server))
    .sort((a, b) => Number(lackingOf(a) - lackingOf(b)));
  if (best === undefined) return refuse(["no secondary is whole", ...silent].join("; "));
  const lacking = lackingOf(best);
  return lacking > mostLacking
    ? refuse(`${best.member} has yet to execute ${lacking} transactions, and no other secondary fewer`)
    : { kind: "copy", ...best };
}

/** The store takes few characters. MySQL itself encodes names of tables, with `@`; `#` is in its own. */
export function encodeName(file: string): string {
  const escape = (character: string): string =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
  return file.replace(/[^A-Za-z0-9._@+=/-]/gu, escape);
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => relative(folder, join(entry.parentPath, entry.name))).sort();
}

export const service: BackupService = {
  async copy(settings, namespace, write) {
    const ensemble = { ...settings, namespace };
    const source = decideSource(await askAll(ensemble));
    if (source.kind === "refuse") throw new Error(source.reason);
    const { member, server } = source;
    const ask = <T>(sql: string) => withConnection(openAdministrator(ensemble, member), (each) => rows<T>(each, sql));
    const [about] = await ask<{ version: string }>("SELECT @@version AS version");
    const before = await ask<{ name: string }>(tableStatement);
    await withConnection(openThrowAway(backupPaths.work), async (recipient) =>
      cloneFrom(recipient, member, ensemble, await readCredentials(paths.admin), cloneFolder),
    );
    const after = new Set((await ask<{ name: string }>(tableStatement)).map(({ name }) => name));
    for (const file of await filesOf(cloneFolder)) {
      const parts = createReadStream(join(cloneFolder, file), { highWaterMark: 2 ** 20 });
      await write(`${backupFiles.data}/${encodeName(file)}`, parts);
    }
    return {
      from: member,
      version: (about?.version ?? "").split("-")[0] ?? "",
      lineage: server.group,
      position: {
        executed: formatGtidSet(server.executed),
        transactions: Number(countOf(server.executed)),
        // Others may have come and gone meanwhile.
        tables: before.filter(({ name }) => after.has(name)).length,
      },
    };
  },
  async prepare(work) {
    const folder = join(work, backupPaths.copy, backupFiles.data);
    for (const file of await filesOf(folder)) {
      const name = join(folder, decodeURIComponent(file));
      if (name !== join(folder, file)) {
        await mkdir(join(name, ".."), { recursive: true });
        await rename(join(folder, file), name);
      }
    }
    // A store keeps no empty folders, and the server starts with none of the others missing.
    await mkdir(join(folder, "mysql"), { recursive: true });
  },
  async prove(manifest, work) {
    return withConnection(openThrowAway(work), (restored) => proveOn(restored, manifest));
  },
  async whyNotEmpty(settings, namespace) {
    return onPrimary({ ...settings, namespace }, whyOccupied);
  },
  async load(_, work, settings, namespace) {
    return withConnection(openThrowAway(work), (restored) =>
      onPrimary({ ...settings, namespace }, (primary) => loadAll(restored, primary)),
    );
  },
};

const cloneFolder = join(backupPaths.work, backupFiles.clone);

async function askAll(ensemble: Ensemble): Promise<Answer[]> {
  return askMembers(memberNames(ensemble.name, ensemble.members), ensemble, await readCredentials(paths.admin));
}

async function openAdministrator(ensemble: Ensemble, member: string): Promise<Connection> {
  return openMember(ensemble, member, await readCredentials(paths.admin));
}

async function onPrimary<T>(ensemble: Ensemble, use: (connection: Connection) => Promise<T>): Promise<T> {
  const answers = await askAll(ensemble);
  const primary = answers.find((each) => "server" in each && isPrimary(each.server));
  if (primary === undefined) {
    const reasons = answers.map((each) => `${each.member}: ${"reason" in each ? each.reason : "it is a secondary"}`);
    throw new Error(`no member is the primary; ${reasons.join("; ")}`);
  }
  return withConnection(openAdministrator(ensemble, primary.member), use);
}

function openThrowAway(work: string): Promise<Connection> {
  return fromThrowAway(() => openSocket(join(work, backupFiles.socket)));
}

/** Only tables of InnoDB have rows in a group. */
const fromTables = "FROM information_schema.tables WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE = 'InnoDB'";
/** Tables of users. */
const tableStatement = `SELECT CONCAT(QUOTE(TABLE_SCHEMA), QUOTE(TABLE_NAME)) AS name ${fromTables} AND TABLE_SCHEMA ${ofUsers}`;

export async function proveOn(restored: Connection, { position }: Manifest): Promise<string> {
  const [server] = await rows<{ executed: string }>(restored, "SELECT @@GLOBAL.gtid_executed AS executed");
  const executed = parseGtidSet(server?.executed ?? "");
  const lacking = subtract(parseGtidSet(String(position["executed"])), executed);
  if (!isEmpty(lacking)) throw new BadCopy(`the restored data lacks transactions: ${formatGtidSet(lacking)}`);
  const tables = (await rows(restored, tableStatement)).length;
  if (tables < Number(position["tables"])) {
    throw new BadCopy(`the restored data has ${tables} tables, and its manifest says at least ${position["tables"]}`);
  }
  const all = await rows<{ db: string; name: string }>(
    restored,
    `SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name ${fromTables}`,
  );
  for (const { db, name } of all) {
    const found = await rows<{ Msg_text: string }>(restored, `CHECK TABLE ${identifier(db)}.${identifier(name)}`);
    if (found.at(-1)?.Msg_text === "OK") continue;
    throw new BadCopy(`${db}.${name} is corrupt: ${found.map(({ Msg_text }) => Msg_text).join("; ")}`);
  }
  return `restored with ${countOf(executed)} transactions; it has the ${tables} tables, and CHECK TABLE finds nothing wrong`;
}

/** Databases of applications are made by the setup, empty. */
async function whyOccupied(primary: Connection): Promise<string | undefined> {
  const applications = await rows<{ username: string }>(primary, madeBySetup);
  const databases = applications.map(({ username }) => databaseOf(username));
  const found = await rows<{ name: string; objects: number }>(primary, contentStatement);
  const [other] = found.filter(({ name, objects }) => Number(objects) > 0 || !databases.includes(name));
  return other === undefined
    ? undefined
    : `it has the database ${other.name} with ${other.objects} tables, views, routines and events`;
}

const count = (table: string, schema: string): string =>
  `(SELECT COUNT(*) FROM information_schema.${table} WHERE ${schema} = SCHEMA_NAME)`;
const contentStatement =
  `SELECT SCHEMA_NAME AS name, ${count("tables", "TABLE_SCHEMA")} + ${count("routines", "ROUTINE_SCHEMA")} + ` +
  `${count("events", "EVENT_SCHEMA")} AS objects FROM information_schema.schemata WHERE SCHEMA_NAME ${ofUsers}`;
