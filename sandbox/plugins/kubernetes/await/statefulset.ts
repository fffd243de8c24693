import { type KubernetesObject, number, text } from "../object";
import { done, type Progress, waiting } from "./progress";

export function statefulSetStatus(statefulSet: KubernetesObject): Progress {
  if (
    (number(statefulSet, "status", "observedGeneration") ?? 0) < (number(statefulSet, "metadata", "generation") ?? 0)
  ) {
    return waiting("the controller has not seen the change yet");
  }
  const wanted = number(statefulSet, "spec", "replicas") ?? 1;
  const total = number(statefulSet, "status", "replicas") ?? 0;
  const ready = number(statefulSet, "status", "readyReplicas") ?? 0;
  const updated = number(statefulSet, "status", "updatedReplicas") ?? 0;
  if (total > wanted) return waiting(`${total - wanted} replicas above ${wanted} are still ending`);
  // With OnDelete the pods change when somebody deletes them, which is not a reason to wait.
  if (text(statefulSet, "spec", "updateStrategy", "type") !== "OnDelete") {
    const partition = number(statefulSet, "spec", "updateStrategy", "rollingUpdate", "partition") ?? 0;
    const toUpdate = Math.max(0, wanted - partition);
    if (updated < toUpdate) return waiting(`${updated} of ${toUpdate} replicas updated, ${ready} of ${wanted} ready`);
    const current = text(statefulSet, "status", "currentRevision");
    const update = text(statefulSet, "status", "updateRevision");
    if (partition === 0 && ready >= wanted && current !== update) {
      return waiting(`revision ${update ?? "unknown"} is rolling out, ${ready} of ${wanted} replicas ready`);
    }
  }
  if (ready < wanted) return waiting(`${ready} of ${wanted} replicas ready`);
  return done(`${ready} of ${wanted} replicas ready`);
}
