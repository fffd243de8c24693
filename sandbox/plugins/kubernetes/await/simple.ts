import { condition, type KubernetesObject, text } from "../object";
import { done, failed, type Progress, waiting } from "./progress";

export function claimStatus(claim: KubernetesObject): Progress {
  const phase = text(claim, "status", "phase") ?? "Pending";
  if (phase === "Bound") return done("bound");
  return phase === "Lost" ? failed("the volume behind the claim is lost") : waiting(`phase ${phase}`);
}

export function namespaceStatus(namespace: KubernetesObject): Progress {
  const phase = text(namespace, "status", "phase") ?? "unknown";
  return phase === "Active" ? done("active") : waiting(`phase ${phase}`);
}

export function definitionStatus(definition: KubernetesObject): Progress {
  const names = condition(definition, "NamesAccepted");
  if (text(names, "status") === "False") return failed(text(names, "message") ?? "the names are not accepted");
  if (text(condition(definition, "Established"), "status") === "True") return done("established");
  return waiting("the definition is not established yet");
}
