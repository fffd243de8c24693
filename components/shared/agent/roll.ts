/**
 * Replaces the pods of members that are not what the StatefulSet wants, or that started with another authority, one
 * after the other, as `core/roll.ts` decides. May be killed at any point; the next run continues from what is in the
 * cluster.
 */
import { stalePodsOf } from "../core/certificates";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { type Marker, peerTls } from "../core/marker";
import { labelKeys, memberNames, namesOf, rollLease } from "../core/names";
import { nextStep, type RollMember, type RollStep, turnSeconds } from "../core/roll";
import type { EnsembleSettings, RollSettings } from "../core/settings";
import { type Attempt, waitFor } from "../core/wait";
import { growClaims } from "./claims";
import { askAgent } from "./http";
import { type ConfigMap, core, group, inClusterApi, type KubernetesApi, type KubernetesObject } from "./kubernetes";
import { type Turn, takeTurn } from "./lease";
import { readPod, readSettings } from "./main";

/** What the database says of a member whose server runs. */
export interface Condition {
  whole: boolean;
  leads: boolean;
  /** In one line, without secrets. */
  detail: string;
}

/** Asks each of these members, whose servers run, or all about each. Who does not answer is not whole. */
export type Examine = (
  pods: ReadonlyMap<string, MemberPod>,
  settings: EnsembleSettings,
  namespace: string,
) => Promise<Map<string, Condition>>;

/** For members that may be busy with an election just now. */
const wholeSeconds = 60;
/** What has not become better within `patienceSeconds`, such as an image that is nowhere or a Secret that is missing, seldom does. */
const usual = { patienceSeconds: 120, intervalSeconds: 2 };
const hopeless = /^(ErrImagePull|ImagePullBackOff|InvalidImageName|CreateContainerConfigError|CreateContainerError)\b/;
export const rollTurn: Turn = { lease: rollLease, among: "the rolls of the namespace", does: "replaces members" };
const remedy = "correct the change or set it back, and run pulumi up again";

export interface StatefulSet extends KubernetesObject {
  spec: {
    replicas: number;
    template?: { metadata?: { annotations?: Record<string, string> }; spec?: MemberSpec };
    volumeClaimTemplates?: { spec: { storageClassName?: string } }[];
  };
  status?: { observedGeneration?: number; updateRevision?: string; readyReplicas?: number; updatedReplicas?: number };
}

interface ContainerStatus {
  name: string;
  /** Empty until the image was pulled. */
  imageID?: string;
  state?: {
    waiting?: { reason?: string; message?: string };
    terminated?: { reason?: string; message?: string; exitCode: number };
    running?: object;
  };
  lastState?: ContainerStatus["state"];
}

/** Of a pod, or of the template of pods. */
export interface MemberSpec {
  containers?: { name: string }[];
  initContainers?: { name: string; env?: { name: string; value?: string }[] }[];
  volumes?: { name: string; configMap?: { name: string } }[];
  securityContext?: { runAsUser?: number };
}

export interface MemberPod extends KubernetesObject {
  metadata?: KubernetesObject["metadata"] & { deletionTimestamp?: string };
  spec?: MemberSpec;
  status?: {
    initContainerStatuses?: ContainerStatus[];
    containerStatuses?: ContainerStatus[];
    conditions?: { type: string; status: string; reason?: string; message?: string }[];
  };
}

/** By default the agent beside each server is asked. */
export async function rollCommand(examine: Examine = examineSidecars): Promise<void> {
  const { name, namespace } = readPod();
  await roll({ settings: readSettings<RollSettings>(), pod: name, namespace, api: inClusterApi(), examine });
}

type Removal = Extract<RollStep, { members: string[] }>;

/** How the members of an ensemble are looked at. */
export interface Members {
  settings: EnsembleSettings;
  namespace: string;
  api: KubernetesApi;
  examine: Examine;
}

interface Context extends Members {
  settings: RollSettings;
  /** Who replaces members. */
  pod: string;
}

