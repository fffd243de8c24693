/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import { agentPorts } from "../shared/core/settings";

export const ports = {
  /** Clients and members alike: the group speaks the protocol of MySQL, with its TLS and its users. */
  client: 3306,
  /** Inside the pod only: has room when all connections are taken, for the agent. */
  admin: 33062,
  /** Of the agent: the server has no metrics of its own. */
  metrics: agentPorts.http,
} as const;

export const paths = {
  volume: "/data",
  data: "/data/mysql",
  /** A data directory on its way: it is renamed when it is complete, so one that is found was never used. */
  initializing: "/data/initializing",
  /** Temporary tables and files of large sorts: on the volume, which has room. */
  temporary: "/data/tmp",
  /**
   * Name of the group that the volume was made for: it stays when everything around it is deployed anew. The one that the
   * server has persisted since, as it joined or was recovered, counts more.
   */
  group: "/data/group",
  config: "/etc/mysql-config",
  configFile: "mysqld.cnf",
  groupKey: "group",
  run: "/run/mysql",
  server: "/run/mysql/mysqld.cnf",
  initialize: "/run/mysql/initialize.cnf",
  init: "/run/mysql/init.sql",
  /** A person's word that this member is the one to go on from. */
  recover: "/run/mysql/recover-from-here",
  /** A person's word that what only this member has may be lost. */
  discard: "/run/mysql/discard-and-clone",
  serverTls: "/etc/mysql-server-tls",
  trust: "/etc/mysql-trust",
  admin: "/etc/mysql-admin",
  internal: "/etc/mysql-internal",
} as const;

export const adminUsername = "admin";
/** The agents, and the members towards each other. */
export const internalUsername = "member";
/** User names that no application may have. */
export const reservedUsernames: readonly string[] = [adminUsername, internalUsername, "root"];
export const reservedDatabases: readonly string[] = ["mysql", "sys", "information_schema", "performance_schema"];
/** A limit of MySQL. */
export const usernameLimit = 32;

/** Secret with the password of the internal user. */
export function internalName(name: string): string {
  return `${name}-internal`;
}

/** Hyphens would have to be quoted in every statement. */
export function databaseOf(application: string): string {
  return application.replaceAll("-", "_");
}

/** Connections that no application can take: administrators, agents, checks, and the members of the group. */
export const reservedConnections = 50;

/** How the certificates name the members, and how the members find each other. */
export function address(host: string): string {
  return `${host}:${ports.client}`;
}
