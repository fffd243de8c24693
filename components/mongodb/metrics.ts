/** What the agent of a member says of MongoDB. */
import type { Metrics } from "../shared/core/metrics";

export const mongodbMetrics = {
  members_healthy: { help: "members that this one sees as primary or secondary" },
  lag_seconds: { help: "how far the member is behind the primary, by its last heartbeat" },
  votes: { help: "votes of the member in the replica set" },
  feature_compatibility_version: { help: "featureCompatibilityVersion of the data" },
  certificate_reload_failed: { help: "1: the server did not read its renewed certificate" },
} as const satisfies Metrics;