/** Ends when all members are whole and what they should be; throws when one does not become whole. */
export async function roll(context: Context, timing = usual): Promise<void> {
  const { settings, pod, namespace, api } = context;
  // That of a lost volume was made anew with the first size.
  await growClaims(settings, namespace, api);
  let stopped = false;
  let endTurn: (() => Promise<void>) | undefined;
  const act = async ({ kind, members }: Removal, uids: Map<string, string>): Promise<string | undefined> => {
    stopped ||= kind === "stop";
    for (const member of members) {
      const uid = uids.get(member) ?? "";
      // Kubernetes counts an eviction together with the drain of a node.
      const refused = kind === "evict" ? await api.evict(namespace, member, uid) : undefined;
      if (refused !== undefined) return `${member} stays: ${refused}`;
      if (kind !== "evict") await api.remove(core(namespace, "pods", member), uid);
    }
    return undefined;
  };
  try {
    const whole = "all members to be whole";
    // Most runs find nothing to do, and need no turn to see that.
    let step = await awaitStep(whole, 0, context, timing);
    if (step.kind !== "done") {
      endTurn = await takeTurn(rollTurn, pod, namespace, api, turnSeconds);
      step = await awaitStep(whole, 0, context, timing, act);
    }
    while (step.kind !== "done") {
      const members = step.members.join(", ");
      stopped = step.kind === "stop";
      if (stopped) log(`stopped ${members} at once, for other TLS between the members`);
      else log(`replaced ${members}${step.kind === "evict" ? "" : ", without asking the disruption budget"}`);
      const what = `${stopped ? "all members" : members} to be whole with what is new`;
      step = await awaitStep(what, settings.watchSeconds, context, timing, act);
    }
    log("all members are whole, and what they should be");
  } catch (error) {
    const unharmed = stopped ? "" : "the other members run as they did; ";
    throw new Error(`${messageOf(error)}; ${unharmed}${remedy}`, { cause: error });
  } finally {
    await endTurn?.();
  }
}

/** Waits until nothing is left to do, or until `act` has taken a step; `act` returns why it cannot be taken yet. Without `act` it only looks. */
function awaitStep(
  what: string,
  watchSeconds: number,
  context: Context,
  { patienceSeconds, intervalSeconds }: typeof usual,
  act: (step: Removal, uids: Map<string, string>) => Promise<string | undefined> = async () => undefined,
): Promise<Removal | { kind: "done" }> {
  const begin = performance.now();
  const since = (time: number): number => (performance.now() - time) / 1000;
  let hopelessSince = begin;
  let wholeSince = begin;
  const attempt = async (): Promise<Attempt<Removal | { kind: "done" }>> => {
    const seen = await observe(context);
    if (typeof seen === "string") return { waiting: seen };
    if (seen.members.some(({ condition }) => condition !== "whole")) wholeSince = performance.now();
    else if (since(wholeSince) < watchSeconds) return { waiting: "all are whole, and watched for a moment" };
    const next = nextStep(seen.members, since(begin) > patienceSeconds);
    if (next.kind === "done") return { done: next };
    if (next.kind === "wait") {
      if (!hopeless.test(next.reason)) hopelessSince = performance.now();
      if (since(hopelessSince) > patienceSeconds) throw new Error(`${next.member} cannot start: ${next.reason}`);
      return { waiting: `${next.member}: ${next.reason}` };
    }
    const refused = await act(next, seen.uids);
    return refused === undefined ? { done: next } : { waiting: refused };
  };
  return waitFor(what, attempt, { deadlineSeconds: context.settings.stepSeconds, intervalSeconds });
}

/** In words what Kubernetes has not done yet, or the members. */
async function observe({ settings, namespace, api, examine }: Context) {
  const set = await readStatefulSet(settings.name, namespace, api);
  const revision = set?.status?.updateRevision;
  if (set === undefined || revision === undefined) return "the StatefulSet has no revision yet";
  if ((set.status?.observedGeneration ?? 0) < (set.metadata?.generation ?? 0)) {
    return "Kubernetes has not looked at the StatefulSet yet";
  }
  const trust = await api.get<ConfigMap>(core(namespace, "configmaps", namesOf(settings.name).trust));
  const stalePods = stalePodsOf(trust?.metadata?.annotations);
  const wanted = { revision, tls: tlsOf(set.spec.template?.spec), stalePods };
  const names = memberNames(settings.name, set.spec.replicas);
  const { pods, conditions } = await examinePods(names, { settings, namespace, api, examine });
  return {
    members: [...pods].map(([member, pod]) => toRollMember(member, pod, wanted, conditions.get(member))),
    uids: new Map([...pods].map(([member, pod]) => [member, pod?.metadata?.uid ?? ""])),
  };
}

export function readStatefulSet(name: string, namespace: string, api: KubernetesApi): Promise<StatefulSet | undefined> {
  return api.get(group("apps/v1", namespace, "statefulsets", namesOf(name).server));
}

/** Between members, as the init container of each is told. undefined: there are none, or it does not say so. */
export function tlsOf(spec: MemberSpec | undefined): Marker["tls"] | undefined {
  const { env } = spec?.initContainers?.find(({ name }) => name === "member") ?? {};
  const settings = env?.find(({ name }) => name === "SETTINGS")?.value;
  return settings === undefined ? undefined : peerTls((JSON.parse(settings) as EnsembleSettings).tls);
}

/** Throws what is wrong with those that do not become whole in time. `purpose`: what they are awaited for. */
export function awaitWhole(
  purpose: string,
  names: string[],
  context: Members,
  deadlineSeconds = wholeSeconds,
): Promise<boolean> {
  return waitFor(
    `${names.length} members that are whole, ${purpose}`,
    async () => {
      const { pods, conditions } = await examinePods(names, context);
      const reasons = names.flatMap((member) => {
        const condition = conditions.get(member);
        return condition?.whole === true
          ? []
          : [`${member}: ${condition?.detail ?? whyAway(pods.get(member)) ?? "it was not asked"}`];
      });
      return reasons.length === 0 ? { done: true } : { waiting: reasons.join("; ") };
    },
    { deadlineSeconds },
  );
}

