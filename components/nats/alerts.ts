/** What somebody must hear of. */
import { type Alert, ensembleAlerts, type Scope } from "../shared/deploy";

export function natsAlerts(scope: Scope): Alert[] {
  return [...ensembleAlerts(scope)];
}
