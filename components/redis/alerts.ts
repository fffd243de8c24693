/** What somebody must hear of. */
import { type Alert, ensembleAlerts, gatewayAlerts, memberAlerts, type Scope } from "../shared/deploy";

export function redisAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ensembleAlerts(scope), ...gatewayAlerts(scope)];
}
