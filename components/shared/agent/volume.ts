/** Whether a member may start at all, on this volume: before what its service decides. */
import { join } from "node:path";
import { livingContradiction } from "../core/change";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { fewestMembers, ordinalOf } from "../core/names";
import type { EnsembleSettings } from "../core/settings";
import { readNote, writeNote } from "./files";
import { readMarker } from "./guard";
import { inClusterApi, type KubernetesApi } from "./kubernetes";
import { type Pod, readPod, readSettings } from "./main";

export async function memberCommand(
  volume: string,
  start: (settings: EnsembleSettings, pod: Pod, api: KubernetesApi) => Promise<void>,
): Promise<void> {
  const settings = readSettings<EnsembleSettings>();
  const pod = readPod();
  const api = inClusterApi();
  await refuseLeft(settings, pod, api);
  await keepOwnVolume(volume, pod);
  await start(settings, pod, api);
}

/** A member that has left must not come back before its StatefulSet is smaller. The others start without the Kubernetes API. */
export async function refuseLeft(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const ordinal = ordinalOf(pod.name);
  if (ordinal < fewestMembers) return;
  const marker = await readMarker(settings.name, pod.namespace, api).catch((error: unknown) => {
    log(`whether ${pod.name} has left is not known: ${messageOf(error)}`);
    return undefined;
  });
  if (marker !== undefined && ordinal >= marker.members) {
    throw new Error(livingContradiction(marker, settings) ?? `${pod.name} has left`);
  }
}

/** One that was restored, moved or cloned by hand may be anybody's. */
const noteFile = "cells-services.json";

/** Notes on an unmarked volume that it is that of this member, and throws when the note names another one. */
export async function keepOwnVolume(volume: string, { name, namespace }: Pod): Promise<void> {
  const file = join(volume, noteFile);
  const note = JSON.stringify({ member: name, namespace });
  const known = await readNote(file);
  if (known === note) return;
  if (known) {
    throw new Error(
      `the volume of ${name} in the namespace ${namespace} is noted as ${known}: its data name other members, which may still ` +
        `run; bring back the volume that belongs here, or delete the volume claim data-${name} and the pod to begin with an empty one`,
    );
  }
  // A server with a full disk must start all the same.
  await writeNote(file, note).catch((error: unknown) => log(`the volume is not noted: ${messageOf(error)}`));
}
