/** The agent beside one server and one Sentinel: looks at all of them, does what `membership.ts` decides for its own. */

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Redis } from "ioredis";
import { absent } from "../shared/agent/files";
import type { Pod } from "../shared/agent/main";
import type { Sidecar } from "../shared/agent/sidecar";
import { actionOf } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { majority, memberHost, memberNames, mostMembers } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { type Attempt, waitFor } from "../shared/core/wait";
import { createAccounts } from "./accounts";
import { isLoading, toInfo, toMark, toRecord, toServer, unknownMaster } from "./client";
import { watchSettings } from "./configuration";
import { createConnections } from "./connections";
import { shownPasswords } from "./files";
import {
  downAfterSeconds,
  electablePriority,
  markKey,
  memberOf,
  membersGauge,
  neededReplicas,
  newsSeconds,
  parking,
  paths,
  ports,
} from "./layout";
import {
  type Action,
  agreed,
  countMembers,
  decide,
  describe,
  haveLeft,
  type Identity,
  isMaster,
  lag,
  mayForget,
  namedMaster,
  type Observed,
  type Sentinel,
  type Server,
  up,
} from "./membership";
import { type RedisGauges, redisMetrics } from "./metrics";
import { createRenewal, type Process } from "./renewal";
import { createSurvey } from "./survey";

const handOverSeconds = 20;
/** What the replicas may be behind is little: they have it within milliseconds, or not soon. */
const catchUpSeconds = 3;

interface Look extends Observed {
  metrics: RedisGauges;
  chore: Chore | undefined;
}

/** Done while the ensemble needs nothing else: who is master waits neither for passwords nor for certificates. */
type Chore =
  /** The passwords of the files are not those that server and Sentinel have. */
  | { kind: "accounts" }
  /** The server here is told how many replicas it needs for a write: their number follows the number of members. */
  | { kind: "minReplicas" }
  | { kind: "rewrite"; reason: string }
  | { kind: "forget"; reason: string }
  /** It shows a certificate that was renewed, and reads the new one. */
  | { kind: "renew"; which: Process; reason: string };

