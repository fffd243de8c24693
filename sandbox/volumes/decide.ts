import { quantityToScalar } from "@kubernetes/client-node/dist/util.js";

/** The fields of claims and volumes that decide what the provisioner does. */
export interface Claim {
  metadata: { name: string; namespace?: string; uid: string };
  spec: {
    storageClassName?: string;
    volumeName?: string;
    accessModes: string[];
    resources: { requests: { storage: string } };
  };
}

export interface Volume {
  metadata: { name: string };
  spec: { storageClassName?: string; persistentVolumeReclaimPolicy?: string; capacity?: { storage: string } };
  status?: { phase?: string };
}

export interface Class {
  metadata: { name: string };
  provisioner: string;
  reclaimPolicy?: string;
}

export const storageClass = "standard";
export const provisioner = "cells-services.local/folder";

/** Of whose classes this one makes the volumes: its own, and those of disks of AWS, for the stacks that bring such a class. */
const provisioners = [provisioner, "ebs.csi.aws.com"];

export const bytesOf = (quantity: string): number => Math.ceil(Number(quantityToScalar(quantity)));

/** A claim's volume is named after the claim's identity, so provisioning twice is the same as once. */
export const volumeName = (claim: Claim): string => `pvc-${claim.metadata.uid}`;

export interface Wanted {
  claim: Claim;
  class: Class;
}

/** A claim whose volume is smaller than it asks for. */
export interface Grown {
  claim: Claim;
  capacity: string;
}

/** Claims that need a volume or a larger one, and volumes whose claim is gone and whose class says to delete them. */
export function decide(
  claims: Claim[],
  volumes: Volume[],
  classes: Class[],
): { provision: Wanted[]; grow: Grown[]; reclaim: Volume[] } {
  const existing = new Map(volumes.map((volume) => [volume.metadata.name, volume]));
  const own = classes.filter((each) => provisioners.includes(each.provisioner));
  const classOf = (name: string | undefined): Class | undefined => own.find(({ metadata }) => metadata.name === name);
  return {
    provision: claims
      .filter((claim) => claim.spec.volumeName === undefined && !existing.has(volumeName(claim)))
      .flatMap((claim) => {
        const found = classOf(claim.spec.storageClassName);
        return found === undefined ? [] : [{ claim, class: found }];
      }),
    grow: claims.flatMap((claim) => {
      const capacity = claim.spec.resources.requests.storage;
      const known = existing.get(volumeName(claim))?.spec.capacity?.storage;
      return known === undefined || bytesOf(known) >= bytesOf(capacity) ? [] : [{ claim, capacity }];
    }),
    reclaim: volumes.filter(
      (volume) =>
        classOf(volume.spec.storageClassName) !== undefined &&
        volume.spec.persistentVolumeReclaimPolicy === "Delete" &&
        volume.status?.phase === "Released",
    ),
  };
}
