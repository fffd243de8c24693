/** What somebody must hear of. */
import { type Alert, ensembleAlerts, gatewayAlerts, memberAlerts, type Scope } from "../shared/deploy";

export function mysqlAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ensembleAlerts(scope), ...gatewayAlerts(scope)];
}
