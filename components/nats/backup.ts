/**
 * What only NATS knows of its backups. A copy has each stream of each application, with its consumers: each stream at one point in time,
 * one stream after the other. The user of an application copies and restores its streams: the administrator has no right to them.
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { StreamConfig, StreamInfo, StreamState } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { type BackupService, fromThrowAway, type WriteFile } from "../shared/agent/backup";
import { readMarker } from "../shared/agent/guard";
import { inClusterApi } from "../shared/agent/kubernetes";
import { readUsers } from "../shared/agent/logins";
import { BadCopy, backupPaths, fileName, type Manifest } from "../shared/core/backup";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { serviceHost } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Users } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Endpoint, JetStreamError, withConnection } from "./client";
import { describePeer, isBehind } from "./formation";
import { ports, proofFiles } from "./layout";
import { logIn, withUser } from "./members";
import { errorCodes, floorsOf, infoOf, openSnapshot, removeStream, restoreSnapshot, streamNames } from "./snapshots";

/** Until the replicas of one restored stream have all of it: 64 GiB at 20 MB/s. */
const wholeSeconds = 3600;

type State = Pick<StreamState, "messages" | "bytes" | "first_seq" | "last_seq">;

/** What a copy says of one stream, beside its snapshot. */
export interface CopiedStream {
  account: string;
  /** `config` and `state`: when the snapshot began, in the words of the server. */
  config: StreamConfig;
  state: StreamState;
  /** When it had ended. */
  after: State;
  /** Durable ones, which were there before and after: what each had acknowledged then. */
  consumers: { name: string; floors: [number, number] }[];
}

export const service: BackupService = {
  async copy(settings, namespace, write) {
    const position = { streams: 0, messages: 0 };
    let version = "";
    await inEachAccount(settings, namespace, async (connection, account) => {
      version = connection.info?.version ?? "";
      for (const { state } of await copyAccount(connection, account, write)) {
        position.streams += 1;
        position.messages += state.messages;
      }
    });
    // Of one life of the data: a cluster that is made anew forms anew.
    const lineage = (await readMarker(settings.name, namespace, inClusterApi()))?.bootstrappedAt;
    if (lineage === undefined) throw new Error("the cluster has not been formed yet");
    return { version, lineage, position, from: "the leaders of the streams" };
  },
  prepare: (work) => writeFile(join(work, proofFiles.config), proofConfig(work)),
  async prove(manifest, work) {
    return withConnection(await proofServer(), (connection) => proveStreams(connection, manifest, work));
  },
  async whyNotEmpty(settings, namespace) {
    const found: string[] = [];
    await inEachAccount(settings, namespace, async (connection, account) => {
      const names = await streamNames(connection);
      if (names.length > 0) found.push(`${account} has ${names.length} streams, such as ${JSON.stringify(names[0])}`);
    });
    return found.length === 0 ? undefined : found.join("; ");
  },
  async load({ position }, work, settings, namespace) {
    const streams = await readCopied(work);
    const reason = whyHomeless(streams, Object.keys((await readUsers()).applications));
    if (reason !== undefined) throw new Error(reason);
    await inEachAccount(settings, namespace, (connection, account) =>
      loadAccount(connection, account, work, settings.members),
    );
    const loaded = `${position["streams"]} streams with ${position["messages"]} messages, all replicas of which are current`;
    return [loaded, ...whatIsDoubled(streams)].join("; ");
  },
};

async function inEachAccount(
  settings: EnsembleSettings,
  namespace: string,
  use: (connection: NatsConnection, account: string) => Promise<void>,
): Promise<void> {
  const accounts = Object.keys((await readUsers()).applications);
  // A copy of nothing would look like one.
  if (accounts.length === 0) throw new Error(`${settings.name} has no applications, and only they have streams`);
  for (const account of accounts) {
    const logins = ({ applications }: Users) => applications[account] ?? [];
    await withUser(settings, serviceHost(settings.name, namespace), logins, (connection) => use(connection, account));
  }
}

// --- copy

