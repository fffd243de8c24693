/** The agent beside mysqld: asks the servers, and does what `membership.ts` decides. */

import { createHash, randomUUID } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Connection } from "mysql2/promise";
import { absent } from "../shared/agent/files";
import { readLogin } from "../shared/agent/logins";
import type { Ensemble, Pod } from "../shared/agent/main";
import type { Sidecar, Status } from "../shared/agent/sidecar";
import { actionOf } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Endpoint, internalCredentials, open, openMember, readServer, rows, withConnection } from "./client";
import { quoted } from "./configuration";
import { address, paths, ports } from "./layout";
import {
  type Action,
  type Answer,
  decide,
  decideRelease,
  describe,
  hasMajority,
  inGroup,
  isPrimary,
  isWhole,
  mayServe,
  type Observed,
  onlineHosts,
  ownMember,
  type Server,
  stateOf,
} from "./membership";
import { type MysqlGauges, mysqlMetrics } from "./metrics";

/** For one question. The loop ignores an observation that is older than 5 s. */
const answerMilliseconds = 2_000;
/** To start group replication, a server must find all members and be accepted by them. */
const startMilliseconds = 120_000;
/** After this time the server ends open transactions: the server that runs them is about to stop. */
const handOverTransactionSeconds = 2;
const handOverMilliseconds = 15_000;
const reloadRetryMilliseconds = 60_000;
/** One hand-over, and what the new primary has yet to execute. */
const releaseSeconds = 120;
/** "Restart server failed (mysqld is not managed by supervisor process)" */
const restartFailed = 3707;

export function createSidecar(
  settings: EnsembleSettings,
  pod: Pod,
  marker: () => MarkerAnswer,
): Sidecar<Observed, Action> {
  const ensemble = { ...settings, namespace: pod.namespace };
  let local: Connection | undefined;
  let loaded: string | undefined;
  let reloadAfter = 0;
  let failedStarts = 0;
  let startAfter = 0;
  let rivals: Answer[] = [];
  let asking: Promise<void> | undefined;

  /** One connection for all observations, made again when it has ended. */
  const localRows = async <T>(sql: string): Promise<T[]> => {
    local ??= await openLocal(settings);
    try {
      return await rows<T>(local, sql, answerMilliseconds);
    } catch (error) {
      local.destroy();
      local = undefined;
      throw error;
    }
  };

  /** As many as this agent was told or, when they are more, as the marker says: their number may change. */
  const askOthers = (): Promise<Answer[]> => {
    const answer = marker();
    const number = Math.max(settings.members, "members" in answer ? answer.members : 0);
    const others = memberNames(settings.name, number).filter((member) => member !== pod.name);
    return askMembers(others, ensemble);
  };

  /** The members outside the group of a primary. Asked in the background: none may delay the observation. */
  const outside = (server: Server): Answer[] => {
    if (!isPrimary(server) || server.members.length >= settings.members) {
      rivals = [];
      return rivals;
    }
    asking ??= askOthers()
      .then((answers) => {
        rivals = answers;
      })
      .finally(() => {
        asking = undefined;
      });
    const hosts = server.members.map(({ host }) => host);
    return rivals.filter(({ member }) => !hosts.includes(memberHost(settings.name, pod.namespace, member)));
  };

  const observe = async (): Promise<Observed> => {
    const server = await readServer(localRows);
    const [state] = await localRows<{ armed: number } & Load>(
      `SELECT @@GLOBAL.group_replication_bootstrap_group AS armed, ${loadColumns}`,
    );
    const others = inGroup(server) ? outside(server) : await askOthers();
    return {
      self: pod.name,
      namespace: pod.namespace,
      members: settings.members,
      local: server,
      bootstrapArmed: Number(state?.armed ?? 0) === 1,
      certificate: { file: performance.now() < reloadAfter ? loaded : await certificate(settings), loaded },
      requests: { recover: await exists(paths.recover), discard: await exists(paths.discard) },
      others,
      marker: marker(),
      gauges: gauges(server, state),
    };
  };

  return {
    service: "mysql",
    metrics: mysqlMetrics,
    files: { certificate: `${paths.serverTls}/tls.crt`, volume: paths.volume },
    observe,
    status: (observed): Status => ({
      ready: isWhole(observed.local),
      primary: mayServe(observed),
      detail: describe(observed),
      refused: decide(observed).kind === "refuse",
      metrics: observed.gauges,
    }),
    decide: (observed) => {
      const action = actionOf(decide(observed));
      return action !== undefined && isStart(action) && performance.now() < startAfter ? undefined : action;
    },
    async act(action) {
      log(`${action.kind}: ${action.reason}`);
      if (action.kind === "forget") {
        await Promise.all([rm(paths.recover, { force: true }), rm(paths.discard, { force: true })]);
        return;
      }
      if (action.kind === "bootstrap") await stillSo(observe, action);
      const connection = await openLocal(settings);
      try {
        await carryOut(connection, action, ensemble);
        if (action.kind === "reload") loaded = action.certificate;
        if (isStart(action)) failedStarts = 0;
      } catch (error) {
        if (isStart(action)) {
          startAfter = performance.now() + backOffSeconds(failedStarts) * 1000;
          failedStarts += 1;
        }
        // Half-written files are complete a moment later. What stays broken is tried again after this time.
        if (action.kind === "reload") reloadAfter = performance.now() + reloadRetryMilliseconds;
        throw error;
      } finally {
        connection.destroy();
      }
    },
    handOver: () => handOver(settings),
  };
}

