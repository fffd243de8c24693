/** What the component, the agent and the check must agree on: ports, paths, names. Loads no library. */
import type { TlsMode } from "../shared/core/check";
import { memberHost, type ServiceKind } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";

export const service = "vault" satisfies ServiceKind;

export const ports = {
  client: 8200,
  /** Raft and forwarded requests; Vault makes the certificates of this port itself. */
  peer: 8201,
  /** Metrics without a token. The network policy decides who may read them. */
  metrics: 8202,
  /** Each listener opens a cluster port; that of the metrics listener is not used. */
  metricsCluster: 8203,
  /** Serves the server in the same pod the keys with which Kubernetes signs the tokens of service accounts. */
  keys: 8012,
} as const;

export const paths = {
  /** Not below /vault, where the image declares volumes of its own. */
  volume: "/data",
  data: "/data/vault",
  /** Note on the volume: which initialisation was begun, while its answer is not stored. */
  forming: "/data/forming",
  /** Note on the volume: the process of the server that was given the key shares. */
  given: "/data/given",
  /** Note on the volume, once this member has served: the cluster that its data belongs to. */
  joined: "/data/joined",
  /** Prefix of folders beside the data: data that was begun and never served. */
  discarded: "/data/discarded-",
  config: "/etc/vault/config",
  configFile: "/etc/vault/config/vault.json",
  serverTls: "/etc/vault/server-tls",
  trust: "/etc/vault/trust",
  /** Key shares of the shamir seal. */
  unseal: "/etc/vault/unseal",
  /** Key shares of a copy that is restored. */
  formerUnseal: "/etc/vault/former-unseal",
  aws: "/etc/vault/aws",
  /** The token with which an agent logs in. */
  login: "/var/run/secrets/cells-services/vault",
} as const;

export interface KmsKey {
  region: string;
  keyId: string;
  /** Default: that of AWS. */
  endpoint?: string | undefined;
}

export type SealSettings =
  | { type: "shamir" }
  /** "none": the recovery keys are not stored. */
  | ({ type: "awskms"; recovery: { pgpKeys: string[]; threshold: number } | "none" } & KmsKey);

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

/** For the setup and for the job that keeps the tokens. */
export interface SetupSettings extends VaultSettings {
  mounts: Record<string, Mount>;
  policies: Record<string, PolicyRule[]>;
  audit: "stdout" | "off";
  tokenPeriodDays: number;
  /** Tokens that were made for a lower number are replaced. */
  passwords: { rotation: number };
  /** A restore is wanted, which writes keys. */
  restores?: true;
  /** By application, the other namespace whose Secret gets the token too. */
  applicationNamespaces?: Record<string, string>;
}

/** Secret with the key shares (shamir) or the encrypted recovery keys (awskms). Outlives the component like the data. */
export function keysName(name: string, seal: SealSettings["type"]): string {
  return seal === "shamir" ? `${name}-unseal` : `${name}-recovery`;
}

/** Secret that a person makes for a restore with shamir: the key shares of the component that was copied. */
export function formerKeysName(name: string): string {
  return `${name}-former-unseal`;
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

export function scheme(tls: TlsMode): "http" | "https" {
  return tls === "off" ? "http" : "https";
}

/** The address of a member in the raft configuration. */
export function peerAddress(settings: { name: string }, namespace: string, member: string): string {
  return `${memberHost(settings.name, namespace, member)}:${ports.peer}`;
}

export function memberUrl(settings: { name: string; tls: TlsMode }, namespace: string, member: string): string {
  return `${scheme(settings.tls)}://${memberHost(settings.name, namespace, member)}:${ports.client}`;
}

/** Of the throw-away server of a proof, which only its own pod reaches. */
export const proofUrl = `http://127.0.0.1:${ports.client}`;
/** In the working folder of a proof. */
export const proofFiles = {
  /** In the folder of the copy. */
  snapshot: "raft.snap",
  config: "vault.json",
  data: "data",
  /** The server unpacks a snapshot there. */
  temporary: "tmp",
} as const;
