/**
 * The arguments that all ensembles share, their defaults and their validation. Validation happens before any resource
 * exists and reports every mistake at once.
 */
import * as pulumi from "@pulumi/pulumi";
import type { TlsMode } from "../core/check";
import type { ServiceKind } from "../core/names";
import { parseCpu, parseQuantity } from "../core/quantity";
import { type Image, imageReference } from "./images";

export interface ResourceRequirements {
  requests?: Record<string, string>;
  limits?: Record<string, string>;
}

/** Pods by labels. Both given: pods with these labels in namespaces with those labels. None given: any pod of the same namespace. */
export interface Peer {
  namespaceLabels?: Record<string, string>;
  podLabels?: Record<string, string>;
}

export interface Toleration {
  key?: string;
  operator?: "Exists" | "Equal";
  value?: string;
  effect?: "NoSchedule" | "PreferNoSchedule" | "NoExecute";
  tolerationSeconds?: number;
}

export interface IssuerReference {
  name: string;
  /** Default: "Issuer". */
  kind?: "Issuer" | "ClusterIssuer";
  /** Default: "cert-manager.io". */
  group?: string;
}

export interface EnsembleArguments {
  /** Namespace of all objects. It must exist. */
  namespace: pulumi.Input<string>;
  /** 3 (default) or 5. A plain number: it decides what is created. */
  members?: number;
  /** Version of the server, default: the one this release was tested with. */
  version?: string;
  /** Full image reference, for a mirror of the official image. */
  image?: string;
  storage?: {
    /** Size of each member's volume with a unit, such as "8Gi". */
    size?: string;
    /** StorageClass, default: the cluster's default class. */
    class?: string;
  };
  resources?: ResourceRequirements;
  placement?: {
    /** Members on different hosts: "required" (a member without its own host stays pending) or "preferred" (default). */
    spread?: "preferred" | "required";
    /** Spread over zones too, as strictly as `spread` says. Default: false. */
    zones?: boolean;
    nodeSelector?: Record<string, string>;
    tolerations?: Toleration[];
  };
  /** "required" (default), "optional" (TLS and plain text on the same port) or "off". */
  tls?: TlsMode;
  certificates?: {
    /** A cert-manager issuer that signs the certificates. Default: a certificate authority of the ensemble's own. */
    issuerRef?: IssuerReference;
    /** Life of server certificates, default 90. Renewed in the last third. */
    lifetimeDays?: number;
    /** Life of the own certificate authority, default 3650. Replaced in the last third. */
    authorityLifetimeDays?: number;
    /** Raise it by one to replace the own certificate authority, with overlap. Default: 0. */
    rotation?: number;
  };
  /** One user and one Secret for each name. Default: none. */
  applications?: string[];
  metrics?: {
    /** Who may read the metrics port. Default: nobody. */
    from?: Peer[];
  };
  /** Who may connect. Default: any pod of the same namespace. */
  clients?: Peer[];
  /** What happens to the volumes on `pulumi destroy`: "keep" (default) or "delete". */
  deletion?: "keep" | "delete";
}

/** What distinguishes one service in the validation and the defaults. */
export interface ServiceProfile {
  service: ServiceKind;
  image: Image;
  /** For a service of one server, which takes no `members`. Default: what the argument says. */
  members?: 1;
  storage: { size: string; minimum: string };
  resources: { requests: Record<string, string>; limits: Record<string, string> };
}

/** Arguments that only one service has: their names, and their validation. */
export interface OwnArguments {
  keys: readonly string[];
  validate?: (problem: (message: string) => void) => void;
}

export interface Ensemble {
  service: ServiceKind;
  name: string;
  namespace: pulumi.Output<string>;
  members: number;
  version: string;
  image: string;
  storage: { size: string; bytes: number; class: string | undefined };
  resources: { requests: Record<string, string>; limits: Record<string, string> };
  placement: {
    spread: "preferred" | "required";
    zones: boolean;
    nodeSelector: Record<string, string>;
    tolerations: Toleration[];
  };
  tls: TlsMode;
  certificates: {
    issuerRef: Required<IssuerReference> | undefined;
    lifetimeDays: number;
    authorityLifetimeDays: number;
    rotation: number;
  };
  applications: string[];
  metrics: { from: Peer[] };
  clients: Peer[];
  deletion: "keep" | "delete";
}

