/** From resolved arguments to Kubernetes specs and the configuration file of mongod: pure. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { backupPaths } from "../shared/core/backup";
import {
  type AgentBundle,
  adminFiles,
  adminLogin,
  agentPorts,
  allMounts,
  type BackupInputs,
  configName,
  containerProfile,
  type Ensemble,
  memoryLimit,
  type Pace,
  parseQuantity,
  readOnly,
  secretFiles,
  serverStatefulSet,
  setupJob,
  setupSettings,
  tlsFiles,
} from "../shared/deploy";
import type { MongodbEnsemble } from "./arguments";
import { keyName, type MongodbSetupSettings, paths, ports, proofData } from "./layout";

/**
 * Half of what is left after 256 MiB for connections and sorting, as the server would compute from the memory of the
 * node. At least 0.25, the least that the server accepts.
 */
export function cacheGigabytes(ensemble: Ensemble): number {
  return Math.max(0.25, Math.floor(((memoryLimit(ensemble) / 2 ** 30 - 0.25) / 2) * 100) / 100);
}

/** How long a member may be away and still catch up. Default: 5 % of the volume, as the server takes of a disk. */
export function logMegabytes({ oplogSize, storage }: MongodbEnsemble): number {
  return givenLogMegabytes(oplogSize) ?? Math.max(990, Math.floor((storage.bytes / 2 ** 20) * 0.05));
}

/** The setting is in MiB, whatever its name says. */
function givenLogMegabytes(size: string | undefined): number | undefined {
  return size === undefined ? undefined : Math.floor((parseQuantity(size) ?? 0) / 2 ** 20);
}

/** One round of heartbeats, after which drivers know the new primary. The default of 15 s would only delay a roll. */
const quiesceMilliseconds = 5_000;

/**
 * A member leaves a primary that hangs this long after its answer was due (2.5 s). Majority writes wait for that: the
 * new primary takes writes after some 7.4 s, and the default (5 s) is later. No less, because a slow disk delays
 * answers too.
 */
const sourceBufferSeconds = 4;

/** The configuration that all members have in common; no secrets. */
export function serverConfig(ensemble: MongodbEnsemble): object {
  return {
    storage: {
      dbPath: paths.data,
      wiredTiger: { engineConfig: { cacheSizeGB: cacheGigabytes(ensemble) } },
    },
    net: {
      port: ports.client,
      bindIpAll: true,
      // Otherwise all addresses are those of IPv4. On a kernel without IPv6 the server warns and goes on.
      ipv6: true,
      // No client uses it, and it would need a writable folder.
      unixDomainSocket: { enabled: false },
      ...(ensemble.tls === "off" ? {} : { tls: tlsConfig(ensemble) }),
    },
    security: { authorization: "enabled", keyFile: paths.keyFile },
    replication: { replSetName: ensemble.name, oplogSizeMB: logMegabytes(ensemble) },
    setParameter: {
      shutdownTimeoutMillisForSignaledShutdown: quiesceMilliseconds,
      oplogNetworkTimeoutBufferSeconds: sourceBufferSeconds,
    },
  };
}

function tlsConfig(ensemble: Ensemble): object {
  return {
    // Members prefer TLS among themselves, and clients choose.
    mode: ensemble.tls === "optional" ? "preferTLS" : "requireTLS",
    certificateKeyFile: paths.serverPem,
    clusterFile: paths.peerPem,
    CAFile: paths.authorities,
    // Clients authenticate by password.
    allowConnectionsWithoutCertificates: true,
    disabledProtocols: "TLS1_0,TLS1_1",
  };
}

export const pace: Pace = {
  // The server steps down (10 s at most), waits for the drivers (5 s) and writes a checkpoint. No preStop: measured
  // with 6.0.27, writes fail for 1.0 to 1.3 s, and as long when the agent has made the server step down before.
  terminationGraceSeconds: 60,
  startSeconds: 180,
  // A restarted member is a secondary at once. It catches up in this time, before the next member stops.
  watchSeconds: 10,
};

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>) {
  const data = { name: "data", mountPath: paths.data };
  const run = { name: "run", mountPath: paths.run };
  const config = readOnly(paths.config, { name: "config", configMap: { name: configName(ensemble) } });
  const key = secretFiles("key", paths.key, keyName(ensemble.name), ["key"]);
  const admin = adminFiles(ensemble, paths);
  const tls = tlsFiles(ensemble, paths);
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [data, run, ...allMounts(key, tls).volumeMounts],
    // A refused processor is named with its node.
    memberEnvironment: [
      { name: "NODE_NAME", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "spec.nodeName" } } },
    ],
    sidecar: { volumeMounts: [{ ...data, readOnly: true }, run, ...allMounts(admin, key, tls).volumeMounts] },
    containers: [serverContainer(ensemble, [data, ...config.volumeMounts, { ...run, readOnly: true }])],
    volumes: [
      ...config.volumes,
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      ...allMounts(key, admin, tls).volumes,
    ],
  });
}

export function mongodbSetupJob(ensemble: MongodbEnsemble, credentialsChecksum: Input<string>) {
  const { featureCompatibilityVersion, oplogSize } = ensemble;
  const settings: MongodbSetupSettings = {
    ...setupSettings(ensemble),
    featureCompatibilityVersion,
    oplogMegabytes: givenLogMegabytes(oplogSize),
  };
  return setupJob(ensemble, { credentialsChecksum, paths, settings });
}

function serverContainer(ensemble: Ensemble, volumeMounts: core.v1.VolumeMount[]): core.v1.Container {
  const probe = { tcpSocket: { port: "client" } };
  return {
    name: "mongod",
    image: ensemble.image,
    ...containerProfile,
    command: ["/usr/bin/mongod", "--config", `${paths.config}/${paths.configFile}`],
    ports: [{ name: "client", containerPort: ports.client, protocol: "TCP" }],
    resources: ensemble.resources,
    // The server listens when it has recovered its volume. Allows an hour for that.
    startupProbe: { ...probe, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 720 },
    // Only the process: a restart cures neither a lost majority nor a full disk. The agent says whether the member is
    // ready.
    livenessProbe: { ...probe, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    volumeMounts,
  };
}

/** The agents ask each other at the port of their metrics. */
export const policyPorts = { client: ports.client, peer: [], internal: [agentPorts.http], metrics: [agentPorts.http] };

/**
 * The documents of a copy are not compressed: random text takes as much as on the volume, logs three times as much. Beside them is the volume
 * of the throw-away server.
 */
const proofShare = 4;

/** Only its own pod reaches the throw-away server of a proof, so it needs neither users nor TLS. */
export function backupInputs(ensemble: Ensemble, bundle: AgentBundle): BackupInputs {
  return {
    bundle,
    login: adminLogin(ensemble, paths),
    proof: {
      bytes: proofShare * ensemble.storage.bytes,
      servers: [
        {
          name: "mongod",
          command: ["/usr/bin/mongod", `--dbpath=${backupPaths.work}/${proofData}`, "--bind_ip=127.0.0.1"],
          args: [
            `--port=${ports.client}`,
            "--nounixsocket",
            `--wiredTigerCacheSizeGB=${cacheGigabytes(ensemble)}`,
            // Documents that have expired by now are in the copy all the same.
            "--setParameter=ttlMonitorEnabled=false",
            // Its diagnostics would take 200 MiB.
            "--setParameter=diagnosticDataCollectionEnabled=false",
          ],
        },
      ],
    },
  };
}
