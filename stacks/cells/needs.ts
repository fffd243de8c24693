/** What Cells needs of the services beyond a user of its own. */
import type { Mount, PolicyRule } from "../../components/vault";

/** The user that Cells is to every service. Its databases are called like it. */
export const application = "cells";

/** In Vault. Cells reads and writes `data`, and lists and deletes in `metadata`. */
export const mounts = { keyring: "secret", certificates: "caddycerts" } as const;

const policy: PolicyRule[] = Object.values(mounts).flatMap((mount) => [
  { path: `${mount}/data/*`, capabilities: ["create", "read", "update", "delete"] },
  { path: `${mount}/metadata/*`, capabilities: ["read", "list", "delete"] },
]);

export const vaultForCells = {
  mounts: Object.fromEntries(Object.values(mounts).map((mount): [string, Mount] => [mount, {}])),
  policies: { [application]: policy },
};

/** One for each of its datasources and stores, in the words of its installation file. */
export const bucketPurposes = ["default", "personal", "cells", "binaries", "thumbs", "versions"] as const;
export type BucketPurpose = (typeof bucketPurposes)[number];
export type BucketNames = Record<BucketPurpose, string>;

export function bucketNames(prefix: string): BucketNames {
  return Object.fromEntries(bucketPurposes.map((purpose) => [purpose, `${prefix}-${purpose}`])) as BucketNames;
}

/** In the object store of the stack, which is of the stack alone. */
export const buckets = bucketNames("cells");

/** Backups are no business of Cells. */
const backups = "cells-backups";

export const bucketsForCells = {
  buckets: [...Object.values(buckets), backups],
  applicationBuckets: { [application]: Object.values(buckets), backup: [backups] },
};
