/** What somebody must hear of. The thresholds are those of etcd's own etcd-mixin where nothing else is said. */
import { majority } from "../shared/core/names";
import { type Alert, ensembleAlerts, orNone, type Scope } from "../shared/deploy";

/** The quota is lifted by a larger volume, which takes a person: a day's growth should be left. */
const fullShare = 0.8;
/** Seconds of the slowest of a hundred writes to the log. A leader is given up for dead after one. */
const slowSeconds = 0.5;
/** A roll, and a node that is lost meanwhile, make fewer within a quarter of an hour. */
const restlessElections = 4;
/** The longest pass takes less. */
const silentSeconds = 1800;

export function etcdAlerts(scope: Scope): Alert[] {
  const { members, member, agent } = scope;
  const page = "etcd.md#failure-modes";
  const used = `etcd_mvcc_db_total_size_in_bytes{${member}} / etcd_server_quota_backend_bytes{${member}}`;
  const alarm = (kind: string): string => `max(cells_services_etcd_alarms{${agent},alarm="${kind}"}) > 0`;
  const succeeded = `cells_services_etcd_maintenance_last_success_timestamp_seconds{${agent}}`;
  return [
    {
      name: "EtcdMemberNotReady",
      expr: `${orNone(`sum(etcd_server_has_leader{${member}} == bool 1)`)} < ${members}`,
      for: "10m",
      severity: "warning",
      summary: `{{ $value }} of ${members} members follow a leader, and writes need ${majority(members)}`,
      page,
    },
    {
      name: "EtcdNoLeader",
      expr: `${orNone(`sum(etcd_server_has_leader{${member}})`)} < ${majority(members)}`,
      for: "1m",
      severity: "critical",
      summary: "no majority of the members has a leader, and no member takes writes, or none is scraped",
      page,
    },
    {
      name: "EtcdRestless",
      expr: `max(increase(etcd_server_leader_changes_seen_total{${member}}[15m])) >= ${restlessElections}`,
      for: "5m",
      severity: "warning",
      summary:
        "the leader changed {{ $value | humanize }} times in 15 minutes: disks or network are too slow, or members restart",
      page,
    },
    {
      name: "EtcdDiskSlow",
      expr: `histogram_quantile(0.99, rate(etcd_disk_wal_fsync_duration_seconds_bucket{${member}}[5m])) > ${slowSeconds}`,
      for: "10m",
      severity: "warning",
      summary: "the disk of {{ $labels.pod }} takes {{ $value | humanizeDuration }} for a write to the log",
      page,
    },
    {
      name: "EtcdQuotaFillsUp",
      expr: `${used} > ${fullShare}`,
      for: "10m",
      severity: "warning",
      summary: "the database of {{ $labels.pod }} has {{ $value | humanizePercentage }} of its quota",
      page,
    },
    {
      name: "EtcdNoSpace",
      expr: alarm("NOSPACE"),
      for: "2m",
      severity: "critical",
      summary: "the quota is used up, and etcd refuses writes",
      page,
    },
    {
      name: "EtcdCorrupt",
      expr: alarm("CORRUPT"),
      for: "1m",
      severity: "critical",
      summary: "etcd reports corrupt data, and refuses all requests",
      page: "etcd.md#maintenance",
    },
    {
      name: "EtcdMaintenanceFails",
      // One that starts has none, and is started again when a pass hangs.
      expr: `time() - max(${succeeded}) > ${silentSeconds} or absent_over_time(${succeeded}[${silentSeconds}s])`,
      for: "5m",
      severity: "warning",
      summary:
        "no pass of the maintenance succeeded for half an hour: learners are not promoted, and full members get no space",
      page: "etcd.md#maintenance",
    },
    ...ensembleAlerts(scope),
  ];
}
