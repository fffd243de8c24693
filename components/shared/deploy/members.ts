/** What all ensembles have in common of their StatefulSet and of the Job that sets them up: pure. */
import type { apps, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { applicationSecretName, labels, namesOf, serverSelector } from "../core/names";
import { agentPorts, memberSettings, settingsOf } from "../core/settings";
import type { Ensemble } from "./arguments";
import type { AgentBundle } from "./bundle";
import { metadata } from "./network";
import {
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

export interface Servers {
  /** How long a member is watched before the next one stops. */
  minReadySeconds: number;
  terminationGraceSeconds: number;
  /** Of the init container that decides how, or whether, the server starts. */
  memberMounts: core.v1.VolumeMount[];
  /** After `member`, before the servers. */
  initContainers?: core.v1.Container[];
  /** For servers that cannot say their own role over HTTP. */
  sidecar?: SidecarInputs;
  containers: core.v1.Container[];
  volumes: core.v1.Volume[];
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

export function serverStatefulSet(ensemble: Ensemble, inputs: ServerInputs, servers: Servers): apps.v1.StatefulSet {
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
      minReadySeconds: servers.minReadySeconds,
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
          terminationGracePeriodSeconds: servers.terminationGraceSeconds,
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
          volumes: [...agentVolumes(ensemble.name), ...servers.volumes],
        },
      },
    },
  };
}

export interface Setup {
  bundle: AgentBundle;
  /** Of all passwords: a changed one runs the setup again. */
  credentialsChecksum: Input<string>;
  /** Directory that gets one directory for each application, with `username` and `password`. */
  applications: string;
  volumeMounts: core.v1.VolumeMount[];
  volumes: core.v1.Volume[];
}

export const setupDeadlineSeconds = 600;

/** Runs again whenever its inputs change, passwords included. */
export function setupJob(ensemble: Ensemble, setup: Setup) {
  return agentJobSpec(ensemble, {
    name: "setup",
    command: ["setup"],
    settings: settingsOf(ensemble),
    serviceAccount: namesOf(ensemble.name).setup,
    checksum: setup.bundle.checksum,
    annotations: { "cells-services/credentials": setup.credentialsChecksum },
    deadlineSeconds: setupDeadlineSeconds,
    // An election between two steps of the setup may fail one of them.
    retries: 2,
    volumeMounts: [
      ...setup.volumeMounts,
      ...ensemble.applications.map((application) => ({
        name: `application-${application}`,
        mountPath: `${setup.applications}/${application}`,
        readOnly: true,
      })),
    ],
    volumes: [
      ...setup.volumes,
      ...ensemble.applications.map((application) =>
        secretVolume(`application-${application}`, applicationSecretName(ensemble.name, application), [
          "username",
          "password",
        ]),
      ),
    ],
  });
}
