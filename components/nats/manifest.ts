/** From resolved arguments to Kubernetes specs and the configuration files of NATS: pure. */
import type { apps, core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { backupPaths } from "../shared/core/backup";
import type { Credentials, Users } from "../shared/core/users";
import {
  type AgentBundle,
  agentDeployment,
  allMounts,
  type BackupInputs,
  configName,
  containerPorts,
  containerProfile,
  digest,
  type Ensemble,
  goMemoryLimit,
  type Mounts,
  memberHost,
  memberNames,
  memoryLimit,
  namesOf,
  type Pace,
  parseQuantity,
  secretFiles,
  serverStatefulSet,
  settingsOf,
  setupJob,
  setupUsers,
  tlsFiles,
  trustFiles,
} from "../shared/deploy";
import type { NatsEnsemble } from "./arguments";
import {
  inAccount,
  paths,
  ports,
  proofFiles,
  reconcilerInbox,
  reconcilerName,
  systemAccount,
  usersTag,
  wantedReplicas,
} from "./layout";
import { clusterName } from "./member";

/** 80 % of the volume, because NATS does not count raft logs, snapshots and deleted messages. A full volume switches JetStream off. */
export function fileStoreBytes(ensemble: Ensemble): number {
  return Math.floor(ensemble.storage.bytes * 0.8);
}

/** A hand-over takes a second. Then the server tells its clients to leave, and after 10 s closes their connections over 20 s. */
const lameDuck = { graceSeconds: 10, durationSeconds: 30 };

export const pace: Pace = {
  // The hand-over, and 30 s for the last writes to reach the disk.
  terminationGraceSeconds: lameDuck.durationSeconds + 30,
  startSeconds: 180,
  // Readiness covers the meta group only. The streams of a restarted member catch up in this time, before the next one stops.
  watchSeconds: 15,
};

/** The configuration that all members have in common; no secrets. */
export function serverConfig(ensemble: NatsEnsemble, namespace: string): string {
  const { name, tls, durability, maxPayload } = ensemble;
  const routes = memberNames(name, ensemble.members).map(
    (member) => `    "nats://${memberHost(name, namespace, member)}:${ports.peer}"`,
  );
  return [
    "# The name of the pod: a member keeps its identity with its volume.",
    "server_name: $POD_NAME",
    `port: ${ports.client}`,
    `max_payload: ${parseQuantity(maxPayload)}`,
    "# For probes and metrics; without passwords, so only the network policy protects it.",
    `http_port: ${ports.metrics}`,
    `pid_file: "${paths.pid}"`,
    "",
    "# 30 s is the least that the server accepts.",
    `lame_duck_duration: "${lameDuck.durationSeconds}s"`,
    `lame_duck_grace_period: "${lameDuck.graceSeconds}s"`,
    "",
    ...(tls === "off" ? [] : clientTls(tls)),
    "jetstream {",
    `  store_dir: "${paths.data}"`,
    `  max_file_store: ${fileStoreBytes(ensemble)}`,
    // Without this line memory streams could take three quarters of the server's memory.
    `  max_memory_store: ${Math.floor(memoryLimit(ensemble) / 4)}`,
    ...(durability === "fsync"
      ? [
          "  # On disk before it is acknowledged: acknowledged messages survive the power failure of all members.",
          "  sync_interval: always",
        ]
      : [
          "  # The server's default: a power failure of a majority loses what was acknowledged in the last two minutes.",
        ]),
    "}",
    "",
    "cluster {",
    `  name: "${clusterName(name, namespace)}"`,
    `  port: ${ports.peer}`,
    "  # Clients know one name for life, not the addresses of pods.",
    "  no_advertise: true",
    "  routes: [",
    ...routes,
    "  ]",
    ...(tls === "off" ? [] : peerTls()),
    "}",
    "",
    `include "${paths.usersFile}"`,
    "",
  ].join("\n");
}

function clientTls(tls: "required" | "optional"): string[] {
  return [
    "tls {",
    `  cert_file: "${paths.serverTls}/tls.crt"`,
    `  key_file: "${paths.serverTls}/tls.key"`,
    "  # Seconds: handshakes queue up when all clients of a stopped member come at once; the default is 2.",
    "  timeout: 10",
    "}",
    ...(tls === "optional"
      ? ["# TLS and plain text on the same port, as the client prefers.", "allow_non_tls: true"]
      : []),
    "",
  ];
}

function peerTls(): string[] {
  return [
    "  tls {",
    `    cert_file: "${paths.peerTls}/tls.crt"`,
    `    key_file: "${paths.peerTls}/tls.key"`,
    `    ca_file: "${paths.trust}/ca.crt"`,
    "    # An issuer outside may sign for others too: a peer must show a certificate for one of the routes above.",
    "    verify_cert_and_check_known_urls: true",
    "    timeout: 10",
    "  }",
  ];
}

/**
 * One account for each application, with its own streams and subjects. Passwords are in plain text, as in the Secrets of the
 * applications. They are random, and bcrypt, which protects weak passwords, would cost 100 ms of CPU for each of the connections that
 * come back at once when a member stops. Servers show the checksum on their monitoring port, so the setup knows which file they have read.
 */
export function usersConfig({ admin, reconciler, applications }: Users & { reconciler: Credentials[] }): string {
  const accounts = Object.entries(applications).map(([application, logins]) =>
    [
      `  "${application}" {`,
      "    jetstream: enabled",
      "    users: [",
      ...logins.map(userOf),
      ...reconciler.flatMap((login) => reconcilerUser(application, login, streamRequests, streamAdvisories)),
      "    ]",
      "  }",
    ].join("\n"),
  );
  const users = [
    "accounts {",
    `  ${systemAccount} {`,
    "    users: [",
    ...admin.map(userOf),
    ...reconciler.flatMap((login) => reconcilerUser(systemAccount, login, ["$SYS.REQ.SERVER.*.RELOAD"], [])),
    "    ]",
    "  }",
    ...accounts,
    "}",
    `system_account: ${systemAccount}`,
    "",
  ].join("\n");
  return `${users}server_tags: ["${usersTag}${digest(users)}"]\n`;
}

/** What the reconciler may send, and listen to, in the account of an application. */
const streamRequests = ["$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.UPDATE.*"];
const streamAdvisories = ["$JS.EVENT.ADVISORY.STREAM.>"];

function userOf({ username, password }: Credentials): string {
  return `      { user: "${username}", password: "${password}" }`;
}

function reconcilerUser(account: string, login: Credentials, publish: string[], subscribe: string[]): string[] {
  return [
    "      {",
    `        user: "${inAccount(login.username, account)}", password: "${login.password}"`,
    "        permissions {",
    `          publish: ${subjects(publish)}`,
    `          subscribe: ${subjects([`${reconcilerInbox}.>`, ...subscribe])}`,
    "        }",
    "      }",
  ];
}

function subjects(list: string[]): string {
  return `[${list.map((each) => JSON.stringify(each)).join(", ")}]`;
}

export function statefulSet(ensemble: Ensemble, configChecksum: Input<string>) {
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [{ name: "data", mountPath: paths.data }],
    containers: [serverContainer(ensemble)],
    volumes: [
      {
        name: "config",
        projected: {
          defaultMode: 0o440,
          sources: [{ configMap: { name: configName(ensemble) } }, { secret: { name: usersName(ensemble.name) } }],
        },
      },
      { name: "run", emptyDir: { medium: "Memory", sizeLimit: "1Mi" } },
      ...tlsFiles(ensemble, paths).volumes,
    ],
  });
}

