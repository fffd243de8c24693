import { resolveRedis } from "../../../components/redis";
import { redisAlerts } from "../../../components/redis/alerts";
import { scopeOf } from "../../../components/shared/deploy/alerts";
import { describeAlerts, ofEnsemble, ofGateway, ofMembers } from "../../support/promtool";

const scope = scopeOf(resolveRedis("redis", { namespace: "cells" }), "cells");
const common = [ofMembers(scope), ofEnsemble(scope, "redis-0"), ofGateway(scope)];

describeAlerts(
  redisAlerts(scope),
  scope,
  Object.assign({}, ...common.map(({ healthy }) => healthy)),
  common.flatMap(({ stories }) => stories),
);
