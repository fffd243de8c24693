/** The preflight, and the marker: what they compare is in `core/change.ts` and `core/marker.ts`. */
import {
  agentContradiction,
  type Claim,
  classContradiction,
  livingContradiction,
  membersContradiction,
  plannedStopContradiction,
  plannedStopRemedy,
  restoreContradiction,
  rotationContradiction,
  sizeContradiction,
  smallerClaims,
  tlsContradiction,
  userContradiction,
} from "../core/change";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import {
  acceptedAnnotation,
  formedTlsAnnotation,
  type Marker,
  type MarkerAnswer,
  membersAnnotation,
  ofRestore,
  peerTls,
  type Restore,
  rotationAnnotation,
  tlsAnnotation,
  toMarker,
  toRestore,
} from "../core/marker";
import { agentLabels, claimNames, labelKeys, memberNames, namesOf } from "../core/names";
import type { EnsembleSettings, PreflightSettings, SetupSettings } from "../core/settings";
import { versionContradiction } from "../core/versions";
import { growClaims, readClaims, removeLeftClaims } from "./claims";
import {
  type ConfigMap,
  core,
  inClusterApi,
  type KubernetesApi,
  type KubernetesObject,
  ownerReference,
} from "./kubernetes";
import { readPod, readSettings } from "./main";
import {
  type Examine,
  examineSidecars,
  type MemberPod,
  type MemberSpec,
  readStatefulSet,
  type StatefulSet,
} from "./roll";
import { changeMembers, type Release } from "./scale";
import { type PrepareTls, switchTls } from "./tls";

/** Field manager of the marker's owner: its data belong to nobody, since nobody may change them. */
export const setupManager = "cells-services-setup";
/** Of the number of the rotation, which is written last. */
const rotationManager = "cells-services-passwords";
const membersManager = "cells-services-members";
const tlsManager = "cells-services-tls";
const restoreManager = "cells-services-restore";

/** What one service alone knows of a change. */
export interface ServiceGuard {
  /** Returns why its living members cannot become what is wanted. */
  judge?: (settings: PreflightSettings, namespace: string) => Promise<string | undefined>;
  /** Which members are whole. By default the agent beside each server is asked. */
  examine?: Examine;
  /** Not given: the number of its members is for life. */
  release?: Release;
  /** Not given: nothing in its data depends on TLS between the members. */
  prepareTls?: PrepareTls;
}

/** Throws when a living cluster cannot do what is wanted. Then prepares what has to be there before the rest changes. */
export async function preflight(
  settings: PreflightSettings,
  namespace: string,
  api: KubernetesApi,
  service: ServiceGuard,
): Promise<void> {
  const known = await readMarker(settings.name, namespace, api);
  const set = await readStatefulSet(settings.name, namespace, api);
  const [template] = set?.spec.volumeClaimTemplates ?? [];
  const claims = await readClaims(claimNames(settings.name, settings.members), namespace, api);
  const pods = known === undefined ? [] : await livingPods(settings, namespace, api);
  const versions = livingVersions(pods);
  const reason =
    (template && classContradiction(template.spec.storageClassName, settings.storage.class)) ??
    sizeContradiction(claims, settings.storage.size) ??
    // Without a marker no server of these pods has data to lose.
    (known &&
      // Kept volumes come back as they were, with all their members.
      ((set === undefined
        ? livingContradiction(known, settings)
        : (tlsRefusal(settings, known, set, { versions, claims }) ??
          (service.release === undefined ? membersContradiction(known, settings) : undefined) ??
          userContradiction(
            userOf(set.spec.template?.spec),
            pods.map(({ spec }) => userOf(spec)),
            settings.pod.userId,
          ))) ??
        rotationContradiction(known.rotation, settings.passwords.rotation) ??
        restoreContradiction(settings, known.restore) ??
        versionContradiction(settings.service, versions, settings.version) ??
        (await service.judge?.(settings, namespace))));
  if (reason !== undefined) throw new Error(reason);
  if (known === undefined) log("the cluster has not been formed yet");
  else await changeLiving(service, { settings, known, set, namespace, api });
  // It reads the claims again: after the minutes that a change may take, one may be gone. The roll grows what is made later.
  await growClaims(settings, namespace, api);
}

