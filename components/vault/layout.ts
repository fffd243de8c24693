/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";
import { memberHost, type ServiceKind, serviceHost } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";

export const service = "vault" satisfies ServiceKind;

export const ports = {
  client: 8200,
  /** Raft and forwarded requests; Vault makes the certificates of this port itself. */
  peer: 8201,
  /** Metrics without a token, for those whom the network policy admits. */
  metrics: 8202,
  /** Each listener brings a cluster port; nobody needs that of the metrics. */
  metricsCluster: 8203,
  /** For the server in the same pod only: the keys that Kubernetes signs the tokens of service accounts with. */
  keys: 8012,
} as const;

export const paths = {
  /** Not below /vault, where the image declares volumes of its own. */
  volume: "/data",
  data: "/data/vault",
  /** On the volume, for as long as the answer to an initialisation is not stored: which attempt it was. */
  forming: "/data/forming",
  /** On the volume: the process of the server that was given the key shares. */
  given: "/data/given",
  /** On the volume, once this member has served: the cluster that its data belongs to. */
  joined: "/data/joined",
  /** Beside the data: what was begun and never held anything. */
  discarded: "/data/discarded-",
  config: "/etc/vault/config",
  configFile: "/etc/vault/config/vault.json",
  serverTls: "/etc/vault/server-tls",
  trust: "/etc/vault/trust",
  /** Key shares of the shamir seal. */
  unseal: "/etc/vault/unseal",
  aws: "/etc/vault/aws",
  /** The token with which an agent logs in. */
  login: "/var/run/secrets/cells-services/vault",
} as const;

export type SealSettings =
  | { type: "shamir" }
  | {
      type: "awskms";
      region: string;
      keyId: string;
      endpoint?: string;
      /** "none": nobody keeps the recovery keys. */
      recovery: { pgpKeys: string[]; threshold: number } | "none";
    };

/** A mount of the key-value engine, version 2. */
export interface Mount {
  /** Versions that are kept of each key, default 10 (Vault's own). */
  maxVersions?: number | undefined;
  /** Writes must say which version they replace. Default: false. */
  casRequired?: boolean | undefined;
}

export const capabilities = ["create", "read", "update", "patch", "delete", "list"] as const;
export type Capability = (typeof capabilities)[number];

export interface PolicyRule {
  /** Such as "secret/data/*"; begins with one of the mounts. */
  path: string;
  capabilities: Capability[];
}

export interface VaultSettings extends EnsembleSettings {
  seal: SealSettings;
}

/** Of the setup and of the job that keeps the tokens. */
export interface SetupSettings extends VaultSettings {
  mounts: Record<string, Mount>;
  policies: Record<string, PolicyRule[]>;
  audit: "stdout" | "off";
  tokenPeriodDays: number;
  /** Tokens that were made for a lower number are replaced. */
  passwords: { rotation: number };
}

/** Secret with the key shares (shamir) or the encrypted recovery keys (awskms). Outlives the component like the data. */
export function keysName(name: string, seal: SealSettings["type"]): string {
  return seal === "shamir" ? `${name}-unseal` : `${name}-recovery`;
}

/** Secret with the root token between the initialisation and the end of the setup. */
export function rootName(name: string): string {
  return `${name}-root`;
}

/** CronJob and ServiceAccount that keep the tokens. */
export function tokensName(name: string): string {
  return `${name}-tokens`;
}

/** Job that proves the seal before the members use it. */
export function sealName(name: string): string {
  return `${name}-seal`;
}

/** Whom a login token must be made for: those for other purposes are no good here. */
export function audience(name: string, namespace: string): string {
  return serviceHost(name, namespace);
}

export function scheme(tls: TlsMode): "http" | "https" {
  return tls === "off" ? "http" : "https";
}

/** As it is in the raft configuration. */
export function peerAddress(settings: { name: string }, namespace: string, member: string): string {
  return `${memberHost(settings.name, namespace, member)}:${ports.peer}`;
}

export function memberUrl(settings: { name: string; tls: TlsMode }, namespace: string, member: string): string {
  return `${scheme(settings.tls)}://${memberHost(settings.name, namespace, member)}:${ports.client}`;
}
