/** Proves with a real client that a MySQL ensemble works. Loads the client when it runs: previews need none. */
import { randomBytes } from "node:crypto";
import type { Connection } from "mysql2/promise";
import { checkCertificates, greetingOf, type StartTls } from "../shared/check/certificates";
import { type Connections, connections, endpointOf, probeName } from "../shared/check/connections";
import {
  answering,
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  observeAll,
  type Place,
  waiting,
} from "../shared/check/context";
import { enterAsApplication } from "../shared/check/logins";
import { checkMembers } from "../shared/check/members";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckTarget } from "../shared/core/check";
import { waitFor, within } from "../shared/core/wait";
import { databaseOf } from "./layout";
import { hasMajority, isPrimary, ownMember, type Server, stateOf } from "./membership";

const tablePrefix = "cells_services_check_";
const outsideDatabase = "cells_services_check";

/** What MySQL says to a client that it refuses. */
const denied = /denied/i;

/** The values that running servers must have, and what another value means. */
const settings: Record<string, { wanted: string; meaning: string }> = {
  innodb_flush_log_at_trx_commit: { wanted: "1", meaning: "acknowledges before transactions are on disk" },
  sync_binlog: { wanted: "1", meaning: "acknowledges before the binary log is on disk" },
  innodb_doublewrite: { wanted: "ON", meaning: "may tear pages when it dies" },
  gtid_mode: { wanted: "ON", meaning: "cannot be compared with the others" },
  group_replication_single_primary_mode: { wanted: "ON", meaning: "takes writes on several members" },
  group_replication_bootstrap_group: { wanted: "OFF", meaning: "would found a second group" },
};

export const check: Check = (target, environment) => {
  const context = beginCheck(target, environment);
  const { step, address } = context;
  const session = openSession();
  const greet = async (connection: Connection, { host }: Place): Promise<string> => {
    const [self] = await rows(connection, "SELECT @@report_host AS host, @@version AS version");
    if (self?.["host"] !== host)
      throw new Error(`the server calls itself ${self?.["host"] ?? "nothing"}, expected ${host}`);
    return `mysql ${self["version"] ?? ""}`;
  };
  return checkMembers(context, session, greet, async ({ access, clients: servers, places }) => {
    await step("group", "look at the logs of the agents of the members: they say what they wait for", () =>
      checkGroup(context, servers),
    );
    await step("durability", "a member runs with another configuration than it should: look at its pod", () =>
      checkSettings(servers),
    );
    await step("address", "look at the pods of the gateway, and at the agent of the primary", async () => {
      const connection = await session.open(address, access);
      const [self] = await rows(connection, "SELECT @@report_host AS host, @@super_read_only AS closed");
      if (Number(self?.["closed"]) !== 0) throw new Error(`the address leads to ${self?.["host"]}, which is read-only`);
      return `${target.host} leads to ${self?.["host"]}, which may be written to`;
    });
    for (const application of Object.keys(target.applications)) {
      const database = databaseOf(application);
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => ({ url: `mysql://${target.host}:${target.clientPort}`, database }),
        enter: (place, as) => session.open(place, as, database),
      });
      if (granted === undefined) continue;
      await checkApplication(context, application, await session.open(address, granted, database), servers);
    }

    const [anonymous, wrongPassword] = loginStrangers(access, { anonymous: denied, wrongPassword: denied });
    const nameless = [access.auth?.username ?? "", "root", ""].map((username) => ({
      ...access,
      auth: { username, password: "" },
    }));
    await checkStrangers(context, {
      places,
      access,
      enter: session.open,
      strangers: [{ ...anonymous, access: nameless }, wrongPassword],
      plainText: /insecure transport/i,
      remedy: "a user has no password: look at the users of the members named",
    });
    const ports = places.map((place) => ({ ...place, startTls }));
    await checkCertificates(context, access.ca, ports);
  });
};

/** The server greets with one packet; the client asks for TLS before it names a user. Members connect in the same way. */
const startTls: StartTls = async (socket) => {
  await greetingOf(socket, (received) => received.length >= 4 && received.length >= 4 + received.readUIntLE(0, 3));
  socket.write(tlsRequest);
};

/** Packet 1, 32 bytes: CLIENT_PROTOCOL_41, CLIENT_SSL and CLIENT_SECURE_CONNECTION, the largest packet, utf8mb4. */
const tlsRequest = Buffer.alloc(36);
tlsRequest.writeUIntLE(32, 0, 3);
tlsRequest[3] = 1;
tlsRequest.writeUInt32LE(0x200 | 0x800 | 0x8000, 4);
tlsRequest.writeUInt32LE(2 ** 24 - 1, 8);
tlsRequest[12] = 45;

