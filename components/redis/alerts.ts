/** What somebody must hear of. */
import {
  type Alert,
  connectionsAlert,
  ensembleAlerts,
  gatewayAlerts,
  memberAlerts,
  type Scope,
} from "../shared/deploy";
import { dataShare, replicaBufferShare } from "./layout";

/** Of `maxmemory`: behind by more, a replica is cut off and needs a whole copy. The alert comes at half of it. */
const heldForReplicas = replicaBufferShare / dataShare;

export function redisAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ownAlerts(scope), ...ensembleAlerts(scope), ...gatewayAlerts(scope)];
}

function ownAlerts(scope: Scope): Alert[] {
  const { member, members } = scope;
  const page = "redis.md#failure-modes";
  const of = (gauge: string): string => `cells_services_redis_${gauge}{${member}}`;
  // All members have the same data. What evicts is full all the time.
  const memory = `max(${of("used_memory_bytes")} / ${of("maxmemory_bytes")} unless ${of("evicts")} == 1)`;
  return [
    {
      name: "RedisMemoryNearlyFull",
      expr: `${memory} > 0.85`,
      for: "5m",
      severity: "warning",
      summary: "the data takes {{ $value | humanizePercentage }} of maxmemory: writes fail when it is reached",
      page,
    },
    {
      // Writes failed from 100.0 % on (8.0.6), and buffers of connections count too, so they begin to fail a little below it.
      name: "RedisMemoryFull",
      expr: `${memory} > 0.97`,
      for: "1m",
      severity: "critical",
      summary: "the data takes {{ $value | humanizePercentage }} of maxmemory: writes fail",
      page,
    },
    {
      name: "RedisWritesFail",
      expr: `${of("aof_last_write_ok")} == 0`,
      for: "1m",
      severity: "critical",
      summary: "{{ $labels.pod }} cannot write its append only file: as master it refuses writes",
      page,
    },
    {
      // A whole copy takes less, up to 30 GB at 100 MB/s. Without a master nobody is connected, which is another alert.
      name: "RedisReplicationBroken",
      expr: `${of("replication_link_up")} == 0 and on () sum(cells_services_primary{${member}}) > 0`,
      for: "5m",
      severity: "warning",
      summary: "{{ $labels.pod }} is not connected to the master, or its whole copies fail again and again",
      page,
    },
    {
      // At 77 MB/s a replica was up to 11 MB behind for moments.
      name: "RedisReplicationBehind",
      expr: `${of("replication_lag_bytes")} / ${of("maxmemory_bytes")} > ${(heldForReplicas / 2).toFixed(2)}`,
      for: "5m",
      severity: "warning",
      summary:
        "{{ $labels.pod }} is behind by {{ $value | humanizePercentage }} of maxmemory: soon it needs a whole copy",
      page,
    },
    {
      // In a roll each Sentinel is away for seconds.
      name: "RedisSentinelsMissing",
      expr: `max(${of("sentinels_agreed")}) < ${members}`,
      for: "10m",
      severity: "warning",
      summary: `{{ $value }} of ${members} Sentinels agree on the master: without a majority no other one is elected`,
      page,
    },
    connectionsAlert(scope, of("connected_clients"), of("max_clients")),
  ];
}
