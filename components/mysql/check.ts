/**
 * Proves with a real client that a MySQL ensemble works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "mysql2/promise";
import {
  type Access,
  adminAccess,
  adminAccessRemedy,
  applicationAccess,
  expectUrl,
  refusal,
  unrelatedAuthority,
  untrusted,
} from "../shared/check/logins";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { findingRecorder } from "../shared/core/findings";
import { memberHost } from "../shared/core/names";
import { within } from "../shared/core/wait";
import { databaseOf } from "./layout";
import { hasMajority, isPrimary, ownMember, type Server, stateOf } from "./membership";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const deadlineMilliseconds = 10_000;
const tablePrefix = "cells_services_check_";
const outsideDatabase = "cells_services_check";

/** What MySQL says to whom it does not let in. */
const denied = /denied/i;

/** Values that the running servers must have, and what it means when they do not. */
const settings: Record<string, { wanted: string; meaning: string }> = {
  innodb_flush_log_at_trx_commit: { wanted: "1", meaning: "acknowledges before transactions are on disk" },
  sync_binlog: { wanted: "1", meaning: "acknowledges before the binary log is on disk" },
  innodb_doublewrite: { wanted: "ON", meaning: "may tear pages when it dies" },
  gtid_mode: { wanted: "ON", meaning: "cannot be compared with the others" },
  group_replication_single_primary_mode: { wanted: "ON", meaning: "takes writes on several members" },
  group_replication_bootstrap_group: { wanted: "OFF", meaning: "would found a second group" },
};

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const session = openSession(target, environment);
  try {
    let access: Access = { ca: undefined, auth: undefined };
    const known = await step("credentials", adminAccessRemedy(target), async () => {
      const { auth, ca } = await adminAccess(target, environment);
      access = { auth, ca };
      return `administrator ${auth?.username ?? ""}${ca === undefined ? "" : " and trust bundle"} found`;
    });
    if (!known) return findings;

    const servers = new Map<string, Connection>();
    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member} and its log`, async () => {
        const connection = await session.open(member, access);
        const [self] = await session.rows(connection, "SELECT @@report_host AS host, @@version AS version");
        const expected = memberHost(target.name, target.namespace, member);
        if (self?.["host"] !== expected) {
          throw new Error(`the server calls itself ${self?.["host"] ?? "nothing"}, expected ${expected}`);
        }
        servers.set(member, connection);
        return `${access.ca === undefined ? "plain text" : "TLS, certificate verified"}; mysql ${self["version"] ?? ""}`;
      });
    }
    if (servers.size === 0) return findings;

    await step("group", "look at the logs of the agents of the members: they say what they wait for", () =>
      checkGroup(target, environment, session, servers),
    );
    await step("durability", "a member runs with another configuration than it should: look at its pod", () =>
      checkSettings(session, servers),
    );
    await step("address", "look at the pods of the gateway, and at the agent of the primary", async () => {
      const connection = await session.open(undefined, access);
      const [self] = await session.rows(connection, "SELECT @@report_host AS host, @@super_read_only AS closed");
      if (Number(self?.["closed"]) !== 0) throw new Error(`the address leads to ${self?.["host"]}, which is read-only`);
      return `${target.host} leads to ${self?.["host"]}, which may be written to`;
    });
    for (const [application, secret] of Object.entries(target.applications)) {
      await checkApplication(target, environment, session, step, { application, secret, servers });
    }

    // Every member: one that lacks a change of users would let in whom the others refuse.
    const everywhere = async (attempt: (member: string) => Promise<string>): Promise<string> => {
      const members = [...servers.keys()];
      const answers = await Promise.allSettled(members.map(attempt));
      const failures = members.flatMap((member, index) => {
        const answer = answers[index];
        return answer?.status === "rejected" ? [`${member}: ${(answer.reason as Error).message}`] : [];
      });
      if (failures.length > 0) throw new Error(failures.join("; "));
      const [first] = answers;
      return first?.status === "fulfilled" ? `${first.value}, by ${members.join(", ")}` : "";
    };
    const username = access.auth?.username ?? "";
    const noPassword = "a user has no password: look at the users of the member";
    await step("anonymous access", noPassword, () =>
      everywhere(async (each) => {
        for (const name of [username, "root", ""]) {
          const auth = { username: name, password: "" };
          await refusal(session.open(each, { ...access, auth }), denied, `${name || "nobody"} without a password`);
        }
        return "a client without a password is refused";
      }),
    );
    await step("wrong password", noPassword, () => {
      const auth = { username, password: randomBytes(16).toString("hex") };
      return everywhere((each) =>
        refusal(session.open(each, { ...access, auth }), denied, "a client with a wrong password"),
      );
    });
    if (target.tls !== "off") {
      await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
        const ca = await unrelatedAuthority();
        return everywhere((each) =>
          refusal(session.open(each, { ...access, ca }), untrusted, "a client that trusts another authority"),
        );
      });
    }
    if (target.tls === "required") {
      await step("plain text refused", "tls is required: look at the configuration of the member", () =>
        everywhere((each) =>
          refusal(session.open(each, { ...access, ca: undefined }), /insecure transport/i, "a client without TLS"),
        ),
      );
    }
    if (target.tls === "optional") {
      await step("plain text", "tls is optional: look at the configuration of the member", () =>
        everywhere((each) =>
          session.open(each, { ...access, ca: undefined }).then(() => "a client without TLS is let in"),
        ),
      );
    }
    return findings;
  } finally {
    await session.close();
  }
};

async function checkGroup(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  servers: Map<string, Connection>,
): Promise<string> {
  const { readServer } = await import("./client.js");
  return eventually("the group", deadlineMilliseconds, environment, async () => {
    const views = new Map<string, Server>();
    for (const [member, connection] of servers) {
      views.set(member, await readServer((sql) => session.rows(connection, sql)));
    }
    const reason = whyNotWhole(target.members, views);
    if (reason !== undefined) return { seen: reason };
    const primary = [...views].find(([, view]) => isPrimary(view))?.[0] ?? "";
    return { done: `${target.members.length} members online, one group, primary ${primary}` };
  });
}

/** In words, or undefined when all members are in one group and agree on it. */
export function whyNotWhole(members: string[], views: ReadonlyMap<string, Server>): string | undefined {
  const groups = new Set([...views.values()].map(({ group }) => group));
  if (groups.size > 1) return `the members belong to different groups: ${[...groups].join(", ")}`;
  for (const member of members) {
    const view = views.get(member);
    if (view === undefined) return `${member} does not answer`;
    if (stateOf(view) !== "ONLINE") return `${member} is ${stateOf(view)}`;
    if (!hasMajority(view)) return `${member} reaches no majority`;
    if (view.members.length !== members.length) {
      return `the group of ${member} has ${view.members.length} members, expected ${members.length}`;
    }
    const missing = view.members.find(({ state }) => state !== "ONLINE");
    if (missing !== undefined) return `${member} sees ${missing.host} as ${missing.state}`;
    if (view.offlineMode) return `${member} is closed for clients`;
    const leads = ownMember(view)?.role === "PRIMARY";
    if (leads && view.superReadOnly) return `${member} is the primary, and read-only`;
    if (!leads && !view.superReadOnly) return `${member} is not the primary, and not read-only`;
  }
  const primaries = new Set(
    [...views.values()].flatMap((view) =>
      view.members.filter(({ role }) => role === "PRIMARY").map(({ uuid }) => uuid),
    ),
  );
  return primaries.size === 1 ? undefined : `the members see ${primaries.size} primaries`;
}

/** What the running servers say, against what was asked for. */
async function checkSettings(session: Session, servers: Map<string, Connection>): Promise<string> {
  const wrong: string[] = [];
  for (const [member, connection] of servers) {
    const names = Object.keys(settings).map((name) => `'${name}'`);
    const values = await session.rows(
      connection,
      `SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value FROM performance_schema.global_variables WHERE VARIABLE_NAME IN (${names.join(", ")})`,
    );
    for (const [name, { wanted, meaning }] of Object.entries(settings)) {
      const value = values.find((each) => each["name"] === name)?.["value"];
      if (value !== wanted) wrong.push(`${member} ${meaning}: ${name} is ${value ?? "unknown"}, expected ${wanted}`);
    }
  }
  if (wrong.length > 0) throw new Error(wrong.join("; "));
  return "all members write to disk before they acknowledge; transactions are numbered, one member is written to";
}

interface ApplicationUnderCheck {
  application: string;
  secret: string;
  servers: Map<string, Connection>;
}

async function checkApplication(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  step: ReturnType<typeof findingRecorder>["step"],
  { application, secret, servers }: ApplicationUnderCheck,
): Promise<void> {
  const database = databaseOf(application);
  let found: Connection | undefined;
  await step(`application ${application}`, `look at the Secret ${secret} and the log of the setup job`, async () => {
    const { access, values } = await applicationAccess(target, environment, application);
    expectUrl(values, `mysql://${target.host}:${target.clientPort}`);
    if (values["database"] !== database) {
      throw new Error(`database in the Secret is ${values["database"] ?? "missing"}, expected ${database}`);
    }
    found = await session.open(undefined, access, database);
    return `${application} logged in at ${target.host} with the Secret ${secret}`;
  });
  const connection = found;
  if (connection === undefined) return;

  await step(`character set ${application}`, `change the character set of the database ${database} back`, async () => {
    const [row] = await session.rows(
      connection,
      "SELECT @@character_set_database AS charset, @@collation_database AS collation",
    );
    const seen = `${row?.["charset"]}, ${row?.["collation"]}`;
    if (seen !== "utf8mb4, utf8mb4_bin") throw new Error(`${database} has ${seen}, expected utf8mb4, utf8mb4_bin`);
    return `${database} has ${seen}`;
  });
  await step(`replication ${application}`, "look at readiness and volumes of the members", () =>
    checkReplication(environment, session, connection, database, servers),
  );
  await step(`rights ${application}`, "look at the rights of the user, and at the log of the setup job", () =>
    checkRights(target, session, connection, application),
  );
  await step(`clean-up ${application}`, `drop the tables of ${database} that begin with ${tablePrefix}`, () =>
    removeLeftovers(session, connection),
  );
}

