/** From resolved arguments to Kubernetes specs and the configuration file of etcd: pure. */
import type { apps, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { backupPaths } from "../shared/core/backup";
import {
  type AgentBundle,
  adminLogin,
  agentDeployment,
  allMounts,
  type BackupInputs,
  certificateFiles,
  configName,
  containerPorts,
  containerProfile,
  copyLeases,
  type Ensemble,
  goMemoryLimit,
  type Mounts,
  memberSettings,
  type Pace,
  readOnly,
  secretFiles,
  serverStatefulSet,
  tlsFiles,
  whenThere,
} from "../shared/deploy";
import type { EtcdEnsemble } from "./arguments";
import {
  keptName,
  maintenanceName,
  paths,
  ports,
  proofFiles,
  proofUrl,
  scheme,
  snapshotFile,
  tokenName,
} from "./layout";

/** etcd advises against more: recovery and defragmentation take too long. */
const largestQuota = 8 * 2 ** 30;

/** The other half of the volume is for the write-ahead log, snapshots and the copy that a defragmentation makes. */
function quotaBytes({ storage }: Ensemble): number {
  return Math.min(largestQuota, Math.floor(storage.bytes / 2));
}

/** What all members have in common, in etcd's file format (JSON is YAML). The init container adds the names of the member. */
export function baseConfig(ensemble: EtcdEnsemble, token: string): Record<string, unknown> {
  const { tls, tokens } = ensemble;
  const url = (protocol: string, port: number): string => `${protocol}://[::]:${port}`;
  return {
    "data-dir": paths.data,
    "listen-peer-urls": url(scheme(tls), ports.peer),
    // Both URLs have the same port: etcd tells TLS and plain text apart by the first bytes of a connection.
    "listen-client-urls": [
      ...(tls === "off" ? [] : [url("https", ports.client)]),
      ...(tls === "required" ? [] : [url("http", ports.client)]),
    ].join(","),
    // Probes and metrics have a port of their own, so that they need neither certificate nor password.
    "listen-metrics-urls": url("http", ports.metrics),
    // etcd makes the id of the cluster from it, so members of a cluster with the same name elsewhere cannot join.
    "initial-cluster-token": token,
    "strict-reconfig-check": true,
    "quota-backend-bytes": quotaBytes(ensemble),
    // Without compaction every old value is kept until the quota is used up.
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1h",
    "snapshot-count": 10_000,
    // A member compares its data with the others before it serves; the leader compares hashes after each compaction.
    "feature-gates": "InitialCorruptCheck=true,CompactHashCheck=true",
    // Only the member that issued a simple token knows it, and a client fails when it reaches another member.
    "auth-token": `jwt,priv-key=${paths.token}/key,sign-method=HS256,ttl=${tokens.ttlHours}h`,
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
  // On SIGTERM a leader hands over, which takes an election; the rest is for the last writes to the disk.
  terminationGraceSeconds: 60,
  // Generous for the replay of the log of a full quota.
  startSeconds: 180,
  // A member that is ready has read from a majority; the pause lets clients reconnect before the next one stops.
  watchSeconds: 10,
};

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>) {
  const { volumeMounts, volumes } = login(ensemble);
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [{ name: "data", mountPath: paths.volume }, { name: "run", mountPath: paths.run }, ...volumeMounts],
    containers: [serverContainer(ensemble)],
    volumes: [
      ...volumes,
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      ...tokenKey(ensemble).volumes,
      ...certificateFiles(ensemble, paths).volumes,
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
    ports: containerPorts(ports),
    resources: ensemble.resources,
    env: [goMemoryLimit(ensemble, 0.9)],
    // Ten minutes: the server first replays a long write-ahead log, or receives a snapshot.
    startupProbe: { ...probe("/livez"), periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 300 },
    // The probe asks this member only: a lost majority must not restart all members. A defragmentation blocks the answer, so the
    // probe allows more time than the longest one takes (defragmentSeconds).
    livenessProbe: { ...probe("/livez"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 24 },
    // Ready is a voter that has just read from a majority.
    readinessProbe: { ...probe("/readyz"), periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 },
    // The address leaves the Service before the server stops listening. No shell needed.
    lifecycle: { preStop: { sleep: { seconds: 2 } } },
    volumeMounts: [
      { name: "data", mountPath: paths.volume },
      { name: "run", mountPath: paths.run, readOnly: true },
      ...tokenKey(ensemble).volumeMounts,
      ...tlsFiles(ensemble, paths).volumeMounts,
    ],
  };
}

/** What a command of the agent mounts to log in to the members as the administrator: base configuration, passwords, trust. */
export function login(ensemble: Ensemble): Mounts {
  return allMounts(ownFiles(ensemble), adminLogin(ensemble, paths));
}

/** The base configuration, and the Secret `kept`, which is missing until the first setup has written it. */
export function ownFiles(ensemble: Ensemble): Mounts {
  return allMounts(
    readOnly(paths.base, { name: "base", configMap: { name: configName(ensemble) } }),
    whenThere(secretFiles("kept", paths.kept, keptName(ensemble.name))),
  );
}

/** The key that signs the tokens of clients. */
function tokenKey({ name }: Ensemble): Mounts {
  return secretFiles("auth-token", paths.token, tokenName(name));
}

export function maintenanceDeployment(ensemble: EtcdEnsemble): apps.v1.Deployment {
  return agentDeployment(ensemble, {
    name: maintenanceName(ensemble.name),
    role: "maintenance",
    command: ["maintenance"],
    settings: { ...memberSettings(ensemble), ...(ensemble.backups === undefined ? {} : { copied: true }) },
    // The certificate that servers show, without its key.
    mounts: allMounts(login(ensemble), certificateFiles(ensemble, { serverTls: paths.serverTls }, ["tls.crt"])),
  });
}

/** A write-ahead log of two files, and room for what a database grows beyond its quota. */
const proofMargin = 512 * 2 ** 20;

/** In the throw-away server of a proof all is new but the data. Only its own pod reaches it, so it needs no TLS. */
export function backupInputs(ensemble: Ensemble, bundle: AgentBundle): BackupInputs {
  const inWork = (file: string): string => `${backupPaths.work}/${file}`;
  const peerUrl = `http://127.0.0.1:${ports.peer}`;
  const identity = ["--name=proof", `--initial-cluster=proof=${peerUrl}`, `--initial-advertise-peer-urls=${peerUrl}`];
  const env = [goMemoryLimit(ensemble, 0.9)];
  return {
    bundle,
    login: login(ensemble),
    leases: copyLeases(ensemble),
    proof: {
      bytes: 2 * quotaBytes(ensemble) + proofMargin,
      servers: [
        {
          name: "restore",
          command: ["/usr/local/bin/etcdutl", "snapshot", "restore", inWork(`${backupPaths.copy}/${snapshotFile}`)],
          args: [...identity, "--initial-cluster-token=proof", `--data-dir=${inWork(proofFiles.data)}`],
          env,
          once: true,
        },
        {
          name: "etcd",
          command: ["/usr/local/bin/etcd", ...identity, `--data-dir=${inWork(proofFiles.data)}`],
          args: [
            `--listen-peer-urls=${peerUrl}`,
            `--listen-client-urls=${proofUrl}`,
            `--advertise-client-urls=${proofUrl}`,
            // The passwords of the copy may be former ones: the agent signs its token with this key.
            `--auth-token=jwt,priv-key=${inWork(proofFiles.key)},sign-method=HS256,ttl=1h`,
          ],
          env,
        },
      ],
    },
  };
}