const keys = {
  "": [
    "namespace",
    "members",
    "version",
    "image",
    "storage",
    "resources",
    "placement",
    "tls",
    "certificates",
    "applications",
    "metrics",
    "clients",
    "deletion",
  ],
  storage: ["size", "class"],
  resources: ["requests", "limits"],
  placement: ["spread", "zones", "nodeSelector", "tolerations"],
  certificates: ["issuerRef", "lifetimeDays", "authorityLifetimeDays", "rotation"],
  "certificates.issuerRef": ["name", "kind", "group"],
  metrics: ["from"],
} as const;

/**
 * The longest name derived from a component's name is that of the CronJob `<name>-certificates`: Kubernetes allows CronJobs
 * 52 characters, since the Jobs they start get a suffix of 11.
 */
export const nameLimit = 52 - "-certificates".length;
/** Applications become part of volume names (`application-<app>`), which are DNS labels of at most 63 characters. */
const applicationLimit = 63 - "application-".length;

const dnsLabel = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

/** Throws one error that lists every mistake, or returns the arguments with all defaults. */
export function resolveEnsemble(
  profile: ServiceProfile,
  name: string,
  given: EnsembleArguments,
  own: OwnArguments = { keys: [] },
): Ensemble {
  const problems: string[] = [];
  const problem = (message: string): void => void problems.push(message);

  checkName(name, problem);
  checkKeys(given ?? {}, own.keys, problem);
  const args = wellFormed(given ?? {});
  if (args.namespace === undefined || args.namespace === "") {
    problem("namespace is missing; give the name of an existing namespace");
  }
  const members = profile.members ?? args.members ?? 3;
  if (profile.members === undefined) checkMembers(members, problem);
  const size = args.storage?.size ?? profile.storage.size;
  const bytes = checkSize(size, profile.storage.minimum, problem);
  oneOf("tls", args.tls, ["required", "optional", "off"], problem);
  oneOf("deletion", args.deletion, ["keep", "delete"], problem);
  oneOf("placement.spread", args.placement?.spread, ["preferred", "required"], problem);
  oneOf("certificates.issuerRef.kind", args.certificates?.issuerRef?.kind, ["Issuer", "ClusterIssuer"], problem);
  checkVersion(args.version, problem);
  const resources = {
    requests: { ...profile.resources.requests, ...args.resources?.requests },
    limits: { ...profile.resources.limits, ...args.resources?.limits },
  };
  checkResources(resources, problem);
  checkPeers("clients", args.clients, problem);
  checkPeers("metrics.from", args.metrics?.from, problem);
  checkCertificates(args, problem);
  checkApplications(args.applications ?? [], problem);
  own.validate?.(problem);
  report(profile.service, name, problems);

  const version = args.version ?? profile.image.version;
  const issuerRef = args.certificates?.issuerRef;
  return {
    service: profile.service,
    name,
    namespace: pulumi.output(args.namespace),
    members,
    version,
    image: args.image ?? imageReference(profile.image, version),
    storage: { size, bytes, class: args.storage?.class },
    resources,
    placement: {
      spread: args.placement?.spread ?? "preferred",
      zones: args.placement?.zones ?? false,
      nodeSelector: args.placement?.nodeSelector ?? {},
      tolerations: args.placement?.tolerations ?? [],
    },
    tls: args.tls ?? "required",
    certificates: {
      issuerRef: issuerRef && { kind: "Issuer", group: "cert-manager.io", ...issuerRef },
      lifetimeDays: args.certificates?.lifetimeDays ?? 90,
      authorityLifetimeDays: args.certificates?.authorityLifetimeDays ?? 3650,
      rotation: args.certificates?.rotation ?? 0,
    },
    applications: args.applications ?? [],
    metrics: { from: args.metrics?.from ?? [] },
    // An empty peer is any pod of the namespace.
    clients: args.clients ?? [{}],
    deletion: args.deletion ?? "keep",
  };
}

/** `RunError` prints its message without a stack: the mistake is in the arguments, not in this code. */
function report(service: string, name: string, problems: string[]): void {
  const subject = `${service} ${JSON.stringify(name)}`;
  if (problems.length === 1) throw new pulumi.RunError(`${subject}: ${problems[0] ?? ""}`);
  if (problems.length > 1) {
    throw new pulumi.RunError(
      `${subject}: ${problems.length} arguments are wrong\n${problems.map((each) => `  - ${each}`).join("\n")}`,
    );
  }
}

