/** What one looks at in NATS: what the reconciler sees. */
import { ensembleRows, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";
import { reconcilerName } from "./layout";

export function natsDashboard(name: string, namespace: string): Row[] {
  return [...ensembleRows(podsOf(name, namespace, reconcilerName(name)))];
}
