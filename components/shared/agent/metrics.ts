/** What agents answer to a scrape. */
import { X509Certificate } from "node:crypto";
import { readFile, statfs } from "node:fs/promises";
import { Gauge, Registry } from "prom-client";
import { newsOf } from "../core/log";
import { type ensembleMetrics, type Metrics, memberMetrics, metricPrefix, type Sample } from "../core/metrics";
import { namesOf } from "../core/names";
import { absent } from "./files";
import { group, type KubernetesApi, type KubernetesObject } from "./kubernetes";

type Known = keyof typeof memberMetrics | keyof typeof ensembleMetrics;
const sample = (name: Known, value: number, labels: Record<string, string> = {}): Sample => ({ name, value, labels });

/** In the text format of Prometheus. A sample that `known` lacks is left out. */
export async function exposition(known: Metrics, samples: Sample[]): Promise<string> {
  const registry = new Registry();
  for (const [name, { help, labels = [] }] of Object.entries(known)) {
    const own = samples.filter((each) => each.name === name);
    // A gauge without labels would begin with 0, which nobody has seen.
    if (own.length === 0) continue;
    const gauge = new Gauge({ name: metricPrefix + name, help, labelNames: [...labels], registers: [registry] });
    for (const { labels: values = {}, value } of own) gauge.set(values, value);
  }
  return registry.metrics();
}

/** The volume that is mounted there. */
export async function volumeSamples(directory: string): Promise<Sample[]> {
  const { bsize, blocks, bavail } = await statfs(directory);
  return [sample("volume_size_bytes", blocks * bsize), sample("volume_available_bytes", bavail * bsize)];
}

/** `file`: a certificate, and what it was signed with behind it. */
export async function certificateSamples(file: string): Promise<Sample[]> {
  const content = await readFile(file).catch(absent);
  if (content === undefined) return [];
  return [sample("certificate_expiry_timestamp_seconds", Date.parse(new X509Certificate(content).validTo) / 1000)];
}

interface CronJob extends KubernetesObject {
  metadata?: KubernetesObject["metadata"] & { creationTimestamp?: string };
  status?: { active?: object[]; lastScheduleTime?: string; lastSuccessfulTime?: string };
}

/** Kubernetes keeps the times of runs in the CronJobs; the store need not be asked. None without backups. */
export async function backupSamples(name: string, namespace: string, api: KubernetesApi): Promise<Sample[]> {
  const { backup, proof } = namesOf(name);
  const cronJobs = { copy: backup, proof };
  const all = Object.entries(cronJobs).map(async ([kind, cronJob]) => {
    const found = await api.get<CronJob>(group("batch/v1", namespace, "cronjobs", cronJob));
    return found === undefined ? [] : samplesOf(found, { kind });
  });
  return (await Promise.all(all)).flat();
}

export function samplesOf({ metadata, status = {} }: CronJob, labels: { kind: string }): Sample[] {
  const seconds = (time: string): number => Date.parse(time) / 1000;
  const { active = [], lastScheduleTime, lastSuccessfulTime = metadata?.creationTimestamp } = status;
  return [
    ...(lastSuccessfulTime === undefined
      ? []
      : [sample("backup_last_success_timestamp_seconds", seconds(lastSuccessfulTime), labels)]),
    ...(lastScheduleTime === undefined
      ? []
      : [sample("backup_last_schedule_timestamp_seconds", seconds(lastScheduleTime), labels)]),
    sample("backup_running", Number(active.length > 0), labels),
  ];
}

/** Asks at most this often what the API server says. */
const askSeconds = 60;

/** What a scrape says of the ensemble. What cannot be read is left out, and an alert notices its absence. */
export function ensembleCollector(
  { name, namespace }: { name: string; namespace: string },
  certificate: string,
  api: KubernetesApi,
): () => Promise<Sample[]> {
  const report = newsOf("whether there are backups is unknown");
  const none = (error: unknown): Sample[] => {
    report(error);
    return [];
  };
  const ask = async (): Promise<Sample[]> => {
    const samples = await backupSamples(name, namespace, api);
    report(undefined);
    return samples;
  };
  let asked = { at: Number.NEGATIVE_INFINITY, samples: Promise.resolve<Sample[]>([]) };
  // Two scrapes at the same time wait for the same answer.
  const backups = (): Promise<Sample[]> => {
    const now = performance.now();
    if (now - asked.at >= askSeconds * 1000) asked = { at: now, samples: ask().catch(none) };
    return asked.samples;
  };
  return async () => (await Promise.all([certificateSamples(certificate).catch(() => []), backups()])).flat();
}
