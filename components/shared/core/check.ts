/** The contract between a component and its check. Types only: no component loads a database client, and no check loads Pulumi. */
import type { ServiceKind } from "./names";

export type TlsMode = "required" | "optional" | "off";

/** All that a check needs to know about a deployed ensemble. No secrets: only the names of Secrets. */
export interface CheckTarget {
  service: ServiceKind;
  name: string;
  namespace: string;
  /** Pod names. */
  members: string[];
  /** Headless Service of the members. */
  peersService: string;
  clientPort: number;
  metricsPort: number;
  /** The one DNS name that clients use. */
  host: string;
  tls: TlsMode;
  /** ConfigMap whose key `ca.crt` is the trust bundle; null without TLS. */
  trust: string | null;
  adminSecret: string;
  /** What a server must have done before it acknowledges; null where there is no choice. */
  durability: "fsync" | "replicated" | "everysecond" | null;
  /** Application name to Secret name. */
  applications: Record<string, string>;
  /** Of Vault: the seal that is deployed, and where requests are recorded. */
  seal?: "shamir" | "awskms";
  audit?: "stdout" | "off";
}

/** Reaches a port of a pod through a local TCP port. Forwards are cached by (pod, port). */
export interface Tunnel {
  dial(pod: string, port: number): Promise<{ host: string; port: number }>;
  /** The same for a port of a Service, by way of one of the pods that are ready behind it now; asked again, of another. */
  service(name: string, port: number): Promise<{ host: string; port: number }>;
}

export interface CheckEnvironment {
  tunnel: Tunnel;
  /** Decoded keys of a Secret in the namespace of the target. */
  secret(name: string): Promise<Record<string, string>>;
  configMap(name: string): Promise<Record<string, string>>;
  /** Milliseconds, only for durations. */
  clock: () => number;
  signal: AbortSignal;
}

export interface Finding {
  /** Short name of the step, the same in every run. */
  check: string;
  ok: boolean;
  /** What was seen, in words, without secrets. */
  detail: string;
  /** What to look at when the finding is not ok. */
  remedy?: string;
  seconds: number;
}

/** Never throws for a failure of the service: a failed step is a finding, and later steps still run when they can. */
export type Check = (target: CheckTarget, environment: CheckEnvironment) => Promise<Finding[]>;
