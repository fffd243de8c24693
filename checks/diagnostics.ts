import { CoreV1Api, type CoreV1Event, type KubeConfig, type V1Pod } from "@kubernetes/client-node";
import type { CheckTarget } from "../components/shared/core/check";
import { instanceLabels, labelSelectorOf } from "../components/shared/core/names";
import { within } from "../components/shared/core/wait";
import { requestSeconds } from "./cluster";

/** Enough to see what is wrong, little enough to be read in a log of a pipeline. */
const lineLimit = 10;

/** The state of the pods of a service and its last events, in at most ten lines. */
export async function diagnose(config: KubeConfig, target: CheckTarget): Promise<string[]> {
  const core = config.makeApiClient(CoreV1Api);
  const { namespace } = target;
  const labelSelector = labelSelectorOf(instanceLabels(target.service, target.name));
  const [pods, events] = await within(
    Promise.all([core.listNamespacedPod({ namespace, labelSelector }), core.listNamespacedEvent({ namespace })]),
    requestSeconds,
    "diagnostics",
  );
  return describe(target, pods.items, events.items);
}

export function describe(target: CheckTarget, pods: V1Pod[], events: CoreV1Event[]): string[] {
  const servers = pods.filter((pod) => target.members.includes(pod.metadata?.name ?? ""));
  const missing = target.members.filter((member) => !servers.some((pod) => pod.metadata?.name === member));
  const lines = [
    ...servers.map(describePod),
    ...(missing.length === 0 ? [] : [`pods that do not exist: ${missing.join(", ")}`]),
  ].slice(0, lineLimit);
  const names = new Set([target.name, ...pods.map((pod) => pod.metadata?.name ?? ""), ...target.members]);
  const own = events
    .filter((event) => names.has(event.involvedObject.name ?? "") || belongs(event, target.members))
    .sort((a, b) => timeOf(a) - timeOf(b));
  // Warnings say why; the rest only says what happened.
  const warnings = own.filter((event) => event.type === "Warning");
  const shown = (warnings.length > 0 ? warnings : own).slice(-Math.max(0, lineLimit - lines.length) || own.length);
  if (lines.length >= lineLimit) return lines;
  return [...lines, ...shown.map(describeEvent)];
}

function belongs(event: CoreV1Event, members: string[]): boolean {
  // Volume claims carry the name of the pod at their end.
  return members.some((member) => event.involvedObject.name?.endsWith(`-${member}`) === true);
}

function describePod(pod: V1Pod): string {
  const containers = pod.status?.containerStatuses ?? [];
  const ready = containers.filter((each) => each.ready).length;
  const restarts = containers.reduce((sum, each) => sum + each.restartCount, 0);
  const waiting = [...(pod.status?.initContainerStatuses ?? []), ...containers]
    .map((each) => each.state?.waiting?.reason ?? each.lastState?.terminated?.reason)
    .filter((each) => each !== undefined);
  // Of a container that fails; agents write one sentence.
  const words = [...(pod.status?.initContainerStatuses ?? []), ...containers].flatMap(({ name, state, lastState }) => {
    const ended = state?.terminated ?? lastState?.terminated;
    return ended !== undefined && ended.exitCode !== 0 && ended.message ? [`; ${name}: ${ended.message.trim()}`] : [];
  });
  const phase = pod.metadata?.deletionTimestamp === undefined ? (pod.status?.phase ?? "Unknown") : "Terminating";
  const reasons = waiting.length === 0 ? "" : `, ${[...new Set(waiting)].join(", ")}`;
  return (
    `pod ${pod.metadata?.name ?? "?"}: ${phase}, ${ready}/${pod.spec?.containers.length ?? 0} ready, ` +
    `${restarts} restarts, node ${pod.spec?.nodeName ?? "none"}${reasons}${words.join("")}`
  );
}

function describeEvent(event: CoreV1Event): string {
  const text = (event.message ?? "").replace(/\s+/g, " ").slice(0, 200);
  return `event ${event.involvedObject.name ?? "?"}: ${event.reason ?? "?"}: ${text}`;
}

function timeOf(event: CoreV1Event): number {
  const time = event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;
  return time === undefined ? 0 : new Date(time).getTime();
}
