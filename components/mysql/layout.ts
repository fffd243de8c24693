/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import { agentPorts } from "../shared/core/settings";

export const ports = {
  /** For clients and members: the group speaks the protocol of MySQL, with its TLS and its users. */
  client: 3306,
  /** For the agent, inside the pod only: accepts connections when all others are taken. */
  admin: 33062,
  /** Of the agent: the server has no metrics of its own. */
  metrics: agentPorts.http,
} as const;

export const paths = {
  volume: "/data",
  data: "/data/mysql",
  /** An incomplete data directory. It is renamed when it is complete, so a directory of this name was never used. */
  initializing: "/data/initializing",
  /** Temporary tables and files of large sorts: on the volume, which has room. */
  temporary: "/data/tmp",
  /** The first name of the group, kept with the volume. A name that the server has persisted later overrides it. */
  group: "/data/group",
  config: "/etc/mysql-config",
  configFile: "mysqld.cnf",
  groupKey: "group",
  run: "/run/mysql",
  server: "/run/mysql/mysqld.cnf",
  initialize: "/run/mysql/initialize.cnf",
  init: "/run/mysql/init.sql",
  /** A person makes this file to recover the group from this member. */
  recover: "/run/mysql/recover-from-here",
  /** A person makes this file to let this member lose what only it has. */
  discard: "/run/mysql/discard-and-clone",
  serverTls: "/etc/mysql-server-tls",
  trust: "/etc/mysql-trust",
  admin: "/etc/mysql-admin",
  internal: "/etc/mysql-internal",
} as const;

/** In the folder of a copy, a proof or a restore. */
export const backupFiles = {
  /** Of the server beside a copy, which is needed for its clone plugin alone. */
  server: "server",
  socket: "mysqld.sock",
  /** What it clones. */
  clone: "clone",
  /** Beginning of the names in a copy. */
  data: "data",
} as const;

export const adminUsername = "admin";
/** User of the agents, and of the members towards each other. */
export const internalUsername = "member";
export const reservedUsernames: readonly string[] = [adminUsername, internalUsername, "root"];
export const reservedDatabases: readonly string[] = ["mysql", "sys", "information_schema", "performance_schema"];
/** A limit of MySQL. */
export const usernameLimit = 32;

export function internalName(name: string): string {
  return `${name}-internal`;
}

/** Without hyphens, which would have to be quoted in every statement. */
export function databaseOf(application: string): string {
  return application.replaceAll("-", "_");
}

/** Connections that no application can take: administrators, agents, checks, and the members of the group. */
export const reservedConnections = 50;

/** The address at which the members find each other. Its host is the name in the certificate. */
export function address(host: string): string {
  return `${host}:${ports.client}`;
}
