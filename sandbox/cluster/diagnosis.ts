import { existsSync, readFileSync } from "node:fs";
import { kubectl } from "./kubectl";
import { errorLines, logOf } from "./processes";

/** A pod, or what pods are named after: a Deployment, a StatefulSet. */
export interface Subject {
  namespace: string;
  name: string;
}

interface Container {
  name: string;
  ready: boolean;
  containerID?: string;
  state: { waiting?: { reason?: string; message?: string }; terminated?: { reason?: string; exitCode: number } };
}

export interface Pod {
  metadata: Subject;
  spec: { nodeName?: string };
  status: { containerStatuses?: Container[]; initContainerStatuses?: Container[] };
}

export interface Event {
  type: string;
  reason: string;
  message: string;
  involvedObject: { kind: string } & Subject;
}

export interface Observed {
  pods: Pod[];
  /** The oldest first. */
  events: Event[];
  /** The log of a container, by `namespace/pod/container`. */
  logs: Record<string, string>;
  /** The log of a node's kubelet, by node. */
  kubelets: Record<string, string>;
}

const lines = 3;

const means = (subject: Subject, other: Subject): boolean =>
  other.namespace === subject.namespace && (other.name === subject.name || other.name.startsWith(`${subject.name}-`));

const containersOf = ({ status }: Pod): Container[] => [
  ...(status.initContainerStatuses ?? []),
  ...(status.containerStatuses ?? []),
];

/** The containers that keep a pod from being ready: what an init container did is over once it has ended well. */
const brokenOf = (pod: Pod): Container[] =>
  containersOf(pod).filter(({ ready, state }) => !ready && state.terminated?.exitCode !== 0);

const keyOf = ({ metadata }: Pod, container: Container): string =>
  `${metadata.namespace}/${metadata.name}/${container.name}`;

/**
 * Why pods are not ready, a line for each reason: the newest warning of each kind, the state and last lines of each
 * container that does not run, and the errors of kubelet about a pod that has no container yet.
 */
export function reasons(subject: Subject, { pods, events, logs, kubelets }: Observed): string[] {
  const warnings = new Map<string, string>();
  for (const { type, reason, message, involvedObject } of events) {
    if (type !== "Warning" || !means(subject, involvedObject)) continue;
    warnings.set(`${involvedObject.name}: ${reason}`, message.trim());
  }
  const found = [...warnings].map(([what, message]) => `${what}: ${message}`);
  for (const pod of pods.filter(({ metadata }) => means(subject, metadata))) {
    const { name } = pod.metadata;
    for (const container of brokenOf(pod)) {
      const { waiting, terminated } = container.state;
      const state = waiting
        ? [waiting.reason, waiting.message].filter(Boolean).join(": ")
        : terminated && `${terminated.reason ?? "ended"} with exit code ${terminated.exitCode}`;
      if (state) found.push(`${name}: ${container.name}: ${state}`);
      const words = errorLines(logs[keyOf(pod, container)] ?? "", lines);
      found.push(...words.map((line) => `${name}: ${container.name} wrote: ${line}`));
    }
    const { nodeName } = pod.spec;
    if (nodeName === undefined || containersOf(pod).some(({ containerID }) => containerID)) continue;
    const about = (kubelets[nodeName] ?? "").split("\n").filter((line) => line.includes(name));
    found.push(...errorLines(about.join("\n"), lines).map((line) => `${name}: kubelet of ${nodeName} wrote: ${line}`));
  }
  return found;
}

/** Asks the cluster why the pods of these subjects are not ready. It never fails: it explains another failure. */
export async function explain(...subjects: Subject[]): Promise<string[]> {
  try {
    const list = async <T>(...args: string[]): Promise<T[]> =>
      (JSON.parse(await kubectl("get", "-A", "-o", "json", "--request-timeout=10s", ...args)) as { items: T[] }).items;
    const all = await list<Pod>("pods");
    const pods = all.filter(({ metadata }) => subjects.some((subject) => means(subject, metadata)));
    const observed: Observed = {
      pods,
      events: await list<Event>("events", "--sort-by=.metadata.creationTimestamp"),
      logs: Object.fromEntries(
        await Promise.all(pods.flatMap((pod) => brokenOf(pod).map((each) => logEntry(pod, each)))),
      ),
      kubelets: Object.fromEntries(pods.map(({ spec: { nodeName = "" } }) => [nodeName, kubeletLog(nodeName)])),
    };
    return subjects.flatMap((subject) => reasons(subject, observed));
  } catch (error) {
    return [`the cluster was asked for the reason: ${error instanceof Error ? error.message : String(error)}`];
  }
}

async function logEntry(pod: Pod, container: Container): Promise<[string, string]> {
  const { namespace, name } = pod.metadata;
  const ask = (...more: string[]): Promise<string> =>
    kubectl("logs", "-n", namespace, name, "-c", container.name, "--tail=50", "--request-timeout=10s", ...more);
  // A container that is started again and again has said why in its previous life.
  const words = (await ask("--previous").catch(() => "")) || (await ask().catch(() => ""));
  return [keyOf(pod, container), words];
}

function kubeletLog(node: string): string {
  const file = logOf(`${node}-kubelet`);
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}
