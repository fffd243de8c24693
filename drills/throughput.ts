/**
 * What a gateway costs: the time of an operation through it against the time without it, at a fixed rate that leaves the
 * machine idle. Both are measured by one client in a pod of the cluster, by turns, because a client outside would come in
 * through a port forward, which is slower than either way. The pod carries the labels of the ensemble's agents: only pods of
 * the ensemble may go straight to a member.
 */
import { gzipSync } from "node:zlib";
import { BatchV1Api, CoreV1Api, type KubeConfig, type V1Job } from "@kubernetes/client-node";
import { build } from "esbuild";
import { patient, waitFor } from "../checks";
import { bundleOptions } from "../components/build";
import type { CheckTarget } from "../components/shared/core/check";
import { agentSelector, labels, memberHost } from "../components/shared/core/names";
import { agentImage } from "../components/shared/deploy/images";
import { median } from "./ledger";
import type { Measurement } from "./measurement";

export const loadedServices = ["redis", "mysql"] as const;
export type LoadedService = (typeof loadedServices)[number];

export function isLoaded<T extends Pick<CheckTarget, "service">>(target: T): target is T & { service: LoadedService } {
  return loadedServices.some((each) => each === target.service);
}

/** What the client is told in LOAD. No secrets: they are files in `secrets`. */
export interface LoadSettings {
  service: LoadedService;
  routes: { direct: string; gateway: string };
  port: number;
  tls: boolean;
  secrets: string;
  /** Table, or prefix of keys. */
  table: string;
  connections: number;
  /** Operations a second, of all connections together. */
  rate: number;
  /** Of one round. */
  seconds: number;
  rounds: number;
}

/** Of the operations of one round, in milliseconds. */
export interface Latency {
  p50: number;
  p99: number;
  operations: number;
}

/** Each round, by operation. The first one warms up. */
export type LoadResult = Record<string, { direct: Latency[]; gateway: Latency[] }>;

const connections = 16;
const rate = 1000;
const rounds = 5;
const roundSeconds = 4;
/** Less than a round trip between two zones. */
const addedMilliseconds = 0.5;
const secrets = "/secret";

export function loadSettings(target: CheckTarget, service: LoadedService, leader: string): LoadSettings {
  return {
    service,
    routes: { direct: memberHost(target.name, target.namespace, leader), gateway: target.host },
    port: target.clientPort,
    tls: target.tls !== "off",
    secrets,
    table: "bench_load",
    connections,
    rate,
    seconds: roundSeconds,
    rounds,
  };
}

/** Two operations by two routes, and a round to warm up; as much again for a busy machine. */
const deadlineSeconds = 2 * 4 * (rounds + 1) * roundSeconds;

export function loadJob(target: CheckTarget, settings: LoadSettings): V1Job {
  const name = loadName(target);
  const [application] = Object.values(target.applications);
  if (application === undefined) throw new Error(`${target.name} has no application to log in as; give it one`);
  return {
    metadata: { name, namespace: target.namespace, labels: labels(target.service, target.name) },
    spec: {
      backoffLimit: 0,
      activeDeadlineSeconds: deadlineSeconds,
      template: {
        metadata: { labels: agentSelector(target.service, target.name) },
        spec: {
          restartPolicy: "Never",
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 1000,
            runAsGroup: 1000,
            fsGroup: 1000,
            seccompProfile: { type: "RuntimeDefault" },
          },
          containers: [
            {
              name: "load",
              image: agentImage,
              imagePullPolicy: "IfNotPresent",
              command: ["/usr/local/bin/node", "-e", loader],
              env: [{ name: "LOAD", value: JSON.stringify(settings) }],
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ["ALL"] },
              },
              // No CPU limit: the client must not be what is measured.
              resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "512Mi" } },
              volumeMounts: [
                { name: "load", mountPath: "/load", readOnly: true },
                { name: "secret", mountPath: secrets, readOnly: true },
              ],
            },
          ],
          volumes: [
            { name: "load", configMap: { name } },
            { name: "secret", secret: { secretName: application, defaultMode: 0o440 } },
          ],
        },
      },
    },
  };
}

