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
  spec: { storageClassName?: string; persistentVolumeReclaimPolicy?: string };
  status?: { phase?: string };
}

export const storageClass = "standard";
export const provisioner = "cells-services.local/folder";

/** A claim's volume is named after the claim's identity, so provisioning twice is the same as once. */
export const volumeName = (claim: Claim): string => `pvc-${claim.metadata.uid}`;

/** Claims that need a volume, and volumes whose claim is gone and whose class says to delete them. */
export function decide(claims: Claim[], volumes: Volume[]): { provision: Claim[]; reclaim: Volume[] } {
  const existing = new Set(volumes.map((volume) => volume.metadata.name));
  return {
    provision: claims.filter(
      (claim) =>
        claim.spec.storageClassName === storageClass &&
        claim.spec.volumeName === undefined &&
        !existing.has(volumeName(claim)),
    ),
    reclaim: volumes.filter(
      (volume) =>
        volume.spec.storageClassName === storageClass &&
        volume.spec.persistentVolumeReclaimPolicy === "Delete" &&
        volume.status?.phase === "Released",
    ),
  };
}
