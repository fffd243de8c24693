/** What pods have in common: the nodes, the containers of the agent, the volumes and mounts. */
import type { apps, batch, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { agentSelector, fewestMembers, labels, namesOf, serverSelector } from "../core/names";
import { agentPorts } from "../core/settings";
import type { Ensemble } from "./arguments";
import { bundleName } from "./bundle";
import { agentImage } from "./images";
import { metadata } from "./network";
import { podTemplate } from "./template";

/** What all containers have in common. */
export const containerProfile = {
  imagePullPolicy: "IfNotPresent",
  // `pulumi up` and `kubectl describe pod` show the end of the log of a container that failed.
  terminationMessagePolicy: "FallbackToLogsOnError",
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  },
} satisfies Partial<core.v1.Container>;

/**
 * Limit of `ephemeral-storage`. What counts here is the log: the root file system is read-only, and each emptyDir has a limit of its
 * own. A kubelet may rotate at 50 MiB and keeps five files, and it looks every ten seconds. It evicts a pod beyond the limit without
 * a hand-over and whatever the disruption budget says; members log alike, so all would go at about the same time.
 */
export const logSpace = "1Gi";

/** Node.js with a bundle needs about 60 MiB, most of it the program's own pages; the limit leaves room for one large answer. */
const agentResources = {
  requests: { cpu: "10m", memory: "64Mi", "ephemeral-storage": "16Mi" },
  limits: { memory: "192Mi", "ephemeral-storage": logSpace },
} satisfies core.v1.ResourceRequirements;

/** Keeps pods with these labels on different hosts. */
export function spreadOverHosts(
  spread: "preferred" | "required",
  matchLabels: Record<string, string>,
): core.v1.PodAntiAffinity {
  const hosts = { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels } };
  return spread === "required"
    ? { requiredDuringSchedulingIgnoredDuringExecution: [hosts] }
    : { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: hosts }] };
}

/** The nodes that members, gateway and agents may run on. */
export function nodePlacement({ placement }: Ensemble): Partial<core.v1.PodSpec> {
  const { nodeSelector, tolerations } = placement;
  return {
    ...(Object.keys(nodeSelector).length > 0 ? { nodeSelector } : {}),
    ...(tolerations.length > 0 ? { tolerations } : {}),
  };
}

/** Five minutes, the default, are for pods with data that would have to be waited for. */
const leavesLostNodes = ["not-ready", "unreachable"].map((condition) => ({
  key: `node.kubernetes.io/${condition}`,
  operator: "Exists",
  effect: "NoExecute",
  tolerationSeconds: 30,
}));

/** Of a pod that runs all the time and has no data. */
export function placementWithoutData(ensemble: Ensemble): Partial<core.v1.PodSpec> {
  return { ...nodePlacement(ensemble), tolerations: [...ensemble.placement.tolerations, ...leavesLostNodes] };
}

/** Members on different hosts and, if asked for, in different zones. */
export function memberPlacement(ensemble: Ensemble): Partial<core.v1.PodSpec> {
  const { spread, zones } = ensemble.placement;
  const matchLabels = serverSelector(ensemble.service, ensemble.name);
  const spreadOverZones = {
    maxSkew: 1,
    topologyKey: "topology.kubernetes.io/zone",
    // Without a least number of zones, one zone alone has no skew: all members would be in it when no other has a node yet.
    ...(spread === "required"
      ? { whenUnsatisfiable: "DoNotSchedule", minDomains: fewestMembers }
      : { whenUnsatisfiable: "ScheduleAnyway" }),
    labelSelector: { matchLabels },
  };
  return {
    affinity: { podAntiAffinity: spreadOverHosts(spread, matchLabels) },
    ...(zones ? { topologySpreadConstraints: [spreadOverZones] } : {}),
    ...nodePlacement(ensemble),
  };
}

/** The volume claim of each member: PVC `data-<name>-<ordinal>`. */
export function dataClaim(ensemble: Ensemble): core.v1.PersistentVolumeClaim {
  return {
    metadata: { name: "data", labels: serverSelector(ensemble.service, ensemble.name) },
    spec: {
      accessModes: ["ReadWriteOnce"],
      ...(ensemble.storage.class === undefined ? {} : { storageClassName: ensemble.storage.class }),
      resources: { requests: { storage: ensemble.storage.size } },
    },
  };
}

const tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Name of the ConfigMap with the program of the agents. */
export function agentProgram({ name, bundle }: Ensemble): string {
  return bundleName(namesOf(name).agent, bundle());
}

/** The volumes of `agentContainer`. The token is mounted in agent containers only, never in those of the server. */
export function agentVolumes(program: string): core.v1.Volume[] {
  return [
    { name: "agent", configMap: { name: program } },
    {
      name: "token",
      projected: {
        // The processes read it as members of the group, which is fsGroup.
        defaultMode: 0o440,
        sources: [
          { serviceAccountToken: { path: "token", expirationSeconds: 3600 } },
          { configMap: { name: "kube-root-ca.crt", items: [{ key: "ca.crt", path: "ca.crt" }] } },
          { downwardAPI: { items: [{ path: "namespace", fieldRef: { fieldPath: "metadata.namespace" } }] } },
        ],
      },
    },
  ];
}

