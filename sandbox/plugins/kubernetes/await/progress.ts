import type { KubernetesObject } from "../object";

/** What one look at an object tells. `failed` ends the wait: no later event can help. */
export interface Progress {
  state: "done" | "waiting" | "failed";
  message: string;
}

export const done = (message = "ready"): Progress => ({ state: "done", message });
export const waiting = (message: string): Progress => ({ state: "waiting", message });
export const failed = (message: string): Progress => ({ state: "failed", message });

export interface Related {
  apiVersion: string;
  kind: string;
  labelSelector: string;
}

/** When an object of a kind is ready. */
export interface Rule {
  /** Other objects that the decision looks at. */
  related?: (object: KubernetesObject) => Related | undefined;
  decide: (object: KubernetesObject, related: KubernetesObject[]) => Progress;
}
