import { resolveMongodb } from "../../../components/mongodb";
import { mongodbAlerts } from "../../../components/mongodb/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { allSeries, describeAlerts, ofEnsemble, ofMembers, type Series, type Story } from "../../support/promtool";

const scope = scopeOf(resolveMongodb("mongodb", { namespace: "cells" }), "cells");
const common = [ofMembers(scope), ofEnsemble(scope, "mongodb-0")];
const of = (member: number, metric: string, values: string): Series => ({
  [`cells_services_mongodb_${metric}{namespace="cells",pod="mongodb-${member}"}`]: values,
});
const healthy = [0, 1, 2].map((member) => ({
  ...of(member, "lag_seconds", "2x1000"),
  ...of(member, "oplog_window_seconds", "90000x1000"),
  ...of(member, "connections", "40x1000"),
  ...of(member, "connections_available", "800x1000"),
  ...of(member, "certificate_reload_failed", "0x1000"),
}));

const stories: Story[] = [
  {
    title: "a secondary falls behind",
    series: of(1, "lag_seconds", "0+30x20 2x60"),
    firing: { "12m": [], "18m": ["MongodbReplicaBehind"], "40m": [] },
  },
  {
    title: "a member is filled: it has no lag, and its oplog begins anew",
    series: { ...of(1, "lag_seconds", "2x5 _x60 2x400"), ...of(1, "oplog_window_seconds", "90000x5 _x60 0+60x400") },
    firing: { "60m": [], "120m": [], "300m": [] },
  },
  {
    title: "a new set begins, and takes an import",
    series: allSeries(...[0, 1, 2].map((each) => of(each, "oplog_window_seconds", "0+60x30 300x20 300+60x400"))),
    firing: { "60m": [], "110m": [], "300m": [] },
  },
  {
    title: "writes go on that fill the oplog in minutes",
    series: of(0, "oplog_window_seconds", "90000x10 1500x200 1500+60x200"),
    firing: { "100m": [], "150m": ["MongodbOplogShort"], "300m": [] },
  },
  {
    title: "connections are used up",
    series: { ...of(0, "connections", "40x5 750x20 40x60"), ...of(0, "connections_available", "800x5 90x20 800x60") },
    firing: { "8m": [], "15m": ["MongodbConnectionsNearLimit"], "40m": [] },
  },
  {
    title: "a server refuses its renewed certificate",
    series: of(2, "certificate_reload_failed", "0x5 1x30 0x60"),
    firing: { "10m": [], "20m": ["MongodbCertificateNotRead"], "60m": [] },
  },
];

describeAlerts(mongodbAlerts(scope), scope, allSeries(...healthy, ...common.map((each) => each.healthy)), [
  ...common.flatMap((each) => each.stories),
  ...stories,
]);
