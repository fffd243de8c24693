/** The preflight, and the marker: what they compare is in `core/change.ts` and `core/marker.ts`. */
import { classContradiction, livingContradiction, rotationContradiction } from "../core/change";
import { log } from "../core/log";
import { type Marker, type MarkerAnswer, peerTls, rotationAnnotation, toMarker } from "../core/marker";
import { agentLabels, labelKeys, memberNames, namesOf } from "../core/names";
import type { EnsembleSettings, PreflightSettings, SetupSettings } from "../core/settings";
import { versionContradiction } from "../core/versions";
import { growClaims } from "./claims";
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

/** Field manager of the marker's owner: its data belong to nobody, since nobody may change them. */
export const setupManager = "cells-services-setup";
/** Of the number of the rotation, which is written last. */
const rotationManager = "cells-services-passwords";

interface StatefulSet extends KubernetesObject {
  spec: { volumeClaimTemplates: { spec: { storageClassName?: string } }[] };
}

/** The command for `commands` of a service's agent. */
export async function preflightCommand(judge?: Judge): Promise<void> {
  await preflight(readSettings<PreflightSettings>(), readPod().namespace, inClusterApi(), judge);
}

/** Judges what one service alone has to judge. Returns why its living members cannot become what is wanted. */
export type Judge = (settings: PreflightSettings, namespace: string) => Promise<string | undefined>;

/** Throws when a living cluster cannot do what is wanted. Then prepares what has to be there before the rest changes. */
export async function preflight(
  settings: PreflightSettings,
  namespace: string,
  api: KubernetesApi,
  judge: Judge = async () => undefined,
): Promise<void> {
  const { marker, rotation } = (await readMarkerObject(settings.name, namespace, api)) ?? {};
  const reason =
    (await classContradictionOf(settings, namespace, api)) ??
    // Without a marker no server of these pods has data to lose.
    (marker === undefined
      ? undefined
      : (livingContradiction(marker, settings) ??
        rotationContradiction(rotation, settings.passwords.rotation) ??
        versionContradiction(settings.service, await livingVersions(settings, namespace, api), settings.version) ??
        (await judge(settings, namespace))));
  if (reason !== undefined) throw new Error(reason);
  await growClaims(settings, namespace, api);
  log(
    marker === undefined
      ? "the cluster has not been formed yet"
      : `the cluster ${marker.clusterId} keeps its ${marker.members} members`,
  );
}

async function classContradictionOf(
  { name, storage }: PreflightSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<string | undefined> {
  const set = await api.get<StatefulSet>(group("apps/v1", namespace, "statefulsets", namesOf(name).server));
  const [template] = set?.spec.volumeClaimTemplates ?? [];
  return template && classContradiction(template.spec.storageClassName, storage.class);
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

/** For a caller that goes on without the marker. Throws when the cluster was formed in another way than `settings` say. */
export async function askMarker(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
): Promise<MarkerAnswer> {
  const found = await readMarkerObject(settings.name, namespace, api).catch((error: unknown) => error as Error);
  if (found instanceof Error) return { reason: found.message };
  if (found === undefined) return { formed: false };
  const reason = livingContradiction(found.marker, settings);
  if (reason !== undefined) throw new Error(reason);
  return { formed: true, clusterId: found.marker.clusterId, rotation: found.rotation };
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
    marker: toMarker(marker, object.data ?? {}),
    uid,
    rotation: rotation === undefined ? undefined : Number(rotation),
  };
}

function rotationOf({ passwords }: SetupSettings): Record<string, string> {
  return { [rotationAnnotation]: String(passwords.rotation) };
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
  const name = namesOf(settings.name).marker;
  const uid = (await readMarkerObject(settings.name, namespace, api))?.uid;
  if (uid === undefined) throw new Error(removedMarker(name));
  // With its uid, a marker that was removed in between is not made again without data.
  const metadata = { name, uid, annotations: rotationOf(settings) };
  await api.apply(
    core(namespace, "configmaps", name),
    { apiVersion: "v1", kind: "ConfigMap", metadata },
    rotationManager,
  );
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
