import { resolveEtcd } from "../../../components/etcd";
import { etcdAlerts } from "../../../components/etcd/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { describeAlerts, ofEnsemble, type Series, type Story } from "../../support/promtool";

const staleAfter = "3h";
const store = { url: "https://s3.example.com", bucket: "copies", credentials: "keys" };
const ensemble = resolveEtcd("etcd", { namespace: "cells", backups: { store, staleAfter, proof: { staleAfter } } });
const scope = scopeOf(ensemble, "cells", "etcd-maintenance");
const agent = "etcd-maintenance-5f-a";
const on = (pod: string, metric: string, labels = ""): string => `${metric}{namespace="cells",pod="${pod}"${labels}}`;
const each = (metric: string, values: string, labels = ""): Series =>
  Object.fromEntries([0, 1, 2].map((ordinal) => [on(`etcd-${ordinal}`, metric, labels), values]));
const alarms = (kind: string, values: string): Series => ({
  [on(agent, "cells_services_etcd_alarms", `,alarm="${kind}"`)]: values,
});
const success = on(agent, "cells_services_etcd_maintenance_last_success_timestamp_seconds");
const buckets = (slow: string): Series => ({
  ...each("etcd_disk_wal_fsync_duration_seconds_bucket", slow, ',le="0.256"'),
  ...each("etcd_disk_wal_fsync_duration_seconds_bucket", "0+100x1000", ',le="8.192"'),
  ...each("etcd_disk_wal_fsync_duration_seconds_bucket", "0+100x1000", ',le="+Inf"'),
});

const healthy: Series = {
  ...each("etcd_server_has_leader", "1x1000"),
  ...each("etcd_server_leader_changes_seen_total", "1x1000"),
  ...each("etcd_mvcc_db_total_size_in_bytes", "100x1000"),
  ...each("etcd_server_quota_backend_bytes", "1000x1000"),
  ...buckets("0+100x1000"),
  ...alarms("NOSPACE", "0x1000"),
  ...alarms("CORRUPT", "0x1000"),
  [success]: "0+60x1000",
};

const stories: Story[] = [
  {
    title: "a member is away",
    series: { [on("etcd-1", "etcd_server_has_leader")]: "1x5 _x30 1x60" },
    firing: { "12m": [], "25m": ["EtcdMemberNotReady"], "60m": [] },
  },
  {
    title: "there is no leader",
    series: each("etcd_server_has_leader", "1x5 0x30 1x60"),
    firing: { "10m": ["EtcdNoLeader"], "25m": ["EtcdMemberNotReady", "EtcdNoLeader"], "60m": [] },
  },
  {
    title: "the leader changes again and again",
    series: each("etcd_server_leader_changes_seen_total", "1x10 1+1x30 31x60"),
    firing: { "10m": [], "40m": ["EtcdRestless"], "80m": [] },
  },
  {
    title: "a roll changes the leader",
    series: each("etcd_server_leader_changes_seen_total", "1x10 2x2 3x60"),
    firing: { "15m": [], "20m": [] },
  },
  {
    title: "the disks are slow",
    series: buckets("0+50x30 1500+100x100"),
    firing: { "25m": ["EtcdDiskSlow"], "80m": [] },
  },
  {
    title: "the database grows",
    series: each("etcd_mvcc_db_total_size_in_bytes", "100x5 900x30 100x60"),
    firing: { "10m": [], "25m": ["EtcdQuotaFillsUp"], "60m": [] },
  },
  {
    title: "the quota is used up",
    series: alarms("NOSPACE", "0x5 3x10 0x60"),
    firing: { "10m": ["EtcdNoSpace"], "30m": [] },
  },
  {
    title: "data is corrupt",
    series: alarms("CORRUPT", "0x5 1x10 0x60"),
    firing: { "10m": ["EtcdCorrupt"], "30m": [] },
  },
  {
    title: "the maintenance fails",
    series: { [success]: "0x50 3060+60x100" },
    firing: { "20m": [], "45m": ["EtcdMaintenanceFails"], "80m": [] },
  },
  {
    title: "the maintenance starts again and again, and never succeeds",
    series: { [success]: "0+60x10 _x60 4260+60x60" },
    firing: { "30m": [], "60m": ["EtcdMaintenanceFails"], "90m": [] },
  },
];

const common = ofEnsemble(scope, agent);
describeAlerts(etcdAlerts(scope), scope, { ...healthy, ...common.healthy }, [...stories, ...common.stories]);
