/** What the agent of a member says of MySQL. */
import type { Metrics } from "../shared/core/metrics";

export const mysqlMetrics = {
  members: { help: "members of the group, as this member sees it" },
  members_online: { help: "members of the group that are ONLINE" },
  majority: { help: "1: this member is in the group and sees a majority of it" },
  connections: { help: "connections of clients" },
  max_connections: { help: "connections that the server accepts" },
  applier_queue: { help: "transactions that were received and wait to be applied" },
} as const satisfies Metrics;
