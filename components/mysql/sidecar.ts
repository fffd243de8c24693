/** The agent beside mysqld: asks the servers, and does what `membership.ts` decides. */
import { createHash, randomUUID } from "node:crypto";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Connection } from "mysql2/promise";
import { absent } from "../shared/agent/files";
import { readTrust } from "../shared/agent/logins";
import type { Pod } from "../shared/agent/main";
import type { Sidecar, Status } from "../shared/agent/sidecar";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { type Endpoint, open, readServer, rows } from "./client";
import { quoted } from "./configuration";
import { address, internalUsername, paths, ports } from "./layout";
import {
  type Action,
  type Answer,
  decide,
  decideRelease,
  describe,
  hasMajority,
  inGroup,
  isPrimary,
  isReady,
  mayServe,
  type Observed,
  ownMember,
  type Server,
  stateOf,
} from "./membership";

/** Of one question. The loop takes an observation that is older than 5 s for none. */
const answerMilliseconds = 2_000;
/** Of what a person would wait for: to start includes to find and to be let in by all members. */
const startMilliseconds = 120_000;
/** Transactions that are still open then are ended: the server that runs them is about to stop. */
const handOverTransactionSeconds = 2;
const handOverMilliseconds = 15_000;
const reloadRetryMilliseconds = 60_000;
/** What changes in days, and costs the server more than a glance. */
const slowMilliseconds = 60_000;
/** "Restart server failed (mysqld is not managed by supervisor process)" */
const restartFailed = 3707;

export function createSidecar(
  settings: EnsembleSettings,
  pod: Pod,
  marker: () => MarkerAnswer,
): Sidecar<Observed, Action> {
  let local: Connection | undefined;
  let loaded: string | undefined;
  let reloadAfter = 0;
  let failedStarts = 0;
  let startAfter = 0;
  let binlog: { bytes: number; until: number } | undefined;
  let rivals: Answer[] = [];
  let asking: Promise<void> | undefined;

  /** One connection for all observations, made again when it has ended. */
  const localRows = async <T>(sql: string): Promise<T[]> => {
    local ??= await open(await localEndpoint(settings), answerMilliseconds);
    try {
      return await rows<T>(local, sql, answerMilliseconds);
    } catch (error) {
      local.destroy();
      local = undefined;
      throw error;
    }
  };

  /** Of as many as this agent was told, or as the marker says: their number may change. */
  const askOthers = (): Promise<Answer[]> => {
    const answer = marker();
    const number = Math.max(settings.members, "members" in answer ? answer.members : 0);
    const others = memberNames(settings.name, number).filter((member) => member !== pod.name);
    return askMembers(others, settings, pod.namespace);
  };

  const binlogBytes = async (): Promise<number> => {
    if (binlog !== undefined && performance.now() < binlog.until) return binlog.bytes;
    const files = await localRows<{ File_size: number | string }>("SHOW BINARY LOGS");
    const bytes = files.reduce((sum, file) => sum + Number(file.File_size), 0);
    binlog = { bytes, until: performance.now() + slowMilliseconds };
    return bytes;
  };

  /** Beside the observations: a member that is away must not make a primary late. */
  const outside = (server: Server): Answer[] => {
    const lacks = ({ member }: { member: string }): boolean =>
      server.members.every(({ host }) => host !== memberHost(settings.name, pod.namespace, member));
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
    return rivals.filter(lacks);
  };

  const observe = async (): Promise<Observed> => {
    const server = await readServer(localRows);
    const [state] = await localRows<{ armed: number; used: string; connections: string; queue: string | null }>(
      "SELECT @@GLOBAL.group_replication_bootstrap_group AS armed, " +
        "(SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Threads_connected') AS used, " +
        "@@GLOBAL.max_connections AS connections, (SELECT COUNT_TRANSACTIONS_REMOTE_IN_APPLIER_QUEUE FROM " +
        "performance_schema.replication_group_member_stats WHERE MEMBER_ID = @@server_uuid) AS queue",
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
      gauges: {
        members: server.members.length,
        members_online: server.members.filter((each) => each.state === "ONLINE").length,
        majority: Number(inGroup(server) && hasMajority(server)),
        connections: Number(state?.used ?? 0),
        max_connections: Number(state?.connections ?? 0),
        applier_queue: Number(state?.queue ?? 0),
        binlog_bytes: await binlogBytes(),
      },
    };
  };

  return {
    service: "mysql",
    observe,
    status: (observed): Status => ({
      ready: isReady(observed.local),
      primary: mayServe(observed),
      detail: describe(observed),
      metrics: observed.gauges,
    }),
    decide: (observed) => {
      const action = actionOf(observed);
      return action !== undefined && isStart(action) && performance.now() < startAfter ? undefined : action;
    },
    async act(action) {
      log(`${action.kind}: ${action.reason}`);
      if (action.kind === "forget") {
        await Promise.all([rm(paths.recover, { force: true }), rm(paths.discard, { force: true })]);
        return;
      }
      if (action.kind === "bootstrap") await stillSo(observe, action);
      const connection = await open(await localEndpoint(settings), answerMilliseconds);
      try {
        await carryOut(connection, action, settings, pod);
        if (action.kind === "reload") loaded = action.certificate;
        if (isStart(action)) failedStarts = 0;
      } catch (error) {
        if (isStart(action)) {
          startAfter = performance.now() + backOffSeconds(failedStarts) * 1000;
          failedStarts += 1;
        }
        // Half-written files are whole a moment later; what stays broken is said once in a while.
        if (action.kind === "reload") reloadAfter = performance.now() + reloadRetryMilliseconds;
        throw error;
      } finally {
        connection.destroy();
      }
    },
    handOver: () => handOver(settings),
  };
}

