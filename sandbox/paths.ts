import { homedir } from "node:os";
import { join } from "node:path";

/** The checkout this command runs from. */
export const checkout = join(__dirname, "..");

/** Built tools and images, keyed by version and recipe; outside the checkout so that a fresh clone reuses them. */
export const cacheHome = process.env["CELLS_SERVICES_CACHE"] ?? join(homedir(), ".cache", "cells-services");

/**
 * Everything one cluster keeps: certificates, etcd data, node roots, the Pulumi state and its passphrase. There is one
 * cluster per machine (addresses and namespace names are fixed), so this is not configurable. Short, because socket
 * paths below it must stay under 108 bytes.
 */
export const home = "/var/lib/cells-services";

export const kubeconfig = join(home, "kubeconfig");
export const logs = join(home, "logs");

/** For each volume an image of its file system, and the folder where it is mounted. */
export const volumes = join(home, "volumes");

/** For the shell: takes a node away, or brings it back, see `nodeActions`. Drills are given it. */
export const nodeCommand = `'${join(checkout, "node_modules", ".bin", "tsx")}' '${join(checkout, "sandbox", "cli.ts")}' node`;
