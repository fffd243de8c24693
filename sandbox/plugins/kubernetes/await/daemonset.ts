import { type KubernetesObject, number, text } from "../object";
import { done, type Progress, waiting } from "./progress";

export function daemonSetStatus(daemonSet: KubernetesObject): Progress {
  if ((number(daemonSet, "status", "observedGeneration") ?? 0) < (number(daemonSet, "metadata", "generation") ?? 0)) {
    return waiting("the controller has not seen the change yet");
  }
  const wanted = number(daemonSet, "status", "desiredNumberScheduled") ?? 0;
  const updated = number(daemonSet, "status", "updatedNumberScheduled") ?? 0;
  const available = number(daemonSet, "status", "numberAvailable") ?? 0;
  const onDelete = text(daemonSet, "spec", "updateStrategy", "type") === "OnDelete";
  if (!onDelete && updated < wanted) return waiting(`${updated} of ${wanted} pods updated`);
  if (available < wanted) return waiting(`${available} of ${wanted} pods available`);
  return done(`${available} of ${wanted} pods available`);
}
