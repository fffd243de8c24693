import { resolveMysql } from "../../../components/mysql";
import { mysqlAlerts } from "../../../components/mysql/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { allSeries, describeAlerts, ofEnsemble, ofGateway, ofMembers, type Story } from "../../support/promtool";

/** Short, so that a story is. */
const staleAfter = "3h";
const store = { url: "https://s3.example.com", bucket: "copies", credentials: "keys" };
const scope = scopeOf(
  resolveMysql("mysql", { namespace: "cells", backups: { store, staleAfter, proof: { staleAfter } } }),
  "cells",
);
const common = [ofMembers(scope), ofEnsemble(scope, "mysql-0"), ofGateway(scope)];

const members = ["mysql-0", "mysql-1", "mysql-2"];
const each = (gauge: string, values: string, pods = members) =>
  Object.fromEntries(pods.map((pod) => [`cells_services_mysql_${gauge}{namespace="cells",pod="${pod}"}`, values]));
const ready = (values: string) => ({ 'cells_services_ready{namespace="cells",pod="mysql-1"}': values });

const healthy = {
  ...each("majority", "1x1000"),
  ...each("applier_lag_seconds", "0x1000"),
  ...each("connections", "100x1000"),
  ...each("max_connections", "550x1000"),
};

const stories: Story[] = [
  {
    title: "all members have left the group",
    series: each("majority", "1x5 0x10 1x60"),
    firing: { "10m": ["MysqlNoMajority"], "30m": [] },
  },
  {
    title: "a member is cut off, and the others go on",
    series: { ...each("majority", "1x5 0x8 1x60", ["mysql-1"]), ...ready("1x5 0x8 1x60") },
    firing: { "12m": [], "30m": [] },
  },
  {
    title: "a secondary that applies slowly",
    series: each("applier_lag_seconds", "0x5 5+10x20 0x60", ["mysql-1"]),
    firing: { "12m": [], "20m": ["MysqlReplicaBehind"], "60m": [] },
  },
  {
    title: "a secondary that is behind for moments, under load",
    series: each("applier_lag_seconds", "1 40 0 2 60 45 3 0x1000", ["mysql-1"]),
    firing: { "6m": [], "30m": [] },
  },
  {
    title: "a member that catches up after a roll",
    series: { ...each("applier_lag_seconds", "0x5 300x7 0x60", ["mysql-1"]), ...ready("1x5 0x7 1x60") },
    firing: { "11m": [], "30m": [] },
  },
  {
    title: "applications take almost all of their connections",
    series: each("connections", "100x5 420x20 100x60", ["mysql-0"]),
    firing: { "9m": [], "15m": ["MysqlConnectionsNearLimit"], "40m": [] },
  },
];

describeAlerts(mysqlAlerts(scope), scope, allSeries(healthy, ...common.map((part) => part.healthy)), [
  ...common.flatMap((part) => part.stories),
  ...stories,
]);
