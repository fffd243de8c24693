/** From resolved arguments to Kubernetes specs and the configuration files of Redis: pure. */
import { createHash } from "node:crypto";
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import type { Credentials, Users } from "../shared/core/users";
import {
  agentPorts,
  allMounts,
  configName,
  containerPorts,
  containerProfile,
  type Ensemble,
  handOverHook,
  logSpace,
  memoryLimit,
  type Pace,
  readOnly,
  secretFiles,
  serverStatefulSet,
  tlsFiles,
} from "../shared/deploy";
import type { Durability, Eviction } from "./arguments";
import { listen } from "./configuration";
import {
  dataShare,
  type InternalUser,
  internalName,
  markDatabase,
  markKey,
  neededReplicas,
  paths,
  ports,
  replicaBufferShare,
  replicaLagSeconds,
  sentinelChannel,
  usersName,
} from "./layout";

/** Sentinel holds a few names: 18 MiB with TLS, measured with 8.0.6. */
const sentinelResources = {
  requests: { cpu: "10m", memory: "32Mi", "ephemeral-storage": "16Mi" },
  limits: { memory: "64Mi", "ephemeral-storage": logSpace },
};

export function maximumMemory(ensemble: Ensemble): number {
  return Math.floor(memoryLimit(ensemble) * dataShare);
}

/** The configuration that all members have in common; no secrets. */
export function serverConfig(ensemble: Ensemble, durability: Durability, eviction: Eviction): string {
  return [
    ...listen(ensemble.tls, ports.client, paths.serverTls),
    ...(ensemble.tls === "off" ? [] : ['tls-protocols "TLSv1.2 TLSv1.3"']),
    "# Users with passwords are in the ACL file; the network policy decides who gets this far.",
    "protected-mode no",
    `aclfile ${paths.users}/${paths.usersFile}`,
    "daemonize no",
    `dir ${paths.serverData}`,
    "# The last one belongs to the agents.",
    `databases ${markDatabase + 1}`,
    "tcp-keepalive 60",
    "",
    "# Each write goes into a file that begins with a snapshot; snapshots beside it would only cost a second copy.",
    "appendonly yes",
    durability === "fsync"
      ? "# On disk before it is acknowledged."
      : "# A power failure of a host loses what it has written in the last second, two when its disk is slow.",
    `appendfsync ${durability === "fsync" ? "always" : "everysec"}`,
    "# A replica whose volume is full ends otherwise, and with both of them gone a master with space takes no write either. With",
    "# this the replica keeps what it could not write, and writes it when there is space. With `appendfsync always` it ends all the same.",
    "replica-ignore-disk-write-errors yes",
    "aof-use-rdb-preamble yes",
    'save ""',
    "# A half-written end, after a power failure, is cut off.",
    "aof-load-truncated yes",
    "",
    `maxmemory ${maximumMemory(ensemble)}`,
    "# No second limit: a replica that gets a whole copy needs all of it for as long as that takes.",
    `client-output-buffer-limit replica ${Math.floor(memoryLimit(ensemble) * replicaBufferShare)} 0 0`,
    `maxmemory-policy ${eviction === "none" ? "noeviction" : eviction}`,
    "",
    "# Without a majority behind it a master takes no writes: they would be lost when the others elect another one.",
    `min-replicas-to-write ${neededReplicas(ensemble.members)}`,
    `min-replicas-max-lag ${replicaLagSeconds}`,
    "# The default waits 5 s for more replicas that want a copy, in which a restarted member is not one.",
    "repl-diskless-sync yes",
    "repl-diskless-sync-delay 0",
    "# What a replica has is given up only when the whole copy has arrived.",
    "repl-diskless-load disabled",
    "# A replica that connects to the address of a pod that is gone hears nothing, and the name has a new address by then. The",
    "# default, 60 s, would refuse writes for as long, since a master without replicas takes none.",
    "repl-timeout 10",
    "repl-ping-replica-period 3",
    "# An interruption of this many bytes costs no whole copy.",
    "repl-backlog-size 16mb",
    "# A master that is told to stop waits for its replicas.",
    "shutdown-timeout 10",
    "",
  ].join("\n");
}

/** Passwords as digests: they are long and random. A line for each user, as the agent gives it to a running server. */
export function usersConfig({ admin, internal, applications }: Users & { internal: Credentials[][] }): string {
  const user = (logins: Credentials[], rules: string): string => {
    const digests = logins.map(({ password }) => `#${createHash("sha256").update(password).digest("hex")}`);
    return `user ${logins[0]?.username ?? ""} on ${digests.join(" ")} ${rules}`;
  };
  return [
    "user default off",
    user(admin, "~* &* +@all"),
    ...internal.map((logins) => user(logins, internalRules[logins[0]?.username as InternalUser])),
    ...Object.values(applications).map((logins) => user(logins, applicationRules)),
    "",
  ].join("\n");
}

