/** What somebody must hear of. The reconciler says it of all members: while it is away, one alert says so, and the others are silent. */
import { majority } from "../shared/core/names";
import { type Alert, ensembleAlerts, type Scope } from "../shared/deploy";
import { staleSeconds } from "./layout";

export function natsAlerts(scope: Scope): Alert[] {
  const { members, agent } = scope;
  const page = "nats.md#failure-modes";
  const metric = (name: string, matchers = ""): string => `cells_services_nats_${name}{${agent}${matchers}}`;
  /** Of the members that answer: 0 when none does, and nothing without the reconciler. */
  const count = (name: string): string => `(sum(${metric(name)}) or 0 * sum(${metric("up")}))`;
  const store = `sum by (member, storage) (${metric("store_used_bytes")}) / sum by (member, storage) (${metric("store_limit_bytes")})`;
  const connections = `sum by (member) (${metric("connections")}) / sum by (member) (${metric("max_connections")})`;
  return [
    {
      // A pod of a lost node is replaced after five minutes.
      name: "NatsReconcilerAway",
      expr: `count(absent(${metric("up")}) or time() - min(${metric("last_pass_timestamp_seconds")}) > ${staleSeconds})`,
      for: "10m",
      severity: "critical",
      summary:
        "the reconciler is away, or cannot look at the streams: new ones keep one replica, and nothing else is known of NATS",
      page,
    },
    {
      // A member that restarts with much data needs minutes.
      name: "NatsMemberNotReady",
      expr: `${count("ready")} < ${members}`,
      for: "10m",
      severity: "warning",
      summary: `{{ $value }} of ${members} members are ready, and writes need ${majority(members)}`,
      page,
    },
    {
      // An election takes seconds, and a scrape up to a minute.
      name: "NatsNoMetaLeader",
      expr: `${count("meta_leader")} < 1`,
      for: "2m",
      severity: "critical",
      summary: "the meta group has no leader: streams cannot be created or changed, and most take no messages",
      page,
    },
    {
      // Longer than a roll of all members, each of which stops the streams of one member from being raised.
      name: "NatsStreamsUnderReplicated",
      expr: `sum(${metric("streams_under_replicated")}) > 0`,
      for: "30m",
      severity: "warning",
      summary: "{{ $value }} streams have fewer replicas than they are to have: the log of the reconciler says why",
      page: "nats.md#reconciler",
    },
    {
      name: "NatsStreamsBehind",
      expr: `sum by (member) (${metric("streams_current")}) < 1`,
      for: "30m",
      severity: "warning",
      summary: "streams or consumers on {{ $labels.member }} stay behind: another member that is lost may stop them",
      page,
    },
    {
      name: "NatsStoreFillsUp",
      expr: `${store} > 0.85`,
      for: "5m",
      severity: "warning",
      summary: "the {{ $labels.storage }} store of {{ $labels.member }} is {{ $value | humanizePercentage }} full",
      page,
    },
    {
      name: "NatsStoreFull",
      expr: `${store} > 0.95`,
      for: "1m",
      severity: "critical",
      summary:
        "the {{ $labels.storage }} store of {{ $labels.member }} is {{ $value | humanizePercentage }} full: then it refuses messages",
      page,
    },
    {
      // The others must have room for the connections of a member that stops. Not while one of them does.
      name: "NatsConnectionsNearLimit",
      expr: `${connections} > ${members - 1} / ${members}`,
      for: "15m",
      severity: "warning",
      summary:
        "{{ $labels.member }} has {{ $value | humanizePercentage }} of its connections: the others could not take them",
      page,
    },
    {
      // One client that was too slow once has connected again. Longer than the window: it goes on.
      name: "NatsSlowConsumers",
      expr: `sum by (member) (increase(${metric("slow_consumers")}[10m])) > 0`,
      for: "20m",
      severity: "warning",
      summary:
        "{{ $labels.member }} goes on to disconnect clients that read too slowly, and what they had not read is lost",
      page,
    },
    ...ensembleAlerts(scope),
  ];
}
