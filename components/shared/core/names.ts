/** Names and labels of an ensemble, derived from the name of the component. Imports nothing: agents and checks derive the same names. */
export const serviceKinds = ["etcd", "vault", "nats", "redis", "mongodb", "mysql", "objectstore"] as const;
export type ServiceKind = (typeof serviceKinds)[number];

export function namesOf(name: string) {
  return {
    /** StatefulSet, client Service, PodDisruptionBudget, NetworkPolicy and ServiceAccount of the members. */
    server: name,
    /** Headless Service of the members. */
    peers: `${name}-peers`,
    /** NetworkPolicy of the members, where another one admits the clients. */
    members: `${name}-members`,
    /** ConfigMap with the server's base configuration. */
    config: `${name}-config`,
    /** Prefix of the ConfigMap with the agent bundle; `-<checksum>` follows. */
    agent: `${name}-agent`,
    /** Secret of the administrator. */
    admin: `${name}-admin`,
    /** Secret with the key of the certificate authority. */
    authority: `${name}-ca`,
    /** Certificate of cert-manager and its Secret: the intermediate authority, when an issuer is given. */
    intermediate: `${name}-intermediate`,
    /** ConfigMap with the trust bundle, key `ca.crt`. */
    trust: `${name}-ca`,
    serverTls: `${name}-server-tls`,
    peerTls: `${name}-peer-tls`,
    /** ConfigMap that says that this ensemble was formed once. */
    marker: `${name}-marker`,
    certificates: `${name}-certificates`,
    preflight: `${name}-preflight`,
    roll: `${name}-roll`,
    /** Job and its ServiceAccount, and the Secret with the users that it keeps. */
    setup: `${name}-setup`,
    /** Deployment, PodDisruptionBudget, NetworkPolicy and ServiceAccount of the proxy that follows the writable member. */
    gateway: `${name}-gateway`,
    /** CronJob that makes copies, its ServiceAccount, NetworkPolicy and Lease, and the prefix of the ConfigMap with its bundle. */
    backup: `${name}-backup`,
    /** CronJob that restores the newest copy into a throw-away server, its ServiceAccount and NetworkPolicy. */
    proof: `${name}-backup-proof`,
    /** Job that fills a new ensemble from a copy, and its ServiceAccount. */
    restore: `${name}-restore`,
    /** Job before it, with the same ServiceAccount. */
    restorePreflight: `${name}-restore-preflight`,
    /** PrometheusRule, or ConfigMap with rules, and PodMonitor. */
    monitoring: `${name}-monitoring`,
    dashboard: `${name}-dashboard`,
  };
}

/** Secret of one application. */
export function applicationSecretName(name: string, application: string): string {
  return `${name}-application-${application}`;
}

/** Of a user, or of its password, that takes turns with another one. A DNS label has no underscore, so no application is called so. */
export function alternateName(name: string): string {
  return `${name}_alternate`;
}

/** Pod name of the member with this ordinal. */
export function memberName(name: string, ordinal: number): string {
  return `${name}-${ordinal}`;
}

export function ordinalOf(member: string): number {
  return Number(member.slice(member.lastIndexOf("-") + 1));
}

export function memberNames(name: string, members: number): string[] {
  return Array.from({ length: members }, (_, ordinal) => memberName(name, ordinal));
}

/** The Lease of whoever replaces members, one for all services of a namespace. */
export const rollLease = "cells-services-roll";

/** Lease of whoever copies this member, or does what waits for a copy of it. */
export function copyLease(name: string, member: string): string {
  return `${namesOf(name).backup}-${ordinalOf(member)}`;
}

/** What an ensemble may have: one of the two. */
export const fewestMembers = 3;
export const mostMembers = 5;

/** How many an ensemble that has `members` now may have had, or get: a service of one server always has one. */
export function possibleMembers(members: number): number {
  return members === 1 ? 1 : mostMembers;
}

/** More than half of all members. */
export function majority(members: number): number {
  return Math.floor(members / 2) + 1;
}

/** Of the claims that the StatefulSet makes for its members. */
export function claimNames(name: string, members: number): string[] {
  return memberNames(name, members).map((member) => `data-${member}`);
}

/** DNS name of one member, valid whether or not it is ready. */
export function memberHost(name: string, namespace: string, member: string): string {
  return `${member}.${namesOf(name).peers}.${namespace}.svc`;
}

/** The one DNS name that clients use. */
export function serviceHost(name: string, namespace: string): string {
  return `${name}.${namespace}.svc`;
}

export const labelKeys = {
  service: "app.kubernetes.io/name",
  instance: "app.kubernetes.io/instance",
  component: "app.kubernetes.io/component",
  version: "app.kubernetes.io/version",
  /** Which template a pod of a StatefulSet was made of; set by Kubernetes. */
  revision: "controller-revision-hash",
} as const;

/** Labels that every pod of the ensemble carries, members and agents alike. */
export function instanceLabels(service: ServiceKind, name: string): Record<string, string> {
  return { [labelKeys.service]: service, [labelKeys.instance]: name };
}

/** Frozen: a StatefulSet whose selector changes is replaced, and all its pods go at once. What may change belongs into `labels`. */
export function serverSelector(service: ServiceKind, name: string): Record<string, string> {
  return { ...instanceLabels(service, name), [labelKeys.component]: "server" };
}

/** These labels as the Kubernetes API takes them in a query. */
export function labelSelectorOf(labels: Record<string, string>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

/** Of agent pods: Jobs that must reach the members. */
export function agentSelector(service: ServiceKind, name: string): Record<string, string> {
  return { ...instanceLabels(service, name), [labelKeys.component]: "agent" };
}

/** Labels of pods that copy: they reach the members, and the store. */
export function backupSelector(service: ServiceKind, name: string): Record<string, string> {
  return { ...instanceLabels(service, name), [labelKeys.component]: "backup" };
}

/** Labels of pods that prove a copy. They are no instance of the ensemble, so no policy lets them reach a member. */
export function proofSelector(service: ServiceKind, name: string): Record<string, string> {
  return { ...instanceLabels(service, namesOf(name).proof), [labelKeys.component]: "proof" };
}

/** Labels of the proxies. */
export function gatewaySelector(service: ServiceKind, name: string): Record<string, string> {
  return { ...instanceLabels(service, name), [labelKeys.component]: "gateway" };
}

/** Labels of any object. */
export const commonLabels = {
  "app.kubernetes.io/managed-by": "pulumi",
  "app.kubernetes.io/part-of": "cells-services",
};

/** Labels of any object of the ensemble. */
export function labels(service: ServiceKind, name: string, version?: string): Record<string, string> {
  return {
    ...instanceLabels(service, name),
    ...(version === undefined ? {} : { [labelKeys.version]: version }),
    ...commonLabels,
  };
}

/** Labels of what an agent makes. */
export function agentLabels({ service, name }: { service: ServiceKind; name: string }): Record<string, string> {
  return { ...labels(service, name), "app.kubernetes.io/managed-by": "cells-services-agent" };
}
