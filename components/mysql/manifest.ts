/** From resolved arguments to Kubernetes specs: pure. The configuration of the server is in `configuration.ts`. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { backupPaths } from "../shared/core/backup";
import {
  type AgentBundle,
  adminFiles,
  adminLogin,
  agentContainer,
  agentPorts,
  allMounts,
  type BackupInputs,
  configName,
  containerProfile,
  type Ensemble,
  handOverHook,
  type Mounts,
  memberSettings,
  type Pace,
  readOnly,
  secretFiles,
  serverStatefulSet,
  tlsFiles,
  trustFiles,
} from "../shared/deploy";
import { backupFiles, internalName, paths, ports } from "./layout";

export const pace: Pace = {
  // The hand-over (15 s at most), leaving the group, and writing dirty pages to a slow disk. A server that is killed
  // then recovers.
  terminationGraceSeconds: 120,
  startSeconds: 180,
  // A ready member is in the group. The other members see it too within this time, before the next member stops.
  watchSeconds: 10,
};

/** How long the server may take before it accepts connections: recovery of a large volume after a crash. */
const startSeconds = 4 * 3600;

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>) {
  const data: core.v1.VolumeMount = { name: "data", mountPath: paths.volume };
  const run: core.v1.VolumeMount = { name: "run", mountPath: paths.run };
  const config = readOnly(paths.config, { name: "config", configMap: { name: configName(ensemble) } });
  const admin = adminFiles(ensemble, paths);
  const internal = internalPassword(ensemble);
  const tls = tlsFiles(ensemble, paths);
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [data, run, ...allMounts(admin, internal, config).volumeMounts],
    initContainers: [
      initializeContainer(ensemble, [data, run]),
      agentContainer({ name: "adopt", command: ["adopt"], settings: memberSettings(ensemble), volumeMounts: [data] }),
    ],
    sidecar: { volumeMounts: [{ ...data, readOnly: true }, run, ...allMounts(internal, tls).volumeMounts] },
    containers: [serverContainer(ensemble, [data, run, ...tls.volumeMounts])],
    volumes: [
      // Configuration with passwords: in memory only.
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "4Mi" } },
      ...allMounts(config, admin, internal, tls).volumes,
    ],
  });
}

/** mysqld makes a data directory beside the place of the real one, or validates its options, and ends. */
function initializeContainer(ensemble: Ensemble, volumeMounts: core.v1.VolumeMount[]): core.v1.Container {
  return {
    name: "initialize",
    image: ensemble.image,
    ...containerProfile,
    // Its log may quote a statement with a password, which must not get into the status of the pod.
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
    // Only the process, never the group: a restart cures no lost majority. The agent says whether the member is ready.
    livenessProbe: { ...answers, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
    lifecycle: handOverHook,
    volumeMounts,
  };
}

export function internalPassword({ name }: Ensemble): Mounts {
  return secretFiles("internal", paths.internal, internalName(name), ["password"]);
}

/** What the preflight mounts to log in to the members as their agents do. */
export function login(ensemble: Ensemble): Mounts {
  return allMounts(internalPassword(ensemble), trustFiles(ensemble, paths));
}

/** Of the server that only clones: a new data directory and its logs. */
const cloningBytes = 512 * 2 ** 20;
/** What the server that has the copy writes to it: redo and undo logs, temporary tables. */
const proofBytes = 2 ** 30;

/** All that is cloned is on the volume of a member, which has its logs too. */
export function backupInputs(ensemble: Ensemble, bundle: AgentBundle): BackupInputs {
  const inWork = (...names: string[]): string => [backupPaths.work, ...names].join("/");
  const server = (data: string, ...options: string[]): string[] => [
    "/usr/sbin/mysqld",
    "--no-defaults",
    `--datadir=${data}`,
    ...throwAwayOptions,
    ...options,
  ];
  const own = inWork(backupFiles.server);
  return {
    bundle,
    login: adminLogin(ensemble, paths),
    copy: {
      bytes: ensemble.storage.bytes + cloningBytes,
      servers: [
        { name: "initialize", command: server(own, "--initialize-insecure"), once: true },
        {
          name: "mysqld",
          command: server(own, "--plugin-load-add=mysql_clone.so"),
          // It verifies the certificate of the member that it clones.
          volumeMounts: trustFiles(ensemble, paths).volumeMounts,
        },
      ],
    },
    proof: {
      bytes: ensemble.storage.bytes + proofBytes,
      servers: [
        {
          name: "mysqld",
          command: server(
            inWork(backupPaths.copy, backupFiles.data),
            // The passwords in the copy are those of its time. The option also keeps events, replication and plugins in the data from starting.
            "--skip-grant-tables",
            // A row as text may have twice the size of the largest that a member takes.
            "--max-allowed-packet=1G",
          ),
        },
      ],
    },
  };
}

/** Only its own pod reaches it, through a socket. */
const throwAwayOptions = [
  `--socket=${backupPaths.work}/${backupFiles.socket}`,
  "--skip-networking",
  "--mysqlx=OFF",
  `--tmpdir=${backupPaths.work}`,
  "--secure-file-priv=NULL",
  "--auto-generate-certs=OFF",
  "--disable-log-bin",
  "--skip-replica-start",
  "--performance-schema=OFF",
  "--innodb-use-native-aio=OFF",
  // A clone must have those of its source.
  "--character-set-server=utf8mb4",
  "--collation-server=utf8mb4_bin",
];

export const policyPorts = {
  client: ports.client,
  peer: [],
  metrics: [ports.metrics],
  gateway: true,
  internal: [agentPorts.gateway, agentPorts.http],
};
