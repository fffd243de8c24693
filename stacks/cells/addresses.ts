/** The addresses of the services as Cells wants them. Each has one host, also where there are several members. Pure. */
import type { CellsFacts, Endpoint, Login } from "./facts";
import { mounts } from "./needs";

/** Where the authorities are to be mounted in the pods of Cells: `<service>.crt`. */
export const trustFolder = "/etc/cells-services";
/** Go reads every file of these folders, so the authorities of the image stay trusted. */
export const trustFolders = `/etc/ssl/certs:${trustFolder}`;

export function trustFile(service: TrustedService): string {
  return `${trustFolder}/${service}.crt`;
}

/** Services whose certificates Cells verifies with a file, in the order of the files. */
export const trustedServices = ["vault", "mongodb", "mysql", "objectstore"] as const;
export type TrustedService = (typeof trustedServices)[number];

/**
 * Not files but ids in Cells' own store of certificates, which is in Vault: `cells admin cert import --uuid ID ca.crt`. One
 * parameter only, because an ampersand would have to be quoted wherever the variable is set.
 */
export function authorityId(service: "etcd" | "redis"): string {
  return `cells-services-${service}`;
}

export function etcdUrl(etcd: Endpoint & Login, key: "config" | "vault" | "registry"): string {
  return `${withTls("etcd", etcd)}://${login(etcd)}@${at(etcd)}/${key}${authorityOf("etcd", etcd)}`;
}

/** Without any parameter: Cells refuses them. Its subjects begin with host, port and path, so these stay for life. */
export function brokerUrl(nats: Endpoint & Login): string {
  return `nats://${login(nats)}@${at(nats)}`;
}

export function cacheUrl(redis: Endpoint & Login): string {
  return `${withTls("redis", redis)}://${login(redis)}@${at(redis)}${authorityOf("redis", redis)}`;
}

export function keyringUrl(vault: Endpoint): string {
  return `${vaultScheme(vault)}://${at(vault)}/${mounts.keyring}?key=keyring`;
}

export function certificatesUrl(vault: Endpoint): string {
  return `${vaultScheme(vault)}://${at(vault)}/${mounts.certificates}`;
}

/** The driver finds the members through the one name. The user is in the database, so there is no `authSource`. */
export function documentsUrl(mongodb: NonNullable<CellsFacts["mongodb"]>): string {
  const options = {
    replicaSet: mongodb.replicaSet,
    w: "majority",
    // What the installer of Cells writes.
    maxPoolSize: "20",
    ...(mongodb.tls === "required" ? { tls: "true", tlsCAFile: trustFile("mongodb") } : {}),
  };
  const query = Object.entries(options).map(([key, value]) => `${key}=${value}`);
  return `mongodb://${login(mongodb)}@${at(mongodb)}/${encodeURIComponent(mongodb.database)}?${query.join("&")}`;
}

/** For the driver of MySQL in Go: the authority must be one that the system trusts. */
export function sqlUrl(mysql: NonNullable<CellsFacts["mysql"]>, { version }: Pick<CellsFacts, "version">): string {
  const options = ["parseTime=true", "tls=true", ...(version === "v5" ? templates : [])];
  return `mysql://${login(mysql)}@tcp(${at(mysql)})/${encodeURIComponent(mysql.database)}?${options.join("&")}`;
}

/** Cells v5 fills these in for each of its services. */
const templates = ["prefix", "policies", "singular"].map((each) => `${each}={{ .Meta.${each} }}`);

export function storeUrl(objectstore: Endpoint): string {
  return `${objectstore.tls === "required" ? "https" : "http"}://${at(objectstore)}`;
}

const at = ({ host, port }: Endpoint): string => `${host}:${port}`;

function login({ user, password }: Login): string {
  // Cells v5 replaces variables in URLs, also in a password, and the percent sign of a code is no help against it.
  if (`${user}${password}`.includes("$"))
    throw new Error("a user or password for Cells must not contain a dollar sign");
  return `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
}

const withTls = (scheme: string, { tls }: Endpoint): string => (tls === "required" ? `${scheme}+tls` : scheme);

const vaultScheme = ({ tls }: Endpoint): string => (tls === "required" ? "vaults" : "vault");

function authorityOf(service: "etcd" | "redis", { tls }: Endpoint): string {
  return tls === "required" ? `?tlsCertCAUUID=${authorityId(service)}` : "";
}
