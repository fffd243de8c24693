/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";
import { memberHost, memberNames } from "../shared/core/names";
import type { SetupSettings } from "../shared/core/settings";

export const ports = { client: 27017 } as const;

export interface MongodbSetupSettings extends SetupSettings {
  featureCompatibilityVersion?: string;
}

export const paths = {
  data: "/data/db",
  /** What all members have in common, from a ConfigMap. */
  config: "/etc/mongodb",
  configFile: "mongod.yaml",
  /** Memory: files that the server wants in a form or with rights that a Secret cannot have. */
  run: "/run/mongodb",
  keyFile: "/run/mongodb/keyfile",
  serverPem: "/run/mongodb/server.pem",
  peerPem: "/run/mongodb/peer.pem",
  authorities: "/run/mongodb/ca.crt",
  /** The Secret with the key file. */
  key: "/etc/mongodb-key",
  serverTls: "/etc/mongodb-server-tls",
  peerTls: "/etc/mongodb-peer-tls",
  trust: "/etc/mongodb-trust",
  admin: "/etc/mongodb-admin",
} as const;

export const adminUsername = "admin";

/** Secret with the key that the members prove themselves to each other with. */
export function keyName(name: string): string {
  return `${name}-keyfile`;
}

/** Databases that the server has for itself; an application of that name would share them. */
export const reservedDatabases = ["admin", "config", "local"] as const;

/**
 * Each application has a database of its own, in which its user is too: clients need no `authSource`. Names of
 * applications have no underscore, so no two share one.
 */
export function databaseOf(application: string): string {
  return application.replaceAll("-", "_");
}

export interface Address {
  name: string;
  namespace: string;
  members: number;
  tls: TlsMode;
  database?: string;
}

/**
 * The address of the replica set for any driver, without user and password. `w=majority` is the default of the servers too;
 * it is here for those who read it.
 */
export function address({ name, namespace, members, tls, database = "" }: Address): string {
  const hosts = memberNames(name, members).map((member) => `${memberHost(name, namespace, member)}:${ports.client}`);
  const options = [`replicaSet=${name}`, "w=majority", ...(tls === "off" ? [] : ["tls=true"])];
  return `mongodb://${hosts.join(",")}/${database}?${options.join("&")}`;
}

/** The same with user and password, as clients want it that take nothing but one address. Always a secret. */
export function connectionString(url: string, user: { username: string; password: string }): string {
  return url.replace("://", `://${encodeURIComponent(user.username)}:${encodeURIComponent(user.password)}@`);
}
