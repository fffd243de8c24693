/** From resolved arguments to Kubernetes specs: pure. The configuration of the server is in `configuration.ts`. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import {
  type AgentBundle,
  agentContainer,
  certificateMounts,
  certificateVolumes,
  containerProfile,
  type Ensemble,
  handOverHook,
  type LoginMounts,
  memberSettings,
  namesOf,
  type Pace,
  parseQuantity,
  type ServerInputs,
  secretVolume,
  serverStatefulSet,
  setupJob,
  trustMounts,
  trustVolumes,
} from "../shared/deploy";
import type { ServerConfiguration } from "./configuration";
import { internalName, paths, ports } from "./layout";

export function serverConfiguration(ensemble: Ensemble, maxConnections: number): ServerConfiguration {
  const { name, members, tls } = ensemble;
  return {
    name,
    members,
    tls,
    maxConnections,
    memoryLimit: parseQuantity(ensemble.resources.limits["memory"] ?? "") ?? 0,
  };
}

export const pace: Pace = {
  // The hand-over, at most 15 s; to leave the group; and dirty pages to a slow disk. What is killed then, recovers.
  terminationGraceSeconds: 120,
  startSeconds: 180,
  // Recovered and in the group when it is ready; in this time others see it too, before the next one stops.
  watchSeconds: 10,
};

/** How long the server may take before it accepts connections: recovery after a crash of a large volume. */
const startSeconds = 4 * 3600;

export function statefulSet(ensemble: Ensemble, inputs: ServerInputs) {
  const data: core.v1.VolumeMount = { name: "data", mountPath: paths.volume };
  const run: core.v1.VolumeMount = { name: "run", mountPath: paths.run };
  const passwords: core.v1.VolumeMount[] = [
    { name: "admin", mountPath: paths.admin, readOnly: true },
    { name: "internal", mountPath: paths.internal, readOnly: true },
  ];
  return serverStatefulSet(ensemble, inputs, {
    pace,
    memberMounts: [data, run, ...passwords, { name: "config", mountPath: paths.config, readOnly: true }],
    initContainers: [
      initializeContainer(ensemble, [data, run]),
      agentContainer({
        name: "adopt",
        command: ["adopt"],
        settings: memberSettings(ensemble),
        volumeMounts: [data],
      }),
    ],
    sidecar: {
      volumeMounts: [
        run,
        { name: "internal", mountPath: paths.internal, readOnly: true },
        ...certificateMounts(ensemble, paths),
        ...trustMounts(ensemble, paths),
      ],
    },
    containers: [
      serverContainer(ensemble, [data, run, ...certificateMounts(ensemble, paths), ...trustMounts(ensemble, paths)]),
    ],
    volumes: [
      // Configuration with passwords is in memory only, for as long as the pod lives.
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "4Mi" } },
      { name: "config", configMap: { name: namesOf(ensemble.name).config } },
      secretVolume("admin", namesOf(ensemble.name).admin, ["username", "password"]),
      secretVolume("internal", internalName(ensemble.name), ["password"]),
      ...certificateVolumes(ensemble),
      ...trustVolumes(ensemble),
    ],
  });
}

/** mysqld itself: makes a data directory beside the place of the real one, or looks at its options, and ends. */
function initializeContainer(ensemble: Ensemble, volumeMounts: core.v1.VolumeMount[]): core.v1.Container {
  return {
    name: "initialize",
    image: ensemble.image,
    ...containerProfile,
    // Its log may quote a statement with a password: nothing of it in the status of the pod.
    terminationMessagePolicy: "File",
    command: ["/usr/sbin/mysqld", `--defaults-file=${paths.initialize}`],
    resources: ensemble.resources,
    volumeMounts,
  };
}

function serverContainer(ensemble: Ensemble, volumeMounts: core.v1.VolumeMount[]): core.v1.Container {
  const answers = { tcpSocket: { port: "client" } };
  return {
    name: "mysqld",
    image: ensemble.image,
    ...containerProfile,
    command: ["/usr/sbin/mysqld", `--defaults-file=${paths.server}`],
    ports: [{ name: "client", containerPort: ports.client, protocol: "TCP" }],
    resources: ensemble.resources,
    startupProbe: { ...answers, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: startSeconds / 5 },
    // The process, never the group: a restart cures no lost majority. Readiness is that of the agent.
    livenessProbe: { ...answers, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    lifecycle: handOverHook,
    volumeMounts,
  };
}

/** What the preflight reads to ask the members as their agents do. */
export function login(ensemble: Ensemble): LoginMounts {
  return {
    volumeMounts: [{ name: "internal", mountPath: paths.internal, readOnly: true }, ...trustMounts(ensemble, paths)],
    volumes: [secretVolume("internal", internalName(ensemble.name), ["password"]), ...trustVolumes(ensemble)],
  };
}

export function mysqlSetupJob(ensemble: Ensemble, bundle: AgentBundle, credentialsChecksum: Input<string>) {
  return setupJob(ensemble, {
    bundle,
    credentialsChecksum,
    paths,
    volumeMounts: [{ name: "internal", mountPath: paths.internal, readOnly: true }],
    volumes: [secretVolume("internal", internalName(ensemble.name), ["password"])],
  });
}
