/** What the agent of a member says of Vault, beside the server's own metrics. */
import type { Metrics } from "../shared/core/metrics";

export const vaultMetrics = {
  up: { help: "1: the server answers" },
  initialised: { help: "1: the member has the data of the cluster" },
  sealed: { help: "1: the data is closed" },
  removed: { help: "1: the member was removed from the cluster" },
} as const satisfies Metrics;

export type Gauges = Record<keyof typeof vaultMetrics, number>;