async function checkGroup(context: CheckContext, servers: ReadonlyMap<string, Connection>): Promise<string> {
  const { readServer } = await import("./client.js");
  const { members } = context.target;
  const attempt = async () => {
    const { seen, failures } = await observeAll(members, async (member): Promise<[string, Server]> => {
      const connection = answering(servers, member);
      return [member, await readServer((sql) => rows(connection, sql))];
    });
    const problems = [...failures, ...groupProblems(members, new Map(seen))];
    if (problems.length > 0) return { waiting: problems.join("; ") };
    const primary = seen.find(([, view]) => isPrimary(view))?.[0] ?? "";
    return { done: `${members.length} members online, one group, primary ${primary}` };
  };
  return waitFor("the group", attempt, waiting(context));
}

/** In words; empty when the members that answer are in one group and agree on it. */
export function groupProblems(members: string[], views: ReadonlyMap<string, Server>): string[] {
  const servers = [...views.values()];
  const groups = new Set(servers.map(({ group }) => group));
  const rows = servers.flatMap((server) => server.members);
  const primaries = new Set(rows.filter(({ role }) => role === "PRIMARY").map(({ uuid }) => uuid));
  return [
    ...(groups.size > 1 ? [`the members belong to different groups: ${[...groups].join(", ")}`] : []),
    ...[...views].flatMap(([member, view]) => memberProblem(member, view, members.length) ?? []),
    ...(primaries.size === 1 ? [] : [`the members see ${primaries.size} primaries`]),
  ];
}

function memberProblem(member: string, view: Server, members: number): string | undefined {
  if (stateOf(view) !== "ONLINE") return `${member} is ${stateOf(view)}`;
  if (!hasMajority(view)) return `${member} reaches no majority`;
  if (view.members.length !== members) {
    return `the group of ${member} has ${view.members.length} members, expected ${members}`;
  }
  const missing = view.members.find(({ state }) => state !== "ONLINE");
  if (missing !== undefined) return `${member} sees ${missing.host} as ${missing.state}`;
  if (view.offlineMode) return `${member} is closed for clients`;
  const leads = ownMember(view)?.role === "PRIMARY";
  if (leads && view.superReadOnly) return `${member} is the primary, and read-only`;
  if (!leads && !view.superReadOnly) return `${member} is not the primary, and not read-only`;
  return undefined;
}

async function checkSettings(servers: ReadonlyMap<string, Connection>): Promise<string> {
  await everywhere(servers.keys(), async (member) => {
    const connection = answering(servers, member);
    const names = Object.keys(settings).map((name) => `'${name}'`);
    const values = await rows<{ name: string; value: string }>(
      connection,
      "SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_variables " +
        `WHERE VARIABLE_NAME IN (${names.join(", ")})`,
    );
    failIfAny(settingProblems(Object.fromEntries(values.map((each) => [each.name, each.value]))));
    return "asked";
  });
  return "all members write to disk before they acknowledge; transactions are numbered, one member is written to";
}

export function settingProblems(values: Record<string, string | undefined>): string[] {
  return Object.entries(settings)
    .filter(([name, { wanted }]) => values[name] !== wanted)
    .map(([name, { wanted, meaning }]) => `it ${meaning}: ${name} is ${values[name] ?? "unknown"}, expected ${wanted}`);
}

/** What CONVERT_TZ must say to an application. Without time zones it says NULL. */
const namedTimes = [
  { zone: "Europe/Paris", at: "2026-07-01 00:00", expected: "2026-07-01 02:00" },
  { zone: "Europe/Paris", at: "2026-12-01 00:00", expected: "2026-12-01 01:00" },
  { zone: "Asia/Kolkata", at: "2026-07-01 00:00", expected: "2026-07-01 05:30" },
];

/** In words; empty when the server converts as it must. `seen`: in the order of `namedTimes`. */
export function timeZoneProblems(seen: (string | null)[]): string[] {
  return namedTimes.flatMap(({ zone, at, expected }, index) =>
    seen[index] === expected ? [] : [`in ${zone} it is ${seen[index] ?? "NULL"} at ${at} UTC, expected ${expected}`],
  );
}

