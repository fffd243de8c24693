import { resolveMysql } from "../../../components/mysql";
import { mysqlAlerts } from "../../../components/mysql/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { describeAlerts, ofEnsemble, ofGateway, ofMembers } from "../../support/promtool";

/** Short, so that a story is. */
const staleAfter = "3h";
const store = { url: "https://s3.example.com", bucket: "copies", credentials: "keys" };
const scope = scopeOf(
  resolveMysql("mysql", { namespace: "cells", backups: { store, staleAfter, proof: { staleAfter } } }),
  "cells",
);
const common = [ofMembers(scope), ofEnsemble(scope, "mysql-0"), ofGateway(scope)];

describeAlerts(
  mysqlAlerts(scope),
  scope,
  Object.assign({}, ...common.map(({ healthy }) => healthy)),
  common.flatMap(({ stories }) => stories),
);
