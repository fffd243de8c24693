/** What somebody must hear of. */
import { type Alert, ensembleAlerts, memberAlerts, type Scope } from "../shared/deploy";

export function vaultAlerts(scope: Scope): Alert[] {
  return [...memberAlerts(scope), ...ensembleAlerts(scope)];
}