function isStart({ kind }: Action): boolean {
  return kind === "join" || kind === "bootstrap" || kind === "clone";
}

/** Each attempt costs the members of the group a change of their view, or a copy: they must not be kept busy by it. */
export function backOffSeconds(failures: number): number {
  return Math.min(2 ** failures, 30);
}

function actionOf(observed: Observed): Action | undefined {
  const decision = decide(observed);
  return decision.kind === "none" || decision.kind === "wait" || decision.kind === "refuse" ? undefined : decision;
}

/** To found a group is the one thing that cannot be taken back: what was seen must still be so. */
async function stillSo(observe: () => Promise<Observed>, action: Action): Promise<void> {
  const again = decide(await observe());
  if (again.kind !== action.kind) {
    throw new Error(`not done any more: ${"reason" in again ? again.reason : "the member is in a group"}`);
  }
}

async function carryOut(
  connection: Connection,
  action: Exclude<Action, { kind: "forget" }>,
  settings: EnsembleSettings,
  pod: Pod,
): Promise<void> {
  const run = async (sql: string, milliseconds = startMilliseconds): Promise<void> =>
    void (await rows(connection, sql, milliseconds));
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
      // What a person asked for is done once.
      await rm(paths.recover, { force: true });
      await run("STOP GROUP_REPLICATION");
      if (action.kind === "join") await run(nameStatement(action.group));
      else if (action.name === "new") await run(nameStatement(randomUUID()));
      const start = `START GROUP_REPLICATION USER = '${internalUsername}', PASSWORD = ${quoted(await password())}`;
      if (action.kind === "join") {
        await run("SET GLOBAL group_replication_bootstrap_group = OFF");
        return run(start);
      }
      await run("SET GLOBAL group_replication_bootstrap_group = ON");
      try {
        return await run(start);
      } finally {
        // Also seen to by the next observation, when this agent does not come so far.
        await run("SET GLOBAL group_replication_bootstrap_group = OFF");
      }
    }
    case "clone":
      return clone(connection, action.donor, settings, pod.namespace);
  }
}

/** With its data, where it counts more than what the configuration says. */
function nameStatement(group: string): string {
  return `SET PERSIST group_replication_group_name = ${quoted(group)}`;
}

