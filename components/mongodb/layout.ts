/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";

export const ports = { client: 27017 } as const;

export interface MongodbSetupSettings extends SetupSettings {
  featureCompatibilityVersion?: string | undefined;
  /** undefined: the oplogs stay as they are. */
  oplogMegabytes?: number | undefined;
}

export const paths = {
  data: "/data/db",
  /** The configuration of all members, from a ConfigMap. */
  config: "/etc/mongodb",
  configFile: "mongod.yaml",
  /** In memory: files that the server needs in a form or with permissions that a mounted Secret cannot have. */
  run: "/run/mongodb",
  keyFile: "/run/mongodb/keyfile",
  serverPem: "/run/mongodb/server.pem",
  peerPem: "/run/mongodb/peer.pem",
  authorities: "/run/mongodb/ca.crt",
  key: "/etc/mongodb-key",
  serverTls: "/etc/mongodb-server-tls",
  peerTls: "/etc/mongodb-peer-tls",
  trust: "/etc/mongodb-trust",
  admin: "/etc/mongodb-admin",
} as const;

export const adminUsername = "admin";

/** Secret with the key by which the members authenticate each other. */
export function keyName(name: string): string {
  return `${name}-keyfile`;
}

/** Databases of the server itself; no application may have their names. */
export const reservedDatabases = ["admin", "config", "local"] as const;

/** Users are in the same database, so clients need no `authSource`. Names of applications have no underscore. */
export function databaseOf(application: string): string {
  return application.replaceAll("-", "_");
}

/** The name under which the set knows a member. */
export function setHost(name: string, namespace: string, member: string): string {
  return `${memberHost(name, namespace, member)}:${ports.client}`;
}

type Address = Pick<EnsembleSettings, "name" | "members" | "tls"> & {
  namespace: string;
  database?: string | undefined;
};

/** For any driver, without user and password. `w=majority` is the default of the servers too, repeated for readers. */
export function address({ name, namespace, members, tls, database = "" }: Address): string {
  const hosts = memberNames(name, members).map((member) => setHost(name, namespace, member));
  const options = [`replicaSet=${name}`, "w=majority", ...(tls === "off" ? [] : ["tls=true"])];
  return `mongodb://${hosts.join(",")}/${database}?${options.join("&")}`;
}

/** The address with user and password, for clients that take nothing else. Always a secret. */
export function connectionString(url: string, user: { username: string; password: string }): string {
  return url.replace("://", `://${encodeURIComponent(user.username)}:${encodeURIComponent(user.password)}@`);
}

/** In the working folder of a proof: the data of the throw-away server, which listens at 127.0.0.1 only. */
export const proofData = "data";
