import { expect, it } from "vitest";
import { etcdAlerts } from "../../../components/etcd/alerts";
import { mongodbAlerts } from "../../../components/mongodb/alerts";
import { mysqlAlerts } from "../../../components/mysql/alerts";
import { natsAlerts } from "../../../components/nats/alerts";
import { redisAlerts } from "../../../components/redis/alerts";
import type { Scope } from "../../../components/shared/deploy/alerts";
import { vaultAlerts } from "../../../components/vault/alerts";
import { selectorsOf } from "../../support/prometheus";

const scope: Scope = {
  service: "redis",
  name: "redis",
  namespace: "cells",
  members: 3,
  member: 'namespace="cells",pod=~"redis-[0-9]+"',
  gateway: 'namespace="cells",pod=~"redis-gateway-.+"',
  agent: 'namespace="cells",pod=~"redis-agent-.+"',
  tls: "required",
  lifetimeDays: 90,
  backups: { copy: 1000, proof: 1000 },
};
const alerts = [etcdAlerts, vaultAlerts, natsAlerts, redisAlerts, mongodbAlerts, mysqlAlerts].flatMap((of) =>
  of(scope),
);

it("are found in an expression", () => {
  expect(selectorsOf('sum(rate(a_total{x="}{"}[5m])) by (x) / max(b:c{y=~"d\\"e",z="1"}) > 0 or vector(0)')).toEqual([
    'a_total{x="}{"}',
    'b:c{y=~"d\\"e",z="1"}',
  ]);
});

/** Words that are neither a function, which is followed by a parenthesis, nor a metric. */
const operators = ["and", "or", "unless", "bool", "offset"];

it.each(alerts.map(({ name, expr }) => [name, expr]))("of %s are all with matchers, and so can be found", (_, expr) => {
  const selectors = selectorsOf(expr);
  expect(selectors).not.toEqual([]);
  const rest = selectors
    .reduce((text, selector) => text.replace(selector, ""), expr)
    .replaceAll(/\[[^\]]*\]/g, "")
    .replaceAll(/"[^"]*"/g, "")
    // Lists of labels.
    .replaceAll(/\b(by|without|on|ignoring|group_left|group_right) *\([^)]*\)/g, "");
  const words = [...rest.matchAll(/[a-zA-Z_:][\w:]*(?! *\(|[\w:])/g)].map(([word]) => word);
  expect(words.filter((word) => !operators.includes(word) && !/^[0-9]/.test(word))).toEqual([]);
});
