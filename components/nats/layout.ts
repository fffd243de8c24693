/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";

export const ports = { client: 4222, peer: 6222, metrics: 8222, reconciler: 8080 } as const;

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

/** What a server keeps of the group that knows all streams. */
export const metaFolder = `${paths.data}/jetstream/SYS/_js_/_meta_`;

export const systemAccount = "SYS";
/** User of the system account. User names are unique over all accounts, so no application may be called like it. */
export const adminUsername = "admin";

export const reconcilerUsername = "reconciler";
/** The user of the reconciler in an account. Applications are DNS labels, so none has a colon. */
export function inAccount(reconciler: string, account: string): string {
  return `${reconciler}:${account}`;
}

/** Among the tags that a server tells of itself: which users it has read. */
export const usersTag = "users:";

/** Prefix of the inboxes of these users: they may not listen to the answers that others get. */
export const reconcilerInbox = "_INBOX_RECONCILER";

/** Secret with the password of the reconciler. */
export function reconcilerName(name: string): string {
  return `${name}-reconciler`;
}

/** Replicas of a stream that survives the loss of any one member. More would make each write wait for more disks. */
export function wantedReplicas(members: number): number {
  return Math.min(3, members);
}

/** Metadata of a stream whose owner has decided on the number of replicas: value "keep". */
export const replicasMetadata = "cells-services.replicas";

export function scheme(tls: TlsMode): "nats" | "tls" {
  return tls === "off" ? "nats" : "tls";
}

/** Until the streams of the servers that leave are copied to others. What takes longer, the next run continues. */
export const releaseSeconds = 480;
