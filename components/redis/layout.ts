/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";
import { majority, memberHost, memberNames, mostMembers } from "../shared/core/names";

export const ports = { client: 6379, sentinel: 26379 } as const;

export const paths = {
  data: "/data",
  /** Of the server: append only files. */
  serverData: "/data/redis",
  /** Sentinel writes what it knows and whom it has voted for into its own configuration. */
  sentinelData: "/data/sentinel",
  sentinelConfig: "/data/sentinel/sentinel.conf",
  /** What all members have in common, from a ConfigMap. */
  config: "/etc/redis",
  configFile: "redis.conf",
  /** Memory: what one member has for itself, passwords included. Read-only for the server, so it can rewrite nothing. */
  run: "/run/redis",
  memberConfig: "/run/redis/redis.conf",
  /** Passwords that the member shows to others: for a while after a change still the former ones. */
  shownPasswords: "/run/redis/passwords.json",
  /** Written by a person who has decided to elect without members that do not answer: what the others then had. */
  approval: "/data/elect",
  users: "/etc/redis-users",
  usersFile: "users.acl",
  internal: "/etc/redis-internal",
  serverTls: "/etc/redis-server-tls",
  peerTls: "/etc/redis-peer-tls",
  trust: "/etc/redis-trust",
  admin: "/etc/redis-admin",
} as const;

export const adminUsername = "admin";
/** Users of the ensemble itself; no application may be called like one of them, nor like the one that Redis brings. */
export const internalUsers = ["agent", "replication", "sentinel"] as const;
export type InternalUser = (typeof internalUsers)[number];
export const reservedUsers = [adminUsername, ...internalUsers, "default"] as const;

/** In the Secret of the internal users: `passwords.rotation`. */
export const rotationKey = "rotation";

/** In the Secret of the internal users: what the password was before the last rotation. */
export function formerKey(user: InternalUser): string {
  return `${user}-former`;
}

/** Of the address of a server or Sentinel; the host itself when it is that of no member. */
export function memberOf(name: string, namespace: string, host: string): string {
  return memberNames(name, mostMembers).find((member) => memberHost(name, namespace, member) === host) ?? host;
}

/** Of the memory limit; the rest is for pages that are written while a child saves them, for buffers and fragmentation. */
export const dataShare = 2 / 3;

/** Of the memory limit, for writes that a replica has not received yet. Redis does not count them as data. */
export const replicaBufferShare = 0.15;

export function usersName(name: string): string {
  return `${name}-users`;
}

export function internalName(name: string): string {
  return `${name}-internal`;
}

/** What a server replicates after its start: nobody, until its agent knows the master. Nothing listens on this port. */
export const parking = { host: "127.0.0.1", port: 1 } as const;

/** Behind the databases of clients, 0 to 15. Its one key says how far the data goes, and travels with the data. */
export const markDatabase = 16;
export const markKey = "cells-services:mark";

/** Where Sentinels tell each other which master there is. They believe what anybody publishes here. */
export const sentinelChannel = "__sentinel__:hello";

/** Of replicas that may be promoted. 0 means never; a server starts with it. */
export const electablePriority = 100;

/** Of replicas that are to leave: Sentinels prefer the lower number. */
export const leavingPriority = 200;

/** Gauge of the agent: how many members count for it. */
export const membersGauge = "members";

/** How many replicas a master needs to take writes. Master and replicas are a majority then, so no two masters can have as many. */
export function neededReplicas(members: number): number {
  return majority(members) - 1;
}

/** Sentinels ask replicas for news, such as their priority, every ten seconds. */
export const newsSeconds = 12;

/** After so long without an answer a Sentinel takes a server for dead. */
export const downAfterSeconds = 5;
/**
 * A replica that is silent for longer does not count. Redis counts once a second: a master that is cut off takes no
 * writes any more when the Sentinels, which wait longer, elect another one.
 */
export const replicaLagSeconds = 3;

export function scheme(tls: TlsMode): "redis" | "rediss" {
  return tls === "required" ? "rediss" : "redis";
}
