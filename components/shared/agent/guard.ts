/** The preflight, and the marker: what they compare is in `core/change.ts` and `core/marker.ts`. */
import {
  agentContradiction,
  type Claim,
  classContradiction,
  livingContradiction,
  membersContradiction,
  plannedStopContradiction,
  plannedStopRemedy,
  rotationContradiction,
  sizeContradiction,
  smallerClaims,
  tlsContradiction,
} from "../core/change";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import {
  acceptedAnnotation,
  formedTlsAnnotation,
  type Marker,
  type MarkerAnswer,
  membersAnnotation,
  peerTls,
  rotationAnnotation,
  tlsAnnotation,
  toMarker,
} from "../core/marker";
import { agentLabels, claimNames, labelKeys, memberNames, namesOf } from "../core/names";
import type { EnsembleSettings, PreflightSettings, SetupSettings } from "../core/settings";
import { versionContradiction } from "../core/versions";
import { growClaims, readClaims, removeLeftClaims } from "./claims";
import {
  type ConfigMap,
  core,
  group,
  inClusterApi,
  type KubernetesApi,
  type KubernetesObject,
  ownerReference,
} from "./kubernetes";
import { readPod, readSettings } from "./main";
import { type Examine, examineSidecars } from "./roll";
import { changeMembers, type Scaling } from "./scale";
import { type PrepareTls, switchTls } from "./tls";

/** Field manager of the marker's owner: its data belong to nobody, since nobody may change them. */
export const setupManager = "cells-services-setup";
/** Of the number of the rotation, which is written last. */
const rotationManager = "cells-services-passwords";
const membersManager = "cells-services-members";
const tlsManager = "cells-services-tls";

interface StatefulSet extends KubernetesObject {
  spec: {
    replicas?: number;
    template?: { spec: { volumes?: { name: string; configMap?: { name: string } }[] } };
    volumeClaimTemplates: { spec: { storageClassName?: string } }[];
  };
}

/** What one service alone knows of a change. */
export interface ServiceGuard {
  /** Returns why its living members cannot become what is wanted. */
  judge?: (settings: PreflightSettings, namespace: string) => Promise<string | undefined>;
  /** Which members are whole. By default the agent beside each server is asked. */
  examine?: Examine;
  /** Not given: the number of its members is for life. */
  release?: Scaling["release"];
  /** Not given: nothing in its data depends on TLS between the members. */
  prepareTls?: PrepareTls;
}

/** The command for `commands` of a service's agent. */
export async function preflightCommand(service?: ServiceGuard): Promise<void> {
  await preflight(readSettings<PreflightSettings>(), readPod().namespace, inClusterApi(), service);
}

/** Throws when a living cluster cannot do what is wanted. Then prepares what has to be there before the rest changes. */
export async function preflight(
  settings: PreflightSettings,
  namespace: string,
  api: KubernetesApi,
  service: ServiceGuard = {},
): Promise<void> {
  const { judge = async () => undefined, release } = service;
  const known = await readMarkerObject(settings.name, namespace, api);
  const set = await api.get<StatefulSet>(group("apps/v1", namespace, "statefulsets", namesOf(settings.name).server));
  const [claim] = set?.spec.volumeClaimTemplates ?? [];
  const claims = await readClaims(claimNames(settings.name, settings.members), namespace, api);
  const versions = known === undefined ? [] : await livingVersions(settings, namespace, api);
  const reason =
    (claim && classContradiction(claim.spec.storageClassName, settings.storage.class)) ??
    sizeContradiction(claims, settings.storage.size) ??
    // Without a marker no server of these pods has data to lose.
    (known === undefined
      ? undefined
      : // Kept volumes come back as they were, with all their members.
        ((set === undefined
          ? livingContradiction(known.marker, settings)
          : (tlsRefusal(settings, known, set, { versions, claims }) ??
            (release === undefined ? membersContradiction(known.marker, settings) : undefined))) ??
        rotationContradiction(known.rotation, settings.passwords.rotation) ??
        versionContradiction(settings.service, versions, settings.version) ??
        (await judge(settings, namespace))));
  if (reason !== undefined) throw new Error(reason);
  if (known === undefined) log("the cluster has not been formed yet");
  else await changeLiving(service, { settings, known, set, namespace, api });
  await growClaims(settings, namespace, api);
}