/** TCP ports of a container by name. */
export function containerPorts(ports: Record<string, number>): core.v1.ContainerPort[] {
  return Object.entries(ports).map(([name, containerPort]) => ({ name, containerPort, protocol: "TCP" }));
}

/** The variables POD_NAME and POD_NAMESPACE. */
export const podIdentity: core.v1.EnvVar[] = [
  { name: "POD_NAME", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.name" } } },
  { name: "POD_NAMESPACE", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } } },
];

export interface AgentContainer {
  name: string;
  /** The command of the agent, with its arguments. No secrets. */
  command: [string, ...string[]];
  /** The variable SETTINGS, as JSON. No secrets. */
  settings: object;
  volumeMounts?: core.v1.VolumeMount[];
  /** Options of Node.js. Default: collect young objects soon, and old ones before the limit of the container is reached. */
  nodeOptions?: string;
  /** Further variables. No secrets. */
  env?: core.v1.EnvVar[];
  /** Limit; default: that of a log. */
  ephemeralStorage?: string;
}

/** Runs one command of the agent. Node.js unpacks the bundle and evaluates it in memory: the root file system stays read-only. */
export function agentContainer(container: AgentContainer): core.v1.Container {
  return {
    name: container.name,
    image: agentImage,
    ...containerProfile,
    command: ["/usr/local/bin/node", "-e", agentLoader],
    args: container.command,
    env: [
      { name: "SETTINGS", value: JSON.stringify(container.settings) },
      ...podIdentity,
      { name: "NODE_OPTIONS", value: container.nodeOptions ?? "--max-old-space-size=128 --max-semi-space-size=1" },
      // One memory pool for all threads: 16 MiB instead of 23 to 32 (anonymous, at rest).
      { name: "MALLOC_ARENA_MAX", value: "1" },
      ...(container.env ?? []),
    ],
    resources: {
      ...agentResources,
      limits: { ...agentResources.limits, "ephemeral-storage": container.ephemeralStorage ?? logSpace },
    },
    volumeMounts: [
      { name: "agent", mountPath: "/agent", readOnly: true },
      { name: "token", mountPath: tokenDirectory, readOnly: true },
      ...(container.volumeMounts ?? []),
    ],
  };
}

const agentLoader =
  'eval(require("zlib").brotliDecompressSync(require("fs").readFileSync("/agent/agent.js.br")).toString())';

export interface AgentJob extends AgentContainer {
  serviceAccount: string;
  /** Annotations of the pod template, such as a checksum of what the Job reads: a change runs the Job again. */
  annotations?: Record<string, Input<string>>;
  volumes?: core.v1.Volume[];
  /** Of the pod; default: those of an agent, which may reach the members. */
  labels?: Record<string, string>;
  /** Name of the ConfigMap with the program; default: that of the agent. Another program replaces the Job, which then runs again. */
  program?: string;
  /** A command of the agent that runs first, with the same mounts. */
  before?: string;
  /** After that command. */
  initContainers?: core.v1.Container[];
  /** After this time the Job has failed, whatever its pods do. */
  deadlineSeconds: number;
  /** How often a failed pod is replaced, default 0: the agent itself waits for what may pass, and a refusal fails the Job. */
  retries?: number;
}

/** A Job that runs one command of the agent to its end. */
export function agentJobSpec(ensemble: Ensemble, job: AgentJob): batch.v1.JobSpec {
  const { service, name } = ensemble;
  const { before, program = agentProgram(ensemble) } = job;
  const initContainers = [
    ...(before === undefined ? [] : [agentContainer({ ...job, name: before, command: [before] })]),
    ...(job.initContainers ?? []),
  ];
  return {
    // No rule fails the Job by the exit code: pulumi-kubernetes does not know its reason, PodFailurePolicy, and would wait
    // until its time-out.
    backoffLimit: job.retries ?? 0,
    // A pod that was evicted or lost with its node is replaced, and not counted.
    podFailurePolicy: {
      rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }],
    },
    activeDeadlineSeconds: job.deadlineSeconds,
    template: podTemplate(ensemble, {
      account: job.serviceAccount,
      labels: job.labels ?? { ...labels(service, name), ...agentSelector(service, name) },
      annotations: job.annotations,
      placement: nodePlacement(ensemble),
      restartPolicy: "Never",
      ...(initContainers.length === 0 ? {} : { initContainers }),
      containers: [agentContainer(job)],
      volumes: [...agentVolumes(program), ...(job.volumes ?? [])],
    }),
  };
}

interface AgentDeployment extends Pick<AgentContainer, "command" | "settings" | "nodeOptions"> {
  /** Of the Deployment and its ServiceAccount. */
  name: string;
  /** Name of the container, and what distinguishes its pod from those of Jobs, which have the labels of agents too. */
  role: string;
  annotations?: Record<string, Input<string>>;
  mounts: Mounts;
}

