import { at, isMap } from "../../server/values";
import { condition, type KubernetesObject, list, number, text } from "../object";
import { done, failed, type Progress, waiting } from "./progress";

export function podStatus(pod: KubernetesObject): Progress {
  const phase = text(pod, "status", "phase") ?? "Pending";
  if (phase === "Succeeded") return done("succeeded");
  if (phase === "Failed") return failed(text(pod, "status", "message") ?? podProblem(pod) ?? "the Pod failed");
  if (phase === "Running" && text(condition(pod, "Ready"), "status") === "True") return done();
  return waiting(podProblem(pod) ?? `phase ${phase}`);
}

/** Why a pod is not ready, in one line; undefined when it is, or has done its work. */
export function podProblem(pod: KubernetesObject): string | undefined {
  const phase = text(pod, "status", "phase");
  if (phase === "Succeeded" || text(condition(pod, "Ready"), "status") === "True") return undefined;
  const scheduled = condition(pod, "PodScheduled");
  if (text(scheduled, "status") === "False") {
    return `${text(scheduled, "reason") ?? "not scheduled"}: ${text(scheduled, "message") ?? ""}`;
  }
  const problems = [...list(pod, "status", "initContainerStatuses"), ...list(pod, "status", "containerStatuses")]
    .filter(isMap)
    .map(containerProblem)
    .filter((problem) => problem !== undefined);
  if (problems.length > 0) return problems.join("; ");
  return text(pod, "status", "message") ?? text(condition(pod, "Ready"), "message");
}

function containerProblem(status: KubernetesObject): string | undefined {
  const name = `container ${text(status, "name") ?? ""}`;
  const waitingReason = text(status, "state", "waiting", "reason");
  const ended = at(status, ["state", "terminated"]) ?? at(status, ["lastState", "terminated"]);
  const exit = isMap(ended) ? `last exit ${number(ended, "exitCode") ?? "?"} (${text(ended, "reason") ?? "?"})` : "";
  // These two only say that an earlier container has to finish.
  if (waitingReason !== undefined && waitingReason !== "PodInitializing" && waitingReason !== "ContainerCreating") {
    const message = text(status, "state", "waiting", "message");
    return [`${name} ${waitingReason}`, message, exit].filter(Boolean).join(", ");
  }
  if (isMap(at(status, ["state", "terminated"])) && number(ended, "exitCode") !== 0) return `${name} ${exit}`;
  if (isMap(at(status, ["state", "running"])) && status["ready"] === false && exit !== "") {
    return `${name} running but not ready, ${exit}`;
  }
  if (isMap(at(status, ["state", "running"])) && status["ready"] === false && status["started"] !== undefined) {
    return `${name} running but not ready`;
  }
  return undefined;
}
