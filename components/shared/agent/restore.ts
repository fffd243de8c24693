/**
 * Fills a new ensemble from a copy, through the protocol of its clients: identity, users and passwords are those of the new ensemble. The
 * marker says from which copy, before the first byte is written, so that a run that was interrupted is not taken for data of somebody else.
 */
import { backupPaths, chooseCopy, type Listed, latestCopy, type RestoreSettings } from "../core/backup";
import { restoreContradiction } from "../core/change";
import { log } from "../core/log";
import { beginAnew } from "../core/marker";
import type { ServiceKind } from "../core/names";
import { stepRefusal } from "../core/versions";
import { type BackupService, fetchCopy, type Place, proveCopy, readCopy, readFetched, readStored } from "./backup";
import { noteRestore, readMarker } from "./guard";
import type { KubernetesApi } from "./kubernetes";

/** The copy that is wanted, or that of the restore that was interrupted; throws why nothing can be restored. Changes nothing. */
export async function judgeRestore(
  place: Place,
  restore: RestoreSettings,
  service: BackupService,
  api: KubernetesApi,
): Promise<{ source: Place; copy: Listed }> {
  const source = sourceOf(place, restore);
  const stored = await readStored(source);
  const begun = await restoreBegun(place, api);
  const wanted = chooseCopy(stored, restore.copy);
  const copy = begun === undefined ? wanted : stored.find(({ id }) => describe(source, id) === begun);
  if (copy === undefined) throw new Error(whyNone(source, restore, begun, stored));
  const reason =
    begun === undefined
      ? (whyOtherVersion(copy, restore, place.settings.service) ?? (await whyNotNew(place, service)))
      : // There may be a later one by now.
        whyAnother(begun, restore.copy === latestCopy ? begun : describe(source, wanted?.id ?? restore.copy));
  if (reason !== undefined) throw new Error(reason);
  return { source, copy };
}

export async function fetchRestored(
  place: Place,
  restore: RestoreSettings,
  service: BackupService,
  api: KubernetesApi,
  work: string = backupPaths.work,
): Promise<void> {
  const { source, copy } = await judgeRestore(place, restore, service, api);
  await fetchCopy(source, service, await readCopy(source, copy.id), work);
}

/** When the throw-away server has the copy. Nobody else restores, or copies, meanwhile. */
export async function restoreCopy(
  place: Place,
  restore: RestoreSettings,
  service: BackupService,
  api: KubernetesApi,
  work: string = backupPaths.work,
): Promise<void> {
  const { settings, namespace } = place;
  const source = sourceOf(place, restore);
  const { id, manifest } = await readFetched(work);
  await proveCopy(source, service, work);
  const copy = describe(source, id);
  const begun = await restoreBegun(place, api);
  // Clients may have come while the copy was downloaded and proven.
  const reason = begun === undefined ? await whyNotNew(place, service) : whyAnother(begun, copy);
  if (reason !== undefined) throw new Error(reason);
  await noteRestore(settings, namespace, api, { copy });
  const loaded = await service.load(manifest, work, settings, namespace);
  await noteRestore(settings, namespace, api, { copy, endedAt: new Date().toISOString() });
  log(`restored ${copy}: ${loaded}`);
}

/** A copy of what a restore has filled in part would be taken for a good one. */
export async function refuseWhileRestoring({ settings, namespace }: Place, api: KubernetesApi): Promise<void> {
  const known = await readMarker(settings.name, namespace, api);
  if (known?.restore === undefined || known.restore.endedAt !== undefined) return;
  throw new Error(
    `${settings.name} has only a part of ${known.restore.copy}: no copy is made until its restore has ended`,
  );
}

/** The copy may be of another component. */
function sourceOf(place: Place, { from }: RestoreSettings): Place {
  return { ...place, namespace: from.namespace, settings: { ...place.settings, name: from.name } };
}

const describe = ({ settings, namespace }: Place, id: string): string => `${id} of ${settings.name} in ${namespace}`;

/** The copy that a former run has begun to restore; throws when it came to its end. */
async function restoreBegun({ settings, namespace }: Place, api: KubernetesApi): Promise<string | undefined> {
  const known = await readMarker(settings.name, namespace, api);
  if (known?.restore === undefined) return undefined;
  const reason = restoreContradiction({ name: settings.name, restores: true }, known.restore);
  if (reason !== undefined) throw new Error(reason);
  return known.restore.copy;
}

function whyAnother(begun: string, wanted: string): string | undefined {
  return wanted === begun
    ? undefined
    : `a restore of ${begun} was interrupted, got ${wanted}; set backups.restoreFrom to the former copy, or ${beginAnew}`;
}

function whyNone(
  { settings, namespace }: Place,
  { copy }: RestoreSettings,
  begun: string | undefined,
  stored: Listed[],
): string {
  if (begun !== undefined) {
    return `a restore of ${begun} was interrupted, and this copy is not in the store any more; ${beginAnew}`;
  }
  const ids = stored.filter(({ flaw }) => flaw === undefined).map(({ id }) => id);
  return (
    `backups.restoreFrom.copy must name a copy of ${settings.name} in ${namespace}, got ${JSON.stringify(copy)}; ` +
    (ids.length === 0 ? "there is none" : `there are ${ids.join(", ")}`)
  );
}

function whyOtherVersion(
  { id, manifest }: Listed,
  { version }: RestoreSettings,
  service: ServiceKind,
): string | undefined {
  const refusal = manifest && stepRefusal(service, manifest.version, version);
  return refusal && `the copy ${id} is of version ${manifest.version}, got version ${version}${refusal}`;
}

async function whyNotNew({ settings, namespace }: Place, service: BackupService): Promise<string | undefined> {
  const held = await service.whyNotEmpty(settings, namespace);
  if (held === undefined) return undefined;
  return (
    `${settings.name} is not new: ${held}; a restore fills only a new ensemble, and nothing was changed. Remove ` +
    "backups.restoreFrom, or restore into a component of another name beside it"
  );
}