const internalRules: Record<InternalUser, string> = {
  agent:
    `~${markKey} +ping +select +info +get +set +replicaof +config|set +client|setname +client|pause +client|unpause ` +
    "+acl|setuser +acl|deluser +acl|users +bgrewriteaof",
  replication: "+psync +replconf +ping",
  // As documented for Sentinel: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
  sentinel:
    "allchannels +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill",
};

/** Glob patterns that match every text but `word` and the empty one: ACLs know no exceptions. `word` has no special characters. */
export function allBut(word: string): string[] {
  const differs = [...word].flatMap((character, length) => {
    const start = word.slice(0, length);
    return [start, `${start}[^${character}]*`];
  });
  return [...differs, `${word}?*`].filter((pattern) => pattern !== "");
}

/**
 * All data in the databases of clients, and all channels. KEYS, INFO and SORT count as dangerous because they can be
 * slow, and are allowed, as is ROLE. PUBLISH on the channel of the Sentinels could make them follow any server. COPY
 * and MOVE reach the database of the mark without SELECT: COPY may not use its key, and MOVE, which would lose a key
 * there, is refused.
 */
const applicationRules = [
  "~* &* +@all -@admin -@dangerous +keys +info +sort +sort_ro +role",
  `-select ${Array.from({ length: markDatabase }, (_, database) => `+select|${database}`).join(" ")}`,
  `-move -copy (+copy ${wordsOf("~", allBut(markKey))})`,
  `-publish (+publish ~* ${wordsOf("&", allBut(sentinelChannel))})`,
].join(" ");

function wordsOf(sign: string, patterns: string[]): string {
  return patterns.map((pattern) => `${sign}${pattern}`).join(" ");
}

export const pace: Pace = {
  // The hand-over takes 20 s, the last writes to the replicas 10 s. The rest is for writing the file to the disk.
  terminationGraceSeconds: 60,
  // The server reads its files, then gets a whole copy from the master.
  startSeconds: 180,
  // Longer than a Sentinel relies on the last answer of a replica.
  watchSeconds: 15,
};

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>) {
  const data: core.v1.VolumeMount = { name: "data", mountPath: paths.data };
  const run: core.v1.VolumeMount = { name: "run", mountPath: paths.run };
  const config = readOnly(paths.config, { name: "config", configMap: { name: configName(ensemble) } });
  const users = secretFiles("users", paths.users, usersName(ensemble.name), [paths.usersFile]);
  const internal = secretFiles("internal", paths.internal, internalName(ensemble.name));
  const passwords = allMounts(users, internal).volumeMounts;
  const tls = tlsFiles(ensemble, paths);
  // Read-only, so that the server cannot save what Sentinel tells it, and never starts with that.
  const files = [data, ...config.volumeMounts, { ...run, readOnly: true }, ...allMounts(users, tls).volumeMounts];
  const server = redisServer(ensemble, "client", files);
  const sentinel = redisServer(ensemble, "sentinel", [data, ...tls.volumeMounts]);
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [data, run, ...passwords],
    sidecar: { volumeMounts: [{ ...data, readOnly: true }, run, ...passwords, ...tls.volumeMounts] },
    containers: [
      { name: "redis", command: ["redis-server", paths.memberConfig], resources: ensemble.resources, ...server },
      {
        name: "sentinel",
        command: ["redis-sentinel", paths.sentinelConfig],
        resources: sentinelResources,
        ...sentinel,
      },
    ],
    volumes: [
      ...config.volumes,
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      ...allMounts(users, internal, tls).volumes,
    ],
  });
}

/** What the containers of server and Sentinel have in common. */
function redisServer(ensemble: Ensemble, port: keyof typeof ports, volumeMounts: core.v1.VolumeMount[]) {
  return {
    image: ensemble.image,
    ...containerProfile,
    // It prints the line of its configuration that it refuses, which may hold a password: no log in the pod's status.
    terminationMessagePolicy: "File",
    ports: containerPorts({ [port]: ports[port] }),
    livenessProbe: answers(ensemble, ports[port]),
    // The vote of a Sentinel is needed until the master in the same pod has handed over.
    lifecycle: handOverHook,
    volumeMounts,
  };
}

/**
 * Any answer counts, also a refusal, as without a password or while the server reads its files. A connection is no
 * answer: the kernel accepts it. The certificate is not verified: a restart does not renew it.
 */
function answers(ensemble: Ensemble, port: number): core.v1.Probe {
  const tls = ensemble.tls === "off" ? [] : ["--tls", "--insecure"];
  return {
    exec: { command: ["redis-cli", "-h", "127.0.0.1", "-p", String(port), ...tls, "ping"] },
    periodSeconds: 20,
    timeoutSeconds: 10,
    // Each probe starts a process, which takes long on a busy node. Sentinel replaces a master that hangs.
    failureThreshold: 6,
  };
}

/** The gateway and the members read the ports of the agents. */
export const policyPorts = {
  client: ports.client,
  peer: [ports.sentinel],
  internal: [agentPorts.gateway, agentPorts.http],
  metrics: [agentPorts.http],
  gateway: true,
};
