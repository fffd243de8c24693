/** The configuration files that only the agent can write, since they hold passwords or the memory of a Sentinel: pure. */
import { createHash } from "node:crypto";
import type { TlsMode } from "../shared/core/check";
import { memberHost, memberNames, mostMembers } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { downAfterSeconds, type InternalUser, neededReplicas, parking, paths, ports } from "./layout";

/** `member`: the name of the pod. */
export type Member = Pick<EnsembleSettings, "name" | "members" | "tls"> & { namespace: string; member: string };

export type InternalPasswords = Record<InternalUser, string>;

/**
 * What one server has for itself. The server cannot write the file (CONFIG REWRITE is refused), so each start begins as
 * a replica of nobody that may not be elected.
 */
export function memberConfig({ name, namespace, member }: Member, passwords: InternalPasswords): string {
  return [
    `include ${paths.config}/${paths.configFile}`,
    `replica-announce-ip ${memberHost(name, namespace, member)}`,
    `replica-announce-port ${ports.client}`,
    "masteruser replication",
    `masterauth ${passwords.replication}`,
    `replicaof ${parking.host} ${parking.port}`,
    "replica-priority 0",
  ].join("\n");
}

/** How a Sentinel watches a master: in its file, and in the command that tells it of one. */
export function watchSettings(password: string): [string, string][] {
  return [
    ["down-after-milliseconds", String(downAfterSeconds * 1000)],
    // A failover that came to nothing is tried again after twice this time; replicas that follow the wrong one are corrected
    // after it. It limits no copy.
    ["failover-timeout", "10000"],
    // With five members a new master takes no write before two replicas follow it, so Sentinel tells two at a time. The others keep
    // what they have: a replica that takes a whole copy cannot be elected.
    ["parallel-syncs", String(neededReplicas(mostMembers))],
    // A master that reads its files answers; longer than this, a replica that has everything in memory is quicker.
    ["master-reboot-down-after-period", "10000"],
    ["auth-user", "sentinel"],
    ["auth-pass", password],
  ];
}

/** The same when the volume is lost: Sentinels would count a new id as another voter, and miss the old one for ever. */
export function sentinelId({ name, namespace, member }: Member): string {
  return createHash("sha1").update(`${namespace}/${name}/${member}`).digest("hex");
}

/**
 * What a Sentinel has learnt and whom it has voted for; everything else in its file is configuration. Not the replicas:
 * with names that it cannot resolve, Sentinel takes all addresses for the same, writes the master's name for each of
 * its replicas, and never starts again with that ("Duplicate hostname and port for replica", seen with 8.0.6).
 */
const memory = /^sentinel (current-epoch|monitor|config-epoch|leader-epoch|known-sentinel) /;

export function sentinelConfig(self: Member, passwords: InternalPasswords, users: string[], former: string): string {
  const { name, namespace, member, tls } = self;
  const kept = former.split("\n").filter((line) => memory.test(line));
  const monitor = kept.find((line) => line.startsWith("sentinel monitor "));
  return [
    ...listen(tls, ports.sentinel, paths.peerTls),
    "protected-mode no",
    "daemonize no",
    `dir ${paths.sentinelData}`,
    "loglevel notice",
    "user default off",
    ...users,
    `sentinel myid ${sentinelId(self)}`,
    "sentinel resolve-hostnames yes",
    "sentinel announce-hostnames yes",
    `sentinel announce-ip ${memberHost(name, namespace, member)}`,
    `sentinel announce-port ${ports.sentinel}`,
    "sentinel sentinel-user sentinel",
    `sentinel sentinel-pass ${passwords.sentinel}`,
    "sentinel deny-scripts-reconfig yes",
    ...(monitor === undefined
      ? []
      : [
          monitor,
          ...watchSettings(passwords.sentinel).map(([key, value]) => `sentinel ${key} ${name} ${value}`),
          ...replicasOf(self, monitor),
        ]),
    ...kept.filter((line) => line !== monitor),
  ].join("\n");
}

function replicasOf({ name, namespace, members }: Member, monitor: string): string[] {
  const hosts = memberNames(name, members).map((member) => memberHost(name, namespace, member));
  return hosts
    .filter((host) => !monitor.includes(` ${host} `))
    .map((host) => `sentinel known-replica ${name} ${host} ${ports.client}`);
}

/** `folder`: of the certificate. With TLS also towards the members, whoever connects. */
export function listen(tls: TlsMode, port: number, folder: string): string[] {
  if (tls === "off") return [`port ${port}`];
  return [
    "port 0",
    `tls-port ${port}`,
    "tls-replication yes",
    `tls-cert-file ${folder}/tls.crt`,
    `tls-key-file ${folder}/tls.key`,
    `tls-ca-cert-file ${paths.trust}/ca.crt`,
    "# Clients prove themselves by password.",
    "tls-auth-clients no",
  ];
}
