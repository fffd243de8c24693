import { isMap, type Value } from "../../server/values";
import { type Client, pathOf } from "../client";
import { type KubernetesObject, kindOf, list, map, nameOf, namespaceOf, text } from "../object";
import { podProblem } from "./pod";

const logLines = 10;

/** What the cluster knows about why an object is not ready: its pods, their warnings, the last words of a failed one. */
export async function explain(client: Client, object: KubernetesObject): Promise<string[]> {
  const namespace = namespaceOf(object);
  if (namespace === undefined) return [];
  try {
    const pods = await podsOf(client, object, namespace);
    const reasons: string[] = [];
    for (const pod of pods) {
      const problem = podProblem(pod);
      if (problem !== undefined) reasons.push(`pod ${nameOf(pod)}: ${problem}`);
    }
    const subjects = new Set([nameOf(object), ...pods.map(nameOf)]);
    reasons.push(...(await warnings(client, namespace, subjects)));
    if (kindOf(object) === "Job") reasons.push(...(await lastWords(client, namespace, pods)));
    return reasons;
  } catch (error) {
    return [`no more could be found out: ${error instanceof Error ? error.message : String(error)}`];
  }
}

async function podsOf(client: Client, object: KubernetesObject, namespace: string): Promise<KubernetesObject[]> {
  const labels = podLabels(object);
  if (labels === undefined) return [];
  const path = await pathOf(client, "v1", "Pod", namespace);
  const labelSelector = Object.entries(labels)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(",");
  return list(await client.request("GET", path, { query: { labelSelector } }), "items").filter(isMap);
}

function podLabels(object: KubernetesObject): Record<string, unknown> | undefined {
  switch (kindOf(object)) {
    case "Deployment":
    case "DaemonSet":
    case "StatefulSet":
      return map(object, "spec", "selector", "matchLabels");
    case "Service":
      return map(object, "spec", "selector");
    case "Job":
      return { "batch.kubernetes.io/job-name": nameOf(object) };
    default:
      return undefined;
  }
}

async function warnings(client: Client, namespace: string, subjects: Set<string>): Promise<string[]> {
  const path = await pathOf(client, "v1", "Event", namespace);
  const events = list(await client.request("GET", path, { query: { fieldSelector: "type=Warning" } }), "items");
  const latest = new Map<string, string>();
  // Repeated attempts word the same failure a little differently each time: the newest of a kind is enough.
  for (const event of events.sort((left, right) => (lastSeen(left) < lastSeen(right) ? 1 : -1))) {
    const name = text(event, "involvedObject", "name") ?? "";
    const subject = `${text(event, "involvedObject", "kind") ?? ""} ${name}: ${text(event, "reason") ?? ""}`;
    const known = latest.has(subject) || !subjects.has(name);
    if (!known) latest.set(subject, text(event, "message")?.trim() ?? "");
  }
  return [...latest].slice(0, 5).map(([subject, message]) => `${subject}: ${message}`);
}

function lastSeen(event: Value): string {
  return text(event, "lastTimestamp") ?? text(event, "eventTime") ?? "";
}

async function lastWords(client: Client, namespace: string, pods: KubernetesObject[]): Promise<string[]> {
  const latest = pods.sort((left, right) => (created(left) < created(right) ? 1 : -1))[0];
  if (latest === undefined) return [];
  const path = `${await pathOf(client, "v1", "Pod", namespace, nameOf(latest))}/log`;
  const statuses = [...list(latest, "status", "initContainerStatuses"), ...list(latest, "status", "containerStatuses")];
  const broken =
    statuses.find((status) => {
      const ended = isMap(status) ? (map(status, "state", "terminated")["exitCode"] ?? 0) : 0;
      return ended !== 0;
    }) ?? statuses[0];
  const container = text(broken, "name");
  const log = await client.log(path, { container, tailLines: logLines }).catch(() => "");
  const words = log.trimEnd();
  return words === "" ? [] : [`last lines of ${nameOf(latest)} (${container ?? ""}):\n${words}`];
}

function created(object: KubernetesObject): string {
  return text(object, "metadata", "creationTimestamp") ?? "";
}
