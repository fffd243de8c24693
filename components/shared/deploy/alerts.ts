/**
 * Alerts as data. The conditions that every ensemble has stand here; those of a service in its own `alerts.ts`. All are warned of before the
 * promise breaks where a server shows it, and each one names the page that says what to do.
 */
import type { TlsMode } from "../core/check";
import { type backupKinds, type Pods, podsOf } from "../core/metrics";
import { majority, type ServiceKind } from "../core/names";
import type { Ensemble } from "./arguments";

export interface Alert {
  /** Begins with the service. */
  name: string;
  /** PromQL, which returns something while the condition holds. */
  expr: string;
  /** How long it must hold, a duration of Prometheus. */
  for: string;
  /** `critical`: writes fail, or data is at risk: at once. `warning`: within a working day. */
  severity: "critical" | "warning";
  /** A sentence for people. `{{ $labels.pod }}` and `{{ $value }}` are filled in by Prometheus. */
  summary: string;
  /** Page and heading, such as `etcd.md#failure-modes`. */
  page: string;
}

/** One ensemble, and what its alerts depend on. */
export interface Scope extends Pods {
  service: ServiceKind;
  name: string;
  namespace: string;
  members: number;
  tls: TlsMode;
  /** Days of a server certificate. */
  lifetimeDays: number;
  /** How old the last good run of each job may be, in seconds. */
  backups: Record<(typeof backupKinds)[number], number> | undefined;
}

/** `agent` as in `podsOf`. */
export function scopeOf(ensemble: Ensemble, namespace: string, agent?: string): Scope {
  const { service, name, members, tls, certificates, backups } = ensemble;
  return {
    ...podsOf(name, namespace, agent),
    service,
    name,
    namespace,
    members,
    tls,
    lifetimeDays: certificates.lifetimeDays,
    backups: backups && { copy: secondsOf(backups.staleAfter), proof: secondsOf(backups.proof.staleAfter) },
  };
}

const secondsIn: Record<string, number> = { h: 3600, d: 24 * 3600, w: 7 * 24 * 3600 };

function secondsOf(duration: string): number {
  return Number.parseInt(duration, 10) * (secondsIn[duration.slice(-1)] ?? 0);
}

/** As names of alerts begin. */
export const titles: Record<ServiceKind, string> = {
  etcd: "Etcd",
  vault: "Vault",
  nats: "Nats",
  redis: "Redis",
  mongodb: "Mongodb",
  mysql: "Mysql",
  objectstore: "ObjectStore",
};

/** `sum` of nothing is nothing, which would hide that no member is scraped. */
export const orNone = (expr: string): string => `(${expr} or vector(0))`;

/** Of every service whose agents run beside its servers. */
export function memberAlerts({ service, members, member }: Scope): Alert[] {
  const title = titles[service];
  const page = `${service}.md#failure-modes`;
  const share = `cells_services_volume_available_bytes{${member}} / cells_services_volume_size_bytes{${member}}`;
  return [
    {
      name: `${title}MemberNotReady`,
      expr: `${orNone(`sum(cells_services_ready{${member}})`)} < ${members}`,
      for: "10m",
      severity: "warning",
      summary: `{{ $value }} of ${members} members are ready, and writes need ${majority(members)}`,
      page,
    },
    {
      name: `${title}NoPrimary`,
      expr: `${orNone(`sum(cells_services_primary{${member}})`)} < 1`,
      for: "1m",
      severity: "critical",
      summary: "no member takes writes, or none is scraped",
      page,
    },
    {
      name: `${title}Refused`,
      expr: `cells_services_refused{${member}} == 1`,
      // After a full stop the volume of the last member may take minutes, and a member that leaves refuses until its pod ends.
      for: "15m",
      severity: "critical",
      summary: "the agent of {{ $labels.pod }} refuses to act, and a person must decide: its log says why",
      page: `${service}.md#refusals`,
    },
    {
      name: `${title}VolumeFillsUp`,
      expr: `${share} < 0.15`,
      for: "5m",
      severity: "warning",
      summary: "the volume of {{ $labels.pod }} has {{ $value | humanizePercentage }} of its space left",
      page: "services.md#larger-volumes",
    },
    {
      name: `${title}VolumeFull`,
      expr: `${share} < 0.05`,
      for: "1m",
      severity: "critical",
      summary: "the volume of {{ $labels.pod }} has {{ $value | humanizePercentage }} of its space left",
      page: "services.md#larger-volumes",
    },
  ];
}

/** A certificate is renewed in the last third of its life, by a job that runs each day. */
const unrenewedShare = 1 / 6;