export function createSidecar(
  settings: EnsembleSettings,
  pod: Pod,
  marker: () => MarkerAnswer,
): Sidecar<Look, Action | Chore> {
  const everybody = memberNames(settings.name, mostMembers);
  const ordinal = everybody.indexOf(pod.name);
  let self: Identity = { ...pod, members: everybody.slice(0, settings.members) };
  const hostOf = (member: string): string => memberHost(settings.name, pod.namespace, member);
  const memberAt = (host: string, port: number): string =>
    host === parking.host && port === parking.port ? "nobody" : memberOf(settings.name, pod.namespace, host);
  const connections = createConnections(settings, pod.name, hostOf);
  const server = (member = pod.name) => connections.get(member, ports.client);
  const sentinel = (member = pod.name) => connections.get(member, ports.sentinel);
  /** To the Sentinel here, of the master that it watches. */
  const tell = async (command: string, ...words: (string | number)[]): Promise<unknown> =>
    (await sentinel()).call("SENTINEL", command, settings.name, ...words);
  const accounts = createAccounts(settings.name, marker);
  const renewal = settings.tls === "off" ? undefined : createRenewal(ordinal);
  /** The mark that was written last, while this server is master. */
  let marked: { clusterId: string; position: number } | undefined;
  const markedId = (): string | undefined => {
    const answer = marker();
    if ("reason" in answer) throw new Error(answer.reason);
    return answer.formed ? answer.clusterId : undefined;
  };
  const recorded = (): number | undefined => {
    const answer = marker();
    return "members" in answer ? answer.members : undefined;
  };
  let ownInfo: Record<string, string> = {};
  /** Of the server here; another one after each start. */
  let run: string | undefined;
  let handingOver: Promise<string> | undefined;
  /** Which run of the server here was told which number. */
  let minReplicasSet = "";
  /** Its append only file may have a hole. `asked`: it is being written anew, and again not before `after`. */
  let hole: { asked: boolean; after: number } | undefined;
  const minReplicas = (): string => `${run} ${neededReplicas(self.members.length)}`;

  const observeServer = async (member: string): Promise<Server> => {
    let info: Record<string, string> = {};
    try {
      const client = await server(member);
      info = toInfo(await client.info("server", "replication", "keyspace", "persistence", "memory", "clients"));
      return info["loading"] === "1" ? { state: "loading" } : toServer(info, await client.get(markKey), memberAt);
    } catch (error) {
      if (isLoading(error)) return { state: "loading" };
      connections.drop(member, ports.client);
      return { state: "away", reason: messageOf(error) };
    } finally {
      if (member === pod.name) ownInfo = info;
    }
  };
  const observeSentinel = async (member: string): Promise<Sentinel> => {
    try {
      const client = await sentinel(member);
      const [address, details] = await Promise.all([
        // Of these two, the first one tells of a promotion as soon as it has happened.
        client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings.name) as Promise<[string, string] | null>,
        client.call("SENTINEL", "MASTER", settings.name).catch(unknownMaster),
      ]);
      if (address === null || details === undefined)
        return { state: "up", master: undefined, epoch: 0, failover: false };
      const known = toRecord(details);
      return {
        state: "up",
        master: memberAt(address[0], Number(address[1])),
        epoch: Number(known["config-epoch"]),
        failover: (known["flags"] ?? "").split(",").includes("failover_in_progress"),
        // All settings are made together.
        outdated:
          known["down-after-milliseconds"] !== String(downAfterSeconds * 1000) ||
          known["quorum"] !== String(majority(self.members.length)),
        others: Number(known["num-other-sentinels"]),
        replicas: Number(known["num-slaves"]),
      };
    } catch (error) {
      connections.drop(member, ports.sentinel);
      return { state: "away", reason: messageOf(error) };
    }
  };
  const surveyServer = createSurvey(observeServer);
  const surveySentinel = createSurvey(observeSentinel);
  /** All members that count; the Sentinel here tells how many these are. */
  const observeMembers = async (ask: { server: typeof observeServer; sentinel: typeof observeSentinel }) => {
    for (;;) {
      const { members } = self;
      const [servers, sentinels] = await Promise.all([askEach(members, ask.server), askEach(members, ask.sentinel)]);
      const view = up(sentinels[pod.name]);
      // A Sentinel that is away has not forgotten what it knew.
      if (view !== undefined) {
        const settled = Math.min(settings.members, recorded() ?? settings.members);
        const number = countMembers(settled, [ordinal, view.others ?? 0, everybody.indexOf(view.master ?? "")]);
        self = { ...self, members: everybody.slice(0, number), leaving: ordinal >= (recorded() ?? mostMembers) };
      }
      if (self.members.length === members.length) return { servers, sentinels };
    }
  };
  const observeMarker = (servers: Record<string, Server>): Observed["marker"] => {
    const empty = Object.values(servers).every((each) => up(each)?.keys === 0);
    const answer = marker();
    if (!empty || "reason" in answer) return "unknown";
    return answer.formed ? "present" : "absent";
  };

  const observe = async (ask: Parameters<typeof observeMembers>[0]): Promise<Observed> => {
    const [{ servers, sentinels }, approval] = await Promise.all([
      observeMembers(ask),
      readFile(paths.approval, "utf8").catch(absent),
    ]);
    return { servers, sentinels, marker: observeMarker(servers), approval: approval?.trim() };
  };
  /** A member that was slow to answer may have newer data, so all are asked once more, with patience. */
  const stillToPromote = async (): Promise<void> => {
    const { kind } = decide(await observe({ server: observeServer, sentinel: observeSentinel }), self);
    if (kind !== "promote") throw new Error(`not promoted: with all answers the decision is "${kind}"`);
  };

  const setPriority = async (value: number) => (await server()).config("SET", "replica-priority", value);
  const watch = async (): Promise<unknown> => {
    const { sentinel: password } = await shownPasswords();
    return tell("SET", ...watchSettings(password).flat(), "quorum", majority(self.members.length));
  };
  const mark = async (): Promise<void> => {
    const client = await server();
    if (marked === undefined) {
      const { clusterId: known, position } = toMark(await client.get(markKey));
      // A new master is always ahead of the former one, whatever that has still written: no two have a thousand million seconds.
      marked = {
        // An ensemble whose mark was removed, as by FLUSHALL, is no other one.
        clusterId: known ?? markedId() ?? randomUUID(),
        position: (Math.floor(position / generation) + 1) * generation,
      };
    }
    const next = { ...marked, position: marked.position + 1 };
    try {
      await client.set(markKey, `${next.clusterId} ${next.position}`);
      marked = next;
    } catch (error) {
      // It takes no writes now: then nobody's data goes further.
      if (!/^(NOREPLICAS|OOM|MISCONF|READONLY)/.test((error as Error).message)) throw error;
    }
  };

  const renew = async (which: Process): Promise<void> => {
    const port = which === "server" ? ports.client : ports.sentinel;
    const findAll = () => Promise.all(self.members.map(connections.find));
    await renewal?.renew(which, await connections.get(pod.name, port), findAll);
    // The next connection shows what came of it.
    connections.drop(pod.name, port);
  };

  const isForgettable = async (observed: Observed): Promise<boolean> => {
    const number = recorded();
    if (number === undefined || ordinal >= number) return false;
    const own = up(observed.sentinels[pod.name]);
    const known = Math.max(own?.others ?? 0, own?.replicas ?? 0);
    if (known < number || !mayForget(observed, pod.name, everybody.slice(0, number))) return false;
    const tables = await Promise.all([tell("SENTINELS"), tell("REPLICAS")]);
    const entries = (tables as unknown[][]).flat().map((entry) => {
      const { ip = "", port, flags = "" } = toRecord(entry);
      return { member: memberAt(ip, Number(port)), flags };
    });
    return haveLeft(entries, everybody.slice(number));
  };

  const observeChore = async (observed: Observed): Promise<Chore | undefined> => {
    const { servers, sentinels } = observed;
    if (up(servers[pod.name]) === undefined || up(sentinels[pod.name]) === undefined) return undefined;
    if (await accounts.changed(run)) return { kind: "accounts" };
    if (minReplicasSet !== minReplicas()) return { kind: "minReplicas" };
    // Redis cuts off what it could write only in part, and goes on behind it, where it leaves a hole that it refuses to read at the next
    // start: it does not open the files of a rewrite for appending (src/aof.c, openNewIncrAofForAppend, 8.0).
    if (hole?.asked === false && performance.now() >= hole.after && isWriting(ownInfo) && !isRewriting(ownInfo)) {
      return { kind: "rewrite", reason: "there was no space for its append only file, which may have a hole" };
    }
    if (await isForgettable(observed)) return { kind: "forget", reason: "its sentinel knows members that have left" };
    // Both have just answered: their connections are open.
    const both = { server: await server(), sentinel: await sentinel() };
    const which = await renewal?.wanted(both, sentinels);
    if (which === undefined) return undefined;
    const reading = which === "server" ? "the server reads them" : "the sentinel starts anew";
    return { kind: "renew", which, reason: `the certificates were renewed: ${reading}` };
  };

  const carryOut = async (action: Action | Chore): Promise<unknown> => {
    switch (action.kind) {
      case "follow":
        return (await server()).replicaof(hostOf(action.master), ports.client);
      case "promote":
        await stillToPromote();
        return (await server()).replicaof("NO", "ONE");
      case "priority":
        return setPriority(action.value);
      case "monitor":
        await tell("MONITOR", hostOf(action.master), ports.client, majority(self.members.length));
        return watch();
      case "watch":
        return watch();
      case "elect":
        return takeOver();
      case "mark":
        return mark();
      case "accounts":
        return accounts.apply(run, await server(), await sentinel());
      case "minReplicas": {
        const wanted = minReplicas();
        await (await server()).config("SET", "min-replicas-to-write", neededReplicas(self.members.length));
        minReplicasSet = wanted;
        return undefined;
      }
      case "rewrite":
        await (await server()).bgrewriteaof();
        hole = { asked: true, after: performance.now() + rewriteMilliseconds };
        return undefined;
      case "forget":
        return tell("RESET");
      case "renew":
        return renew(action.which);
    }
  };

  return {
    service: "redis",
    metrics: redisMetrics,
    files: { certificate: `${paths.serverTls}/tls.crt`, volume: paths.data },
    async observe(): Promise<Look> {
      const observed = await observe({ server: surveyServer, sentinel: surveySentinel });
      const own = up(observed.servers[pod.name]);
      if (failsToWrite(observed.servers[pod.name], ownInfo)) hole = { asked: false, after: hole?.after ?? 0 };
      else if (hole?.asked === true && isWriting(ownInfo) && !isRewriting(ownInfo)) {
        hole = ownInfo["aof_last_bgrewrite_status"] === "ok" ? undefined : { ...hole, asked: false };
      }
      run = own && ownInfo["run_id"];
      if (!isMaster(own)) marked = undefined;
      const metrics = gauges(ownInfo, observed, self);
      return { ...observed, metrics, chore: await observeChore(observed) };
    },
    status: (observed) => ({ ...describe(observed, self), metrics: observed.metrics }),
    decide(observed) {
      const action = actionOf(decide(observed, self));
      // A mark would wait behind the pause, and everything else on its connection behind it.
      if (handingOver !== undefined) return undefined;
      return action === undefined || action.kind === "mark" ? (observed.chore ?? action) : action;
    },
    async act(action) {
      if ("reason" in action) {
        const object = "master" in action ? ` ${action.master}` : "value" in action ? ` ${action.value}` : "";
        log(`decision: ${action.kind}${object}: ${action.reason}`);
      }
      await carryOut(action);
    },
    handOver() {
      // Server and Sentinel of a pod stop at the same time, and both wait for this.
      handingOver ??= handOver().finally(() => {
        handingOver = undefined;
      });
      return handingOver;
    },
  };

  /** Those that have just started cannot be elected: once this one can, the Sentinels choose it, by themselves or when told. */
  async function takeOver(): Promise<void> {
    await setPriority(electablePriority);
    const chosen = async (): Promise<Attempt<void>> => {
      const [mine, beside] = await Promise.all([observeServer(pod.name), observeSentinel(pod.name)]);
      const [own, view] = [up(mine), up(beside)];
      const settled = own?.role !== "replica" || view === undefined || view.failover || view.master === pod.name;
      return settled ? { done: undefined } : { waiting: `the sentinels name ${view.master ?? "nobody"}` };
    };
    // Sentinels ask replicas that are not connected every second.
    await waitFor("an election", chosen, { deadlineSeconds: 2, intervalSeconds: 0.2 }).catch(startFailover);
  }

  /** The master writes nothing any more until its replicas have everything; then the Sentinels promote one of them. */
  async function handOver(): Promise<string> {
    if (!isMaster(await observeServer(pod.name))) return "this member is no master";
    const begin = performance.now();
    try {
      await waitForNews();
    } catch (error) {
      return `not begun: ${(error as Error).message}; the sentinels will notice that the master is gone`;
    }
    const paused = performance.now();
    // Of its own: what was begun on the common one may be waiting behind the pause.
    const client = await connections.fresh(pod.name, ports.client);
    try {
      await client.call("CLIENT", "PAUSE", handOverSeconds * 1000, "WRITE");
      const behind = await caughtUp(client);
      await startFailover();
      const left = handOverSeconds - (performance.now() - begin) / 1000;
      const successor = await waitFor("another master", successorOf, { deadlineSeconds: left, intervalSeconds: 0.1 });
      const seconds = ((performance.now() - paused) / 1000).toFixed(1);
      // What clients have sent meanwhile gets an error now, instead of an answer that is lost.
      await client.replicaof(hostOf(successor), ports.client);
      return `${successor} is master after ${seconds} seconds${behind}`;
    } catch (error) {
      await client.call("CLIENT", "UNPAUSE").catch(() => undefined);
      throw error;
    } finally {
      client.disconnect();
    }
  }

  async function successorOf(): Promise<Attempt<string>> {
    // By a majority: one alone may be stopped before it has told the others, who would then elect once more.
    const successor = namedMaster({ sentinels: await askEach(self.members, surveySentinel) }, self.members);
    if (successor === undefined || successor === pod.name) {
      return { waiting: `a majority of the sentinels names ${successor ?? "nobody"}` };
    }
    return isMaster(await observeServer(successor))
      ? { done: successor }
      : { waiting: `${successor} is named and is no master yet` };
  }

  /** Sentinel chooses by what it last heard; whoever has lost its data since then must not be chosen. */
  async function waitForNews(): Promise<void> {
    const known = async (): Promise<Attempt<void>> => {
      const list = (await tell("REPLICAS")) as unknown[];
      const believed = await Promise.all(
        believedAble(list.map(toRecord)).map(async ({ ip = "", port = "" }) => {
          const member = memberAt(ip, Number(port));
          const seen = self.members.includes(member) ? up(await observeServer(member)) : undefined;
          return { member, able: seen?.role === "replica" && seen.linked && seen.priority > 0 };
        }),
      );
      const wrong = believed.filter((each) => !each.able).map(({ member }) => member);
      if (wrong.length > 0) return { waiting: `${wrong.join(", ")} cannot, and the sentinels believe otherwise` };
      return believed.length > 0 ? { done: undefined } : { waiting: "none" };
    };
    await waitFor("replicas that can take over", known, { deadlineSeconds: newsSeconds, intervalSeconds: 0.5 });
  }

  /** Asks the replicas, which a master does not do during a pause. Returns in words what was not reached. */
  async function caughtUp(client: Redis): Promise<string> {
    const info = toInfo(await client.info("replication"));
    const wanted = Number(info["master_repl_offset"]);
    // Who does not answer is behind: the Sentinels may choose it.
    const has = async (replica: string): Promise<boolean> => {
      const seen = toInfo(await (await server(replica)).info("replication"));
      const follows = memberAt(seen["master_host"] ?? "", Number(seen["master_port"]));
      return follows === pod.name && seen["master_link_status"] === "up" && Number(seen["slave_repl_offset"]) >= wanted;
    };
    const replicas = onlineReplicas(info).map(({ host, port }) => memberAt(host, port));
    const attempt = async (): Promise<Attempt<string>> => {
      const answers = await Promise.all(replicas.map((replica) => has(replica).catch(() => false)));
      return answers.length > 0 && answers.every((each) => each) ? { done: "" } : { waiting: "some are behind" };
    };
    const options = { deadlineSeconds: catchUpSeconds, intervalSeconds: 0.02 };
    return waitFor("all writes on the replicas", attempt, options).catch((error: Error) => `; ${error.message}`);
  }

  async function startFailover(): Promise<void> {
    await tell("FAILOVER").catch((error: Error) => {
      // Another Sentinel is at it already.
      if (!error.message.startsWith("INPROG")) throw error;
    });
  }
}