/** Made, changed and written through the address, read on each member, and dropped. */
async function checkReplication(
  environment: CheckEnvironment,
  session: Session,
  connection: Connection,
  database: string,
  servers: Map<string, Connection>,
): Promise<string> {
  const table = session.tableName();
  const value = `${randomBytes(8).toString("hex")} ü 🐬`;
  await session.rows(connection, `CREATE TABLE ${table} (id INT PRIMARY KEY, value VARCHAR(64))`);
  try {
    await session.rows(connection, `ALTER TABLE ${table} ADD COLUMN more INT DEFAULT 0`);
    await session.rows(connection, `INSERT INTO ${table} (id, value) VALUES (1, '${value}')`);
    await eventually("the members", deadlineMilliseconds, environment, async () => {
      for (const [member, server] of servers) {
        const seen = await session
          .rows(server, `SELECT value FROM ${database}.${table} WHERE id = 1`)
          // The table comes with replication too.
          .catch((error: unknown) => {
            if ((error as { code?: string }).code === "ER_NO_SUCH_TABLE") return [];
            throw error;
          });
        if (seen[0]?.["value"] !== value) return { seen: `${member} does not have what was written` };
      }
      return { done: "" };
    });
    return `a table was made, changed and written through the address; ${[...servers.keys()].join(", ")} have it`;
  } finally {
    await session.rows(connection, `DROP TABLE ${table}`);
  }
}