function checkName(name: string, problem: (message: string) => void): void {
  if (name.length > nameLimit) {
    problem(
      `name must have at most ${nameLimit} characters so that ${JSON.stringify("<name>-certificates")} is a valid CronJob name, ` +
        `got ${name.length}; use a shorter name`,
    );
  }
  if (!dnsLabel.test(name)) {
    problem(
      `name must be a DNS label of lower case letters, digits and hyphens that starts with a letter, ` +
        `got ${JSON.stringify(name)}; use a name like "etcd"`,
    );
  }
}

function checkKeys(args: EnsembleArguments, own: readonly string[], problem: (message: string) => void): void {
  const values = {
    "": args,
    storage: args.storage,
    resources: args.resources,
    placement: args.placement,
    certificates: args.certificates,
    "certificates.issuerRef": args.certificates?.issuerRef,
    metrics: args.metrics,
  } satisfies Record<keyof typeof keys, unknown>;
  for (const [path, value] of Object.entries(values)) {
    const known: readonly string[] = keys[path as keyof typeof keys];
    reportUnknownKeys(path, value, path === "" ? [...known, ...own] : known, problem);
  }
}

/** The arguments without groups that are not objects, which have been reported: what follows may look into the rest. */
function wellFormed(args: EnsembleArguments): EnsembleArguments {
  const { certificates } = args;
  const isGroup = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);
  const groups = ["storage", "resources", "placement", "certificates", "metrics"] as const;
  const usable = { ...args };
  for (const each of groups) if (!isGroup(args[each])) delete usable[each];
  if (isGroup(certificates) && certificates !== undefined && !isGroup(certificates.issuerRef)) {
    usable.certificates = { ...certificates };
    delete usable.certificates.issuerRef;
  }
  return usable;
}

/** For own arguments of a service that are objects. */
export function reportUnknownKeys(
  path: string,
  value: object | undefined,
  known: readonly string[],
  problem: (message: string) => void,
): void {
  if (value !== undefined && (typeof value !== "object" || value === null || Array.isArray(value))) {
    problem(`${path} must be an object with ${known.join(", ")}, got ${JSON.stringify(value)}; give one`);
    return;
  }
  for (const key of Object.keys(value ?? {})) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    const advice = near === undefined ? `use one of ${known.join(", ")}` : `did you mean ${near}`;
    problem(`${path === "" ? key : `${path}.${key}`} is not an argument; ${advice}`);
  }
}

function checkMembers(members: number, problem: (message: string) => void): void {
  if (members === 3 || members === 5) return;
  if (!Number.isInteger(members)) {
    problem(`members must be 3 or 5, got ${JSON.stringify(members)}; use 3 or 5`);
  } else if (members % 2 === 0) {
    problem(`members must be odd so that a majority exists, got ${members}; use 3 or 5`);
  } else if (members < 3) {
    problem(`members must be at least 3 so that one may fail, got ${members}; use 3 or 5`);
  } else {
    problem(`members must be at most 5 because each write waits for a majority, got ${members}; use 3 or 5`);
  }
}

function checkSize(size: string, minimum: string, problem: (message: string) => void): number {
  const bytes = typeof size === "string" ? parseQuantity(size) : undefined;
  // Kubernetes writes fractions in another unit, and the same size would look like another one.
  if (bytes === undefined || !/^[0-9]+[a-zA-Z]+$/.test(size)) {
    problem(`storage.size must be a whole number with a unit, got ${JSON.stringify(size)}; use a size like "8Gi"`);
    return 0;
  }
  if (bytes < (parseQuantity(minimum) ?? 0)) {
    problem(`storage.size must be at least ${minimum}, got ${JSON.stringify(size)}; use ${minimum} or more`);
  }
  return bytes;
}

/** For own arguments of a service that are one of a few words. */
export function oneOf(
  path: string,
  value: unknown,
  accepted: readonly string[],
  problem: (message: string) => void,
): void {
  if (value === undefined || accepted.includes(value as string)) return;
  const quoted = accepted.map((each) => JSON.stringify(each));
  problem(
    `${path} must be ${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1) ?? ""}, got ${JSON.stringify(value)}; use one of these`,
  );
}

