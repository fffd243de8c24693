/** The StatefulSet of any ensemble, and the Job that sets the ensemble up: pure. */
import type { apps, core, meta } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { hostsPaths } from "../core/hosts";
import { labels, namesOf, serverSelector } from "../core/names";
import { agentPorts, memberSettings, type SetupSettings, setupSettings, setupUsers } from "../core/settings";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";
import {
  adminLogin,
  agentContainer,
  agentJobSpec,
  agentProgram,
  agentVolumes,
  allMounts,
  containerPorts,
  dataClaim,
  type Mounts,
  memberPlacement,
  noMounts,
  secretFiles,
} from "./pod";
import { podTemplate } from "./template";

/** How long one member takes in a roll. */
export interface Pace {
  terminationGraceSeconds: number;
  /** Recovery of its volume. */
  startSeconds: number;
  /** How long all members must be whole before the next one is replaced: a new one may run out of memory a moment later. */
  watchSeconds: number;
}

/** To pull the image of a server, some 100 MiB. */
const imageSeconds = 300;

/** How long one member may take until it is whole, and all of them at the first start, in parallel. */
export function stepSeconds({ terminationGraceSeconds, startSeconds, watchSeconds }: Pace): number {
  return terminationGraceSeconds + imageSeconds + startSeconds + watchSeconds;
}

export interface Servers {
  pace: Pace;
  /** Of the init container `member`, which decides whether and how the server starts. */
  memberMounts: core.v1.VolumeMount[];
  /** Further variables of `member`. No secrets. */
  memberEnvironment?: core.v1.EnvVar[];
  /** They run after `member` and before the servers. */
  initContainers?: core.v1.Container[];
  /** For servers that cannot say their own role over HTTP. */
  sidecar?: Sidecar;
  containers: core.v1.Container[];
  volumes: core.v1.Volume[];
  /** Of the configuration that a member reads when it starts. */
  configChecksum: Input<string>;
  /** Further fields of the pods. */
  pod?: Partial<core.v1.PodSpec>;
}

interface Sidecar {
  /** Default: those of all members. No secrets. */
  settings?: object;
  volumeMounts: core.v1.VolumeMount[];
}

/** Where the agent keeps the addresses of the members. */
const hostsFolder: core.v1.VolumeMount = { name: "hosts", mountPath: hostsPaths.directory };
/** Sentinel looks names up in its event loop, where it cannot wait. Without one of two DNS servers half of all lookups wait. */
const namesOfMembers: core.v1.VolumeMount = {
  name: hostsFolder.name,
  mountPath: hostsPaths.mounted,
  subPath: hostsPaths.file,
  readOnly: true,
};

