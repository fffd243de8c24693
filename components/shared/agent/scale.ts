/** How the number of members changes: what the preflight does before the StatefulSet grows or shrinks. */
import { returnContradiction } from "../core/change";
import { log } from "../core/log";
import { claimNames, memberNames } from "../core/names";
import type { PreflightSettings } from "../core/settings";
import { readClaims } from "./claims";
import { core, type KubernetesApi } from "./kubernetes";
import { awaitWhole, type Members } from "./roll";

/**
 * Makes the members that stay forget `leaving`, whose servers may still run, or never ran: none of them leads, votes or
 * holds what nobody else has when it ends. It may be killed at any point and is then called again. Throws while it is
 * not safe.
 */
export type Release = (leaving: string[], settings: PreflightSettings, namespace: string) => Promise<void>;

interface MembersChange extends Members {
  settings: PreflightSettings;
  /** What the marker says; the larger one of that and the replicas of the StatefulSet when members leave. */
  from: number;
  release: Release;
  /** Writes the number of `settings` to the marker. */
  record: () => Promise<void>;
}

/**
 * The marker says the larger number while the data may know one of the members more: an ensemble that returns from kept
 * volumes comes back with all of them. What was killed in between is done again.
 */
export async function changeMembers(change: MembersChange, deadlineSeconds?: number): Promise<void> {
  const { settings, from, namespace, api, release, record } = change;
  const { name, members: wanted } = settings;
  if (wanted > from) {
    const claims = await readClaims(claimNames(name, wanted).slice(from), namespace, api);
    // Those of pods that never found a place have no volume.
    const bound = claims.filter((claim) => claim.bound);
    const reason = returnContradiction(bound, from, wanted);
    if (reason !== undefined) throw new Error(reason);
  }
  const staying = memberNames(name, Math.min(from, wanted));
  await awaitWhole("before their number changes", staying, change, deadlineSeconds);
  const leaving = memberNames(name, from).slice(wanted);
  if (leaving.length > 0) await release(leaving, settings, namespace);
  await record();
  if (leaving.length > 0) {
    // From here on their init containers refuse. One that had looked at the marker before may have joined once more.
    for (const member of leaving) await removePod(member, namespace, api);
    await release(leaving, settings, namespace);
  }
  log(`the cluster had ${from} members and is to have ${wanted}`);
}

async function removePod(member: string, namespace: string, api: KubernetesApi): Promise<void> {
  const path = core(namespace, "pods", member);
  const uid = (await api.get(path))?.metadata?.uid;
  if (uid !== undefined) await api.remove(path, uid);
}
