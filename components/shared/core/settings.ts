/** What agents are told in SETTINGS, the same for all services. No secrets. Loads no library. */
import type { TlsMode } from "./check";
import type { ServiceKind } from "./names";

/** Of the agent beside a server that cannot say its own role over HTTP. */
export const agentPorts = {
  /** `/live`, `/ready`, `/primary`, `/metrics`. */
  http: 8008,
  /** For the gateway: "up" or "down", in HAProxy's agent-check protocol. */
  gateway: 8009,
  /** For the kubelet alone: `/hand-over`. No network policy admits anybody else. */
  control: 8010,
} as const;

/** From the Secret of the setup: all users with what servers must accept of them. */
export const setupUsers = { directory: "/etc/cells-services", file: "users.json" } as const;

export interface EnsembleSettings {
  service: ServiceKind;
  name: string;
  members: number;
  tls: TlsMode;
  applications: string[];
  deletion: "keep" | "delete";
}

/** Of the setup. */
export interface SetupSettings extends EnsembleSettings {
  passwords: { rotation: number };
}

/** A Secret in another namespace than that of the ensemble. */
export interface SecretReference {
  namespace: string;
  name: string;
}

/** Of the preflight. */
export interface PreflightSettings extends SetupSettings {
  /** Name of the ConfigMap with the wanted program of the agents. */
  agent: string;
  /** All members may stop at once. Not for members: to set it back must change nothing of them. */
  plannedStop: boolean;
  /** It shall be filled from a copy. */
  restores?: true;
  version: string;
  storage: { size: string; class?: string | undefined };
  /** The user of all processes. */
  pod: { userId: number | "namespace" };
}

/** Of the roll. */
export interface RollSettings extends EnsembleSettings {
  storage: { size: string };
  /** How long one member may take to stop, to start and to be whole. */
  stepSeconds: number;
  /** How long all must be whole after that. */
  watchSeconds: number;
}

/** A resolved ensemble has these and more; the rest stays out of SETTINGS. */
export function settingsOf(ensemble: EnsembleSettings): EnsembleSettings {
  const { service, name, members, tls, applications, deletion } = ensemble;
  return { service, name, members, tls, applications, deletion };
}

export function setupSettings(ensemble: SetupSettings): SetupSettings {
  return { ...settingsOf(ensemble), passwords: ensemble.passwords };
}

/** Applications are no business of a member: its init container stays the same when one is added. */
export function memberSettings(ensemble: EnsembleSettings): EnsembleSettings {
  return { ...settingsOf(ensemble), applications: [] };
}

export function preflightSettings(
  ensemble: Omit<PreflightSettings, "agent" | "restores"> & { backups?: { restoreFrom?: unknown } | undefined },
  agent: string,
): PreflightSettings {
  const { plannedStop, version, passwords, storage, pod, backups } = ensemble;
  const { size, class: storageClass } = storage;
  const restores = backups?.restoreFrom === undefined ? {} : { restores: true as const };
  const own = { agent, plannedStop, ...restores, version, passwords, storage: { size, class: storageClass } };
  return { ...memberSettings(ensemble), ...own, pod: { userId: pod.userId } };
}