/** NULL where the server is in no group, or applies nothing. */
type Load = Record<"used" | "connections" | "queue" | "behind", string | number | null>;

/** From memory, in the statement that is asked anyway: less than 0.1 ms more (9.7.4). */
const loadColumns = [
  "(SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Threads_connected') AS used",
  "@@GLOBAL.max_connections AS connections",
  "(SELECT COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE FROM performance_schema.replication_group_member_stats " +
    "WHERE MEMBER_ID = @@server_uuid) AS queue",
  // Workers take transactions in their order, so none that waits is older.
  "(SELECT TIMESTAMPDIFF(MICROSECOND, MIN(APPLYING_TRANSACTION_ORIGINAL_COMMIT_TIMESTAMP), NOW(6)) / 1e6 " +
    "FROM performance_schema.replication_applier_status_by_worker " +
    "WHERE CHANNEL_NAME = 'group_replication_applier' AND APPLYING_TRANSACTION <> '') AS behind",
].join(", ");

export function gauges(server: Server, load: Load | undefined): MysqlGauges {
  return {
    members: server.members.length,
    members_online: onlineHosts(server).length,
    majority: Number(inGroup(server) && hasMajority(server)),
    ...(load === undefined
      ? {}
      : {
          connections: Number(load.used),
          max_connections: Number(load.connections),
          applier_queue: Number(load.queue),
          // The clock of the member that wrote it may be ahead.
          applier_lag_seconds: Math.max(0, Number(load.behind)),
        }),
  };
}

function isStart({ kind }: Action): boolean {
  return kind === "join" || kind === "bootstrap" || kind === "clone";
}

/** Each attempt costs the group a change of its view, or one of its members a copy. */
export function backOffSeconds(failures: number): number {
  return Math.min(2 ** failures, 30);
}

/** Founding a group cannot be undone, so the agent looks once more before it does so. */
async function stillSo(observe: () => Promise<Observed>, action: Action): Promise<void> {
  const again = decide(await observe());
  if (again.kind !== action.kind) {
    throw new Error(`not done any more: ${"reason" in again ? again.reason : "the member is in a group"}`);
  }
}

async function carryOut(
  connection: Connection,
  action: Exclude<Action, { kind: "forget" }>,
  ensemble: Ensemble,
): Promise<void> {
  const run = async (sql: string): Promise<void> => void (await rows(connection, sql, startMilliseconds));
  switch (action.kind) {
    case "disarm":
      return run("SET GLOBAL group_replication_bootstrap_group = OFF");
    case "close":
      return run("SET GLOBAL super_read_only = ON");
    case "open":
      return run("SET GLOBAL offline_mode = OFF");
    case "reload":
      // The interface inside the pod has no certificate of its own: it shows this one too.
      return run("ALTER INSTANCE RELOAD TLS");
    case "join":
    case "bootstrap": {
      // A request of a person holds for one start.
      await rm(paths.recover, { force: true });
      await run("STOP GROUP_REPLICATION");
      if (action.kind === "join") await run(nameStatement(action.group));
      else if (action.name === "new") await run(nameStatement(randomUUID()));
      const { username, password } = await internalCredentials();
      const start = `START GROUP_REPLICATION USER = '${username}', PASSWORD = ${quoted(password)}`;
      if (action.kind === "join") {
        await run("SET GLOBAL group_replication_bootstrap_group = OFF");
        return run(start);
      }
      await run("SET GLOBAL group_replication_bootstrap_group = ON");
      try {
        return await run(start);
      } finally {
        // When this agent dies before this statement, the next observation finds the flag, and disarms the server.
        await run("SET GLOBAL group_replication_bootstrap_group = OFF");
      }
    }
    case "clone":
      return clone(connection, action.donor, ensemble);
  }
}

/** Persisted with the data, where it overrides the configuration. */
function nameStatement(group: string): string {
  return `SET PERSIST group_replication_group_name = ${quoted(group)}`;
}

/** The server ends when the copy is complete, and the kubelet starts it again with the data of the donor. */
async function clone(connection: Connection, donor: string, ensemble: Ensemble): Promise<void> {
  const readOnly = (value: "ON" | "OFF") =>
    rows(connection, `SET GLOBAL super_read_only = ${value}`, answerMilliseconds);
  await rm(paths.discard, { force: true });
  await rows(connection, "STOP GROUP_REPLICATION", startMilliseconds);
  await readOnly("OFF");
  try {
    await cloneFrom(connection, donor, ensemble, await internalCredentials());
  } catch (error) {
    // When the copy is complete the server tries to restart itself, which needs a supervisor that it does not have. It
    // says so, or the connection breaks first, and it ends.
    const { code, errno } = error as { code?: string; errno?: number };
    if (errno !== restartFailed && code !== "PROTOCOL_CONNECTION_LOST" && code !== "ECONNRESET") {
      await readOnly("ON").catch(() => undefined);
      throw error;
    }
  }
  log(`filled from ${donor}; the server starts again`);
}

