import { at } from "../../server/values";
import { condition, type KubernetesObject, number, text } from "../object";
import { done, failed, type Progress, waiting } from "./progress";

export function jobStatus(job: KubernetesObject): Progress {
  if (at(job, ["spec", "suspend"]) === true) return done("suspended");
  const failure = condition(job, "Failed");
  if (text(failure, "status") === "True") {
    return failed([text(failure, "reason"), text(failure, "message")].filter(Boolean).join(": ") || "the Job failed");
  }
  if (text(condition(job, "Complete"), "status") === "True") return done("complete");
  const count = (key: string) => number(job, "status", key) ?? 0;
  return waiting(`${count("succeeded")} succeeded, ${count("active")} active, ${count("failed")} failed`);
}
