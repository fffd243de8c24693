/** The claims of the members' volumes, which outlive the template of the StatefulSet: that one can never be changed. */
import { type Claim, sizeContradiction, smallerClaims } from "../core/change";
import { log } from "../core/log";
import { claimNames, possibleMembers } from "../core/names";
import { core, type KubernetesApi, type KubernetesObject } from "./kubernetes";

/** Field manager of the size of a claim. */
const manager = "cells-services-claims";

interface PersistentVolumeClaim extends KubernetesObject {
  spec: { resources: { requests: { storage: string } } };
  status?: { phase?: string };
}

/** Grows each claim that is smaller than wanted. Throws when one is larger, and when its class cannot grow. */
export async function growClaims(
  { name, members, storage: { size } }: { name: string; members: number; storage: { size: string } },
  namespace: string,
  api: KubernetesApi,
): Promise<void> {
  const claims = await readClaims(claimNames(name, members), namespace, api);
  const reason = sizeContradiction(claims, size);
  if (reason !== undefined) throw new Error(reason);
  for (const claim of smallerClaims(claims, size)) {
    const object = {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: claim.name },
      spec: { resources: { requests: { storage: size } } },
    };
    await api.apply(core(namespace, "persistentvolumeclaims", claim.name), object, manager);
    log(`the claim ${claim.name} grows from ${claim.size} to ${size}`);
  }
}

/** Of members that have left: the cluster has given their data up, and new members of these names must not find it. */
export async function removeLeftClaims(
  { name, members }: { name: string; members: number },
  namespace: string,
  api: KubernetesApi,
): Promise<void> {
  for (const left of claimNames(name, possibleMembers(members)).slice(members)) {
    const path = core(namespace, "persistentvolumeclaims", left);
    const uid = (await api.get<PersistentVolumeClaim>(path))?.metadata?.uid;
    if (uid === undefined) continue;
    log(`removing the claim ${left} of a member that has left`);
    await api.remove(path, uid);
  }
}

export async function readClaims(names: string[], namespace: string, api: KubernetesApi): Promise<Claim[]> {
  const claims = names.map(async (name): Promise<Claim[]> => {
    const claim = await api.get<PersistentVolumeClaim>(core(namespace, "persistentvolumeclaims", name));
    if (claim === undefined) return [];
    return [{ name, size: claim.spec.resources.requests.storage, bound: claim.status?.phase === "Bound" }];
  });
  return (await Promise.all(claims)).flat();
}
