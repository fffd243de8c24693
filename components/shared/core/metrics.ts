/**
 * What agents say about themselves and their ensemble in the text format of Prometheus, as data: agents serve it, the documentation lists
 * it. Units are the last word of a name: `_bytes`, `_seconds`, `_timestamp_seconds` (Unix time). Without one: 1 is yes, or a number of things.
 */
import { namesOf } from "./names";

/** Before all names. */
export const metricPrefix = "cells_services_";

export interface Metric {
  /** One sentence without a full stop. */
  help: string;
  labels?: readonly string[];
}

/** By name without the prefix. */
export type Metrics = Record<string, Metric>;

export interface Sample {
  /** Without the prefix. */
  name: string;
  labels?: Record<string, string>;
  value: number;
}

/** Of the agent beside a server. */
export const memberMetrics = {
  ready: { help: "1: the member is in the ensemble, and up to date enough to serve" },
  primary: { help: "1: the member is the writable one, and a majority agrees" },
  refused: { help: "1: the agent refuses to act, and a person must decide; its log says why" },
  volume_size_bytes: { help: "size of the file system of the member's volume" },
  volume_available_bytes: { help: "what the server can still write on its volume" },
} satisfies Metrics;

/** Of every process that runs as long as its ensemble. Each one says the same of the ensemble. */
export const ensembleMetrics = {
  certificate_expiry_timestamp_seconds: {
    help: "end of the certificate that servers are given for clients; `make check` proves that they show it",
  },
  backup_last_success_timestamp_seconds: {
    help: "end of the last good run; before the first one, when the schedule was made",
    labels: ["kind"],
  },
  backup_last_schedule_timestamp_seconds: {
    help: "begin of the last run by schedule; none before it",
    labels: ["kind"],
  },
  backup_running: { help: "1: a run goes on", labels: ["kind"] },
} satisfies Metrics;

/** With the name of the service before each name. */
export function metricsOfService(service: string, metrics: Metrics): Metrics {
  return Object.fromEntries(Object.entries(metrics).map(([name, metric]) => [`${service}_${name}`, metric]));
}

/** Values of the label `kind` of backups: `job` is a label of Prometheus itself. */
export const backupKinds = ["copy", "proof"] as const;

/** Matchers of pods, as a scrape names them in the labels `namespace` and `pod`; to be put between braces. */
export interface Pods {
  member: string;
  gateway: string;
  /** Of agents that run all the time: beside the servers, or in a Deployment. */
  agent: string;
}

/** `agent`: name of the Deployment whose agent runs all the time; without it agents run beside the servers. */
export function podsOf(name: string, namespace: string, agent?: string): Pods {
  const pods = (pattern: string): string => `namespace="${namespace}",pod=~"${pattern}"`;
  const member = pods(`${name}-[0-9]+`);
  return {
    member,
    gateway: pods(`${namesOf(name).gateway}-.+`),
    agent: agent === undefined ? member : pods(`${agent}-.+`),
  };
}