/** Nothing outside its own database: not even to see it. */
async function checkRights(
  target: CheckTarget,
  session: Session,
  connection: Connection,
  application: string,
): Promise<string> {
  const others = Object.keys(target.applications)
    .filter((each) => each !== application)
    .map(databaseOf);
  const forbidden = [
    `CREATE DATABASE ${outsideDatabase}`,
    "SELECT COUNT(*) FROM mysql.user",
    "SET GLOBAL super_read_only = OFF",
    "CREATE USER cells_services_check",
    "STOP GROUP_REPLICATION",
    ...others.map((database) => `CREATE TABLE ${database}.${session.tableName()} (id INT PRIMARY KEY)`),
  ];
  for (const statement of forbidden) {
    await refusal(session.rows(connection, statement), denied, JSON.stringify(statement));
  }
  return `${application} may do nothing outside its database: ${forbidden.length} statements were refused`;
}

/** A check that was killed leaves its tables; one that runs at the same time is not an hour old. */
async function removeLeftovers(session: Session, connection: Connection): Promise<string> {
  const tables = await session.rows(
    connection,
    "SELECT TABLE_NAME AS name FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = DATABASE() " +
      `AND TABLE_NAME LIKE '${tablePrefix.replaceAll("_", "\\_")}%' AND CREATE_TIME < NOW() - INTERVAL 1 HOUR`,
  );
  for (const { name } of tables) await session.rows(connection, `DROP TABLE IF EXISTS \`${name ?? ""}\``);
  return tables.length === 0 ? "no tables of former checks" : `${tables.length} tables of former checks removed`;
}