export async function askEach<T>(members: string[], ask: (member: string) => Promise<T>): Promise<Record<string, T>> {
  const answers = members.map(async (member) => [member, await ask(member)] as const);
  return Object.fromEntries(await Promise.all(answers));
}

/** Of what a master says of its replicas: those that are connected and get what it writes. */
export function onlineReplicas(info: Record<string, string>): { host: string; port: number }[] {
  return Object.entries(info).flatMap(([key, value]) => {
    const [, host, port] = (/^slave\d+$/.test(key) && /^ip=([^,]+),port=(\d+),state=online,/.exec(value)) || [];
    return host === undefined ? [] : [{ host, port: Number(port) }];
  });
}

/** Of the replicas that a Sentinel knows, those that it would promote: one that it takes for dead has further flags. */
export function believedAble(replicas: Record<string, string>[]): Record<string, string>[] {
  return replicas.filter((each) => each["flags"] === "slave" && Number(each["slave-priority"]) > 0);
}

const isRewriting = (info: Record<string, string>): boolean =>
  info["aof_rewrite_in_progress"] !== "0" || info["aof_rewrite_scheduled"] !== "0";
const isWriting = (info: Record<string, string>): boolean => info["aof_last_write_status"] === "ok";

/** A master whose volume is full says so in place of every answer to PING. */
export function failsToWrite(server: Server | undefined, info: Record<string, string>): boolean {
  return info["aof_last_write_status"] === "err" || (server?.state === "away" && server.reason.startsWith("MISCONF"));
}