function checkResources({ requests, limits }: Ensemble["resources"], problem: (message: string) => void): void {
  const amount = (path: string, kind: string, value: unknown): number | undefined => {
    const parsed = typeof value !== "string" ? undefined : kind === "cpu" ? parseCpu(value) : parseQuantity(value);
    if (parsed === undefined) {
      const example = kind === "cpu" ? '"500m" or "2"' : '"256Mi"';
      problem(`${path}.${kind} must be a Kubernetes quantity, got ${JSON.stringify(value)}; use one like ${example}`);
    }
    return parsed;
  };
  for (const [kind, value] of Object.entries(requests)) {
    const request = amount("resources.requests", kind, value);
    const limit = limits[kind] === undefined ? undefined : amount("resources.limits", kind, limits[kind]);
    if (request !== undefined && limit !== undefined && limit < request) {
      problem(
        `resources.limits.${kind} must be at least resources.requests.${kind} (${value}), ` +
          `got ${JSON.stringify(limits[kind])}; raise the limit or lower the request`,
      );
    }
  }
  for (const [kind, value] of Object.entries(limits)) {
    if (requests[kind] === undefined) amount("resources.limits", kind, value);
  }
}

/** A misspelt label would select every pod: unknown keys are as wrong here as anywhere. */
function checkPeers(path: string, peers: unknown, problem: (message: string) => void): void {
  if (peers === undefined) return;
  if (!Array.isArray(peers)) {
    problem(
      `${path} must be a list of peers, got ${JSON.stringify(peers)}; use a list like [{ podLabels: { app: "x" } }]`,
    );
    return;
  }
  peers.forEach((peer: object, index) => {
    reportUnknownKeys(`${path}[${index}]`, peer, ["namespaceLabels", "podLabels"], problem);
  });
}

function checkVersion(version: string | undefined, problem: (message: string) => void): void {
  if (version === undefined || /^[0-9]+\.[0-9]+\.[0-9]+$/.test(version)) return;
  problem(`version must be three numbers without a prefix, got ${JSON.stringify(version)}; use a version like "3.6.8"`);
}

function checkCertificates(args: EnsembleArguments, problem: (message: string) => void): void {
  const certificates = args.certificates;
  if (certificates === undefined) return;
  const { lifetimeDays = 90, authorityLifetimeDays = 3650, rotation = 0, issuerRef } = certificates;
  if (args.tls === "off") {
    problem(`certificates cannot be given when tls is "off"; remove certificates or use tls "required"`);
  }
  if (issuerRef !== undefined && (typeof issuerRef.name !== "string" || issuerRef.name === "")) {
    problem("certificates.issuerRef.name is missing; give the name of a cert-manager issuer");
  }
  if (
    issuerRef !== undefined &&
    (certificates.rotation !== undefined || certificates.authorityLifetimeDays !== undefined)
  ) {
    problem(
      "certificates.rotation and certificates.authorityLifetimeDays belong to the own certificate authority, " +
        "got issuerRef too; remove them, or remove issuerRef",
    );
  }
  if (!Number.isInteger(lifetimeDays) || lifetimeDays < 3) {
    problem(
      `certificates.lifetimeDays must be at least 3 so that the daily job can renew in time, ` +
        `got ${JSON.stringify(lifetimeDays)}; use 90`,
    );
  }
  if (!Number.isInteger(authorityLifetimeDays) || authorityLifetimeDays < 2 * lifetimeDays) {
    problem(
      `certificates.authorityLifetimeDays must be at least twice certificates.lifetimeDays (${lifetimeDays}), ` +
        `got ${JSON.stringify(authorityLifetimeDays)}; use 3650`,
    );
  }
  if (!Number.isInteger(rotation) || rotation < 0) {
    problem(
      `certificates.rotation must be a whole number from 0 up, got ${JSON.stringify(rotation)}; raise it by one to rotate`,
    );
  }
}

function checkApplications(applications: string[], problem: (message: string) => void): void {
  if (!Array.isArray(applications)) {
    problem(`applications must be a list of names, got ${JSON.stringify(applications)}; use a list like ["cells"]`);
    return;
  }
  applications.forEach((application, index) => {
    if (applications.indexOf(application) !== index) {
      problem(`applications must be distinct, got ${JSON.stringify(application)} twice; remove one`);
    } else if (typeof application !== "string" || !dnsLabel.test(application)) {
      problem(
        `applications must be DNS labels of lower case letters, digits and hyphens that start with a letter, ` +
          `got ${JSON.stringify(application)}; use a name like "cells"`,
      );
    } else if (application.length > applicationLimit) {
      problem(
        `applications must have at most ${applicationLimit} characters each, ` +
          `got ${JSON.stringify(application)} with ${application.length}; use a shorter name`,
      );
    }
  });
}

/** The known word within two edits, if any. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((each) => ({ each, distance: editDistance(word.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= 2 ? best.each : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