/**
 * Origins before their mirrors, and before the streams that they are sources of. A copy is made in the opposite order: a mirror that has
 * more than its origin would miss what the origin gets next. Origins in other accounts do not count.
 */
export function loadOrder<Each extends { config: StreamConfig }>(streams: Each[]): Each[] {
  const left = new Map(streams.map((each) => [each.config.name, each]));
  const ordered: Each[] = [];
  const visit = (name: string): void => {
    const stream = left.get(name);
    if (stream === undefined) return;
    left.delete(name);
    const { mirror, sources = [] } = stream.config;
    for (const origin of mirror === undefined ? sources : [mirror]) visit(origin.name);
    ordered.push(stream);
  };
  for (const name of [...left.keys()]) visit(name);
  return ordered;
}

export function fileOf(account: string, stream: string, ending: "snapshot" | "json"): string {
  return `streams/${account}/${fileName(stream)}.${ending}`;
}

/** A stream without a leader cannot be copied, and a copy without this stream would not be whole. */
export function whyNoSource({ cluster }: Pick<StreamInfo, "cluster">): string | undefined {
  if (cluster === undefined || cluster.leader) return undefined;
  return "it has no leader: bring back a majority of its replicas";
}

async function copyAccount(connection: NatsConnection, account: string, write: WriteFile) {
  const streams: StreamInfo[] = [];
  for (const name of await streamNames(connection)) {
    const info = await infoOf(connection, name);
    if (info !== undefined) streams.push(info);
  }
  const copied: CopiedStream[] = [];
  for (const { config } of loadOrder(streams).reverse()) {
    try {
      const stream = await copyStream(connection, account, config.name, write);
      if (stream !== undefined) copied.push(stream);
    } catch (error) {
      const stream = `the stream ${JSON.stringify(config.name)} of ${account}`;
      throw new Error(`${stream} could not be copied: ${messageOf(error)}`, { cause: error });
    }
  }
  return copied;
}

/** undefined: its owner has deleted it since the names were asked for. */
async function copyStream(connection: NatsConnection, account: string, name: string, write: WriteFile) {
  const info = await infoOf(connection, name);
  if (info === undefined) return undefined;
  const reason = whyNoSource(info);
  if (reason !== undefined) throw new Error(reason);
  const before = await floorsOf(connection, name);
  const { config, state, parts } = await openSnapshot(connection, name);
  await write(fileOf(account, name, "snapshot"), parts);
  const after = await infoOf(connection, name);
  if (after?.created !== info.created) throw new Error("it was deleted meanwhile");
  const floors = await floorsOf(connection, name);
  const consumers = [...before].flatMap(([consumer, least]): CopiedStream["consumers"] => {
    const most = floors.get(consumer);
    return most === undefined ? [] : [{ name: consumer, floors: [least, most] }];
  });
  const copied: CopiedStream = { account, config, state, after: after.state, consumers };
  await write(fileOf(account, name, "json"), [Buffer.from(JSON.stringify(copied, null, 2))]);
  log(`copied ${account} > ${name}: ${state.messages} messages`);
  return copied;
}

// --- proof

/** Without passwords: only its own pod reaches it. It takes the largest messages that members may be told to take. */
export function proofConfig(work: string): string {
  return [
    "host: 127.0.0.1",
    `port: ${ports.client}`,
    `max_payload: ${32 * 2 ** 20}`,
    `jetstream { store_dir: ${JSON.stringify(join(work, proofFiles.data))} }`,
    "",
  ].join("\n");
}

/** Nothing that removes or adds messages by itself, or that one server does not have. On disk, whatever the stream was stored in. */
export function provenConfig(config: StreamConfig): StreamConfig {
  const left = ["max_age", "max_bytes", "placement", "subject_delete_marker_ttl", "allow_msg_schedules"];
  return { ...without(config, left), storage: "file", num_replicas: 1 };
}

function without(config: StreamConfig, keys: string[]): StreamConfig {
  return Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key))) as unknown as StreamConfig;
}