/** `connection`: of the application, to its database at the address. */
async function checkApplication(
  context: CheckContext,
  application: string,
  connection: Connection,
  servers: ReadonlyMap<string, Connection>,
): Promise<void> {
  const { target, step } = context;
  const database = databaseOf(application);
  await step(`character set ${application}`, `change the character set of the database ${database} back`, async () => {
    const sql = "SELECT @@character_set_database AS charset, @@collation_database AS collation";
    const [row] = await rows(connection, sql);
    const seen = `${row?.["charset"]}, ${row?.["collation"]}`;
    if (seen !== "utf8mb4, utf8mb4_bin") throw new Error(`${database} has ${seen}, expected utf8mb4, utf8mb4_bin`);
    return `${database} has ${seen}`;
  });
  await step(`time zones ${application}`, "look at the log of the setup job, which loads them", async () => {
    const format = "'%Y-%m-%d %H:%i'";
    const sql = namedTimes.map(({ at, zone }) => `DATE_FORMAT(CONVERT_TZ('${at}', 'UTC', '${zone}'), ${format})`);
    const [row = {}] = await rows<Record<string, string | null>>(connection, `SELECT ${sql.join(", ")}`);
    failIfAny(timeZoneProblems(Object.values(row)));
    return `the server knows time zones by name, such as ${namedTimes[0]?.zone ?? ""}`;
  });
  await step(`replication ${application}`, "look at readiness and volumes of the members", () =>
    checkReplication(context, connection, database, servers),
  );
  await step(`rights ${application}`, "look at the rights of the user, and at the log of the setup job", () =>
    checkRights(target, connection, application),
  );
  await step(`clean-up ${application}`, `drop the tables of ${database} that begin with ${tablePrefix}`, () =>
    removeLeftovers(connection),
  );
}

async function checkReplication(
  context: CheckContext,
  connection: Connection,
  database: string,
  servers: ReadonlyMap<string, Connection>,
): Promise<string> {
  const table = probeName(tablePrefix);
  const value = `${randomBytes(8).toString("hex")} ü 🐬`;
  await rows(connection, `CREATE TABLE ${table} (id INT PRIMARY KEY, value VARCHAR(64))`);
  try {
    await rows(connection, `ALTER TABLE ${table} ADD COLUMN more INT DEFAULT 0`);
    await rows(connection, `INSERT INTO ${table} (id, value) VALUES (1, '${value}')`);
    const read = (member: string): Promise<string> => {
      const attempt = async () => {
        // The table is replicated too. While it does not exist yet, the error is a reason to wait.
        const seen = await rows(answering(servers, member), `SELECT value FROM ${database}.${table} WHERE id = 1`);
        return seen[0]?.["value"] === value ? { done: "read" } : { waiting: "what was written is not there" };
      };
      return waitFor("replication", attempt, waiting(context));
    };
    await everywhere(servers.keys(), read);
    return `a table was made, changed and written through the address; ${[...servers.keys()].join(", ")} have it`;
  } finally {
    await rows(connection, `DROP TABLE ${table}`);
  }
}

async function checkRights(target: CheckTarget, connection: Connection, application: string): Promise<string> {
  const others = Object.keys(target.applications)
    .filter((each) => each !== application)
    .map(databaseOf);
  const forbidden = [
    `CREATE DATABASE ${outsideDatabase}`,
    "SELECT COUNT(*) FROM mysql.user",
    "SET GLOBAL super_read_only = OFF",
    "CREATE USER cells_services_check",
    "STOP GROUP_REPLICATION",
    ...others.map((database) => `CREATE TABLE ${database}.${probeName(tablePrefix)} (id INT PRIMARY KEY)`),
  ];
  const failures: string[] = [];
  for (const statement of forbidden) {
    const refused = refusal(rows(connection, statement), denied, JSON.stringify(statement));
    await refused.catch((error: Error) => failures.push(error.message));
  }
  failIfAny(failures);
  return `${application} may do nothing outside its database: ${forbidden.length} statements were refused`;
}

/** Of checks that were killed. A table of a check that still runs is less than an hour old. */
async function removeLeftovers(connection: Connection): Promise<string> {
  const tables = await rows(
    connection,
    "SELECT TABLE_NAME AS name FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = DATABASE() " +
      `AND TABLE_NAME LIKE '${tablePrefix.replaceAll("_", "\\_")}%' AND CREATE_TIME < NOW() - INTERVAL 1 HOUR`,
  );
  for (const { name } of tables) await rows(connection, `DROP TABLE IF EXISTS \`${name ?? ""}\``);
  return tables.length === 0 ? "no tables of former checks" : `${tables.length} tables of former checks removed`;
}

function openSession(): Connections<Connection> {
  return connections(
    async (place, access, database) => {
      const { open } = await import("./client.js");
      return open({ ...(await endpointOf(place, access)), database }, answerSeconds * 1000);
    },
    (connection: Connection) =>
      within(connection.end(), answerSeconds / 2, "the end of a connection").catch(() => connection.destroy()),
  );
}

type Row = Record<string, string | number | null>;

async function rows<T = Row>(connection: Connection, sql: string): Promise<T[]> {
  const client = await import("./client.js");
  return client.rows<T>(connection, sql, answerSeconds * 1000);
}
