/** What all ensembles have in common of their StatefulSet and of the Job that sets them up: pure. */
import type { apps, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { labels, namesOf, serverSelector } from "../core/names";
import { agentPorts, memberSettings, type SetupSettings, setupSettings, setupUsers } from "../core/settings";
import type { Ensemble } from "./arguments";
import type { AgentBundle } from "./bundle";
import { metadata } from "./network";
import {
  adminLogin,
  agentContainer,
  agentJobSpec,
  agentVolumes,
  dataClaim,
  dataRetention,
  placement,
  podSecurityContext,
  secretVolume,
} from "./pod";

export interface ServerInputs {
  bundle: AgentBundle;
  /** Checksum of the configuration that a member reads when it starts. */
  configChecksum: Input<string>;
}

/** How long one member takes in a roll. */
export interface Pace {
  terminationGraceSeconds: number;
  /** Recovery of its volume. */
  startSeconds: number;
  /** How long all members must be whole before the next one is replaced: a new one may run out of memory a moment later. */
  watchSeconds: number;
}

/** A server's image has some 100 MiB. */
const imageSeconds = 300;

/** How long one member may take until it is whole, and all of them at the first start, in parallel. */
export function stepSeconds({ terminationGraceSeconds, startSeconds, watchSeconds }: Pace): number {
  return terminationGraceSeconds + imageSeconds + startSeconds + watchSeconds;
}

export interface Servers {
  pace: Pace;
  /** Of the init container that decides how, or whether, the server starts. */
  memberMounts: core.v1.VolumeMount[];
  /** After `member`, before the servers. */
  initContainers?: core.v1.Container[];
  /** For servers that cannot say their own role over HTTP. */
  sidecar?: SidecarInputs;
  containers: core.v1.Container[];
  volumes: core.v1.Volume[];
  /** Further fields of the pods. */
  pod?: Partial<core.v1.PodSpec>;
}

export interface SidecarInputs {
  /** Default: those of all members. No secrets. */
  settings?: object;
  volumeMounts: core.v1.VolumeMount[];
}

/**
 * The agent beside the servers: it is there before they start and until they have stopped. Its readiness is that of the
 * member; its death restarts nothing but itself.
 */
function sidecarContainer(ensemble: Ensemble, inputs: SidecarInputs): core.v1.Container {
  const probe = (path: string) => ({ httpGet: { path, port: "agent", scheme: "HTTP" } });
  return {
    ...agentContainer({
      name: "agent",
      command: ["sidecar"],
      settings: inputs.settings ?? memberSettings(ensemble),
      volumeMounts: inputs.volumeMounts,
    }),
    restartPolicy: "Always",
    ports: [
      { name: "agent", containerPort: agentPorts.http, protocol: "TCP" },
      { name: "gateway", containerPort: agentPorts.gateway, protocol: "TCP" },
    ],
    livenessProbe: { ...probe("/live"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    readinessProbe: { ...probe("/ready"), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 3 },
  };
}

/** Of a server whose agent gives the leadership away before it stops. The kubelet waits for the answer. */
export const handOverHook: core.v1.Lifecycle = {
  preStop: { httpGet: { path: "/hand-over", port: agentPorts.control, scheme: "HTTP" } },
};

/** The version is on the StatefulSet and its pods only: on everything else, another version would be an update without effect. */
export function serverMetadata(ensemble: Ensemble) {
  const { service, name, version } = ensemble;
  return { ...metadata(ensemble, namesOf(name).server), labels: labels(service, name, version) };
}

export interface StatefulSetInputs {
  metadata: ReturnType<typeof serverMetadata> & { annotations: Record<string, string> };
  spec: Input<apps.v1.StatefulSetSpec>;
}

export function serverStatefulSet(
  ensemble: Ensemble,
  inputs: ServerInputs,
  servers: Servers,
): StatefulSetInputs & { spec: apps.v1.StatefulSetSpec } {
  const names = namesOf(ensemble.name);
  const selector = serverSelector(ensemble.service, ensemble.name);
  const own = serverMetadata(ensemble);
  return {
    // The roll waits for the members, and says why one does not become whole: it must begin while some cannot be ready.
    // `skipAwait` would not wait for their end in `pulumi destroy` either.
    metadata: { ...own, annotations: { "pulumi.com/waitFor": "jsonpath={.status.observedGeneration}" } },
    spec: {
      replicas: ensemble.members,
      serviceName: names.peers,
      // All at once: members need each other to become ready, at the first start and after a full stop.
      podManagementPolicy: "Parallel",
      // Kubernetes would replace a member without a look at the others; the roll does it.
      updateStrategy: { type: "OnDelete" },
      revisionHistoryLimit: 10,
      selector: { matchLabels: selector },
      persistentVolumeClaimRetentionPolicy: dataRetention(ensemble),
      volumeClaimTemplates: [dataClaim(ensemble)],
      template: {
        metadata: {
          labels: { ...own.labels, ...selector },
          annotations: { "cells-services/config": inputs.configChecksum },
        },
        spec: {
          ...placement(ensemble),
          ...servers.pod,
          serviceAccountName: names.server,
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          securityContext: podSecurityContext,
          terminationGracePeriodSeconds: servers.pace.terminationGraceSeconds,
          initContainers: [
            agentContainer({
              name: "member",
              command: ["member"],
              settings: memberSettings(ensemble),
              volumeMounts: servers.memberMounts,
            }),
            ...(servers.initContainers ?? []),
            ...(servers.sidecar === undefined ? [] : [sidecarContainer(ensemble, servers.sidecar)]),
          ],
          containers: servers.containers,
          volumes: [...agentVolumes(names.agent, inputs.bundle), ...servers.volumes],
        },
      },
    },
  };
}

export interface Setup {
  bundle: AgentBundle;
  /** Default: those of every ensemble. No secrets. */
  settings?: SetupSettings;
  /** Of all passwords: a changed one runs the setup again. */
  credentialsChecksum: Input<string>;
  paths: { admin: string; trust: string };
  /** Beside administrator, users and trust. */
  volumeMounts?: core.v1.VolumeMount[];
  volumes?: core.v1.Volume[];
}

export const setupDeadlineSeconds = 600;

/** Runs again whenever its inputs change, passwords included. */
export function setupJob(ensemble: Ensemble, setup: Setup) {
  const admin = adminLogin(ensemble, setup.paths);
  return agentJobSpec(ensemble, {
    name: "setup",
    command: ["setup"],
    settings: setup.settings ?? setupSettings(ensemble),
    serviceAccount: namesOf(ensemble.name).setup,
    bundle: setup.bundle,
    annotations: { "cells-services/credentials": setup.credentialsChecksum },
    deadlineSeconds: setupDeadlineSeconds,
    // An election between two steps of the setup may fail one of them.
    retries: 2,
    volumeMounts: [
      ...(setup.volumeMounts ?? []),
      ...admin.volumeMounts,
      { name: "users", mountPath: setupUsers.directory, readOnly: true },
    ],
    volumes: [
      ...(setup.volumes ?? []),
      ...admin.volumes,
      secretVolume("users", namesOf(ensemble.name).setup, [setupUsers.file]),
    ],
  });
}
