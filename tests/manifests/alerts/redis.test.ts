import { resolveRedis } from "../../../components/redis";
import { redisAlerts } from "../../../components/redis/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { allSeries, describeAlerts, ofEnsemble, ofGateway, ofMembers, type Story } from "../../support/promtool";

const scope = scopeOf(resolveRedis("redis", { namespace: "cells" }), "cells");
const common = [ofMembers(scope), ofEnsemble(scope, "redis-0"), ofGateway(scope)];

const members = ["redis-0", "redis-1", "redis-2"];
const replicas = members.slice(1);
const each = (gauge: string, values: string, pods = members) =>
  Object.fromEntries(pods.map((pod) => [`cells_services_redis_${gauge}{namespace="cells",pod="${pod}"}`, values]));

const healthy = {
  ...each("used_memory_bytes", "300x1000"),
  ...each("maxmemory_bytes", "1000x1000"),
  ...each("evicts", "0x1000"),
  ...each("aof_last_write_ok", "1x1000"),
  ...each("replication_link_up", "1x1000", replicas),
  ...each("replication_lag_bytes", "0x1000", replicas),
  ...each("sentinels_agreed", "3x1000"),
  ...each("connected_clients", "50x1000"),
  ...each("max_clients", "10000x1000"),
};

const stories: Story[] = [
  {
    title: "the memory fills up",
    series: each("used_memory_bytes", "300x5 900x20 980x10 300x60"),
    firing: {
      "8m": [],
      "20m": ["RedisMemoryNearlyFull"],
      "32m": ["RedisMemoryNearlyFull", "RedisMemoryFull"],
      "60m": [],
    },
  },
  {
    title: "the memory of an ensemble that evicts is full",
    series: { ...each("used_memory_bytes", "1000x1000"), ...each("evicts", "1x1000") },
    firing: { "30m": [] },
  },
  {
    title: "a volume without space",
    series: each("aof_last_write_ok", "1x5 0x10 1x60", ["redis-0"]),
    firing: { "10m": ["RedisWritesFail"], "30m": [] },
  },
  {
    title: "a replica that does not find its master",
    series: each("replication_link_up", "1x5 0x20 1x60", ["redis-1"]),
    firing: { "9m": [], "15m": ["RedisReplicationBroken"], "40m": [] },
  },
  {
    title: "replicas without a master",
    series: {
      ...each("replication_link_up", "1x5 0x20 1x60", replicas),
      'cells_services_primary{namespace="cells",pod="redis-0"}': "1x5 0x20 1x60",
    },
    firing: { "20m": ["RedisNoPrimary"], "40m": [] },
  },
  {
    title: "a replica that cannot follow",
    series: each("replication_lag_bytes", "0x5 150x20 0x60", ["redis-2"]),
    firing: { "9m": [], "15m": ["RedisReplicationBehind"], "40m": [] },
  },
  {
    title: "a replica that is behind for moments, under load",
    series: each("replication_lag_bytes", "200 0 200 200 10 200 0 10x1000", ["redis-2"]),
    firing: { "5m": [], "30m": [] },
  },
  {
    title: "a Sentinel that does not run",
    series: each("sentinels_agreed", "3x5 2x30 3x60"),
    firing: { "14m": [], "20m": ["RedisSentinelsMissing"], "60m": [] },
  },
  {
    title: "a member that does not see a Sentinel which the others see",
    series: each("sentinels_agreed", "2x1000", ["redis-1"]),
    firing: { "30m": [] },
  },
  {
    title: "almost all connections are taken",
    series: each("connected_clients", "50x5 9000x20 50x60", ["redis-0"]),
    firing: { "9m": [], "15m": ["RedisConnectionsNearLimit"], "40m": [] },
  },
  {
    title: "a roll: each replica is away, gets a whole copy, and its Sentinel is counted again",
    series: {
      ...each("replication_link_up", "1x5 _x1 0x2 1x1000", ["redis-2"]),
      ...each("replication_lag_bytes", "0x5 _x4 0x1000", ["redis-2"]),
      ...each("sentinels_agreed", "3x5 2x3 3x2 2x3 3x2 2x3 3x1000"),
    },
    firing: { "9m": [], "20m": [], "40m": [] },
  },
];

describeAlerts(redisAlerts(scope), scope, allSeries(healthy, ...common.map((part) => part.healthy)), [
  ...common.flatMap((part) => part.stories),
  ...stories,
]);