/** Why the restored stream is not what was copied. What was removed during the snapshot may be missing, and nothing else. */
export function whyDifferent(
  { config, state, after, consumers }: CopiedStream,
  restored: { state: State; floors: ReadonlyMap<string, number> },
): string | undefined {
  const { messages, bytes, first_seq: first, last_seq: last } = restored.state;
  // Messages with a life of their own may have ended it since.
  const expire = config.allow_msg_ttl === true;
  const least = expire ? 0 : Math.max(0, after.messages - (after.last_seq - state.last_seq));
  const most = state.messages + last - state.last_seq;
  const latest = expire || messages === 0 ? last + 1 : Math.max(state.first_seq, after.first_seq);
  const same = least === most && last === state.last_seq && config.storage === "file";
  const found = consumers.map(({ name, floors: [from, to] }): Range => {
    return [`sequence below which its consumer ${name} has acknowledged all`, restored.floors.get(name), from, to];
  });
  const ranges: Range[] = [
    ["last sequence", last, state.last_seq, after.last_seq],
    ["number of messages", messages, least, most],
    ["first sequence", first, state.first_seq, latest],
    ["number of bytes", bytes, same ? state.bytes : 0, same ? state.bytes : Number.MAX_SAFE_INTEGER],
    ...found,
  ];
  const wrong = ranges.find(([, value, from, to]) => value === undefined || value < from || value > to);
  if (wrong === undefined) return undefined;
  const [what, value, from, to] = wrong;
  return `${what}: expected ${from === to ? from : `${from} to ${to}`}, got ${value ?? "none"}`;
}

/** What, the value, and what it may be at least and at most. */
type Range = [string, number | undefined, number, number];

async function proofServer(): Promise<Endpoint> {
  const endpoint = { host: "127.0.0.1", port: ports.client, name: "cells-services-proof" };
  await fromThrowAway(() => logIn(endpoint));
  return endpoint;
}

/** Each stream for itself: the server needs the space of one, and streams of two applications may have the same name. */
async function proveStreams(connection: NatsConnection, { position }: Manifest, work: string): Promise<string> {
  const streams = await readCopied(work);
  const expected = Number(position["streams"]);
  if (streams.length !== expected) {
    throw new BadCopy(`it has ${streams.length} streams, and its manifest says ${expected}`);
  }
  const left: string[] = [];
  for (const stream of streams) {
    if (!(await proveStream(connection, stream, work))) left.push(`${stream.account} > ${stream.config.name}`);
  }
  const proven = `restored and compared ${expected - left.length} of ${expected} streams, with ${position["messages"]} messages in all`;
  return left.length === 0
    ? proven
    : `${proven}; not restored, because a consumer wants more replicas than one server has: ${left.join(", ")}`;
}

/** false: one server cannot restore it, whatever its data is. */
async function proveStream(connection: NatsConnection, copied: CopiedStream, work: string): Promise<boolean> {
  const { account, config } = copied;
  const { name } = config;
  const bad = (reason: string) => new BadCopy(`the stream ${JSON.stringify(name)} of ${account}: ${reason}`);
  try {
    await restoreSnapshot(connection, { ...copied, config: provenConfig(config) }, snapshotAt(work, copied));
  } catch (error) {
    const verdict = verdictOn(error);
    if (verdict === "bad") throw bad(messageOf(error));
    if (verdict === "none") throw error;
    await removeStream(connection, name);
    return false;
  }
  const info = await infoOf(connection, name);
  if (info === undefined) throw bad("it is not there after its restore");
  const reason = whyDifferent(copied, { state: info.state, floors: await floorsOf(connection, name) });
  if (reason !== undefined) throw bad(reason);
  await removeStream(connection, name);
  return true;
}

/** What a failed restore says of the copy. The server ends its description with the code of what it has met. */
export function verdictOn(error: unknown): "bad" | "none" | "unprovable" {
  if (!(error instanceof JetStreamError) || error.code !== errorCodes.restoreFailed) return "none";
  if (error.message.includes("no space left")) return "none";
  return errorCodes.consumerReplicas.some((code) => error.message.endsWith(`(${code})`)) ? "unprovable" : "bad";
}

