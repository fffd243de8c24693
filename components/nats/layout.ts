/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";

export const ports = { client: 4222, peer: 6222, metrics: 8222 } as const;

export const paths = {
  data: "/data",
  /** The server's configuration: a ConfigMap and the Secret with the users, projected into one directory. */
  config: "/etc/nats",
  configFile: "nats.conf",
  /** Included by the former, relative to it. */
  usersFile: "accounts.conf",
  run: "/run/nats",
  pid: "/run/nats/nats.pid",
  serverTls: "/etc/nats-server-tls",
  peerTls: "/etc/nats-peer-tls",
  trust: "/etc/nats-trust",
  admin: "/etc/nats-admin",
  reconciler: "/etc/nats-reconciler",
} as const;

/** The files of the meta group, which knows all streams. */
export const metaFolder = `${paths.data}/jetstream/SYS/_js_/_meta_`;

export const systemAccount = "SYS";
/** User of the system account. User names are unique over all accounts, so no application may have this name. */
export const adminUsername = "admin";

export const reconcilerUsername = "reconciler";
/** The user of the reconciler in an account. Applications are DNS labels, so none has a colon. */
export function inAccount(reconciler: string, account: string): string {
  return `${reconciler}:${account}`;
}

/** Prefix of the tag of a server that says which users it has read. */
export const usersTag = "users:";

/** Prefix of the inboxes of these users, which may not listen to the answers for others. */
export const reconcilerInbox = "_INBOX_RECONCILER";

/** Secret with the password of the reconciler. */
export function reconcilerName(name: string): string {
  return `${name}-reconciler`;
}

/** Replicas with which a stream survives the loss of one member. More replicas would make each write wait for more disks. */
export function wantedReplicas(members: number): number {
  return Math.min(3, members);
}

/** The longest time between two looks of the reconciler at all streams: events may be lost, and the reconciler may be away. */
export const fullPassSeconds = 60;
/** Three full passes without success, and time for the answers. */
export const staleSeconds = 4 * fullPassSeconds;

/** Metadata of a stream whose owner has decided on the number of replicas: value "keep". */
export const replicasMetadata = "cells-services.replicas";

export function scheme(tls: TlsMode): "nats" | "tls" {
  return tls === "off" ? "nats" : "tls";
}

/** How long streams are copied off the servers that leave. The next run continues a copy that takes longer. */
export const releaseSeconds = 480;

/** In the working folder of a proof. */
export const proofFiles = { config: "nats.conf", data: "data" } as const;
