import { parseQuantity } from "../core/quantity";
import type { Ensemble } from "./arguments";

/** Bytes that the container of the server may use, from which servers compute their caches. Default: 1 GiB. */
export function memoryLimit({ resources }: Pick<Ensemble, "resources">): number {
  return parseQuantity(resources.limits["memory"] ?? "") ?? 2 ** 30;
}