/** Of every ensemble: what is the same for all its members. `read`: what else alerts read and every living server says. */
export function ensembleAlerts(scope: Scope, read: string[] = []): Alert[] {
  const { service, agent, tls, lifetimeDays } = scope;
  const title = titles[service];
  const leastSeconds = Math.round(lifetimeDays * unrenewedShare * 24 * 3600);
  const expiry = `cells_services_certificate_expiry_timestamp_seconds{${agent}}`;
  const certificate: Alert = {
    name: `${title}CertificateNotRenewed`,
    expr: `min(${expiry}) - time() < ${leastSeconds}`,
    for: "1h",
    severity: "critical",
    summary: "the server certificate ends in {{ $value | humanizeDuration }}, and was not renewed",
    page: "services.md#certificates",
  };
  const backups = Object.entries(scope.backups ?? {});
  const watched = [
    ...(tls === "off" ? [] : [expiry]),
    ...backups.map(([kind]) => backupMetric("last_success_timestamp_seconds", agent, kind)),
    ...read,
  ];
  // A comparison with nothing is silent.
  const unwatched: Alert = {
    name: `${title}NotWatched`,
    expr: watched.map((metric) => `absent(${metric})`).join(" or "),
    for: "1h",
    severity: "warning",
    summary: "what alerts read of certificates, copies or servers is missing: see whether all targets are scraped",
    page: "monitoring.md#what-is-scraped",
  };
  return [
    ...(tls === "off" ? [] : [certificate]),
    ...backups.flatMap(([kind, staleSeconds]) => backupAlerts(title, agent, kind, staleSeconds)),
    ...(watched.length === 0 ? [] : [unwatched]),
  ];
}

const backupMetric = (name: string, agent: string, kind: string): string =>
  `cells_services_backup_${name}{${agent},kind="${kind}"}`;

function backupAlerts(title: string, agent: string, kind: string, staleSeconds: number): Alert[] {
  const newest = (metric: string): string => `max(${backupMetric(metric, agent, kind)})`;
  const success = newest("last_success_timestamp_seconds");
  const [done, what] = kind === "copy" ? ["Backup", "copy was made"] : ["BackupProof", "copy was proven by a restore"];
  return [
    {
      name: `${title}${done}Failed`,
      expr: `${newest("last_schedule_timestamp_seconds")} > ${success} and ${newest("running")} == 0`,
      for: "10m",
      severity: "warning",
      summary: `the last run failed, and no ${what} since`,
      page: "backups.md#refusals",
    },
    {
      name: `${title}${done}TooOld`,
      expr: `time() - ${success} > ${staleSeconds}`,
      for: "10m",
      severity: "critical",
      summary: `no ${what} for {{ $value | humanizeDuration }}`,
      page: "backups.md#refusals",
    },
  ];
}

/** Share of the connections that a proxy accepts. */
const busyShare = 0.8;

/** PromQL, of each pod: connections of clients, and how many it accepts. */
export function connectionsAlert({ service }: Scope, used: string, limit: string): Alert {
  return {
    name: `${titles[service]}ConnectionsNearLimit`,
    expr: `${used} / ${limit} > ${busyShare}`,
    for: "5m",
    severity: "warning",
    summary: "{{ $labels.pod }} has {{ $value | humanizePercentage }} of the connections that it accepts",
    page: `${service}.md#failure-modes`,
  };
}

/** Of a service with a gateway. */
export function gatewayAlerts({ service, gateway }: Scope): Alert[] {
  const title = titles[service];
  const page = "services.md#the-gateway";
  const current = `haproxy_frontend_current_sessions{${gateway},proxy="clients"}`;
  const limit = `haproxy_frontend_limit_sessions{${gateway},proxy="clients"}`;
  return [
    {
      name: `${title}GatewayBusy`,
      expr: `${current} / ${limit} > ${busyShare}`,
      for: "5m",
      severity: "warning",
      summary: "{{ $labels.pod }} has {{ $value | humanizePercentage }} of the connections that it accepts",
      page,
    },
    {
      name: `${title}GatewayWithoutPrimary`,
      expr: `max(haproxy_backend_active_servers{${gateway},proxy="primary"}) < 1 or absent(haproxy_backend_active_servers{${gateway},proxy="primary"})`,
      for: "1m",
      severity: "critical",
      summary: "no proxy knows a member that takes writes, and clients cannot connect, or none is scraped",
      page,
    },
    {
      name: `${title}GatewayAlone`,
      expr: `count(up{${gateway}} == 1) < 2`,
      for: "10m",
      severity: "warning",
      summary: "one proxy is left of two",
      page,
    },
  ];
}