/** The data of a member, in place of that of the server, or in a new folder. */
export async function cloneFrom(
  connection: Connection,
  donor: string,
  { name, tls, namespace }: Ensemble,
  { username, password }: Credentials,
  folder?: string,
): Promise<void> {
  const host = memberHost(name, namespace, donor);
  const set = (assignment: string) => rows(connection, `SET GLOBAL ${assignment}`, answerMilliseconds);
  await set(`clone_valid_donor_list = '${address(host)}'`);
  if (tls !== "off") await set(`clone_ssl_ca = '${join(paths.trust, "ca.crt")}'`);
  await rows(
    connection,
    `CLONE INSTANCE FROM '${username}'@'${host}':${ports.client} IDENTIFIED BY ${quoted(password)} ` +
      `${folder === undefined ? "" : `DATA DIRECTORY = '${folder}' `}REQUIRE ${tls === "off" ? "NO " : ""}SSL`,
  );
}

/**
 * Hands over the role of the primary. A secondary has nothing to hand over: it leaves the group when its server stops.
 */
async function handOver(settings: EnsembleSettings): Promise<string> {
  return withConnection(openLocal(settings), async (connection) => {
    const server = await readServer((sql) => rows(connection, sql, answerMilliseconds));
    if (stateOf(server) !== "ONLINE" || ownMember(server)?.role !== "PRIMARY") return "this member is not the primary";
    const [best] = await rows<{ uuid: string; host: string }>(
      connection,
      "SELECT MEMBER_ID AS uuid, MEMBER_HOST AS host FROM performance_schema.replication_group_members " +
        "JOIN performance_schema.replication_group_member_stats USING (MEMBER_ID) " +
        "WHERE MEMBER_STATE = 'ONLINE' AND MEMBER_ROLE = 'SECONDARY' " +
        "ORDER BY COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE, MEMBER_HOST LIMIT 1",
      answerMilliseconds,
    );
    if (best === undefined || !hasMajority(server)) return "nobody can take over";
    await elect(connection, best.uuid);
    return `${best.host} is the primary`;
  });
}

/** Returns when the new primary has applied what the former one had executed. */
async function elect(connection: Connection, uuid: string): Promise<void> {
  const sql = `SELECT group_replication_set_as_primary('${uuid}', ${handOverTransactionSeconds})`;
  await rows(connection, sql, handOverMilliseconds);
}

/**
 * The leaving members stop together, and could hand the role of the primary over to each other. Those that stay are a
 * majority of 5 even when none of the leaving servers leaves the group properly.
 */
export function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const ensemble = { ...settings, namespace };
  const members = [...memberNames(settings.name, settings.members), ...leaving];
  return waitFor(
    `a primary among the ${settings.members} members that stay`,
    async () => {
      const before = await askMembers(members, ensemble);
      const step = decideRelease(before, await askMembers(members, ensemble), leaving);
      if (step.kind === "done") return { done: undefined };
      if (step.kind === "wait") return { waiting: step.reason };
      log(`${step.primary} leaves: ${step.successor} becomes the primary`);
      await withConnection(openMember(ensemble, step.primary), (connection) => elect(connection, step.uuid));
      return { waiting: `${step.successor} to lead` };
    },
    { deadlineSeconds: releaseSeconds, onError: "wait" },
  );
}

/** Default: as the internal user. */
export async function askMembers(members: string[], ensemble: Ensemble, credentials?: Credentials): Promise<Answer[]> {
  const ask = (member: string): Promise<Answer> =>
    withConnection(openMember(ensemble, member, credentials), async (connection): Promise<Answer> => {
      const askOne = <T>(sql: string) => rows<T>(connection, sql, answerMilliseconds);
      // Names are cached: after a full stop the address may already be that of another member, which would count twice.
      const [answered] = await askOne<{ host: string }>("SELECT @@report_host AS host");
      return answered?.host === memberHost(ensemble.name, ensemble.namespace, member)
        ? { member, server: await readServer(askOne) }
        : { member, reason: `${answered?.host ?? "somebody else"} answered instead` };
    });
  return Promise.all(
    members.map((member) => ask(member).catch((error: unknown) => ({ member, reason: messageOf(error) }))),
  );
}

/** Through the interface that has room when all connections are taken. */
async function openLocal({ tls: mode }: EnsembleSettings): Promise<Connection> {
  const { tls, ...login } = await readLogin(mode, paths.trust, "127.0.0.1", await internalCredentials());
  const endpoint: Endpoint = { ...login, port: ports.admin };
  return open(tls === undefined ? endpoint : { ...endpoint, tls: { ...tls, servername: "localhost" } });
}

async function certificate(settings: EnsembleSettings): Promise<string | undefined> {
  if (settings.tls === "off") return undefined;
  const content = await readFile(join(paths.serverTls, "tls.crt"));
  return createHash("sha256").update(content).digest("hex");
}

export async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(absent)) !== undefined;
}