/** The ports of a server, by the names that they have in its container and in Services. */
export const serverPorts = { client: ports.client, peer: ports.peer, monitor: ports.metrics };

function serverContainer(ensemble: Ensemble): core.v1.Container {
  const probe = (scope: string) => ({ httpGet: { path: `/healthz?${scope}=true`, port: "monitor", scheme: "HTTP" } });
  return {
    name: "nats",
    image: ensemble.image,
    ...containerProfile,
    command: ["/nats-server", "-c", `${paths.config}/${paths.configFile}`],
    ports: containerPorts(serverPorts),
    env: [
      { name: "POD_NAME", valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "metadata.name" } } },
      goMemoryLimit(ensemble, 0.8),
    ],
    resources: ensemble.resources,
    // The server accepts connections when it has recovered its volume, for which it has 15 minutes. The probe does not ask for a
    // leader: members that wait for a majority must not be restarted again and again.
    startupProbe: { ...probe("js-server-only"), periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 180 },
    // A volume without space switches JetStream off, which only a restart switches on again: also while there is no space, so that
    // messages can be read and purged. Neither the meta group nor streams count: a restart cures no lost majority. Without JetStream
    // there is nothing to hand over.
    livenessProbe: {
      ...probe("js-enabled-only"),
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 6,
      terminationGracePeriodSeconds: 10,
    },
    // The member is in the meta group and current with its leader. Streams do not count: one broken stream would stop every roll.
    readinessProbe: { ...probe("js-meta-only"), periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 },
    // Lame duck mode: the server hands over its leaders, asks clients to leave, ignores the SIGTERM that follows, and
    // ends by itself. The image has no shell: the program signals the process in its pid file.
    lifecycle: { preStop: { exec: { command: ["/nats-server", `-sl=ldm=${paths.pid}`] } } },
    volumeMounts: [
      { name: "data", mountPath: paths.data },
      { name: "config", mountPath: paths.config, readOnly: true },
      { name: "run", mountPath: paths.run },
      ...tlsFiles(ensemble, paths).volumeMounts,
    ],
  };
}