/** Why TLS between the living members is not switched, or what waits until a switch that was interrupted has come to its end. */
function tlsRefusal(
  settings: PreflightSettings,
  known: Known,
  set: StatefulSet,
  { versions, claims }: { versions: string[]; claims: Claim[] },
): string | undefined {
  const switches = known.tls !== peerTls(settings.tls);
  if (!switches && known.formedTls === known.tls) return undefined;
  if (switches && !settings.plannedStop) return tlsContradiction(known, settings, plannedStopRemedy);
  return plannedStopContradiction(settings, [
    ...(membersBefore(settings, known, set) === settings.members ? [] : [`members ${settings.members}`]),
    ...(versions.every((version) => version === settings.version) ? [] : [`version ${settings.version}`]),
    ...(smallerClaims(claims, settings.storage.size).length === 0 ? [] : [`storage.size ${settings.storage.size}`]),
    // Living agents of another release may know nothing of TLS that changes.
    ...(agentOf(set) === settings.agent ? [] : ["other agents"]),
  ]);
}

/** Those that were released come back into the cluster, with some services, while their pods are still there. */
function membersBefore({ members }: PreflightSettings, marker: Marker, set: StatefulSet | undefined): number {
  return members > marker.members ? marker.members : Math.max(marker.members, set?.spec.replicas ?? members);
}

function agentOf(set: StatefulSet | undefined): string | undefined {
  return set?.spec.template?.spec?.volumes?.find(({ name }) => name === "agent")?.configMap?.name;
}

interface Living {
  settings: PreflightSettings;
  known: Known;
  set: StatefulSet | undefined;
  namespace: string;
  api: KubernetesApi;
}

async function changeLiving(
  { examine = examineSidecars, release, prepareTls }: ServiceGuard,
  { settings, known, set, namespace, api }: Living,
): Promise<void> {
  const { members, tls } = settings;
  const change = { settings, namespace, api, examine };
  if (known.tls !== peerTls(tls)) {
    const annotations = { [tlsAnnotation]: peerTls(tls) };
    const record = () => applyMarker(settings, namespace, api, known, { annotations }, tlsManager);
    await switchTls({ ...change, known, prepare: prepareTls, record });
  }
  const from = membersBefore(settings, known, set);
  if (release === undefined || from === members) {
    log(`the cluster ${known.clusterId} keeps its ${members} members`);
  } else if (agentOf(set) !== settings.agent) {
    throw new Error(agentContradiction(from, members));
  } else {
    const annotations = { [membersAnnotation]: String(members) };
    const record = () => applyMarker(settings, namespace, api, known, { annotations }, membersManager);
    await changeMembers({ ...change, from, release, record });
  }
}

async function livingPods(
  { name, members }: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<MemberPod[]> {
  const pods = memberNames(name, members).map((member) => api.get<MemberPod>(core(namespace, "pods", member)));
  return (await Promise.all(pods)).filter((pod) => pod !== undefined);
}

/** Of the pods: the StatefulSet says what was wanted last. A pod whose image was never pulled has written nothing. */
function livingVersions(pods: MemberPod[]): string[] {
  return pods.flatMap(({ metadata, status }) => {
    const pulled = status?.containerStatuses?.every(({ imageID }) => imageID !== "") === true;
    return pulled ? (metadata?.labels?.[labelKeys.version] ?? []) : [];
  });
}

function userOf(spec: MemberSpec | undefined): number | undefined {
  return spec?.securityContext?.runAsUser;
}

/** Of an object that a kept volume needs: it lives as long as the data, and otherwise goes with the rest. `account` is that of the caller. */
export async function ownersOfKept(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
  account = namesOf(settings.name).setup,
): Promise<object[]> {
  return settings.deletion === "keep" ? [] : [await ownerReference(api, namespace, account)];
}

/** For a caller that goes on without the marker. Throws when the cluster was formed with or without TLS, and `settings` say otherwise. */
export async function askMarker(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<MarkerAnswer> {
  const known = await readMarker(settings.name, namespace, api).catch((error: unknown) => error as Error);
  if (known instanceof Error) return { reason: known.message };
  if (known === undefined) return { formed: false };
  const reason = tlsContradiction(known, settings);
  if (reason !== undefined) throw new Error(reason);
  return { formed: true, clusterId: known.clusterId, members: known.members, rotation: known.rotation };
}

/** How often an agent that always wants to know asks. */
const askSeconds = 5;

/**
 * What the marker said last, without waiting: the Kubernetes API may be away. That a cluster was formed stays true;
 * that it was not is forgotten as soon as the API is away.
 */
export function watchMarker(ask: () => Promise<MarkerAnswer>, now = () => performance.now()): () => MarkerAnswer {
  let last: MarkerAnswer = { reason: "it was not read yet" };
  let askedAt = Number.NEGATIVE_INFINITY;
  const keep = (answer: MarkerAnswer): void => {
    if (!("reason" in answer) || !("formed" in last && last.formed)) last = answer;
  };
  return () => {
    if (now() - askedAt >= askSeconds * 1000) {
      askedAt = now();
      ask().then(keep, (error: unknown) => keep({ reason: messageOf(error) }));
    }
    return last;
  };
}

interface Known extends Marker {
  uid: string;
  rotation: number | undefined;
  acceptedAt: string | undefined;
  formedTls: string;
  restore: Restore | undefined;
}

/** undefined: the cluster was never formed. */
export async function readMarker(name: string, namespace: string, api: KubernetesApi): Promise<Known | undefined> {
  const { marker } = namesOf(name);
  const object = await api.get<ConfigMap>(core(namespace, "configmaps", marker));
  if (object === undefined) return undefined;
  const { uid = "", annotations } = object.metadata ?? {};
  const rotation = annotations?.[rotationAnnotation];
  return {
    ...toMarker(marker, object.data ?? {}, annotations),
    uid,
    rotation: rotation === undefined ? undefined : Number(rotation),
    acceptedAt: annotations?.[acceptedAnnotation],
    formedTls: annotations?.[formedTlsAnnotation] ?? toMarker(marker, object.data ?? {}, undefined).tls,
    restore: toRestore(annotations),
  };
}

async function existingMarker({ name }: EnsembleSettings, namespace: string, api: KubernetesApi): Promise<Known> {
  const known = await readMarker(name, namespace, api);
  if (known === undefined) throw new Error(`the ConfigMap ${namesOf(name).marker} was removed while it was read`);
  return known;
}

/** With its uid, a marker that was removed in between is not made again without data. */
async function applyMarker(
  { name }: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
  { uid }: Known,
  metadata: KubernetesObject["metadata"],
  manager: string,
): Promise<void> {
  const { marker } = namesOf(name);
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: marker, uid, ...metadata } };
  await api.apply(core(namespace, "configmaps", marker), object, manager);
}

