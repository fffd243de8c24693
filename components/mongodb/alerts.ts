/** What somebody must hear of. */
import { type Alert, connectionsAlert, ensembleAlerts, memberAlerts, type Scope } from "../shared/deploy";

/** As for a copy: no secondary that is further behind is copied. */
const behindSeconds = 60;
/** A node that is replaced, with its volume, is back within an hour. */
const leastOplogSeconds = 3600;

export function mongodbAlerts(scope: Scope): Alert[] {
  const metric = (name: string): string => `cells_services_mongodb_${name}{${scope.member}}`;
  const [connections, available] = [metric("connections"), metric("connections_available")];
  return [
    ...memberAlerts(scope),
    ...ensembleAlerts(scope),
    {
      name: "MongodbReplicaBehind",
      expr: `${metric("lag_seconds")} > ${behindSeconds}`,
      // A member that restarts, or a batch of writes, catches up sooner.
      for: "10m",
      severity: "warning",
      summary: "{{ $labels.pod }} is {{ $value | humanizeDuration }} behind the primary",
      page: "mongodb.md#failure-modes",
    },
    {
      name: "MongodbOplogShort",
      expr: `min(${metric("oplog_window_seconds")}) < ${leastOplogSeconds}`,
      // The oplog of a new set, of a filled member, or after an import reaches back as far as wanted an hour later.
      for: "2h",
      severity: "warning",
      summary:
        "the oplog reaches back {{ $value | humanizeDuration }}: a member that is away for longer must be filled anew",
      page: "mongodb.md#what-may-be-set",
    },
    connectionsAlert(scope, connections, `(${connections} + ${available})`),
    {
      name: "MongodbCertificateNotRead",
      expr: `${metric("certificate_reload_failed")} == 1`,
      // The agent tries again each minute.
      for: "10m",
      severity: "warning",
      summary: "the server of {{ $labels.pod }} refuses its renewed certificate, and goes on with the former one",
      page: "mongodb.md#certificates",
    },
  ];
}
