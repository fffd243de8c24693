/** From resolved arguments to Kubernetes specs and the configuration file of etcd: pure. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import {
  type AgentBundle,
  adminLogin,
  agentJobSpec,
  certificateMounts,
  certificateVolumes,
  configName,
  containerProfile,
  cronJob,
  type Ensemble,
  type LoginMounts,
  memberSettings,
  type Pace,
  type PlainVolume,
  parseQuantity,
  type Rule,
  type ServerInputs,
  secretVolume,
  serverStatefulSet,
  setupJob,
  trustMounts,
} from "../shared/deploy";
import { keptName, maintenanceName, paths, ports, scheme, tokenName } from "./layout";

/** etcd advises against more: recovery and defragmentation take too long. */
const largestQuota = 8 * 2 ** 30;

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

export const pace: Pace = {
  // On SIGTERM a leader hands over, which takes an election; the rest is for flushing.
  terminationGraceSeconds: 60,
  // Generous for the replay of the log of a full quota.
  startSeconds: 180,
  // A member that is ready has read from a majority; the pause lets clients reconnect before the next one stops.
  watchSeconds: 10,
};

export function statefulSet(ensemble: Ensemble, inputs: ServerInputs) {
  return serverStatefulSet(ensemble, inputs, {
    pace,
    memberMounts: [
      { name: "data", mountPath: paths.volume },
      { name: "run", mountPath: paths.run },
      ...login(ensemble).volumeMounts,
    ],
    containers: [serverContainer(ensemble)],
    volumes: [
      ...login(ensemble).volumes,
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      secretVolume("auth-token", tokenName(ensemble.name)),
      ...certificateVolumes(ensemble),
    ],
  });
}

function serverContainer(ensemble: Ensemble): core.v1.Container {
  const probe = (path: string) => ({ httpGet: { path, port: "metrics", scheme: "HTTP" } });
  return {
    name: "etcd",
    image: ensemble.image,
    ...containerProfile,
    command: ["/usr/local/bin/etcd", `--config-file=${paths.config}`],
    ports: [
      { name: "client", containerPort: ports.client, protocol: "TCP" },
      { name: "peer", containerPort: ports.peer, protocol: "TCP" },
      { name: "metrics", containerPort: ports.metrics, protocol: "TCP" },
    ],
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
      ...certificateMounts(ensemble, paths),
      ...trustMounts(ensemble, paths),
    ],
  };
}

function memoryTarget(ensemble: Ensemble): number {
  return Math.floor(0.9 * (parseQuantity(ensemble.resources.limits["memory"] ?? "") ?? 2 ** 30));
}

/** What every command of the agent reads that asks the members as the administrator: base configuration, passwords, trust. */
export function login(ensemble: Ensemble): LoginMounts {
  const admin = adminLogin(ensemble, paths);
  return {
    volumeMounts: [{ name: "base", mountPath: paths.base, readOnly: true }, keptMount, ...admin.volumeMounts],
    volumes: [{ name: "base", configMap: { name: configName(ensemble) } }, keptVolume(ensemble), ...admin.volumes],
  };
}

export function etcdSetupJob(ensemble: Ensemble, bundle: AgentBundle, credentialsChecksum: Input<string>) {
  return setupJob(ensemble, {
    bundle,
    credentialsChecksum,
    paths,
    volumeMounts: [{ name: "base", mountPath: paths.base, readOnly: true }, keptMount],
    volumes: [{ name: "base", configMap: { name: configName(ensemble) } }, keptVolume(ensemble)],
  });
}

const keptMount: core.v1.VolumeMount = { name: "kept", mountPath: paths.kept, readOnly: true };

/** The setup writes it, so there is none at first. */
function keptVolume({ name }: Ensemble): PlainVolume {
  return { name: "kept", secret: { secretName: keptName(name), defaultMode: 0o440, optional: true } };
}

export function setupJobRules({ name }: Ensemble): Rule[] {
  return [{ apiGroups: [""], resources: ["secrets"], verbs: ["create", "patch"], resourceNames: [keptName(name)] }];
}

/** Never two runs at a time, which could defragment two members. */
export function maintenanceCronJob(ensemble: Ensemble, bundle: AgentBundle) {
  const name = maintenanceName(ensemble.name);
  const spec = agentJobSpec(ensemble, {
    name: "maintenance",
    command: ["maintenance"],
    settings: memberSettings(ensemble),
    // It asks etcd only, so its account may do nothing in Kubernetes.
    serviceAccount: name,
    bundle,
    deadlineSeconds: 1800,
    ...login(ensemble),
  });
  return cronJob(ensemble, name, {
    // A member whose volume was lost counts for the majority again about a minute after it has all data.
    schedule: "* * * * *",
    startingDeadlineSeconds: 60,
    spec: { ...spec, ttlSecondsAfterFinished: 3600 },
  });
}
