/** What the agent of a member says of MongoDB. */
import type { Metrics } from "../shared/core/metrics";

export const mongodbMetrics = {
  members_healthy: { help: "members that this one sees as primary or secondary" },
  lag_seconds: { help: "how far a secondary is behind the primary, by its last heartbeat" },
  oplog_window_seconds: {
    help: "how far the oplog reaches back: a member that was away for longer must be filled anew",
  },
  connections: { help: "open connections, those of members and agents too" },
  connections_available: { help: "further connections that the server accepts" },
  votes: { help: "votes of the member in the replica set" },
  feature_compatibility_version: { help: "featureCompatibilityVersion of the data" },
  certificate_reload_failed: { help: "1: the server did not read its renewed certificate" },
} as const satisfies Metrics;

export type Gauges = Partial<Record<keyof typeof mongodbMetrics, number>>;
