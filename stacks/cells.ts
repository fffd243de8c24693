/** What Cells needs of the services beyond a user of its own. */
import type { Mount, PolicyRule } from "../components/vault";

/** The keyring and the store of certificates. Cells reads and writes `data`, and lists and deletes in `metadata`. */
const mounts = ["secret", "caddycerts"];

const policy: PolicyRule[] = mounts.flatMap((mount) => [
  { path: `${mount}/data/*`, capabilities: ["create", "read", "update", "delete"] },
  { path: `${mount}/metadata/*`, capabilities: ["read", "list", "delete"] },
]);

export const vaultForCells = {
  mounts: Object.fromEntries(mounts.map((mount): [string, Mount] => [mount, {}])),
  policies: { cells: policy },
};

/** One for each of its datasources and stores, in the words of its installation file; backups are no business of Cells. */
export const bucketPurposes = ["default", "personal", "cells", "binaries", "thumbs", "versions"] as const;
export type BucketPurpose = (typeof bucketPurposes)[number];

const buckets = bucketPurposes.map((purpose) => `cells-${purpose}`);
const backups = "cells-backups";

export const bucketsForCells = {
  buckets: [...buckets, backups],
  applicationBuckets: { cells: buckets, backup: [backups] },
};
