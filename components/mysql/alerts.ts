/** What somebody must hear of. */
import { type Alert, ensembleAlerts, gatewayAlerts, memberAlerts, type Scope } from "../shared/deploy";
import { reservedConnections } from "./layout";

/** Of the connections of all applications together. */
const busyShare = 0.8;
/** A new primary applies what it lacks before it answers: as long as three outages after a kill (9 s). */
const behindSeconds = 30;

export function mysqlAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ownAlerts(scope), ...ensembleAlerts(scope), ...gatewayAlerts(scope)];
}

function ownAlerts({ member }: Scope): Alert[] {
  const of = (gauge: string): string => `cells_services_mysql_${gauge}{${member}}`;
  return [
    {
      // Members without a majority leave the group after 20 s, and find each other again within seconds where they can.
      name: "MysqlNoMajority",
      expr: `max(${of("majority")}) < 1`,
      for: "1m",
      severity: "critical",
      summary: "no member is in a group with a majority: nothing can be written",
      page: "mysql.md#failure-modes",
    },
    {
      // Not of a member that is joining: it catches up. The time is for a large transaction, which others wait behind.
      name: "MysqlReplicaBehind",
      expr: `${of("applier_lag_seconds")} > ${behindSeconds} and cells_services_ready{${member}} == 1`,
      for: "5m",
      severity: "warning",
      summary: "{{ $labels.pod }} applies what is {{ $value | humanizeDuration }} old: it would take over as late",
      page: "mysql.md#failure-modes",
    },
    {
      name: "MysqlConnectionsNearLimit",
      expr: `${of("connections")} / (${of("max_connections")} - ${reservedConnections}) > ${busyShare}`,
      for: "5m",
      severity: "warning",
      summary: "{{ $labels.pod }} has {{ $value | humanizePercentage }} of the connections that applications may take",
      page: "mysql.md#failure-modes",
    },
  ];
}
