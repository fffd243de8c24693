/** What one looks at in etcd: its own metrics, and those of the agent that serves the ensemble's. */
import { ensembleRows, graph, now, type Row, rate, slowest } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";
import { maintenanceName } from "./layout";

export function etcdDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace, maintenanceName(name));
  const { member, agent } = pods;
  const [size, quota] = [`etcd_mvcc_db_total_size_in_bytes{${member}}`, `etcd_server_quota_backend_bytes{${member}}`];
  return [
    {
      title: "Members",
      panels: [
        now("Has a leader", "bool_yes_no", { "{{pod}}": `etcd_server_has_leader{${member}}` }, { below: 1 }),
        now("Is the leader", "bool_yes_no", { "{{pod}}": `etcd_server_is_leader{${member}}` }),
        now("Alarms", "short", { "{{alarm}}": `max by (alarm) (cells_services_etcd_alarms{${agent}})` }, { from: 1 }),
        now("Last pass of the maintenance ago", "s", {
          "": `time() - max(cells_services_etcd_maintenance_last_success_timestamp_seconds{${agent}})`,
        }),
        graph("Changes of the leader in an hour", "short", {
          "{{pod}}": `increase(etcd_server_leader_changes_seen_total{${member}}[1h])`,
        }),
      ],
    },
    {
      title: "Database",
      panels: [
        graph("Size", "bytes", {
          "{{pod}}": size,
          "{{pod}} in use": `etcd_mvcc_db_total_size_in_use_in_bytes{${member}}`,
          quota: `max(${quota})`,
        }),
        graph("Share of the quota", "percentunit", { "{{pod}}": `${size} / ${quota}` }, { from: 0.8 }),
      ],
    },
    {
      title: "Consensus, the slowest percent",
      panels: [
        graph("Writes to the log", "s", { "{{pod}}": slowest("etcd_disk_wal_fsync_duration_seconds", member) }),
        graph("Commits of the database", "s", {
          "{{pod}}": slowest("etcd_disk_backend_commit_duration_seconds", member),
        }),
        graph("Round trips to other members", "s", {
          "{{pod}}": slowest("etcd_network_peer_round_trip_time_seconds", member),
        }),
      ],
    },
    {
      title: "Requests",
      panels: [
        graph("Requests", "ops", {
          "{{pod}}": `sum by (pod) (${rate(`grpc_server_handled_total{${member},grpc_type="unary"}`)})`,
        }),
        graph("Proposals", "short", {
          "{{pod}} wait": `etcd_server_proposals_pending{${member}}`,
          "{{pod}} committed, not applied": `etcd_server_proposals_committed_total{${member}} - etcd_server_proposals_applied_total{${member}}`,
        }),
        graph("Proposals that failed", "ops", { "{{pod}}": rate(`etcd_server_proposals_failed_total{${member}}`) }),
      ],
    },
    {
      title: "Processes",
      panels: [
        graph("Memory", "bytes", { "{{pod}}": `process_resident_memory_bytes{${member}}` }),
        graph("Open files of their limit", "percentunit", {
          "{{pod}}": `process_open_fds{${member}} / process_max_fds{${member}}`,
        }),
      ],
    },
    ...ensembleRows(pods),
  ];
}
