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

/** One for each of its datasources and stores, as its chart demands; backups are no business of Cells. */
const buckets = ["default", "personal", "cells", "binaries", "thumbs", "versions"].map((each) => `cells-${each}`);
const backups = "cells-backups";

export const bucketsForCells = {
  buckets: [...buckets, backups],
  applicationBuckets: { cells: buckets, backup: [backups] },
};
