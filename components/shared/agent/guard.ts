/** The preflight, and the marker: what they compare is in `core/change.ts` and `core/marker.ts`. */
import {
  agentContradiction,
  classContradiction,
  livingContradiction,
  rotationContradiction,
  tlsContradiction,
} from "../core/change";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import {
  acceptedAnnotation,
  type Marker,
  type MarkerAnswer,
  membersAnnotation,
  peerTls,
  rotationAnnotation,
  toMarker,
} from "../core/marker";
import { agentLabels, labelKeys, memberNames, namesOf } from "../core/names";
import type { EnsembleSettings, PreflightSettings, SetupSettings } from "../core/settings";
import { versionContradiction } from "../core/versions";
import { growClaims, removeLeftClaims } from "./claims";
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
import { changeMembers, type Scaling } from "./scale";

/** Field manager of the marker's owner: its data belong to nobody, since nobody may change them. */
export const setupManager = "cells-services-setup";
/** Of the number of the rotation, which is written last. */
const rotationManager = "cells-services-passwords";
const membersManager = "cells-services-members";

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
  /** Not given: the number of its members is for life. */
  scaling?: Scaling;
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
  { judge = async () => undefined, scaling }: ServiceGuard = {},
): Promise<void> {
  const { marker, rotation } = (await readMarkerObject(settings.name, namespace, api)) ?? {};
  const set = await api.get<StatefulSet>(group("apps/v1", namespace, "statefulsets", namesOf(settings.name).server));
  const [claim] = set?.spec.volumeClaimTemplates ?? [];
  const reason =
    (claim && classContradiction(claim.spec.storageClassName, settings.storage.class)) ??
    // Without a marker no server of these pods has data to lose.
    (marker === undefined
      ? undefined
      : (tlsContradiction(marker, settings) ??
        // Kept volumes come back with all their members.
        (scaling === undefined || set === undefined ? livingContradiction(marker, settings) : undefined) ??
        rotationContradiction(rotation, settings.passwords.rotation) ??
        versionContradiction(settings.service, await livingVersions(settings, namespace, api), settings.version) ??
        (await judge(settings, namespace))));
  if (reason !== undefined) throw new Error(reason);
  if (marker === undefined) log("the cluster has not been formed yet");
  else await keepMembers(scaling, { settings, marker, set, namespace, api });
  await growClaims(settings, namespace, api);
}

async function keepMembers(
  scaling: Scaling | undefined,
  {
    settings,
    marker,
    set,
    namespace,
    api,
  }: {
    settings: PreflightSettings;
    marker: Marker;
    set: StatefulSet | undefined;
    namespace: string;
    api: KubernetesApi;
  },
): Promise<void> {
  const { members } = settings;
  // Those that were released come back into the cluster, with some services, while their pods are still there.
  const replicas = set?.spec.replicas ?? members;
  const agent = set?.spec.template?.spec.volumes?.find(({ name }) => name === "agent")?.configMap?.name;
  const from = members > marker.members ? marker.members : Math.max(marker.members, replicas);
  if (scaling === undefined || from === members) {
    log(`the cluster ${marker.clusterId} keeps its ${members} members`);
  } else if (agent !== settings.agent) {
    throw new Error(agentContradiction(from, members));
  } else {
    await changeMembers(scaling, {
      settings,
      from,
      namespace,
      api,
      record: () => {
        const annotations = { [membersAnnotation]: String(members) };
        return annotateMarker(settings.name, namespace, api, () => annotations, membersManager);
      },
    });
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
 * follows `deletion` with every run.
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
    metadata: { name: names.marker, ...(uid === undefined ? {} : { uid }), ownerReferences },
  };
  await api.apply(core(namespace, "configmaps", names.marker), owned, setupManager);
}
