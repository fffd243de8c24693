/** What somebody must hear of. */
import {
  type Alert,
  connectionsAlert,
  ensembleAlerts,
  gatewayAlerts,
  memberAlerts,
  type Scope,
} from "../shared/deploy";
import { reservedConnections } from "./layout";

/** A new primary applies what it lacks before it answers: as long as three outages after a kill (9 s). */
const behindSeconds = 30;

export function mysqlAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ownAlerts(scope), ...ensembleAlerts(scope), ...gatewayAlerts(scope)];
}

function ownAlerts(scope: Scope): Alert[] {
  const { member } = scope;
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
    connectionsAlert(scope, of("connections"), `(${of("max_connections")} - ${reservedConnections})`),
  ];
}
