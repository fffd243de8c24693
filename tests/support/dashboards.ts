/** What tests ask of dashboards. */
import { dashboards } from "../../components/dashboards";
import { maintenanceMetrics } from "../../components/etcd/metrics";
import { mongodbMetrics } from "../../components/mongodb/metrics";
import { mysqlMetrics } from "../../components/mysql/metrics";
import { reconcilerMetrics } from "../../components/nats/metrics";
import { redisMetrics } from "../../components/redis/metrics";
import { metricsOf } from "../../components/shared/agent/sidecar";
import type { Row } from "../../components/shared/core/dashboards";
import { metricPrefix } from "../../components/shared/core/metrics";
import { vaultMetrics } from "../../components/vault/metrics";

const tables = { redis: redisMetrics, mongodb: mongodbMetrics, mysql: mysqlMetrics, vault: vaultMetrics };
const served = [
  ...Object.entries(tables).flatMap(([service, metrics]) => Object.keys(metricsOf({ service, metrics }))),
  ...Object.keys(maintenanceMetrics),
  ...Object.keys(reconcilerMetrics),
].map((name) => metricPrefix + name);

export const queriesOf = (rows: Row[]): string[] =>
  rows.flatMap(({ panels }) => panels.flatMap(({ queries }) => Object.values(queries)));

/** Of our own, which the dashboard asks for and no agent has. */
export function unknownMetrics(kind: string): string[] {
  const asked = queriesOf(dashboards[kind]?.("$name", "$namespace") ?? []).flatMap((query) =>
    query.match(new RegExp(`\\b${metricPrefix}\\w+`, "g")),
  );
  return asked.filter((name): name is string => name !== null && !served.includes(name));
}
