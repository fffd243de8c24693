/** What the component and the agent must agree on: ports, paths, names. Without imports that load anything. */
import type { TlsMode } from "../shared/core/check";
import { memberHost } from "../shared/core/names";

export const ports = { client: 2379, peer: 2380, metrics: 2381 } as const;

export const paths = {
  volume: "/var/lib/etcd",
  /** Below the root of the volume, where file systems keep things of their own. */
  data: "/var/lib/etcd/data",
  /** ConfigMap: what all members have in common. */
  base: "/etc/etcd/base",
  baseFile: "etcd.json",
  /** Written by the init container, read by etcd. */
  run: "/run/etcd",
  config: "/run/etcd/etcd.json",
  serverTls: "/etc/etcd/server-tls",
  peerTls: "/etc/etcd/peer-tls",
  trust: "/etc/etcd/trust",
  /** Key that signs the tokens of password authentication. */
  token: "/etc/etcd/token",
  admin: "/etc/etcd/admin",
  kept: "/etc/etcd/kept",
  keptFile: "passwords.json",
} as const;

/** etcd's own name for the administrator. */
export const adminUsername = "root";

/** Secret with the key that signs the tokens of clients. */
export function tokenName(name: string): string {
  return `${name}-token`;
}

/** Secret with the passwords of the administrator that the data may accept. It lives as long as the data. */
export function keptName(name: string): string {
  return `${name}-kept`;
}

/** A role is the mark by which the setup knows a user that it made. */
export function applicationRole(application: string): string {
  return `${applicationRolePrefix}${application}`;
}

export const applicationRolePrefix = "application:";

export function scheme(tls: TlsMode): "http" | "https" {
  return tls === "off" ? "http" : "https";
}

export function peerUrl(settings: { name: string; tls: TlsMode }, namespace: string, member: string): string {
  return `${scheme(settings.tls)}://${memberHost(settings.name, namespace, member)}:${ports.peer}`;
}

export function clientUrl(settings: { name: string; tls: TlsMode }, namespace: string, member: string): string {
  return `${scheme(settings.tls)}://${memberHost(settings.name, namespace, member)}:${ports.client}`;
}

/** Deployment and its ServiceAccount. */
export function maintenanceName(name: string): string {
  return `${name}-maintenance`;
}

/** Of a copy, as `etcdctl snapshot save` writes it. */
export const snapshotFile = "snapshot.db";
/** Of the throw-away server of a proof, which only its own pod reaches. */
export const proofUrl = `http://127.0.0.1:${ports.client}`;
/** In the working folder of a proof. */
export const proofFiles = {
  data: "data",
  /** Signs the tokens that the server accepts. */
  key: "token.key",
} as const;
