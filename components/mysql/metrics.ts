/** What the agent of a member says of MySQL. */
import type { Metrics } from "../shared/core/metrics";

export const mysqlMetrics = {
  members: { help: "members of the group, as this member sees it" },
  members_online: { help: "members of the group that are ONLINE" },
  majority: { help: "1: this member is in the group and sees a majority of it" },
  connections: { help: "connections of clients" },
  max_connections: { help: "connections that the server accepts" },
  applier_queue: { help: "transactions that were received and wait to be applied" },
  applier_lag_seconds: {
    help: "age of the oldest transaction that is being applied, 0 while none is; by the clocks of two members",
  },
} as const satisfies Metrics;

/** What was not seen is not in it. */
export type MysqlGauges = Partial<Record<keyof typeof mysqlMetrics, number>>;