/** Why TLS between the living members is not switched, or what waits until a switch that was interrupted has come to its end. */
function tlsRefusal(
  settings: PreflightSettings,
  { marker, formedTls }: Known,
  set: StatefulSet,
  { versions, claims }: { versions: string[]; claims: Claim[] },
): string | undefined {
  const switches = marker.tls !== peerTls(settings.tls);
  if (!switches && formedTls === marker.tls) return undefined;
  if (switches && !settings.plannedStop) return tlsContradiction(marker, settings, plannedStopRemedy);
  return plannedStopContradiction(settings, [
    ...(membersBefore(settings, marker, set) === settings.members ? [] : [`members ${settings.members}`]),
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
  return set?.spec.template?.spec.volumes?.find(({ name }) => name === "agent")?.configMap?.name;
}

async function changeLiving(
  { examine = examineSidecars, release, prepareTls }: ServiceGuard,
  {
    settings,
    known,
    set,
    namespace,
    api,
  }: {
    settings: PreflightSettings;
    known: Known;
    set: StatefulSet | undefined;
    namespace: string;
    api: KubernetesApi;
  },
): Promise<void> {
  const { marker, formedTls } = known;
  const { members, tls } = settings;
  const record = (annotation: string, value: string, manager: string) => (): Promise<void> =>
    annotateMarker(settings.name, namespace, api, () => ({ [annotation]: value }), manager);
  if (marker.tls !== peerTls(tls)) {
    const change = { settings, marker, formedTls, namespace, api, examine, prepare: prepareTls };
    await switchTls({ ...change, record: record(tlsAnnotation, peerTls(tls), tlsManager) });
  }
  const from = membersBefore(settings, marker, set);
  if (release === undefined || from === members) {
    log(`the cluster ${marker.clusterId} keeps its ${members} members`);
  } else if (agentOf(set) !== settings.agent) {
    throw new Error(agentContradiction(from, members));
  } else {
    const change = { settings, from, namespace, api };
    await changeMembers(
      { examine, release },
      { ...change, record: record(membersAnnotation, String(members), membersManager) },
    );
  }
}

interface Pod extends KubernetesObject {
  status?: { containerStatuses?: { imageID: string }[] };
}

/**
 * Of the pods, not of the StatefulSet: that says what was wanted last, and perhaps no member has become it. A pod whose image was
 * never pulled has written nothing.
 */
async function livingVersions(
  { name, members }: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<string[]> {
  const pods = memberNames(name, members).map((member) => api.get<Pod>(core(namespace, "pods", member)));
  return (await Promise.all(pods)).flatMap((pod) => {
    const pulled = pod?.status?.containerStatuses?.every(({ imageID }) => imageID !== "") === true;
    return pulled ? (pod?.metadata?.labels?.[labelKeys.version] ?? []) : [];
  });
}

/** Of an object that a kept volume needs: it lives as long as the data, and otherwise goes with the rest. */
export async function ownersOfKept(settings: EnsembleSettings, namespace: string, api: KubernetesApi) {
  return settings.deletion === "keep" ? [] : [await ownerReference(api, namespace, namesOf(settings.name).setup)];
}

/** For a caller that goes on without the marker. Throws when the cluster was formed with or without TLS, and `settings` say otherwise. */
export async function askMarker(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<MarkerAnswer> {
  const found = await readMarkerObject(settings.name, namespace, api).catch((error: unknown) => error as Error);
  if (found instanceof Error) return { reason: found.message };
  if (found === undefined) return { formed: false };
  const { clusterId, members } = found.marker;
  const reason = tlsContradiction(found.marker, settings);
  if (reason !== undefined) throw new Error(reason);
  return { formed: true, clusterId, members, rotation: found.rotation };
}

/** How often an agent that always wants to know asks. */
const askSeconds = 5;

/**
 * What the marker said last, without waiting: the Kubernetes API may be away. That a cluster was formed stays true; that it was not is
 * forgotten as soon as the API is away.
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

/** undefined: the cluster was never formed. */
export async function readMarker(name: string, namespace: string, api: KubernetesApi): Promise<Marker | undefined> {
  return (await readMarkerObject(name, namespace, api))?.marker;
}

async function readMarkerObject(name: string, namespace: string, api: KubernetesApi) {
  const { marker } = namesOf(name);
  const object = await api.get<ConfigMap>(core(namespace, "configmaps", marker));
  if (object === undefined) return undefined;
  const { uid, annotations } = object.metadata ?? {};
  const rotation = annotations?.[rotationAnnotation];
  return {
    marker: toMarker(marker, object.data ?? {}, annotations),
    uid,
    rotation: rotation === undefined ? undefined : Number(rotation),
    acceptedAt: annotations?.[acceptedAnnotation],
    formedTls: annotations?.[formedTlsAnnotation] ?? toMarker(marker, object.data ?? {}, undefined).tls,
  };
}

type Known = NonNullable<Awaited<ReturnType<typeof readMarkerObject>>>;

function rotationOf({ passwords }: SetupSettings, known?: Known): Record<string, string> {
  // Of a marker that an earlier release made, nobody knows since when.
  const acceptedAt = known?.rotation === passwords.rotation ? known.acceptedAt : new Date().toISOString();
  return {
    [rotationAnnotation]: String(passwords.rotation),
    ...(acceptedAt === undefined ? {} : { [acceptedAnnotation]: acceptedAt }),
  };
}

function removedMarker(name: string): string {
  return `the ConfigMap ${name} was removed while it was read`;
}

/** The command for `commands` of a service's agent. Safe to be killed at any point and to be run again at any time. */
export async function setupCommand<Settings extends SetupSettings>(
  setup: (settings: Settings, namespace: string, api: KubernetesApi) => Promise<void>,
): Promise<void> {
  const settings = readSettings<Settings>();
  const { namespace } = readPod();
  const api = inClusterApi();
  await setup(settings, namespace, api);
  await annotateMarker(settings.name, namespace, api, (known) => rotationOf(settings, known), rotationManager);
  const { marker } = (await readMarkerObject(settings.name, namespace, api)) ?? {};
  // Their number may have changed since this Job began.
  if (settings.deletion === "delete" && marker?.members === settings.members) {
    await removeLeftClaims(settings, namespace, api);
  }
}

async function annotateMarker(
  name: string,
  namespace: string,
  api: KubernetesApi,
  annotationsOf: (known: Known) => Record<string, string>,
  manager: string,
): Promise<void> {
  const { marker } = namesOf(name);
  const known = await readMarkerObject(name, namespace, api);
  if (known?.uid === undefined) throw new Error(removedMarker(marker));
  // With its uid, a marker that was removed in between is not made again without data.
  const metadata = { name: marker, uid: known.uid, annotations: annotationsOf(known) };
  await api.apply(core(namespace, "configmaps", marker), { apiVersion: "v1", kind: "ConfigMap", metadata }, manager);
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
  const existing = await readMarkerObject(settings.name, namespace, api);
  if (existing === undefined) throw new Error(removedMarker(names.marker));
  const { marker, uid } = existing;
  if (marker.clusterId !== clusterId) {
    throw new Error(
      `the marker ${names.marker} says cluster ${marker.clusterId}, but the members are cluster ${clusterId}: ` +
        "a second cluster was formed beside the first; find out which one holds the data before anything is changed",
    );
  }
  const reason = livingContradiction(marker, settings);
  if (reason !== undefined) throw new Error(reason);

  const ownerReferences = await ownersOfKept(settings, namespace, api);
  const owned = {
    apiVersion: "v1",
    kind: "ConfigMap",
    // With its uid, a marker that was removed in between is not made again without data.
    metadata: {
      name: names.marker,
      ...(uid === undefined ? {} : { uid }),
      annotations: { [formedTlsAnnotation]: peerTls(settings.tls) },
      ownerReferences,
    },
  };
  await api.apply(core(namespace, "configmaps", names.marker), owned, setupManager);
}
