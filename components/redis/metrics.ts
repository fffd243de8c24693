/** What the agent of a member says of Redis. */
import type { Metrics } from "../shared/core/metrics";
import { membersGauge } from "./layout";

export const redisMetrics = {
  keys: { help: "keys in all databases of clients" },
  connected_clients: { help: "connections of clients" },
  max_clients: { help: "connections that the server accepts" },
  connected_replicas: { help: "replicas that are connected to this member" },
  used_memory_bytes: { help: "memory that counts towards maxmemory: not what the server keeps for replicas" },
  maxmemory_bytes: { help: "memory that the data may take" },
  evicts: { help: "1: keys are removed when maxmemory is reached; 0: writes fail" },
  replication_offset_bytes: { help: "how far the member is in the stream of changes; replicas follow the master" },
  replication_link_up: { help: "of a replica; 0: it is not connected to its master, or gets a whole copy" },
  replication_lag_bytes: { help: "of a replica that is connected to its master: what it has yet to get" },
  aof_last_write_ok: { help: "0: the last write to the append only file failed, and writes are refused" },
  uptime_seconds: { help: "since the server was started" },
  [membersGauge]: { help: "members that count for the agent" },
  sentinels_agreed: { help: "Sentinels that answer this agent and name the master that a majority of them names" },
} as const satisfies Metrics;

/** What was not seen is not in it. */
export type RedisGauges = Partial<Record<keyof typeof redisMetrics, number>>;