/** Ends the server when it is done: the kubelet starts it again with the data of the donor. */
async function clone(connection: Connection, donor: string, settings: EnsembleSettings, namespace: string) {
  const host = memberHost(settings.name, namespace, donor);
  await rm(paths.discard, { force: true });
  await rows(connection, "STOP GROUP_REPLICATION", startMilliseconds);
  await rows(connection, `SET GLOBAL clone_valid_donor_list = '${address(host)}'`, answerMilliseconds);
  if (settings.tls !== "off") {
    await rows(connection, `SET GLOBAL clone_ssl_ca = '${join(paths.trust, "ca.crt")}'`, answerMilliseconds);
  }
  await rows(connection, "SET GLOBAL super_read_only = OFF", answerMilliseconds);
  try {
    await rows(
      connection,
      `CLONE INSTANCE FROM '${internalUsername}'@'${host}':${ports.client} IDENTIFIED BY ${quoted(await password())} ` +
        `REQUIRE ${settings.tls === "off" ? "NO " : ""}SSL`,
    );
  } catch (error) {
    // The copy is complete. The server then ends by itself, and says before, or does not come to say, that nobody is there
    // to start it again: that is the kubelet.
    const { code, errno } = error as { code?: string; errno?: number };
    if (errno !== restartFailed && code !== "PROTOCOL_CONNECTION_LOST" && code !== "ECONNRESET") {
      await rows(connection, "SET GLOBAL super_read_only = ON", answerMilliseconds).catch(() => undefined);
      throw error;
    }
  }
  log(`filled from ${donor}; the server starts again`);
}

/** Only gives away what it has: a secondary just leaves the group when it stops. */
async function handOver(settings: EnsembleSettings): Promise<string> {
  const connection = await open(await localEndpoint(settings), answerMilliseconds);
  try {
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
  } finally {
    connection.destroy();
  }
}

/** Ends when the new primary has applied what the former one had executed. */
async function elect(connection: Connection, uuid: string): Promise<void> {
  await rows(
    connection,
    `SELECT group_replication_set_as_primary('${uuid}', ${handOverTransactionSeconds})`,
    handOverMilliseconds,
  );
}

/** One step of what `decideRelease` wants. Returns what it waits for; undefined: it is done. */
export async function release(
  leaving: string[],
  settings: EnsembleSettings,
  namespace: string,
): Promise<string | undefined> {
  const members = [...memberNames(settings.name, settings.members), ...leaving];
  const before = await askMembers(members, settings, namespace);
  const step = decideRelease(before, await askMembers(members, settings, namespace), leaving);
  if (step.kind !== "elect") return step.kind === "wait" ? step.reason : undefined;
  log(`${step.primary} leaves: ${step.successor} becomes the primary`);
  const connection = await open(await memberEndpoint(settings, namespace, step.primary));
  try {
    await elect(connection, step.uuid);
  } finally {
    connection.destroy();
  }
  return `${step.successor} to lead`;
}

async function askMembers(members: string[], settings: EnsembleSettings, namespace: string): Promise<Answer[]> {
  return Promise.all(
    members.map(async (member): Promise<Answer> => {
      let connection: Connection | undefined;
      try {
        const asked = await open(await memberEndpoint(settings, namespace, member), answerMilliseconds);
        connection = asked;
        // Names are cached: after a full stop the address may already be that of another member, which would count twice.
        const host = memberHost(settings.name, namespace, member);
        const [answered] = await rows<{ host: string }>(asked, "SELECT @@report_host AS host", answerMilliseconds);
        if (answered?.host !== host) return { member, reason: `${answered?.host ?? "somebody else"} answered instead` };
        return { member, server: await readServer((sql) => rows(asked, sql, answerMilliseconds)) };
      } catch (error) {
        return { member, reason: (error as Error).message };
      } finally {
        connection?.destroy();
      }
    }),
  );
}

/** Through the interface that has room when all connections are taken. */
async function localEndpoint(settings: EnsembleSettings): Promise<Endpoint> {
  return { ...(await credentials(settings, "localhost")), host: "127.0.0.1", port: ports.admin };
}

async function memberEndpoint(settings: EnsembleSettings, namespace: string, member: string): Promise<Endpoint> {
  const host = memberHost(settings.name, namespace, member);
  return { ...(await credentials(settings, host)), host, port: ports.client };
}

/** Files are read for each connection: certificates and passwords may change while an agent runs. */
async function credentials(
  settings: EnsembleSettings,
  servername: string,
): Promise<Pick<Endpoint, "tls" | "credentials">> {
  const ca = await readTrust(settings.tls, paths.trust);
  return {
    credentials: { username: internalUsername, password: await password() },
    ...(ca === undefined ? {} : { tls: { ca, servername } }),
  };
}

function password(): Promise<string> {
  return readFile(join(paths.internal, "password"), "utf8");
}

async function certificate(settings: EnsembleSettings): Promise<string | undefined> {
  if (settings.tls === "off") return undefined;
  const content = await readFile(join(paths.serverTls, "tls.crt"));
  return createHash("sha256").update(content).digest("hex");
}

async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(absent)) !== undefined;
}
