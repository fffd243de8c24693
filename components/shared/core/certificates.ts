/**
 * The decisions of the certificate authority: pure, no library. A change of the authority overlaps in three phases, because
 * every client and server must trust the new authority before anybody shows a certificate signed by it:
 *
 *   1. trust old and new, still sign with the old      -> roll the servers
 *   2. a day later sign with the new                   -> roll the servers that do not reread their certificates
 *   3. a day later trust the new one only              -> roll the servers
 *
 * One phase per run at most, and none while a roll is under way: the state is in the Secret of the authority, so a run that
 * dies is continued by the next one.
 */
import { type Refuse, refuse, type Wait, wait } from "./decision";
import { memberHost, memberNames, namesOf, type ServiceKind, serviceHost } from "./names";
import type { SecretReference } from "./settings";

/** What the certificates command of the agent must know. No secrets. */
export interface CertificateSettings {
  service: ServiceKind;
  name: string;
  members: number;
  issuer: "own" | "cert-manager";
  lifetimeDays: number;
  authorityLifetimeDays: number;
  rotation: number;
  /**
   * What members must be restarted for, at the least: another trusted authority; another one that signs, where nothing else proves that
   * all have read what it signed; any certificate.
   */
  restartOn: "authority" | "signer" | "any";
  /** Secrets that receive `ca.crt`. */
  publishTo: string[];
  /** The same in other namespaces. */
  publishElsewhere?: SecretReference[];
}

const day = 24 * 60 * 60 * 1000;

/** Clients read the trust bundle when they start or reconnect; a day after it changed all of them have seen it. */
const overlapMilliseconds = day;
/** Clocks of nodes differ; a certificate is valid from a little before it was made. */
export const backdateMilliseconds = 5 * 60 * 1000;

export interface Validity {
  notBefore: number;
  notAfter: number;
}

export interface Leaf extends Validity {
  /** DNS names and addresses, sorted. */
  subjects: string[];
  /** Fingerprint of the authority that signed it. */
  signedBy: string;
}

export interface AuthorityCertificate extends Validity {
  /** Identifies the certificate, and so its key. */
  fingerprint: string;
}

export type Phase = "steady" | "introduced" | "switched";

/** On the ConfigMap with the trust bundle: a digest of what members must have started with. */
export const rollAnnotation = "cells-services/certificates";
/**
 * On the same ConfigMap: the uids of the pods that started before that. The roll replaces them, and no other pod ever has one of
 * these uids: so nobody compares clocks, and nobody who notes this needs a right to change members.
 */
export const stalePodsAnnotation = "cells-services/stale-pods";

export function stalePodsOf(annotations: Record<string, string> | undefined): string[] {
  return (annotations?.[stalePodsAnnotation] ?? "").split(" ").filter((uid) => uid !== "");
}

/** What is in the cluster. Times are milliseconds since 1970. */
export interface CertificatesObserved {
  /** undefined: there is none yet. */
  authority:
    | undefined
    | {
        phase: Phase;
        /** When the phase began. */
        since: number;
        /** The `rotation` number that this authority was made for. */
        rotation: number;
        current: AuthorityCertificate;
        /** Whether an issuer gave the current one. */
        issued: boolean;
        /** The authority that comes ("introduced") or that goes ("switched"). */
        other?: AuthorityCertificate | undefined;
      };
  /** By Secret name; undefined: missing or unreadable. */
  leaves: Record<string, Leaf | undefined>;
  /** undefined: the StatefulSet does not exist yet. */
  servers:
    | undefined
    | {
        /** All replicas are ready and of one revision, and no stale pod is left. */
        settled: boolean;
        /** What members that are not stale have started with: the value of `rollAnnotation`. */
        rolled: string | undefined;
        /** They run without TLS, and are about to get it: none of them trusts an authority. */
        plain?: boolean;
      };
}

export interface CertificatesWanted {
  subjects: string[];
  rotation: number;
  /**
   * The intermediate authority that an issuer gave, and whether its root is in the published trust bundle. undefined: the
   * ensemble has an authority of its own.
   */
  issued: (AuthorityCertificate & { trusted: boolean }) | undefined;
}

export type CertificatesAction =
  | { kind: "create-authority" }
  | { kind: "introduce-authority"; reason: string }
  | { kind: "switch-authority" }
  | { kind: "retire-authority" }
  /** `missed`: one of them has ended, and through it nobody could tell a server to read the next. */
  | { kind: "issue-leaves"; secrets: string[]; reason: string; missed?: true }
  | Wait
  | Refuse
  | { kind: "nothing" };

/** All members at once, so that no two of them trust different authorities. */
const beginWithAnother =
  "delete the StatefulSet with --cascade=orphan and then its pods, which keeps volumes and passwords, and run " +
  "pulumi up --refresh: all members start at once with a new authority";

/** In the last third of its life a certificate is replaced. */
function isDue(validity: Validity, now: number): boolean {
  return now >= validity.notAfter - (validity.notAfter - validity.notBefore) / 3;
}

