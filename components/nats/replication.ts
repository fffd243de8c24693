/** Which streams get more replicas: pure. The loop that observes and acts is in `reconciler.ts`. */
import type { StreamInfo } from "@nats-io/jetstream";
import { isBehind, type Replica } from "./formation";
import { replicasMetadata } from "./layout";

export type StreamState = ReturnType<typeof toStreamState>;

export type Decision =
  | { kind: "raise"; stream: string; from: number; to: number }
  /** Decided again soon. */
  | { kind: "wait"; stream: string; reason: string }
  /** Keeps fewer replicas than wanted, for this reason. */
  | { kind: "leave"; stream: string; reason: string }
  | { kind: "enough"; stream: string };

/** A new replica copies the whole stream. Only a few streams are raised at a time, so that the copies do not slow down writers. */
export const raisesAtOnce = 4;

/**
 * A client that creates or updates a stream makes its consumers next. While a stream gets more replicas NATS refuses
 * new consumers ("insufficient resources"; seen with 2.15). So a stream is raised only after this time.
 */
export const settleSeconds = 3;

/** Names of the streams that have had too few replicas for less than `settleSeconds`, as far as former passes saw. */
export function createShortage(wanted: number, now = () => performance.now()): (streams: StreamState[]) => Set<string> {
  let since = new Map<string, number>();
  return (streams) => {
    const short = streams.filter(({ replicas }) => replicas < wanted);
    since = new Map(short.map(({ name }) => [name, since.get(name) ?? now()]));
    return new Set([...since].filter(([, at]) => now() - at < settleSeconds * 1000).map(([name]) => name));
  };
}

/** One decision for each stream. Streams whose names are in `fresh` wait. */
export function decide(streams: StreamState[], wanted: number, fresh: ReadonlySet<string> = new Set()): Decision[] {
  // Only streams that are being moved: those that are behind because a member is away would keep all others from being raised.
  let free = raisesAtOnce - streams.filter((stream) => stream.migrating).length;
  return [...streams]
    .sort((a, b) => a.name.localeCompare(b.name))
    .map((stream) => {
      const decision = decideOne(stream, wanted, fresh);
      if (decision.kind !== "raise") return decision;
      free -= 1;
      return free >= 0
        ? decision
        : { kind: "wait", stream: stream.name, reason: `${raisesAtOnce} other streams are being moved` };
    });
}

function decideOne(stream: StreamState, wanted: number, fresh: ReadonlySet<string>): Decision {
  const { name, replicas, storage, metadata, leader, peers, migrating } = stream;
  const leave = (reason: string): Decision => ({ kind: "leave", stream: name, reason });
  const wait = (reason: string): Decision => ({ kind: "wait", stream: name, reason });
  // Never fewer than the owner asked for.
  if (replicas >= wanted) return { kind: "enough", stream: name };
  if (metadata[replicasMetadata] === "keep") return leave(`its metadata says ${replicasMetadata}: keep`);
  // The owner chose memory and accepts the loss. Copies would take the memory of the file streams' caches.
  if (storage === "memory") return leave("it is stored in memory");
  // Without a leader there is no source for a new replica.
  if (leader === "") return wait("it has no leader");
  if (migrating) return wait("it is being moved");
  const behind = peers.find(isBehind);
  if (behind !== undefined) return wait(`${behind.name} is ${behind.offline === true ? "offline" : "not current"}`);
  if (fresh.has(name)) return wait("its owner may be about to make consumers");
  return { kind: "raise", stream: name, from: replicas, to: wanted };
}

/** What the decision needs of `$JS.API.STREAM.LIST`. */
export function toStreamState({ config, cluster }: StreamInfo) {
  const storage: "file" | "memory" = config.storage;
  const peers = cluster?.replicas ?? [];
  return {
    name: config.name,
    // A server of an older version may leave it out; it means one.
    replicas: config.num_replicas || 1,
    storage,
    metadata: config.metadata ?? {},
    /** Empty while there is none. */
    leader: cluster?.leader ?? "",
    /** All replicas but the leader. */
    peers: peers.map(({ name, current, offline, lag }): Replica => ({ name, current, offline, lag })),
    /** The server is moving the stream to another set of servers: a field that the library does not know. */
    migrating: (cluster as { desired?: object } | undefined)?.desired !== undefined,
  };
}