/** Between two attempts: each forks the server. */
const rewriteMilliseconds = 60_000;

/** Seconds in which one master may go on marking: thirty years. */
const generation = 1_000_000_000;

/** `info`: of the server here, empty without an answer. Nothing is asked for these alone. */
export function gauges(info: Record<string, string>, observed: Observed, { name, members }: Identity): RedisGauges {
  const server = observed.servers[name];
  const own = up(server);
  const failing = failsToWrite(server, info);
  const seen: Record<keyof RedisGauges, number | string | undefined> = {
    keys: own?.keys,
    connected_clients: info["connected_clients"],
    max_clients: info["maxclients"],
    connected_replicas: info["connected_slaves"],
    used_memory_bytes: countedMemory(info),
    maxmemory_bytes: info["maxmemory"],
    evicts: info["maxmemory_policy"] && Number(info["maxmemory_policy"] !== "noeviction"),
    replication_offset_bytes: info["master_repl_offset"],
    replication_link_up: own?.role === "replica" ? Number(own.linked) : undefined,
    replication_lag_bytes: lag(observed, name),
    // A master that does not write may answer nothing else.
    aof_last_write_ok: failing || isWriting(info) ? Number(!failing) : undefined,
    uptime_seconds: info["uptime_in_seconds"],
    [membersGauge]: members.length,
    sentinels_agreed: agreed(observed, members),
  };
  return Object.fromEntries(
    Object.entries(seen).flatMap(([gauge, value]) => (value === undefined ? [] : [[gauge, Number(value)]])),
  );
}

/** Of the memory, what Redis compares with `maxmemory`. */
function countedMemory(info: Record<string, string>): number | undefined {
  const { used_memory: used, mem_not_counted_for_evict: uncounted = "0" } = info;
  return used === undefined ? undefined : Number(used) - Number(uncounted);
}
