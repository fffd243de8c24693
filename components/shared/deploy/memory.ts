/** How much memory the server of a member may use. */
import type { core } from "@pulumi/kubernetes/types/input";
import { parseQuantity } from "../core/quantity";
import type { Ensemble } from "./arguments";

/** Bytes that the container of the server may use, from which servers compute their caches. Default: 1 GiB. */
export function memoryLimit({ resources }: Pick<Ensemble, "resources">): number {
  return parseQuantity(resources.limits["memory"] ?? "") ?? 2 ** 30;
}

/** For a server in Go. `share` of the container's limit, so that the server collects garbage before memory runs out. */
export function goMemoryLimit(ensemble: Ensemble, share: number): core.v1.EnvVar {
  return { name: "GOMEMLIMIT", value: String(Math.floor(memoryLimit(ensemble) * share)) };
}
