import { type Client, getObject, pathOf } from "../client";
import {
  annotated,
  annotation,
  apiVersionOf,
  type KubernetesObject,
  kindOf,
  nameOf,
  namespaceOf,
  text,
  title,
} from "../object";
import { daemonSetStatus } from "./daemonset";
import { deploymentStatus } from "./deployment";
import { explain } from "./explain";
import { jobStatus } from "./job";
import { observe, type Selection } from "./observe";
import { podStatus } from "./pod";
import type { Progress, Rule } from "./progress";
import { serviceEndpoints, serviceStatus } from "./service";
import { claimStatus, definitionStatus, namespaceStatus } from "./simple";
import { statefulSetStatus } from "./statefulset";

const rules: Record<string, Rule> = {
  "apps/v1/Deployment": { decide: deploymentStatus },
  "apps/v1/DaemonSet": { decide: daemonSetStatus },
  "apps/v1/StatefulSet": { decide: statefulSetStatus },
  "batch/v1/Job": { decide: jobStatus },
  "v1/Pod": { decide: podStatus },
  "v1/Service": { decide: serviceStatus, related: serviceEndpoints },
  "v1/PersistentVolumeClaim": { decide: claimStatus },
  "v1/Namespace": { decide: namespaceStatus },
  "apiextensions.k8s.io/v1/CustomResourceDefinition": { decide: definitionStatus },
};

const defaultTimeoutSeconds = 600;

/** customTimeouts of the program win over the annotation, which wins over ten minutes. */
export function timeoutSecondsOf(object: KubernetesObject, requested: number): number {
  if (requested > 0) return requested;
  const annotatedSeconds = Number(annotation(object, "pulumi.com/timeoutSeconds"));
  return annotatedSeconds > 0 ? annotatedSeconds : defaultTimeoutSeconds;
}

/** The object did not become ready; the reasons are for a person. */
export class NotReadyError extends Error {
  readonly reasons: string[];

  constructor(reasons: string[]) {
    super(reasons.join("\n"));
    this.reasons = reasons;
  }
}

export interface Wait {
  timeoutSeconds: number;
  signal: AbortSignal;
  status: (message: string) => void;
}

/** Waits until an applied object is ready and returns it as it is then. */
export async function awaitReady(client: Client, object: KubernetesObject, wait: Wait): Promise<KubernetesObject> {
  const rule = await ruleFor(client, object);
  if (rule === undefined) return object;
  const timeoutSeconds = timeoutSecondsOf(object, wait.timeoutSeconds);
  const deadline = AbortSignal.timeout(timeoutSeconds * 1000);
  const selections = await selectionsOf(client, object, rule);
  let last: Progress = { state: "waiting", message: "nothing seen yet" };
  let newest = object;
  try {
    await observe(
      client,
      selections,
      ([self = [], related = []]) => {
        const found = self[0];
        const previous = last.message;
        if (found === undefined) {
          last = { state: "failed", message: "it was deleted while it was awaited" };
        } else {
          newest = { ...found, apiVersion: apiVersionOf(object), kind: kindOf(object) };
          last = rule.decide(newest, related);
        }
        if (last.message !== previous) wait.status(last.message);
        return last.state === "waiting" ? undefined : last;
      },
      AbortSignal.any([wait.signal, deadline]),
    );
  } catch (error) {
    if (wait.signal.aborted) throw new NotReadyError([`${title(object)}: cancelled; last seen: ${last.message}`]);
    if (!deadline.aborted) throw error;
    const reasons = await explain(client, newest);
    throw new NotReadyError([
      `${title(object)} was not ready within ${timeoutSeconds} s; last seen: ${last.message}`,
      ...reasons,
    ]);
  }
  if (last.state === "failed") {
    throw new NotReadyError([`${title(object)} failed: ${last.message}`, ...(await explain(client, newest))]);
  }
  return newest;
}

/** One look, without waiting: why an object is not ready, or undefined when it is. */
export async function notReady(client: Client, object: KubernetesObject): Promise<string | undefined> {
  const rule = await ruleFor(client, object);
  if (rule === undefined) return undefined;
  const [, related] = await selectionsOf(client, object, rule);
  const items =
    related === undefined
      ? []
      : (await client.request("GET", related.path, { query: { labelSelector: related.labelSelector } }))["items"];
  const progress = rule.decide(object, Array.isArray(items) ? (items as KubernetesObject[]) : []);
  return progress.state === "done" ? undefined : `${title(object)}: ${progress.message}`;
}

async function ruleFor(client: Client, object: KubernetesObject): Promise<Rule | undefined> {
  if (annotated(object, "pulumi.com/skipAwait")) return undefined;
  if (kindOf(object) === "PersistentVolumeClaim" && (await boundByFirstPod(client, object))) return undefined;
  return rules[`${apiVersionOf(object)}/${kindOf(object)}`];
}

/** Such a claim stays pending until a pod uses it, which may come after it in the program. */
async function boundByFirstPod(client: Client, claim: KubernetesObject): Promise<boolean> {
  const name = text(claim, "spec", "storageClassName");
  if (name === undefined || name === "") return false;
  const storageClass = await getObject(
    client,
    await pathOf(client, "storage.k8s.io/v1", "StorageClass", undefined, name),
  );
  return text(storageClass, "volumeBindingMode") === "WaitForFirstConsumer";
}

async function selectionsOf(client: Client, object: KubernetesObject, rule: Rule): Promise<Selection[]> {
  const namespace = namespaceOf(object);
  const self: Selection = {
    path: await pathOf(client, apiVersionOf(object), kindOf(object), namespace),
    fieldSelector: `metadata.name=${nameOf(object)}`,
  };
  const related = rule.related?.(object);
  if (related === undefined) return [self];
  const path = await pathOf(client, related.apiVersion, related.kind, namespace);
  return [self, { path, labelSelector: related.labelSelector }];
}
