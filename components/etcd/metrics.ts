/** What the maintenance says of etcd, beside the servers' own metrics. */
import { ensembleMetrics, type Metrics, metricsOfService, type Sample } from "../shared/core/metrics";
import type { Alarm } from "./client";

export const successGauge = "maintenance_last_success_timestamp_seconds";

/** Of its last pass, each minute. */
export const etcdMetrics = {
  [successGauge]: { help: "end of the last pass of the maintenance that did not fail" },
  alarms: {
    help: "alarms that are raised: with NOSPACE etcd refuses writes, with CORRUPT all requests",
    labels: ["alarm"],
  },
} as const satisfies Metrics;

/** Everything that the maintenance may say. */
export const maintenanceMetrics: Metrics = {
  ...metricsOfService("etcd", etcdMetrics),
  ...ensembleMetrics,
};

export function alarmSamples(alarms: Alarm[]): Sample[] {
  return ["NOSPACE", "CORRUPT"].map((alarm) => {
    const value = alarms.filter((each) => each.alarm === alarm).length;
    return { name: "etcd_alarms", labels: { alarm }, value };
  });
}
