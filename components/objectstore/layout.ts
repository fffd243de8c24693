/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";

/** 9000 is the custom of S3-compatible servers. The admin API has a port of its own, which clients cannot reach. */
export const ports = { client: 9000, admin: 9001 } as const;

export const paths = {
  volume: "/data",
  /** Each directory in it is a bucket. */
  buckets: "/data/buckets",
  /** Users with their secrets, readable by the server only. */
  users: "/data/iam",
  serverTls: "/etc/objectstore-server-tls",
  trust: "/etc/objectstore-trust",
  admin: "/etc/objectstore-admin",
  config: "/etc/objectstore",
  /** Key of the ConfigMap, and file in `config`: a `Store` as JSON. */
  storeFile: "store.json",
} as const;

/** No bucket can have this name, so the probe hides none. */
export const healthPath = "/_/health";

/** The access key of the root account. Applications have access keys like their names, so none may be called like it. */
export const adminUsername = "admin";

/** What is to exist: decides nothing about what else exists. */
export interface Store {
  region: string;
  buckets: string[];
  /** Application to its buckets. A bucket has one application at most; the others are the administrator's. */
  applicationBuckets: Record<string, string[]>;
}

/** In the marker. There is one server, so there is nothing more to tell one store from another. */
export function storeId(name: string, namespace: string): string {
  return `${namespace}-${name}`;
}

export function scheme(tls: TlsMode): "http" | "https" {
  return tls === "off" ? "http" : "https";
}