/** Starts before the servers and stops after them. The member is ready when the agent is. An agent that ends is started again alone. */
function sidecarContainer(ensemble: Ensemble, sidecar: Sidecar): core.v1.Container {
  const probe = (path: string) => ({ httpGet: { path, port: "metrics", scheme: "HTTP" } });
  return {
    ...agentContainer({
      name: "agent",
      command: ["sidecar"],
      settings: sidecar.settings ?? memberSettings(ensemble),
      volumeMounts: [...sidecar.volumeMounts, hostsFolder, namesOfMembers],
    }),
    restartPolicy: "Always",
    ports: containerPorts({ metrics: agentPorts.http, gateway: agentPorts.gateway }),
    livenessProbe: { ...probe("/live"), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    readinessProbe: { ...probe("/ready"), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 3 },
  };
}

/** For a server whose agent hands over the leadership before the server stops. The kubelet waits for the answer. */
export const handOverHook: core.v1.Lifecycle = {
  preStop: { httpGet: { path: "/hand-over", port: agentPorts.control, scheme: "HTTP" } },
};

export interface StatefulSetInputs {
  metadata: meta.v1.ObjectMeta;
  spec: apps.v1.StatefulSetSpec;
}

export function serverStatefulSet(ensemble: Ensemble, servers: Servers): StatefulSetInputs {
  const { service, name, version } = ensemble;
  const { sidecar } = servers;
  // Only an agent that goes on running keeps the file up to date.
  const withHosts = <T>(each: T): T[] => (sidecar === undefined ? [] : [each]);
  const names = namesOf(name);
  const selector = serverSelector(service, name);
  // On the StatefulSet and its pods only: on other objects another version would be an update without effect.
  const withVersion = labels(service, name, version);
  return {
    metadata: {
      ...metadata(ensemble, names.server),
      labels: withVersion,
      // Pulumi does not wait until the members are ready: the roll does, and says why one of them does not become whole.
      // With `skipAwait` instead, `pulumi destroy` would not wait for the end of the pods.
      annotations: { "pulumi.com/waitFor": "jsonpath={.status.observedGeneration}" },
    },
    spec: {
      replicas: ensemble.members,
      serviceName: names.peers,
      // Members need each other to become ready, at the first start and after a full stop.
      podManagementPolicy: "Parallel",
      // The roll replaces the members. Kubernetes would replace one whatever the state of the others.
      updateStrategy: { type: "OnDelete" },
      revisionHistoryLimit: 10,
      selector: { matchLabels: selector },
      // A StatefulSet may have been made smaller by hand: the setup deletes the volumes of members that have left.
      persistentVolumeClaimRetentionPolicy: {
        whenDeleted: ensemble.deletion === "keep" ? "Retain" : "Delete",
        whenScaled: "Retain",
      },
      volumeClaimTemplates: [dataClaim(ensemble)],
      template: podTemplate(ensemble, {
        account: names.server,
        labels: { ...withVersion, ...selector },
        annotations: { "cells-services/config": servers.configChecksum },
        containers: servers.containers.map((each) => ({
          ...each,
          volumeMounts: [...((each.volumeMounts as core.v1.VolumeMount[]) ?? []), ...withHosts(namesOfMembers)],
        })),
        placement: { ...memberPlacement(ensemble), ...servers.pod },
        terminationGracePeriodSeconds: servers.pace.terminationGraceSeconds,
        initContainers: [
          agentContainer({
            name: "member",
            command: ["member"],
            settings: memberSettings(ensemble),
            volumeMounts: [...servers.memberMounts, ...withHosts(hostsFolder)],
            env: servers.memberEnvironment ?? [],
          }),
          ...(servers.initContainers ?? []),
          ...(sidecar === undefined ? [] : [sidecarContainer(ensemble, sidecar)]),
        ],
        volumes: [
          ...agentVolumes(agentProgram(ensemble)),
          ...withHosts({ name: hostsFolder.name, emptyDir: { sizeLimit: "1Mi" } }),
          ...servers.volumes,
        ],
      }),
    },
  };
}

interface Setup {
  /** Default: those of every ensemble. No secrets. */
  settings?: SetupSettings;
  /** Of all passwords: another one runs the setup again. */
  credentialsChecksum: Input<string>;
  paths: { admin: string; trust: string };
  /** Beside those of administrator, users and trust. */
  mounts?: Mounts;
}

export const setupDeadlineSeconds = 600;

/** The Job runs again whenever its inputs change, passwords included. */
export function setupJob(ensemble: Ensemble, setup: Setup) {
  const name = namesOf(ensemble.name).setup;
  const users = secretFiles("users", setupUsers.directory, name, [setupUsers.file]);
  return agentJobSpec(ensemble, {
    name: "setup",
    command: ["setup"],
    settings: setup.settings ?? setupSettings(ensemble),
    serviceAccount: name,
    annotations: { "cells-services/credentials": setup.credentialsChecksum },
    deadlineSeconds: setupDeadlineSeconds,
    // An election between two steps of the setup may fail one of them.
    retries: 2,
    ...allMounts(setup.mounts ?? noMounts, adminLogin(ensemble, setup.paths), users),
  });
}