/**
 * The next step. `rollWanted` is the digest of what is published now; when the members have started with another one, the caller
 * notes their pods as stale, and no phase moves before the roll has replaced them.
 */
export function decideCertificates(
  observed: CertificatesObserved,
  wanted: CertificatesWanted,
  rollWanted: string,
  now: number,
): CertificatesAction {
  const { authority, servers } = observed;
  if (authority === undefined) {
    // The last release had certificates of the issuer and no authority of its own: its members trust the same root.
    if (servers === undefined || servers.plain || wanted.issued?.trusted) return { kind: "create-authority" };
    // The members trust the lost one. Rolled one by one to another, the first would find that nobody talks to it.
    const gone = "the certificate authority is gone, but members that trust it run; restore its Secret from a backup";
    return refuse(`${gone}; without one, ${beginWithAnother}`);
  }

  if (now >= authority.current.notAfter) {
    if (authority.phase === "introduced") return { kind: "switch-authority" };
    return refuse(`the certificate authority has ended; delete its Secret, and ${beginWithAnother}`);
  }
  const leaves = staleLeaves(observed, authority, wanted.subjects, now);
  if (leaves !== undefined) return leaves;

  // Without servers nobody trusts the old authority yet, so phases need no roll in between, only an end.
  const rolled = servers === undefined || (servers.settled && servers.rolled === rollWanted);
  const overlapped = now >= authority.since + overlapMilliseconds;
  const waitForRoll = (what: string) => wait(`the members must be rolled and ready before ${what}`);
  if (authority.phase === "steady") {
    const reason = rotationReason(authority, wanted, now);
    if (reason === undefined) return { kind: "nothing" };
    return rolled ? { kind: "introduce-authority", reason } : waitForRoll("a new authority is introduced");
  }
  const introduced = authority.phase === "introduced";
  const what = introduced ? "the new authority signs" : "the old authority is retired";
  if (!rolled) return waitForRoll(what);
  if (!overlapped) return wait(`clients have a day to read the trust bundle before ${what}`);
  return { kind: introduced ? "switch-authority" : "retire-authority" };
}

function rotationReason(
  authority: NonNullable<CertificatesObserved["authority"]>,
  { rotation, issued }: CertificatesWanted,
  now: number,
): string | undefined {
  if (issued !== undefined) {
    return issued.fingerprint === authority.current.fingerprint ? undefined : "the issuer gave another authority";
  }
  if (authority.issued) return "the issuer was removed from the configuration";
  if (rotation > authority.rotation) return `rotation was raised from ${authority.rotation} to ${rotation}`;
  if (isDue(authority.current, now)) return "the authority is in the last third of its life";
  return undefined;
}

function staleLeaves(
  observed: CertificatesObserved,
  authority: NonNullable<CertificatesObserved["authority"]>,
  subjects: string[],
  now: number,
): CertificatesAction | undefined {
  const stale = Object.entries(observed.leaves).flatMap(([secret, leaf]) => {
    const reason = leafReason(leaf, authority.current, subjects, now);
    return reason === undefined ? [] : [{ secret, reason }];
  });
  const first = stale[0];
  if (first === undefined) return undefined;
  const missed = Object.values(observed.leaves).some((leaf) => leaf !== undefined && leaf.notAfter <= now);
  const secrets = stale.map(({ secret }) => secret);
  return { kind: "issue-leaves", secrets, reason: first.reason, ...(missed ? { missed } : {}) };
}

function leafReason(
  leaf: Leaf | undefined,
  signer: AuthorityCertificate,
  subjects: string[],
  now: number,
): string | undefined {
  if (leaf === undefined) return "the certificate is missing";
  if (leaf.signedBy !== signer.fingerprint) return "the certificate was signed by another authority";
  if (leaf.subjects.join() !== [...subjects].sort().join()) return "the names of the members have changed";
  if (isDue(leaf, now)) return "the certificate is in the last third of its life";
  return undefined;
}

/** Whether the members prove themselves to each other with a certificate. */
export function hasPeerCertificate(service: ServiceKind): boolean {
  return ["etcd", "nats", "redis", "mongodb"].includes(service);
}

/** Secrets with certificates. */
export function leafSecretNames(service: ServiceKind, name: string): string[] {
  const { serverTls, peerTls } = namesOf(name);
  return hasPeerCertificate(service) ? [serverTls, peerTls] : [serverTls];
}

/** Every name under which a member may be reached, each written out: servers that verify wildcards need reverse DNS. */
export function subjectNames(name: string, namespace: string, members: number): { dns: string[]; ip: string[] } {
  const own = memberNames(name, members).map((member) => memberHost(name, namespace, member));
  const hosts = [...own, serviceHost(name, namespace)];
  return {
    dns: [...hosts, ...hosts.map((host) => `${host}.cluster.local`), name, `${name}.${namespace}`, "localhost"].sort(),
    ip: ["127.0.0.1", "::1"],
  };
}