/** Who has a pod, and what the database says of those whose servers run. */
async function examinePods(names: string[], { settings, namespace, api, examine }: Members) {
  const pods = new Map<string, MemberPod | undefined>();
  for (const member of names) pods.set(member, await api.get<MemberPod>(core(namespace, "pods", member)));
  const running = [...pods].flatMap(([member, pod]) =>
    pod !== undefined && whyAway(pod) === undefined ? [[member, pod] as const] : [],
  );
  return { pods, conditions: await examine(new Map(running), settings, namespace) };
}

export function toRollMember(
  name: string,
  pod: MemberPod | undefined,
  wanted: { revision: string; tls: Marker["tls"] | undefined; stalePods: string[] },
  condition: Condition | undefined,
): RollMember {
  const away = whyAway(pod);
  const leads = condition?.leads ?? false;
  const { uid = "", labels } = pod?.metadata ?? {};
  const current = labels?.[labelKeys.revision] === wanted.revision && !wanted.stalePods.includes(uid);
  const tls = tlsOf(pod?.spec);
  // Only a difference that both say stops everybody.
  const stale = tls === undefined || wanted.tls === undefined || tls === wanted.tls ? "stale" : "otherTls";
  const ready = pod?.status?.conditions?.find(({ type }) => type === "Ready")?.status === "True";
  const revision = pod === undefined ? "missing" : current ? "current" : stale;
  const state = { name, leads, ready, revision } as const;
  if (pod?.metadata?.deletionTimestamp !== undefined)
    return { ...state, revision: "missing", condition: "behind", reason: "it is stopping" };
  if (away !== undefined) return { ...state, condition: "away", reason: away };
  const whole = condition?.whole === true;
  return { ...state, condition: whole ? "whole" : "behind", reason: condition?.detail ?? "it was not asked" };
}

/** What keeps the server from running, in the words of Kubernetes or of a container of the pod; undefined: it runs. */
export function whyAway(pod: MemberPod | undefined): string | undefined {
  if (pod === undefined) return "there is no pod yet";
  // The first is the server, whatever runs beside it.
  const server = pod.spec?.containers?.[0]?.name;
  const { initContainerStatuses = [], containerStatuses = [], conditions = [] } = pod.status ?? {};
  if (containerStatuses.find(({ name }) => name === server)?.state?.running !== undefined) return undefined;
  const unscheduled = conditions.find(({ type, status }) => type === "PodScheduled" && status === "False");
  if (unscheduled !== undefined) return `${unscheduled.reason ?? "not scheduled"}: ${unscheduled.message ?? ""}`;
  const words = [...initContainerStatuses, ...containerStatuses].flatMap(({ name, state, lastState }) => {
    if (state?.running !== undefined || state?.terminated?.exitCode === 0) return [];
    const ended = [state?.terminated, lastState?.terminated].find((each) => each !== undefined && each.exitCode !== 0);
    const { reason = "", message } = state?.waiting ?? {};
    if (reason === "PodInitializing" || (reason === "" && ended === undefined)) return [];
    const last = ended?.message ?? (ended === undefined ? message : `it ended with exit code ${ended.exitCode}`);
    return [`${reason || (ended?.reason ?? "")} (${name}): ${(last ?? "").trim()}`];
  });
  return words[0] ?? "its containers are being started";
}

/** For a service with one member. */
export const examineReadiness: Examine = async (pods) =>
  new Map(
    [...pods].map(([member, { status }]) => {
      const ready = status?.conditions?.find(({ type }) => type === "Ready");
      return [member, { whole: ready?.status === "True", leads: true, detail: ready?.message ?? "it is not ready" }];
    }),
  );

/** The agent beside each server has seen both: whether its member is up to date, and whether it leads. */
export const examineSidecars: Examine = (pods, settings, namespace) =>
  examineEach([...pods.keys()], async (member) => {
    const ask = (page: string) => askAgent(settings, namespace, member, page);
    const [ready, primary] = await Promise.all([ask("/ready"), ask("/primary")]);
    const [detail = ""] = ready.body.split("\n");
    return { whole: ready.status === 200, leads: primary.status === 200, detail };
  });

export async function examineEach(
  members: string[],
  ask: (member: string) => Promise<Condition>,
): Promise<Map<string, Condition>> {
  const answers = members.map(async (member): Promise<[string, Condition]> => {
    const silent = (error: unknown): Condition => ({ whole: false, leads: false, detail: messageOf(error) });
    return [member, await ask(member).catch(silent)];
  });
  return new Map(await Promise.all(answers));
}