/** What the preflight mounts to log in. It mounts all users: servers may know only the former password of the administrator. */
export function login(ensemble: Ensemble): Mounts {
  const users = secretFiles("users", setupUsers.directory, namesOf(ensemble.name).setup, [setupUsers.file]);
  return allMounts(users, trustFiles(ensemble, paths));
}

/** Mounts the users too, which the setup compares with those that the servers have read. */
export function natsSetupJob(ensemble: Ensemble, credentialsChecksum: Input<string>) {
  return setupJob(ensemble, {
    credentialsChecksum,
    paths,
    mounts: secretFiles("accounts", paths.config, usersName(ensemble.name), [paths.usersFile]),
  });
}

/** Secret with the users of all accounts, as a file of the server's configuration. */
export function usersName(name: string): string {
  return `${name}-users`;
}

/** Without it new streams stay as they were created. `credentialsChecksum`: of its passwords, which it reads when it starts. */
export function reconcilerDeployment(ensemble: Ensemble, credentialsChecksum: Input<string>): apps.v1.Deployment {
  const name = reconcilerName(ensemble.name);
  return agentDeployment(ensemble, {
    name,
    role: "reconciler",
    annotations: { "cells-services/credentials": credentialsChecksum },
    command: ["reconcile"],
    settings: settingsOf(ensemble),
    // The certificates that servers should show, without the keys.
    mounts: allMounts(
      secretFiles("reconciler", paths.reconciler, name, ["username", "password"]),
      tlsFiles(ensemble, paths, ["tls.crt"]),
    ),
    // The list of some thousand streams fits into this heap.
    nodeOptions: "--max-old-space-size=64 --max-semi-space-size=1",
  });
}

/** Memory streams, and what a stream needs beside its messages. */
const proofMargin = 2 ** 30;

/** The users are those of the setup: the administrator has no right to streams. */
export function backupInputs(ensemble: Ensemble, bundle: AgentBundle): BackupInputs {
  const most = (fileStoreBytes(ensemble) * ensemble.members) / wantedReplicas(ensemble.members);
  return {
    bundle,
    login: login(ensemble),
    proof: {
      // The copy, and one of its streams, which may be nearly all of it.
      bytes: 2 * most + proofMargin,
      servers: [
        {
          name: "nats",
          command: ["/nats-server", "-c", `${backupPaths.work}/${proofFiles.config}`],
          env: [goMemoryLimit(ensemble, 0.8)],
        },
      ],
    },
  };
}
