/** Connections of the agent and of the check. Never imported by the component: it loads the client library. */
import type { X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { Redis } from "ioredis";
import type { Endpoint as CommonEndpoint } from "../shared/core/endpoint";
import type { Server, Up } from "./membership";

export interface Endpoint extends Omit<CommonEndpoint, "tls"> {
  /** "unverified": for the own server only, see `createConnections`. */
  tls?: CommonEndpoint["tls"] | "unverified";
  /** Shown in the server's list of connections. */
  name: string;
  timeoutMilliseconds?: number;
}

/** One attempt to one server. Nothing is queued or repeated: who wants more asks again. */
export async function open(endpoint: Endpoint): Promise<Redis> {
  const { host, port, tls, credentials, name, timeoutMilliseconds = 2000 } = endpoint;
  const client = new Redis({
    host,
    port,
    ...(tls === undefined ? {} : { tls: tlsOptions(tls, host) }),
    ...credentials,
    connectionName: name,
    protocol: 2,
    disableClientInfo: true,
    lazyConnect: true,
    // A server that reads its files is asked too.
    enableReadyCheck: false,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    connectTimeout: timeoutMilliseconds,
    commandTimeout: timeoutMilliseconds,
  });
  // Without a listener the library prints; what matters is thrown by the commands.
  let reason: Error | undefined;
  client.on("error", (error: Error) => {
    reason ??= error;
  });
  // Node.js forgets it when the server sends a ticket for another session, which Redis does at once.
  client.once("connect", () => {
    const { stream } = client as unknown as { stream: Duplex };
    const certificate = stream instanceof TLSSocket ? stream.getPeerX509Certificate() : undefined;
    if (certificate !== undefined) shown.set(client, certificate);
  });
  try {
    await client.connect();
    // The library sends the password and does not wait for the answer.
    await client.ping();
    return client;
  } catch (error) {
    // It reads its files, and answers some commands.
    if (isLoading(error)) return client;
    client.disconnect();
    // The library says "Connection is closed." where it has told the cause before.
    throw reason ?? error;
  }
}

function tlsOptions(tls: NonNullable<Endpoint["tls"]>, host: string) {
  return tls === "unverified" ? { rejectUnauthorized: false } : { ca: tls.ca, servername: tls.servername ?? host };
}

const shown = new WeakMap<Redis, X509Certificate>();

/** What the server showed when this connection was made; undefined in plain text. */
export function shownCertificate(client: Redis): X509Certificate | undefined {
  return shown.get(client);
}

export function isLoading(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("LOADING");
}

/** For `catch`: a Sentinel that was never told of a master knows none. */
export function unknownMaster(error: Error): undefined {
  if (!/No such master/i.test(error.message)) throw error;
}

/** The lines `key:value` of INFO. */
export function toInfo(text: string): Record<string, string> {
  const pairs = text.split(/\r?\n/).filter((line) => line.includes(":") && !line.startsWith("#"));
  return Object.fromEntries(
    pairs.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]),
  );
}

/** A flat list of keys and values, as Sentinel and CONFIG GET answer. */
export function toRecord(list: unknown): Record<string, string> {
  const flat = (list as unknown[]).map(String);
  return Object.fromEntries(flat.flatMap((key, index) => (index % 2 === 0 ? [[key, flat[index + 1] ?? ""]] : [])));
}

/** How far the data goes, and of which ensemble it is; `value` is null without a mark. */
export function toMark(value: string | null): { clusterId: string | undefined; position: number } {
  const [clusterId, position] = (value ?? "").split(" ");
  // What is no number was not written by an agent.
  return position === undefined || !Number.isSafeInteger(Number(position))
    ? { clusterId: undefined, position: 0 }
    : { clusterId, position: Number(position) };
}

/** What a server says of itself in INFO, and the mark of its data. */
export function toServer(
  info: Record<string, string>,
  mark: string | null,
  memberOf: (host: string, port: number) => string,
): Up<Server> {
  const keys = Object.entries(info).flatMap(([key, value]) =>
    /^db\d+$/.test(key) ? [Number(/keys=(\d+)/.exec(value)?.[1] ?? 0)] : [],
  );
  const master = info["role"] === "master";
  return {
    state: "up",
    role: master ? "master" : "replica",
    ...(master ? {} : { follows: memberOf(info["master_host"] ?? "", Number(info["master_port"])) }),
    linked: info["master_link_status"] === "up",
    syncing: info["master_sync_in_progress"] === "1",
    priority: Number(info["slave_priority"] ?? 0),
    keys: keys.reduce((sum, each) => sum + each, 0),
    ...toMark(mark),
    offset: Number(info["master_repl_offset"] ?? 0),
    replicas: Number(info["min_slaves_good_slaves"] ?? 0),
  };
}