const snapshotAt = (work: string, { account, config }: CopiedStream): string =>
  join(work, backupPaths.copy, fileOf(account, config.name, "snapshot"));

async function readCopied(work: string): Promise<CopiedStream[]> {
  const folder = join(work, backupPaths.copy);
  const streams: CopiedStream[] = [];
  for (const file of (await readdir(folder, { recursive: true })).sort()) {
    if (file.endsWith(".json")) streams.push(JSON.parse(await readFile(join(folder, file), "utf8")) as CopiedStream);
  }
  return streams;
}

// --- restore

/** The streams of an application that is not there would be lost without a word. */
export function whyHomeless(streams: Pick<CopiedStream, "account">[], applications: string[]): string | undefined {
  const missing = [...new Set(streams.map(({ account }) => account))].filter((each) => !applications.includes(each));
  return missing.length === 0
    ? undefined
    : `the copy has streams of ${missing.join(", ")}, and applications are ${applications.join(", ")}; nothing was loaded. ` +
        "Add what is missing to applications, and run pulumi up again";
}

/** A restored origin is another stream for the server, so it takes all messages of it once more (seen with 2.15.2). */
export function whatIsDoubled(streams: Pick<CopiedStream, "account" | "config">[]): string[] {
  const names = streams
    .filter(({ config }) => (config.sources ?? []).length > 0)
    .map(({ account, config }) => `${account} > ${config.name}`);
  return names.length === 0
    ? []
    : [`these streams take the messages of their sources once more; remove what is there twice: ${names.join(", ")}`];
}

/** As many replicas as it had, and as there may be. The servers decide where they are: they are others than those of the copy. */
export function loadedConfig(config: StreamConfig, members: number): StreamConfig {
  return { ...without(config, ["placement"]), num_replicas: Math.min(config.num_replicas, members) };
}

async function loadAccount(connection: NatsConnection, account: string, work: string, members: number): Promise<void> {
  const streams = (await readCopied(work)).filter((each) => each.account === account);
  for (const stream of loadOrder(streams)) await loadStream(connection, stream, work, members);
}

/**
 * A stream that has all of the copy stays: a former run has loaded it, and its application may have written since. Replicas count when
 * they were current twice: the server answers before it tells them of the messages (seen with 2.15.2).
 */
async function loadStream(
  connection: NatsConnection,
  copied: CopiedStream,
  work: string,
  members: number,
): Promise<void> {
  const { account, config, state } = copied;
  const { name } = config;
  const found = await infoOf(connection, name);
  if (found === undefined || found.state.last_seq < state.last_seq) {
    await removeStream(connection, name);
    await restoreSnapshot(connection, { state, config: loadedConfig(config, members) }, snapshotAt(work, copied));
  }
  let current = false;
  await waitFor(
    `all of ${account} > ${name}`,
    async () => {
      const info = await infoOf(connection, name);
      const reason = whyNotLoaded(copied, info);
      if (reason === undefined && (current || info?.config.num_replicas === 1)) return { done: true };
      current = reason === undefined;
      return { waiting: reason ?? "its replicas are asked once more" };
    },
    { deadlineSeconds: wholeSeconds, intervalSeconds: 0.5, onError: "wait" },
  );
  log(`loaded ${account} > ${name}: ${state.messages} messages`);
}

export function whyNotLoaded(
  { state, consumers }: Pick<CopiedStream, "state" | "consumers">,
  info: Pick<StreamInfo, "state" | "cluster"> | undefined,
): string | undefined {
  if (info === undefined) return "it is not there";
  const { cluster } = info;
  if (cluster !== undefined && !cluster.leader) return "it has no leader";
  const behind = (cluster?.replicas ?? []).filter(isBehind);
  if (behind.length > 0) return behind.map(describePeer).join("; ");
  const { last_seq: last, consumer_count: count } = info.state;
  if (last < state.last_seq) return `it ends at sequence ${last} of ${state.last_seq}`;
  return count < consumers.length ? `it has ${count} of ${consumers.length} consumers` : undefined;
}
