import { resolveNats } from "../../../components/nats";
import { natsAlerts } from "../../../components/nats/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { allSeries, describeAlerts, ofEnsemble, type Series, type Story } from "../../support/promtool";

/** Short, so that a story is. */
const staleAfter = "3h";
const store = { url: "https://s3.example.com", bucket: "copies", credentials: "keys" };
const scope = scopeOf(
  resolveNats("nats", { namespace: "cells", backups: { store, staleAfter, proof: { staleAfter } } }),
  "cells",
  "nats-reconciler",
);
const pod = "nats-reconciler-5f-a";
const common = ofEnsemble(scope, pod);

const on = (name: string, labels: Record<string, string>): string => {
  const own = Object.entries(labels).map(([label, value]) => `,${label}="${value}"`);
  return `cells_services_nats_${name}{namespace="cells",pod="${pod}"${own.join("")}}`;
};
const members = ["nats-0", "nats-1", "nats-2"];
const each = (name: string, values: string, labels: Record<string, string> = {}): Series =>
  Object.fromEntries(members.map((member) => [on(name, { member, ...labels }), values]));
const of = (name: string, member: string, values: string, labels: Record<string, string> = {}): Series => ({
  [on(name, { member, ...labels })]: values,
});
const file = { storage: "file" };
const memory = { storage: "memory" };
const application = { application: "cells" };
/** A member that does not answer has only `up`. */
const detailed = {
  ready: 1,
  streams_current: 1,
  routes: 2,
  connections: 10,
  max_connections: 65536,
  slow_consumers: 0,
};
const away = (member: string, before: number, minutes: number): Series => ({
  ...of("up", member, `1x${before - 1} 0x${minutes - 1} 1x900`),
  ...allSeries(
    ...Object.entries(detailed).map(([name, value]) =>
      of(name, member, `${value}x${before - 1} _x${minutes} ${value}x900`),
    ),
  ),
});

const healthy: Series = {
  ...common.healthy,
  ...each("up", "1x1000"),
  ...each("ready", "1x1000"),
  ...each("streams_current", "1x1000"),
  ...each("meta_leader", "0x1000"),
  ...of("meta_leader", "nats-1", "1x1000"),
  ...each("routes", "2x1000"),
  ...each("connections", "10x1000"),
  ...each("max_connections", "65536x1000"),
  ...each("slow_consumers", "7x1000"),
  ...each("store_used_bytes", "500x1000", file),
  ...each("store_limit_bytes", "1000x1000", file),
  ...each("store_used_bytes", "0x1000", memory),
  ...each("store_limit_bytes", "1000x1000", memory),
  [on("streams_under_replicated", application)]: "0x1000",
  // The time of the scrape.
  [on("last_pass_timestamp_seconds", application)]: "0+60x1000",
};

const gone = "1x5 _x30 1x60";
const without = Object.fromEntries(
  Object.keys(healthy)
    .filter((series) => series.includes("_nats_"))
    .map((series) => [series, ""]),
);

const stories: Story[] = [
  {
    title: "the reconciler is away",
    series: { ...without, ...each("up", gone), ...each("ready", gone), ...of("meta_leader", "nats-1", gone) },
    firing: { "12m": [], "25m": ["NatsReconcilerAway"], "60m": [] },
  },
  {
    title: "the reconciler starts again and again, and never looks at the streams",
    series: {
      ...without,
      ...each("up", "1 _x6 1 _x6 1 _x6 1 _x6 1x60"),
      ...each("ready", "1 _x6 1 _x6 1 _x6 1 _x6 1x60"),
      ...of("meta_leader", "nats-1", "1 _x6 1 _x6 1 _x6 1 _x6 1x60"),
      [on("last_pass_timestamp_seconds", application)]: "0 _x6 0 _x6 0 _x6 0 _x6 1680+60x60",
    },
    firing: { "25m": ["NatsReconcilerAway"], "60m": [] },
  },
  {
    title: "the reconciler is not let in",
    series: { [on("last_pass_timestamp_seconds", application)]: "0x30 1860+60x100" },
    firing: { "10m": [], "20m": ["NatsReconcilerAway"], "60m": [] },
  },
  {
    title: "there are no applications",
    series: {
      [on("streams_under_replicated", application)]: "",
      [on("last_pass_timestamp_seconds", application)]: "",
    },
    firing: { "30m": [] },
  },
  {
    title: "the members are rolled, the leader last",
    series: {
      ...away("nats-0", 10, 4),
      ...away("nats-2", 16, 4),
      ...away("nats-1", 22, 4),
      ...of("meta_leader", "nats-1", "1x21 0x900"),
      ...of("meta_leader", "nats-0", "0x22 1x900"),
      [on("streams_under_replicated", application)]: "0x10 2x15 0x900",
    },
    firing: Object.fromEntries([12, 15, 18, 21, 24, 27, 40].map((minute) => [`${minute}m`, []])),
  },
  {
    title: "a member does not answer",
    series: away("nats-0", 5, 30),
    firing: { "12m": [], "25m": ["NatsMemberNotReady"], "60m": [] },
  },
  {
    title: "a member answers and is not ready",
    series: of("ready", "nats-0", "1x4 0x30 1x60"),
    firing: { "12m": [], "25m": ["NatsMemberNotReady"], "60m": [] },
  },
  {
    title: "no member leads",
    series: of("meta_leader", "nats-1", "1x4 0x10 1x60"),
    firing: { "6m": [], "10m": ["NatsNoMetaLeader"], "30m": [] },
  },
  {
    title: "no member answers",
    series: {
      ...allSeries(...members.map((member) => away(member, 5, 30))),
      ...each("meta_leader", ""),
      ...of("meta_leader", "nats-1", "1x4 _x30 1x60"),
    },
    firing: { "12m": ["NatsNoMetaLeader"], "25m": ["NatsNoMetaLeader", "NatsMemberNotReady"], "60m": [] },
  },
  {
    title: "streams cannot get their replicas",
    series: { [on("streams_under_replicated", application)]: "0x5 4x60 0x60" },
    firing: { "30m": [], "50m": ["NatsStreamsUnderReplicated"], "90m": [] },
  },
  {
    title: "streams stay behind",
    series: of("streams_current", "nats-2", "1x5 0x60 1x60"),
    firing: { "30m": [], "50m": ["NatsStreamsBehind"], "90m": [] },
  },
  {
    title: "the file store fills up",
    series: of("store_used_bytes", "nats-0", "500x5 900x20 500x60", file),
    firing: { "20m": ["NatsStoreFillsUp"], "60m": [] },
  },
  {
    title: "the memory store is full",
    series: of("store_used_bytes", "nats-0", "0x5 1000x20 0x60", memory),
    firing: { "20m": ["NatsStoreFillsUp", "NatsStoreFull"], "60m": [] },
  },
  {
    title: "a member has too many connections",
    series: of("connections", "nats-0", "10x5 50000x30 10x60"),
    firing: { "15m": [], "30m": ["NatsConnectionsNearLimit"], "60m": [] },
  },
  {
    title: "clients are too slow again and again",
    series: of("slow_consumers", "nats-0", "7x5 8+1x40 49x60"),
    firing: { "15m": [], "35m": ["NatsSlowConsumers"], "80m": [] },
  },
  {
    title: "a client is too slow once",
    series: of("slow_consumers", "nats-0", "7x5 8x90"),
    firing: Object.fromEntries([10, 20, 28, 40].map((minute) => [`${minute}m`, []])),
  },
  ...common.stories,
];

describeAlerts(natsAlerts(scope), scope, healthy, stories);