type Row = Record<string, string | number | null>;

interface Session {
  /** Different each time. */
  tableName(): string;
  /** undefined: the address of the ensemble. */
  open(member: string | undefined, access: Access, database?: string): Promise<Connection>;
  rows<T = Row>(connection: Connection, sql: string): Promise<T[]>;
  close(): Promise<void>;
}

function openSession(target: CheckTarget, environment: CheckEnvironment): Session {
  const connections: Connection[] = [];
  const run = randomBytes(6).toString("hex");
  let tables = 0;
  return {
    tableName: () => `${tablePrefix}${run}_${tables++}`,
    async open(member, { ca, auth }, database) {
      const client = await import("./client.js");
      const { host, port } =
        member === undefined
          ? await environment.tunnel.service(target.name, target.clientPort)
          : await environment.tunnel.dial(member, target.clientPort);
      // Through the tunnel the address is local, but the certificate must be that of the member.
      const servername = member === undefined ? target.host : memberHost(target.name, target.namespace, member);
      const connection = await within(
        client.open(
          {
            host,
            port,
            ...(ca === undefined ? {} : { tls: { ca, servername } }),
            ...(auth === undefined ? {} : { credentials: auth }),
            ...(database === undefined ? {} : { database }),
          },
          deadlineMilliseconds,
        ),
        deadlineMilliseconds,
        `a connection to ${member ?? target.host}`,
      );
      connections.push(connection);
      return connection;
    },
    async rows<T = Row>(connection: Connection, sql: string) {
      const client = await import("./client.js");
      return client.rows<T>(connection, sql, deadlineMilliseconds);
    },
    async close() {
      const closing = connections.map((connection) => connection.end());
      await within(Promise.allSettled(closing), deadlineMilliseconds, "closing").catch(() => undefined);
      for (const connection of connections) connection.destroy();
    },
  };
}

/** Asks again until it is so; when it does not become so in time, the error says what was seen last. */
async function eventually(
  what: string,
  milliseconds: number,
  environment: CheckEnvironment,
  attempt: () => Promise<{ done: string } | { seen: string }>,
): Promise<string> {
  const end = environment.clock() + milliseconds;
  for (;;) {
    const outcome = await attempt();
    if ("done" in outcome) return outcome.done;
    if (environment.clock() >= end) throw new Error(`${what}, after ${milliseconds / 1000} seconds: ${outcome.seen}`);
    await delay(500, undefined, { signal: environment.signal });
  }
}
