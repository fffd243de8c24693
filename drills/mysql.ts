import type { Connection } from "mysql2/promise";
import { messageOf } from "../checks";
import { groupProblems } from "../components/mysql/check";
import { type Endpoint, open, readServer, rows } from "../components/mysql/client";
import { isPrimary, ownMember, type Server, stateOf } from "../components/mysql/membership";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { Refused } from "./ledger";
import { commonBudgets, firstAnswer, type Profile, type Workload, writerOf } from "./workload";

const writeMilliseconds = 1_000;
const connectMilliseconds = 2_000;
const readMilliseconds = 20_000;

export const mysqlProfile: Profile = {
  container: "mysqld",
  processes: ["mysqld"],
  sidecar: true,
  budgets: {
    ...commonBudgets,
    // Five seconds until a silent member is expelled, two for the election, two for the gateway.
    kill: 15,
    // The second leader may die before the first member is back. Two of three are then gone, which is a full outage.
    repeat: 90,
    handOver: 5,
    // The others wait for a silent member until it is expelled.
    follower: 8,
    volume: 300,
    fullStop: 90,
  },
  loss: "none",
  // A volume that was lost is filled anew: with it the server gets another identity.
  renews: true,
  open: openMysql,
};

/** Inserts through the address, as applications do; each writer has a connection of its own. */
async function openMysql(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members } = target;
  const table = `drill_${run.replaceAll(/[^a-z0-9]/g, "_")}`;
  const application = await applicationEndpoint(target, environment);
  const admin = await administrator(target, environment);
  const writers = new Map<number, Connection>();
  const readers = new Map<string, Connection>();

  /** Asked for anew each time: the forward may have led to a pod of the gateway that is gone. */
  const openAddress = async (): Promise<Connection> => {
    const { host, port } = await environment.tunnel.service(target.name, target.clientPort);
    return open({ ...application, host, port }, connectMilliseconds);
  };
  const ask = async <T>(member: string, sql: string, milliseconds = connectMilliseconds): Promise<T[]> => {
    let connection = readers.get(member);
    if (connection === undefined) {
      const { host, port } = await environment.tunnel.dial(member, target.clientPort);
      connection = await open({ ...admin(member), host, port }, connectMilliseconds);
      readers.set(member, connection);
    }
    try {
      return await rows<T>(connection, sql, milliseconds);
    } catch (error) {
      connection.destroy();
      readers.delete(member);
      throw error;
    }
  };
  const serverOf = (member: string): Promise<Server> => readServer((sql) => ask(member, sql));
  /** A secondary executes a moment later what the group has acknowledged: it waits for all that was before. */
  const readWhenCaughtUp = async (
    member: string,
    limit = "",
    milliseconds = readMilliseconds,
  ): Promise<{ id: string }[]> => {
    await ask(member, "SET SESSION group_replication_consistency = 'BEFORE'");
    const found = await ask<{ id: string }>(
      member,
      `SELECT id FROM ${application.database}.${table} ${limit}`,
      milliseconds,
    );
    await ask(member, "SET SESSION group_replication_consistency = DEFAULT");
    return found;
  };

  return {
    async prepare() {
      const connection = await openAddress();
      try {
        await rows(connection, `CREATE TABLE IF NOT EXISTS ${table} (id VARCHAR(128) PRIMARY KEY)`, readMilliseconds);
      } finally {
        connection.destroy();
      }
    },
    async write(id, writer) {
      let connection = writers.get(writer);
      try {
        connection ??= await openAddress();
        writers.set(writer, connection);
        await rows(connection, `INSERT INTO ${table} (id) VALUES ('${id}')`, writeMilliseconds);
      } catch (error) {
        connection?.destroy();
        writers.delete(writer);
        throw isRefusal(error) ? new Refused(messageOf(error)) : error;
      }
    },
    async leader() {
      return firstAnswer(members, async (member) => {
        const server = await serverOf(member);
        if (!isPrimary(server)) throw new Error(`${member} is ${stateOf(server)} ${ownMember(server)?.role ?? ""}`);
        return { member, detail: `${server.members.length} members in its group` };
      });
    },
    async converged() {
      const views = new Map<string, Server>();
      for (const member of members) {
        try {
          views.set(member, await serverOf(member));
        } catch (error) {
          return { waiting: `${member}: ${messageOf(error)}` };
        }
      }
      const problems = groupProblems(members, views);
      if (problems.length > 0) return { waiting: problems.join("; ") };
      // Members that are online may still wait, for space on their disk for instance, before they execute what the group has acknowledged.
      for (const member of members) {
        try {
          await readWhenCaughtUp(member, "LIMIT 1", connectMilliseconds);
        } catch (error) {
          return { waiting: `${member} has not caught up: ${messageOf(error)}` };
        }
      }
      return { done: true };
    },
    holders: async () => members,
    identity: async (member) => (await serverOf(member)).uuid,
    clusterIdentity: async (member) => (await serverOf(member)).group,
    stored: async (member) => new Set((await readWhenCaughtUp(member)).map(({ id }) => id)),
    async close() {
      try {
        const connection = await openAddress();
        try {
          await rows(connection, `DROP TABLE IF EXISTS ${table}`, readMilliseconds);
        } finally {
          connection.destroy();
        }
      } catch {
        // What is left is a table with the name of a drill.
      }
      for (const connection of [...writers.values(), ...readers.values()]) connection.destroy();
    },
  };
}

type Access = Omit<Endpoint, "host" | "port">;

async function applicationEndpoint(
  target: CheckTarget,
  environment: CheckEnvironment,
): Promise<Access & { database: string }> {
  const { secret: secretName } = writerOf(target);
  const { username, password, database, "ca.crt": ca } = await environment.secret(secretName);
  if (!username || !password || !database) throw new Error(`the Secret ${secretName} is not complete`);
  return {
    database,
    credentials: { username, password },
    ...(target.tls === "off" || ca === undefined ? {} : { tls: { ca, servername: target.host } }),
  };
}

async function administrator(target: CheckTarget, environment: CheckEnvironment): Promise<(member: string) => Access> {
  const { username, password } = await environment.secret(target.adminSecret);
  if (!username || !password) throw new Error(`the Secret ${target.adminSecret} is not complete`);
  const ca = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
  return (member) => ({
    credentials: { username, password },
    ...(target.tls === "off" || ca === undefined
      ? {}
      : { tls: { ca, servername: memberHost(target.name, target.namespace, member) } }),
  });
}

/** The server itself has said no, and nothing was written: read-only, closed, or not let in. */
function isRefusal(error: unknown): boolean {
  const codes = [
    "ER_OPTION_PREVENTS_STATEMENT",
    "ER_OPERATION_NOT_ALLOWED_WHILE_PRIMARY_CHANGE_IS_RUNNING",
    "ER_SERVER_OFFLINE_MODE",
    "ER_ACCESS_DENIED_ERROR",
    "ER_CON_COUNT_ERROR",
    "ER_USER_LIMIT_REACHED",
  ];
  return codes.includes((error as { code?: string }).code ?? "");
}
