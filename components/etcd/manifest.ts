/** From resolved arguments to Kubernetes specs and the configuration file of etcd: pure. */
import type { apps, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import {
  type AgentBundle,
  agentContainer,
  agentJobSpec,
  agentVolumes,
  applicationSecretName,
  containerSecurityContext,
  dataClaim,
  dataRetention,
  type Ensemble,
  images,
  labels,
  memberNames,
  metadata,
  namesOf,
  parseQuantity,
  placement,
  podSecurityContext,
  type Rule,
  type ServiceProfile,
  secretVolume,
  serverSelector,
} from "../shared";
import { type EtcdSettings, type PreflightSettings, paths, ports, promotionJobName, scheme } from "./settings";

export const profile: ServiceProfile = {
  service: "etcd",
  image: images.etcd,
  // Twice the quota, which is then 4 GiB; below 2Gi the quota would be under 1 GiB, which a busy registry fills in hours.
  storage: { size: "8Gi", minimum: "2Gi" },
  // The database is mapped into memory. No limit on CPU: throttled heartbeats cost elections.
  resources: {
    requests: { cpu: "100m", memory: "256Mi", "ephemeral-storage": "64Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": "256Mi" },
  },
};

/** etcd advises against more: recovery and defragmentation take too long. */
const largestQuota = 8 * 2 ** 30;

function settingsOf(ensemble: Ensemble): EtcdSettings {
  const { name, members, tls, applications, deletion } = ensemble;
  return { name, members, tls, applications, deletion };
}

/**
 * The configuration that all members have in common, in etcd's file format (JSON is YAML; durations are nanoseconds). The
 * init container adds the names of the member.
 */
export function baseConfig(ensemble: Ensemble, token: string): Record<string, unknown> {
  const { tls } = ensemble;
  const url = (protocol: string, port: number): string => `${protocol}://0.0.0.0:${port}`;
  return {
    "data-dir": paths.data,
    "listen-peer-urls": url(scheme(tls), ports.peer),
    // Two protocols on one port: etcd tells TLS and plain text apart by the first bytes of a connection.
    "listen-client-urls": [
      ...(tls === "off" ? [] : [url("https", ports.client)]),
      ...(tls === "required" ? [] : [url("http", ports.client)]),
    ].join(","),
    // Probes and metrics have a port of their own, so that they need neither certificate nor password.
    "listen-metrics-urls": url("http", ports.metrics),
    // The cluster id is made from it: members of a namesake elsewhere are strangers.
    "initial-cluster-token": token,
    "strict-reconfig-check": true,
    // The other half of the volume is for the write-ahead log, snapshots and the copy that a defragmentation makes.
    "quota-backend-bytes": Math.min(largestQuota, Math.floor(ensemble.storage.bytes / 2)),
    // Without compaction every old value is kept until the quota is used up.
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1h",
    "snapshot-count": 10_000,
    // Compares data with the other members before serving, and the leader compares hashes after each compaction.
    "feature-gates": "InitialCorruptCheck=true,CompactHashCheck=true",
    // Simple tokens are known to one member only, and clients fail when they reach another one.
    "auth-token": `jwt,priv-key=${paths.token}/key,sign-method=HS256,ttl=10m`,
    "log-level": "info",
    logger: "zap",
    ...(tls === "off"
      ? {}
      : {
          "tls-min-version": "TLS1.2",
          "client-transport-security": {
            "cert-file": `${paths.serverTls}/tls.crt`,
            "key-file": `${paths.serverTls}/tls.key`,
          },
          "peer-transport-security": {
            "cert-file": `${paths.peerTls}/tls.crt`,
            "key-file": `${paths.peerTls}/tls.key`,
            "client-cert-auth": true,
            "trusted-ca-file": `${paths.trust}/ca.crt`,
          },
        }),
  };
}

export interface ServerInputs {
  bundle: AgentBundle;
  /** Checksum of the base configuration. */
  configChecksum: Input<string>;
}

export function statefulSet(ensemble: Ensemble, inputs: ServerInputs): apps.v1.StatefulSet {
  const names = namesOf(ensemble.name);
  const selector = serverSelector(ensemble.service, ensemble.name);
  return {
    metadata: metadata(ensemble, names.server),
    spec: {
      replicas: ensemble.members,
      serviceName: names.peers,
      // All at once: members need each other to become ready, at the first start and after a full stop.
      podManagementPolicy: "Parallel",
      updateStrategy: { type: "RollingUpdate" },
      // A member that is ready has read from a majority; the pause lets clients reconnect before the next one stops.
      minReadySeconds: 10,
      revisionHistoryLimit: 10,
      selector: { matchLabels: selector },
      persistentVolumeClaimRetentionPolicy: dataRetention(ensemble),
      volumeClaimTemplates: [dataClaim(ensemble)],
      template: {
        metadata: {
          labels: { ...labels(ensemble.service, ensemble.name, ensemble.version), ...selector },
          annotations: {
            "cells-services/config": inputs.configChecksum,
            "cells-services/agent": inputs.bundle.checksum,
          },
        },
        spec: {
          ...placement(ensemble),
          serviceAccountName: names.server,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: podSecurityContext,
          // On SIGTERM a leader hands over, which takes an election; the rest is for flushing.
          terminationGracePeriodSeconds: 60,
          initContainers: [
            agentContainer({
              name: "member",
              command: ["member"],
              settings: memberSettings(ensemble),
              volumeMounts: [
                { name: "data", mountPath: paths.volume },
                { name: "run", mountPath: paths.run },
                ...agentMounts(ensemble),
              ],
            }),
          ],
          containers: [serverContainer(ensemble)],
          volumes: [
            ...agentVolumes(ensemble.name),
            ...agentSources(ensemble),
            { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
            secretVolume("auth-token", `${names.server}-token`),
            ...(ensemble.tls === "off"
              ? []
              : [secretVolume("server-tls", names.serverTls), secretVolume("peer-tls", names.peerTls)]),
          ],
        },
      },
    },
  };
}

/** Applications are no business of a member: a new one must not roll the cluster. */
function memberSettings(ensemble: Ensemble): EtcdSettings {
  return { ...settingsOf(ensemble), applications: [] };
}

function serverContainer(ensemble: Ensemble): core.v1.Container {
  const probe = (path: string) => ({ httpGet: { path, port: "metrics", scheme: "HTTP" } });
  return {
    name: "etcd",
    image: ensemble.image,
    imagePullPolicy: "IfNotPresent",
    command: ["/usr/local/bin/etcd", `--config-file=${paths.config}`],
    ports: [
      { name: "client", containerPort: ports.client, protocol: "TCP" },
      { name: "peer", containerPort: ports.peer, protocol: "TCP" },
      { name: "metrics", containerPort: ports.metrics, protocol: "TCP" },
    ],
    securityContext: containerSecurityContext,
    resources: ensemble.resources,
    // Below the limit of the container, so that garbage is collected before memory runs out.
    env: [{ name: "GOMEMLIMIT", value: String(memoryTarget(ensemble)) }],
    // Ten minutes: replaying a long write-ahead log and receiving a snapshot come first.
    startupProbe: { ...probe("/livez"), periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 300 },
    // Never the majority: restarting all members because one is away makes an outage of it. It reads from this member, which
    // a defragmentation blocks: longer than the longest of them (defragmentSeconds).
    livenessProbe: { ...probe("/livez"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 24 },
    // A voter that has just read from a majority.
    readinessProbe: { ...probe("/readyz"), periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 },
    // The address leaves the Service before the server stops listening. No shell needed.
    lifecycle: { preStop: { sleep: { seconds: 2 } } },
    volumeMounts: [
      { name: "data", mountPath: paths.volume },
      { name: "run", mountPath: paths.run, readOnly: true },
      { name: "auth-token", mountPath: paths.token, readOnly: true },
      ...(ensemble.tls === "off"
        ? []
        : [
            { name: "server-tls", mountPath: paths.serverTls, readOnly: true },
            { name: "peer-tls", mountPath: paths.peerTls, readOnly: true },
            { name: "trust", mountPath: paths.trust, readOnly: true },
          ]),
    ],
  };
}

function memoryTarget(ensemble: Ensemble): number {
  return Math.floor(0.9 * (parseQuantity(ensemble.resources.limits["memory"] ?? "") ?? 2 ** 30));
}

/** What every command of the agent reads: base configuration, administrator, trust. */
function agentMounts(ensemble: Ensemble): core.v1.VolumeMount[] {
  return [
    { name: "base", mountPath: paths.base, readOnly: true },
    { name: "admin", mountPath: paths.admin, readOnly: true },
    ...(ensemble.tls === "off" ? [] : [{ name: "trust", mountPath: paths.trust, readOnly: true }]),
  ];
}

function agentSources(ensemble: Ensemble): core.v1.Volume[] {
  const names = namesOf(ensemble.name);
  return [
    { name: "base", configMap: { name: names.config } },
    secretVolume("admin", names.admin, ["username", "password"]),
    ...(ensemble.tls === "off" ? [] : [{ name: "trust", configMap: { name: names.trust } }]),
  ];
}

function preflightSettings(ensemble: Ensemble): PreflightSettings {
  const { size, class: storageClass } = ensemble.storage;
  return {
    ...memberSettings(ensemble),
    storage: { size, ...(storageClass === undefined ? {} : { class: storageClass }) },
  };
}

/** Refuses what a living cluster cannot do, before the StatefulSet is touched. */
export function preflightJob(ensemble: Ensemble, bundle: AgentBundle) {
  return agentJobSpec(ensemble, {
    name: "preflight",
    command: ["preflight"],
    settings: preflightSettings(ensemble),
    serviceAccount: preflightName(ensemble.name),
    checksum: bundle.checksum,
    deadlineSeconds: 180,
    // A refusal does not pass by trying again.
    retries: 1,
  });
}

/** Runs again whenever its inputs change, passwords included. */
export function setupJob(ensemble: Ensemble, bundle: AgentBundle, credentialsChecksum: Input<string>) {
  return agentJobSpec(ensemble, {
    name: "setup",
    command: ["setup"],
    settings: settingsOf(ensemble),
    serviceAccount: namesOf(ensemble.name).setup,
    checksum: bundle.checksum,
    annotations: { "cells-services/credentials": credentialsChecksum },
    deadlineSeconds: setupDeadlineSeconds,
    retries: 4,
    volumeMounts: [
      ...agentMounts(ensemble),
      ...ensemble.applications.map((application) => ({
        name: `application-${application}`,
        mountPath: `${paths.applications}/${application}`,
        readOnly: true,
      })),
    ],
    volumes: [
      ...agentSources(ensemble),
      ...ensemble.applications.map((application) =>
        secretVolume(`application-${application}`, applicationSecretName(ensemble.name, application), ["password"]),
      ),
    ],
  });
}

export const setupDeadlineSeconds = 600;

export function maintenanceCronJob(ensemble: Ensemble, bundle: AgentBundle) {
  const name = namesOf(ensemble.name).maintenance;
  return {
    metadata: metadata(ensemble, name),
    spec: {
      schedule: "*/10 * * * *",
      // One at a time: two runs could defragment two members.
      concurrencyPolicy: "Forbid",
      startingDeadlineSeconds: 300,
      successfulJobsHistoryLimit: 1,
      failedJobsHistoryLimit: 2,
      jobTemplate: {
        metadata: { labels: metadata(ensemble, name).labels },
        spec: {
          ...agentJobSpec(ensemble, {
            name: "maintenance",
            command: ["maintenance"],
            settings: memberSettings(ensemble),
            // It asks etcd only, so its account may do nothing in Kubernetes.
            serviceAccount: name,
            checksum: bundle.checksum,
            deadlineSeconds: 1800,
            retries: 0,
            volumeMounts: agentMounts(ensemble),
            volumes: agentSources(ensemble),
          }),
          ttlSecondsAfterFinished: 3600,
        },
      },
    },
  };
}

export function preflightName(name: string): string {
  return `${name}-preflight`;
}

/** A member reads the marker, and starts the Job that promotes it. Creation by name works with server-side apply only. */
export function memberRules(ensemble: Ensemble): Rule[] {
  const names = namesOf(ensemble.name);
  const jobs = memberNames(ensemble.name, ensemble.members).map((_, ordinal) =>
    promotionJobName(ensemble.name, ordinal),
  );
  return [
    readMarker(ensemble),
    { apiGroups: ["batch"], resources: ["cronjobs"], verbs: ["get"], resourceNames: [names.maintenance] },
    { apiGroups: ["batch"], resources: ["jobs"], verbs: ["create", "patch"], resourceNames: jobs },
  ];
}

/** The marker must be created and never overwritten, which only a POST does; Kubernetes cannot restrict that by name. */
export function setupRules(ensemble: Ensemble): Rule[] {
  const names = namesOf(ensemble.name);
  return [
    readMarker(ensemble),
    { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
    { apiGroups: [""], resources: ["serviceaccounts"], verbs: ["get"], resourceNames: [names.setup] },
  ];
}

/** The preflight compares with the marker and with the StatefulSet that is there. */
export function preflightRules(ensemble: Ensemble): Rule[] {
  const { server } = namesOf(ensemble.name);
  return [
    readMarker(ensemble),
    { apiGroups: ["apps"], resources: ["statefulsets"], verbs: ["get"], resourceNames: [server] },
  ];
}

function readMarker(ensemble: Ensemble): Rule {
  const marker = namesOf(ensemble.name).marker;
  return { apiGroups: [""], resources: ["configmaps"], verbs: ["get"], resourceNames: [marker] };
}

/**
 * How long a roll of all members may take: each one stops (grace 60 s), starts (image, log replay: 3 minutes are generous
 * for a full quota) and is watched for minReadySeconds. The first start is one of these, in parallel, plus the images.
 */
export function rolloutSeconds(members: number): number {
  return 300 + members * (60 + 180 + 10);
}
