/** Connections of the agent and of the check. Never imported by the component: it loads the client library. */
import { readFile } from "node:fs/promises";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import type { Connection as CoreConnection } from "mysql2";
import { type Connection, type ConnectionOptions, createConnection, type RowDataPacket } from "mysql2/promise";
import { readLogin } from "../shared/agent/logins";
import type { Ensemble } from "../shared/agent/main";
import type { Endpoint as CommonEndpoint } from "../shared/core/endpoint";
import { memberHost } from "../shared/core/names";
import type { Credentials } from "../shared/core/users";
import { parseGtidSet } from "./gtid";
import { internalUsername, paths, ports } from "./layout";
import type { GroupMember, Server } from "./membership";

export type Endpoint = CommonEndpoint & { database?: string | undefined };

const connectMilliseconds = 2_000;

/** One attempt to one server. A caller that tries again reads certificates and passwords anew. */
export async function open(endpoint: Endpoint, milliseconds: number = connectMilliseconds): Promise<Connection> {
  return connectWith({ ...connectionOptions(endpoint), connectTimeout: milliseconds });
}

/** To a server in the same pod that has no passwords. */
export async function openSocket(socketPath: string): Promise<Connection> {
  return connectWith({ ...encoding, socketPath, user: "root", connectTimeout: connectMilliseconds });
}

async function connectWith(options: ConnectionOptions): Promise<Connection> {
  const connection = await createConnection(options);
  // An error between two statements, such as a server that ends, is found by the next statement.
  connection.on("error", () => undefined);
  return connection;
}

const encoding = { charset: "utf8mb4_bin", supportBigNumbers: true };

function connectionOptions(endpoint: Endpoint): ConnectionOptions {
  const { host, port, tls, credentials, database } = endpoint;
  return {
    // The library verifies the certificate against this name, and connects where the stream leads.
    host: tls?.servername ?? host,
    port,
    stream: () => connectTcp({ host, port }).setKeepAlive(true, 10_000),
    user: credentials?.username ?? "",
    ...(credentials === undefined ? {} : { password: credentials.password }),
    ...(database === undefined ? {} : { database }),
    ...encoding,
    ...(tls === undefined
      ? {}
      : { ssl: { ca: tls.ca, minVersion: "TLSv1.2", rejectUnauthorized: true, verifyIdentity: true } }),
  };
}

export async function withConnection<T>(
  opening: Promise<Connection>,
  use: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await opening;
  try {
    return await use(connection);
  } finally {
    connection.destroy();
  }
}

/** The user of the agents, as which the members log in to each other too. */
export async function internalCredentials(): Promise<Credentials> {
  return { username: internalUsername, password: await readFile(join(paths.internal, "password"), "utf8") };
}

/** Default: as the internal user. */
export async function openMember(ensemble: Ensemble, member: string, credentials?: Credentials): Promise<Connection> {
  const host = memberHost(ensemble.name, ensemble.namespace, member);
  const login = await readLogin(ensemble.tls, paths.trust, host, credentials ?? (await internalCredentials()));
  return open({ ...login, port: ports.client });
}

/** The rows of one statement. A connection whose answer takes longer than `milliseconds` is destroyed. */
export async function rows<T = Record<string, string | number | null>>(
  connection: Connection,
  sql: string,
  milliseconds?: number,
): Promise<T[]> {
  try {
    const timeout = milliseconds === undefined ? {} : { timeout: milliseconds };
    const [result] = await connection.query<RowDataPacket[]>({ sql, ...timeout });
    return result as unknown as T[];
  } catch (error) {
    if ((error as { code?: string }).code === "PROTOCOL_SEQUENCE_TIMEOUT") connection.destroy();
    throw error;
  }
}

/** Row by row: the library stops reading from the connection while nobody takes the next one. */
export function streamRows<T>(connection: Connection, sql: string): AsyncIterable<T> {
  // Its promises have no streams, and its types do not show what they wrap.
  const { connection: wrapped } = connection as unknown as { connection: CoreConnection };
  return wrapped.query(sql).stream({ highWaterMark: 1 });
}

export async function readServer(ask: <T>(sql: string) => Promise<T[]>): Promise<Server> {
  const [self] = await ask<Record<"uuid" | "grp" | "executed", string> & Record<"readOnly" | "offline", number>>(
    "SELECT @@server_uuid AS uuid, @@GLOBAL.group_replication_group_name AS grp, @@GLOBAL.gtid_executed AS executed, " +
      "@@GLOBAL.super_read_only AS readOnly, @@GLOBAL.offline_mode AS offline",
  );
  const received = await ask<{ received: string }>(
    "SELECT RECEIVED_TRANSACTION_SET AS received FROM performance_schema.replication_connection_status " +
      "WHERE CHANNEL_NAME = 'group_replication_applier'",
  );
  const members = await ask<GroupMember>(
    "SELECT MEMBER_ID AS uuid, MEMBER_HOST AS host, MEMBER_STATE AS state, MEMBER_ROLE AS role " +
      "FROM performance_schema.replication_group_members",
  );
  if (self === undefined) throw new Error("the server says nothing about itself");
  return {
    uuid: self.uuid,
    group: self.grp,
    executed: parseGtidSet(self.executed),
    received: parseGtidSet(received[0]?.received ?? ""),
    members: members.filter(({ uuid }) => uuid !== ""),
    superReadOnly: Number(self.readOnly) === 1,
    offlineMode: Number(self.offline) === 1,
  };
}