/**
 * One agent that runs all the time, and serves `/live`, `/ready` and `/metrics`: two at once could do to two members what only one may bear
 * at a time. After the loss of its node it is back within two minutes.
 */
export function agentDeployment(ensemble: Ensemble, agent: AgentDeployment): apps.v1.Deployment {
  const { service, name: instance } = ensemble;
  const { name, role, annotations, mounts, ...program } = agent;
  const selector = { ...agentSelector(service, instance), "cells-services/role": role };
  const probe = (path: string) => ({ httpGet: { path, port: "metrics", scheme: "HTTP" }, timeoutSeconds: 5 });
  const container = {
    ...agentContainer({ ...program, name: role, volumeMounts: mounts.volumeMounts }),
    ports: containerPorts({ metrics: agentPorts.http }),
    // Only the process: a restart does not bring a member back.
    livenessProbe: { ...probe("/live"), periodSeconds: 20, failureThreshold: 3 },
    readinessProbe: { ...probe("/ready"), periodSeconds: 10, failureThreshold: 3 },
  };
  return {
    metadata: metadata(ensemble, name),
    spec: {
      replicas: 1,
      strategy: { type: "Recreate" },
      revisionHistoryLimit: 3,
      selector: { matchLabels: selector },
      template: podTemplate(ensemble, {
        account: name,
        labels: { ...labels(service, instance), ...selector },
        annotations,
        placement: placementWithoutData(ensemble),
        terminationGracePeriodSeconds: 5,
        containers: [container],
        volumes: [...agentVolumes(agentProgram(ensemble)), ...mounts.volumes],
      }),
    },
  };
}

/** A volume without outputs of other resources. */
interface PlainVolume extends core.v1.Volume {
  secret?: core.v1.SecretVolumeSource;
  configMap?: core.v1.ConfigMapVolumeSource;
}

/** Volumes of a pod, and where a container of it mounts them. */
export interface Mounts {
  volumes: PlainVolume[];
  volumeMounts: core.v1.VolumeMount[];
}

export function allMounts(...parts: Mounts[]): Mounts {
  return {
    volumes: parts.flatMap(({ volumes }) => volumes),
    volumeMounts: parts.flatMap(({ volumeMounts }) => volumeMounts),
  };
}

export const noMounts = allMounts();

/** For what only reads the volume. */
export function readOnly(mountPath: string, volume: PlainVolume): Mounts {
  return { volumes: [volume], volumeMounts: [{ name: volume.name, mountPath, readOnly: true }] };
}

/** Keys of a Secret as files. The pod waits until the Secret and its keys exist. */
export function secretFiles(name: string, mountPath: string, secretName: string, items?: string[]): Mounts {
  const only = items === undefined ? {} : { items: items.map((key) => ({ key, path: key })) };
  return readOnly(mountPath, { name, secret: { secretName, defaultMode: 0o440, ...only } });
}

/** The same for a pod that must start before the Secrets and ConfigMaps exist. */
export function whenThere({ volumeMounts, volumes }: Mounts): Mounts {
  const optional = true;
  return {
    volumeMounts,
    volumes: volumes.map(({ name, secret, configMap, ...other }) => ({
      name,
      ...other,
      ...(secret === undefined ? {} : { secret: { ...secret, optional } }),
      ...(configMap === undefined ? {} : { configMap: { ...configMap, optional } }),
    })),
  };
}

/** The trust bundle, for every client of the members; nothing without TLS. */
export function trustFiles({ name, tls }: Ensemble, paths: { trust: string }): Mounts {
  return tls === "off" ? noMounts : readOnly(paths.trust, { name: "trust", configMap: { name: namesOf(name).trust } });
}

/** The certificates of a server, towards clients and towards other members; nothing without TLS. `items`: default all keys. */
export function certificateFiles(
  { name, tls }: Ensemble,
  paths: { serverTls: string; peerTls?: string },
  items?: string[],
): Mounts {
  if (tls === "off") return noMounts;
  const { serverTls, peerTls } = namesOf(name);
  const server = secretFiles("server-tls", paths.serverTls, serverTls, items);
  return paths.peerTls === undefined
    ? server
    : allMounts(server, secretFiles("peer-tls", paths.peerTls, peerTls, items));
}

/** For a container that needs the certificates and the trust bundle. */
export function tlsFiles(
  ensemble: Ensemble,
  paths: { serverTls: string; peerTls?: string; trust: string },
  items?: string[],
): Mounts {
  return allMounts(certificateFiles(ensemble, paths, items), trustFiles(ensemble, paths));
}

export function adminFiles({ name }: Ensemble, paths: { admin: string }): Mounts {
  return secretFiles("admin", paths.admin, namesOf(name).admin, ["username", "password"]);
}

/** For a command that logs in to the members as the administrator. */
export function adminLogin(ensemble: Ensemble, paths: { admin: string; trust: string }): Mounts {
  return allMounts(adminFiles(ensemble, paths), trustFiles(ensemble, paths));
}
