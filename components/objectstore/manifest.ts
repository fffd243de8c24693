/** From resolved arguments to Kubernetes specs: pure. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import {
  certificateFiles,
  containerPorts,
  containerProfile,
  type Ensemble,
  goMemoryLimit,
  namesOf,
  type Pace,
  readOnly,
  serverStatefulSet,
  setupJob,
} from "../shared/deploy";
import { healthPath, paths, ports, type Store, scheme } from "./layout";

export const pace: Pace = {
  // On SIGTERM the server takes no new requests and gives those under way 10 s; the rest is for slow disks.
  terminationGraceSeconds: 30,
  // Nothing has to be recovered.
  startSeconds: 60,
  // No other member stops next.
  watchSeconds: 0,
};

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>, region: string) {
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [{ name: "data", mountPath: paths.volume }],
    containers: [serverContainer(ensemble, region)],
    volumes: certificateFiles(ensemble, paths).volumes,
  });
}

function serverContainer(ensemble: Ensemble, region: string): core.v1.Container {
  const { admin } = namesOf(ensemble.name);
  const fromAdmin = (name: string, key: string) => ({ name, valueFrom: { secretKeyRef: { name: admin, key } } });
  // The kubelet asks over TLS without verifying the certificate.
  const health = { httpGet: { path: healthPath, port: "client", scheme: scheme(ensemble.tls).toUpperCase() } };
  return {
    name: "versitygw",
    image: ensemble.image,
    ...containerProfile,
    command: ["/usr/local/bin/versitygw", ...serverArguments(ensemble, region)],
    env: [
      // The server reads its root account from arguments or from the environment only. Every process on the node can read arguments;
      // a reference to the Secret keeps the values out of the pod's definition.
      fromAdmin("ROOT_ACCESS_KEY_ID", "username"),
      fromAdmin("ROOT_SECRET_ACCESS_KEY", "password"),
      goMemoryLimit(ensemble, 0.8),
    ],
    ports: containerPorts(ports),
    resources: ensemble.resources,
    // The server listens within a second: it has nothing to recover.
    startupProbe: { ...health, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 60 },
    livenessProbe: { ...health, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    readinessProbe: { ...health, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 },
    volumeMounts: [{ name: "data", mountPath: paths.volume }, ...certificateFiles(ensemble, paths).volumeMounts],
  };
}

/** Global options come before the name of the backend. No secrets. */
function serverArguments(ensemble: Ensemble, region: string): string[] {
  const certificate = `${paths.serverTls}/tls.crt`;
  const key = `${paths.serverTls}/tls.key`;
  return [
    `--port=:${ports.client}`,
    // Takes the admin API off the port of the clients.
    `--admin-port=:${ports.admin}`,
    ...(ensemble.tls === "off"
      ? []
      : [`--cert=${certificate}`, `--key=${key}`, `--admin-cert=${certificate}`, `--admin-cert-key=${key}`]),
    `--region=${region}`,
    `--iam-dir=${paths.users}`,
    // A deleted user or a changed password takes effect at once, at the price of reading a small file for each request.
    "--iam-cache-disable",
    `--health=${healthPath}`,
    // Otherwise each request costs a handshake.
    "--keep-alive",
    // Otherwise each request, of probes too, is a line in the log.
    "--quiet",
    // Metadata are extended attributes of the files, so both change together. The server refuses to start on a file system without
    // them. Metadata in files beside (--sidecar) could differ from the data after a crash.
    "posix",
    paths.buckets,
  ];
}

/** The file that tells the setup, and the check, which buckets should exist. No secrets. */
export function storeConfig(store: Store): string {
  return `${JSON.stringify(store, null, 2)}\n`;
}

/** `credentialsChecksum`: of all passwords and of the configuration, which the setup puts into effect. */
export function storeSetupJob(ensemble: Ensemble, credentialsChecksum: Input<string>) {
  return setupJob(ensemble, {
    credentialsChecksum,
    paths,
    mounts: readOnly(paths.config, { name: "config", configMap: { name: namesOf(ensemble.name).config } }),
  });
}
