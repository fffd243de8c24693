/** What the agent of a member says of Redis. */
import type { Metrics } from "../shared/core/metrics";
import { membersGauge } from "./layout";

export const redisMetrics = {
  keys: { help: "keys in all databases of clients" },
  connected_clients: { help: "connections of clients" },
  connected_replicas: { help: "replicas that are connected to this member" },
  used_memory_bytes: { help: "memory that the data takes" },
  maxmemory_bytes: { help: "memory that the data may take: writes fail when it is reached" },
  replication_offset_bytes: { help: "how far the member is in the stream of changes; replicas follow the master" },
  aof_last_write_ok: { help: "0: the last write to the append only file failed, and writes are refused" },
  uptime_seconds: { help: "since the server was started" },
  [membersGauge]: { help: "members that count for the agent" },
} as const satisfies Metrics;
