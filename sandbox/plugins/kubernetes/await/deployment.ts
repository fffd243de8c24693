import { at } from "../../server/values";
import { condition, type KubernetesObject, number, text } from "../object";
import { done, failed, type Progress, waiting } from "./progress";

export function deploymentStatus(deployment: KubernetesObject): Progress {
  if (at(deployment, ["spec", "paused"]) === true) return done("paused");
  if ((number(deployment, "status", "observedGeneration") ?? 0) < (number(deployment, "metadata", "generation") ?? 0)) {
    return waiting("the controller has not seen the change yet");
  }
  const progressing = condition(deployment, "Progressing");
  if (text(progressing, "reason") === "ProgressDeadlineExceeded") {
    return failed(text(progressing, "message") ?? "the progress deadline is exceeded");
  }
  const wanted = number(deployment, "spec", "replicas") ?? 1;
  const total = number(deployment, "status", "replicas") ?? 0;
  const updated = number(deployment, "status", "updatedReplicas") ?? 0;
  const available = number(deployment, "status", "availableReplicas") ?? 0;
  if (updated < wanted) return waiting(`${updated} of ${wanted} replicas updated`);
  if (total > updated) return waiting(`${total - updated} old replicas are still ending`);
  if (available < updated) return waiting(`${available} of ${updated} updated replicas available`);
  return done(`${available} of ${wanted} replicas available`);
}