/** Of which copy the data come, or may come in part until the restore has ended. */
export async function noteRestore(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
  restore: Restore,
): Promise<void> {
  const known = await existingMarker(settings, namespace, api);
  await applyMarker(settings, namespace, api, known, { annotations: ofRestore(restore) }, restoreManager);
}

function rotationOf({ passwords }: SetupSettings, known?: Known): Record<string, string> {
  // Of a marker that an earlier release made, nobody knows since when.
  const acceptedAt = known?.rotation === passwords.rotation ? known.acceptedAt : new Date().toISOString();
  return {
    [rotationAnnotation]: String(passwords.rotation),
    ...(acceptedAt === undefined ? {} : { [acceptedAnnotation]: acceptedAt }),
  };
}

export async function setupCommand<Settings extends SetupSettings>(
  setup: (settings: Settings, namespace: string, api: KubernetesApi) => Promise<void>,
): Promise<void> {
  const settings = readSettings<Settings>();
  const { namespace } = readPod();
  const api = inClusterApi();
  await setup(settings, namespace, api);
  const known = await existingMarker(settings, namespace, api);
  await applyMarker(settings, namespace, api, known, { annotations: rotationOf(settings, known) }, rotationManager);
  if (settings.deletion === "keep") return;
  // Their number may have changed since this Job began.
  const { members } = await existingMarker(settings, namespace, api);
  if (members === settings.members) await removeLeftClaims(settings, namespace, api);
}

/**
 * Marks the cluster that has formed, or proves that it is the one that was marked. The data are written once; the owner
 * follows `deletion` with every run. A setup calls it before it undoes what members need to start with the former TLS.
 */
export async function keepMarker(
  settings: SetupSettings,
  namespace: string,
  api: KubernetesApi,
  clusterId: string,
): Promise<void> {
  const names = namesOf(settings.name);
  const object = {
    apiVersion: "v1",
    kind: "ConfigMap",
    // Nobody holds an older password of a cluster that has just formed.
    metadata: { name: names.marker, labels: agentLabels(settings), annotations: rotationOf(settings) },
    data: {
      clusterId,
      members: String(settings.members),
      tls: peerTls(settings.tls),
      bootstrappedAt: new Date().toISOString(),
    },
  };
  // A POST never overwrites, which server-side apply would.
  if ((await api.create(core(namespace, "configmaps"), object)) === "created") {
    log(`marked the cluster ${clusterId} as formed`);
  }
  const known = await existingMarker(settings, namespace, api);
  if (known.clusterId !== clusterId) {
    throw new Error(
      `the marker ${names.marker} says cluster ${known.clusterId}, but the members are cluster ${clusterId}: ` +
        "a second cluster was formed beside the first; find out which one holds the data before anything is changed",
    );
  }
  const reason = livingContradiction(known, settings);
  if (reason !== undefined) throw new Error(reason);
  const annotations = { [formedTlsAnnotation]: peerTls(settings.tls) };
  const ownerReferences = await ownersOfKept(settings, namespace, api);
  await applyMarker(settings, namespace, api, known, { annotations, ownerReferences }, setupManager);
}
