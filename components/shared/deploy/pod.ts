/**
 * The pod profile of every ensemble: who the processes are, where they run and what they may touch.
 */
import type { batch, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { hasPeerCertificate } from "../core/certificates";
import { agentSelector, labels, namesOf, serverSelector } from "../core/names";
import type { Ensemble } from "./arguments";
import { type AgentBundle, bundleName } from "./bundle";
import { agentImage } from "./images";

/** The user "node" of the agent image, used for the servers too: none of their images needs a user of its own. */
const userId = 1000;

/** Pod Security "restricted"; fsGroup makes volumes, Secrets and tokens readable without root. */
export const podSecurityContext: core.v1.PodSecurityContext = {
  runAsNonRoot: true,
  runAsUser: userId,
  runAsGroup: userId,
  fsGroup: userId,
  // A volume with millions of files is not walked again at every start.
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
};

/** Of every container. */
export const containerProfile = {
  imagePullPolicy: "IfNotPresent",
  // Agents write a sentence. Of a server that ends with an error, `pulumi up` and `kubectl describe pod` show the last words.
  terminationMessagePolicy: "FallbackToLogsOnError",
  securityContext: {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  },
} satisfies Partial<core.v1.Container>;

/** Node.js with a bundle needs about 60 MiB, most of it the program's own pages; the limit leaves room for one large answer. */
export const agentResources: core.v1.ResourceRequirements = {
  requests: { cpu: "10m", memory: "64Mi", "ephemeral-storage": "16Mi" },
  limits: { memory: "192Mi", "ephemeral-storage": "64Mi" },
};

/** Pods with these labels on different hosts. */
export function spreadOverHosts(
  spread: "preferred" | "required",
  matchLabels: Record<string, string>,
): core.v1.PodAntiAffinity {
  const hosts = { topologyKey: "kubernetes.io/hostname", labelSelector: { matchLabels } };
  return spread === "required"
    ? { requiredDuringSchedulingIgnoredDuringExecution: [hosts] }
    : { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: hosts }] };
}

/** Members on different hosts and, if asked for, in different zones. */
export function placement(ensemble: Ensemble): core.v1.PodSpec {
  const { spread, zones, nodeSelector, tolerations } = ensemble.placement;
  const matchLabels = serverSelector(ensemble.service, ensemble.name);
  return {
    containers: [],
    affinity: {
      podAntiAffinity: spreadOverHosts(spread, matchLabels),
    },
    ...(zones
      ? {
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: "topology.kubernetes.io/zone",
              whenUnsatisfiable: spread === "required" ? "DoNotSchedule" : "ScheduleAnyway",
              labelSelector: { matchLabels },
            },
          ],
        }
      : {}),
    ...(Object.keys(nodeSelector).length > 0 ? { nodeSelector } : {}),
    ...(tolerations.length > 0 ? { tolerations } : {}),
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

/**
 * Volumes are removed with the StatefulSet only when asked for. Never because it has become smaller, which may have been by hand: the
 * setup removes those of members that have left.
 */
export function dataRetention(ensemble: Ensemble): { whenDeleted: "Retain" | "Delete"; whenScaled: "Retain" } {
  return { whenDeleted: ensemble.deletion === "keep" ? "Retain" : "Delete", whenScaled: "Retain" };
}

const tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The volumes of `agentContainer`. The token is mounted in agent containers only, never in those of the server. */
export function agentVolumes(program: string, bundle: AgentBundle): core.v1.Volume[] {
  return [
    { name: "agent", configMap: { name: bundleName(program, bundle) } },
    {
      name: "token",
      projected: {
        // Readable for the group only, which is fsGroup.
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

/** The variables POD_NAME and POD_NAMESPACE. */
export const podIdentity: core.v1.EnvVar[] = [
  { name: "POD_NAME", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.name" } } },
  { name: "POD_NAMESPACE", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.namespace" } } },
];

export interface AgentContainer {
  /** Container name. */
  name: string;
  /** The command of the agent, with its arguments. No secrets. */
  command: [string, ...string[]];
  /** What the command must know, as one JSON value in SETTINGS. No secrets. */
  settings: object;
  volumeMounts?: core.v1.VolumeMount[];
  /** Options of Node.js. Default: collect young objects soon, and old ones before the limit of the container is reached. */
  nodeOptions?: string;
  /** Further variables. No secrets. */
  env?: core.v1.EnvVar[];
}

/**
 * A container that runs one command of the service's agent. The bundle is kept compressed in a ConfigMap; Node.js unpacks
 * and evaluates it, so that the root file system can stay read-only and no init step has to copy anything.
 */
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
      // Threads that do nothing but I/O need no memory pools of their own: 16 MiB instead of 23 to 32 (anonymous, at rest).
      { name: "MALLOC_ARENA_MAX", value: "1" },
      ...(container.env ?? []),
    ],
    resources: agentResources,
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
  /** A changed agent replaces the Job, which then runs again. */
  bundle: AgentBundle;
  /** Annotations of the pod template, such as a checksum of what the Job reads: a change runs the Job again. */
  annotations?: Record<string, Input<string>>;
  volumes?: core.v1.Volume[];
  /** After this time the Job has failed, whatever its pods do. */
  deadlineSeconds: number;
  /**
   * How often a failed pod is replaced, default 0: what may pass, the agent waits for by itself, and a refusal fails the Job
   * at once.
   */
  retries?: number;
}

/** A Job that runs one command of the agent to its end. */
export function agentJobSpec(
  ensemble: Ensemble,
  job: AgentJob,
): { template: core.v1.PodTemplateSpec } & {
  backoffLimit: number;
  podFailurePolicy: batch.v1.PodFailurePolicy;
  activeDeadlineSeconds: number;
} {
  return {
    // Not a rule that fails the Job by the exit code: its reason, PodFailurePolicy, is none that the await of
    // pulumi-kubernetes knows, which would go on waiting until its time-out.
    backoffLimit: job.retries ?? 0,
    // A pod that was evicted or lost with its node is replaced.
    podFailurePolicy: {
      rules: [{ action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] }],
    },
    activeDeadlineSeconds: job.deadlineSeconds,
    template: {
      metadata: {
        labels: { ...labels(ensemble.service, ensemble.name), ...agentSelector(ensemble.service, ensemble.name) },
        ...(job.annotations === undefined ? {} : { annotations: job.annotations }),
      },
      spec: {
        restartPolicy: "Never",
        serviceAccountName: job.serviceAccount,
        automountServiceAccountToken: false,
        enableServiceLinks: false,
        securityContext: podSecurityContext,
        ...(Object.keys(ensemble.placement.nodeSelector).length > 0
          ? { nodeSelector: ensemble.placement.nodeSelector }
          : {}),
        ...(ensemble.placement.tolerations.length > 0 ? { tolerations: ensemble.placement.tolerations } : {}),
        containers: [agentContainer(job)],
        volumes: [...agentVolumes(namesOf(ensemble.name).agent, job.bundle), ...(job.volumes ?? [])],
      },
    },
  };
}

/** Without outputs of other resources. */
export interface PlainVolume extends core.v1.Volume {
  secret?: core.v1.SecretVolumeSource;
  configMap?: core.v1.ConfigMapVolumeSource;
}

/** Mounts the keys of a Secret as files. Missing keys and a missing Secret keep the pod waiting, which is what is wanted. */
export function secretVolume(name: string, secretName: string, items?: string[]): PlainVolume {
  return {
    name,
    secret: {
      secretName,
      defaultMode: 0o440,
      ...(items === undefined ? {} : { items: items.map((key) => ({ key, path: key })) }),
    },
  };
}

/** What a command mounts that asks the members as somebody they know. */
export interface LoginMounts {
  volumeMounts: core.v1.VolumeMount[];
  volumes: PlainVolume[];
}

/** The same for a pod that must start before the Secrets and ConfigMaps exist. */
export function whenThere({ volumeMounts, volumes }: LoginMounts): LoginMounts {
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

/** The trust bundle, for whoever talks to the members; nothing without TLS. */
export function trustVolumes(ensemble: Ensemble): PlainVolume[] {
  return ensemble.tls === "off" ? [] : [{ name: "trust", configMap: { name: namesOf(ensemble.name).trust } }];
}

export function trustMounts(ensemble: Ensemble, paths: { trust: string }): core.v1.VolumeMount[] {
  return ensemble.tls === "off" ? [] : [{ name: "trust", mountPath: paths.trust, readOnly: true }];
}

/** For a command that asks the members as the administrator. */
export function adminLogin(ensemble: Ensemble, paths: { admin: string; trust: string }): LoginMounts {
  return {
    volumeMounts: [{ name: "admin", mountPath: paths.admin, readOnly: true }, ...trustMounts(ensemble, paths)],
    volumes: [secretVolume("admin", namesOf(ensemble.name).admin, ["username", "password"]), ...trustVolumes(ensemble)],
  };
}

/** The certificates of a server, towards clients and towards other members; nothing without TLS. */
export function certificateVolumes(ensemble: Ensemble): core.v1.Volume[] {
  if (ensemble.tls === "off") return [];
  const { serverTls, peerTls } = namesOf(ensemble.name);
  const peer = hasPeerCertificate(ensemble.service) ? [secretVolume("peer-tls", peerTls)] : [];
  return [secretVolume("server-tls", serverTls), ...peer];
}

export function certificateMounts(
  ensemble: Ensemble,
  paths: { serverTls: string; peerTls?: string },
): core.v1.VolumeMount[] {
  if (ensemble.tls === "off") return [];
  const peer = paths.peerTls === undefined ? [] : [{ name: "peer-tls", mountPath: paths.peerTls, readOnly: true }];
  return [{ name: "server-tls", mountPath: paths.serverTls, readOnly: true }, ...peer];
}