const loader = 'eval(require("zlib").gunzipSync(require("fs").readFileSync("/load/load.js.gz")).toString())';

const loadName = (target: CheckTarget): string => `${target.name}-bench`;

/** One file, without anything to install. */
export async function loadBundle(): Promise<string> {
  const { outputFiles } = await build({
    ...bundleOptions,
    entryPoints: [require.resolve("./load")],
    write: false,
  });
  return gzipSync(outputFiles[0]?.contents ?? "").toString("base64");
}

/** Runs the client and removes it again. */
export async function runLoad(
  config: KubeConfig,
  target: CheckTarget,
  service: LoadedService,
  leader: string,
): Promise<LoadResult> {
  const core = config.makeApiClient(CoreV1Api);
  const batch = config.makeApiClient(BatchV1Api);
  const { namespace } = target;
  const name = loadName(target);
  const metadata = { name, namespace, labels: labels(target.service, target.name) };
  const remove = async (): Promise<void> => {
    const gone = (): undefined => undefined;
    await batch.deleteNamespacedJob({ name, namespace, propagationPolicy: "Foreground" }).catch(gone);
    await core.deleteNamespacedConfigMap({ name, namespace }).catch(gone);
    await waitFor(
      `the end of the job ${name}`,
      async () => {
        const pods = await core.listNamespacedPod({ namespace, labelSelector: `job-name=${name}` });
        return pods.items.length === 0 ? { done: true } : { waiting: `${pods.items.length} pods are there` };
      },
      { ...patient, deadlineSeconds: 60 },
    );
  };
  // What an interrupted run has left.
  await remove();
  try {
    await core.createNamespacedConfigMap({
      namespace,
      body: { metadata, binaryData: { "load.js.gz": await loadBundle() } },
    });
    await batch.createNamespacedJob({ namespace, body: loadJob(target, loadSettings(target, service, leader)) });
    const log = await waitFor(
      `the result of the job ${name}`,
      async () => {
        const { items } = await core.listNamespacedPod({ namespace, labelSelector: `job-name=${name}` });
        const [pod] = items;
        const phase = pod?.status?.phase ?? "not there yet";
        if (pod?.metadata?.name === undefined || (phase !== "Succeeded" && phase !== "Failed")) {
          return { waiting: `the pod is ${phase}` };
        }
        return { done: { phase, text: await core.readNamespacedPodLog({ name: pod.metadata.name, namespace }) } };
      },
      { ...patient, deadlineSeconds: deadlineSeconds + 60, intervalSeconds: 1 },
    );
    const last = log.text.trim().split("\n").at(-1) ?? "";
    if (log.phase === "Failed") throw new Error(`the load on ${target.name} failed: ${last}`);
    return JSON.parse(last) as LoadResult;
  } finally {
    await remove();
  }
}

/** `cpuSeconds`: what the gateway used meanwhile. It also checks its servers, which is a part of what it costs. */
export function gatewayMeasurements(name: string, result: LoadResult, cpuSeconds: number): Measurement[] {
  const added = Object.entries(result).flatMap(([operation, { direct, gateway }]) =>
    (["p50", "p99"] as const).map((part): Measurement => {
      const middle = (rounds: Latency[]): number => median(rounds.slice(1).map((each) => each[part])) ?? Number.NaN;
      const words = `${middle(direct).toFixed(2)} ms without it`;
      return {
        name: `${name}: ${operation} at ${rate}/s, added to ${part} by the gateway (${words})`,
        value: middle(gateway) - middle(direct),
        unit: "ms",
        // The last hundredth of the operations waits for the machine, not for the gateway.
        ...(part === "p50" ? { goal: addedMilliseconds } : {}),
      };
    }),
  );
  const operations = Object.values(result).flatMap(({ gateway }) => gateway.map((each) => each.operations));
  const total = operations.reduce((sum, each) => sum + each, 0);
  return [
    ...added,
    { name: `${name}: CPU of the gateway for each operation`, value: (cpuSeconds * 1e6) / total, unit: "µs" },
  ];
}
