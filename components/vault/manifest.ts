/** From resolved arguments to Kubernetes specs and the configuration file of Vault: pure. */
import type { core, networking } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { backupPaths } from "../shared/core/backup";
import { majority } from "../shared/core/names";
import {
  type AgentBundle,
  type AgentJob,
  agentJobSpec,
  agentPorts,
  allMounts,
  allow,
  apiServerPorts,
  applicationSecretName,
  type BackupInputs,
  certificateFiles,
  configName,
  containerPorts,
  containerProfile,
  cronJob,
  digest,
  type Ensemble,
  goMemoryLimit,
  instanceLabels,
  type Mounts,
  memberSettings,
  metadata,
  namesOf,
  noMounts,
  type Pace,
  podIdentity,
  podIdentityEgress,
  portOf,
  type Rule,
  readOnly,
  secretFiles,
  serverStatefulSet,
  serviceHost,
  settingsOf,
  setupDeadlineSeconds,
  tcp,
  tlsFiles,
  trustFiles,
} from "../shared/deploy";
import type { VaultEnsemble } from "./arguments";
import {
  formerKeysName,
  keysName,
  paths,
  ports,
  proofFiles,
  rootName,
  type SealSettings,
  type SetupSettings,
  scheme,
  sealName,
  tokensName,
  type VaultSettings,
} from "./layout";

/** The configuration that all members have in common, in Vault's file format (JSON is one of them). No secrets. */
export function serverConfig({ tls, seal }: VaultEnsemble): Record<string, unknown> {
  const secured =
    tls === "off"
      ? { tls_disable: true }
      : {
          tls_cert_file: `${paths.serverTls}/tls.crt`,
          tls_key_file: `${paths.serverTls}/tls.key`,
          tls_min_version: "tls12",
        };
  const listener = (port: number, cluster: string, more: object = {}) => ({
    // Without a host: Vault takes 0.0.0.0 for IPv4 alone, and a kernel without IPv6 refuses [::] as address of the cluster.
    tcp: { address: `:${port}`, cluster_address: cluster, ...secured, ...more },
  });
  return {
    storage: {
      raft: {
        path: paths.data,
        // With Vault's default of 5 a member notices the loss of its leader after 5 to 10 seconds.
        performance_multiplier: "1",
      },
    },
    listener: [
      listener(ports.client, `:${ports.peer}`),
      // Metrics name mounts and policies. This port asks for no token, so the network policy says who reads them.
      listener(ports.metrics, `127.0.0.1:${ports.metricsCluster}`, {
        telemetry: { unauthenticated_metrics_access: true },
      }),
    ],
    seal:
      seal.type === "awskms"
        ? { awskms: { region: seal.region, kms_key_id: seal.keyId, endpoint: seal.endpoint } }
        : undefined,
    // Locking memory needs a capability that Pod Security "restricted" does not grant, and would keep the whole mapped
    // database in memory. Nodes of Kubernetes have no swap, or an encrypted one.
    disable_mlock: true,
    telemetry: { disable_hostname: true },
    ui: false,
    log_level: "info",
  };
}

/** The mounts that the policy of an application names, each as the first part of a path. */
export function mountsOf({ policies }: VaultEnsemble, application: string): string {
  return [...new Set(policies[application]?.map(({ path }) => path.split("/")[0]))].join(",");
}

function vaultSettings(ensemble: VaultEnsemble): VaultSettings {
  return { ...memberSettings(ensemble), seal: sealSettings(ensemble.seal) };
}

function setupSettings(ensemble: VaultEnsemble): SetupSettings {
  const { seal, mounts, policies, audit, tokens, passwords, applicationNamespaces } = ensemble;
  const own = { seal: sealSettings(seal), mounts, policies, audit, tokenPeriodDays: tokens.periodDays, passwords };
  const elsewhere = Object.keys(applicationNamespaces).length === 0 ? {} : { applicationNamespaces };
  const restores = ensemble.backups?.restoreFrom === undefined ? {} : { restores: true as const };
  return { ...settingsOf(ensemble), ...own, ...elsewhere, ...restores };
}

export const pace: Pace = {
  // The server seals itself, hands over and closes its files; most of the time is for a full disk queue.
  terminationGraceSeconds: 60,
  // The server replays its log.
  startSeconds: 120,
  // A member that lost its volume gets a vote when it was healthy for 10 s. Vault looks every few seconds.
  watchSeconds: 15,
};

/** What agents must know of the seal, without how the server logs in to AWS. */
function sealSettings(seal: VaultEnsemble["seal"]): SealSettings {
  if (seal.type === "shamir") return seal;
  const { type, region, keyId, endpoint, recovery: given } = seal;
  const recovery =
    given === "none" ? given : { ...given, threshold: given.threshold ?? majority(given.pgpKeys.length) };
  return { type, region, keyId, endpoint, recovery };
}

export function statefulSet(ensemble: VaultEnsemble, configChecksum: Input<string>) {
  const data = { name: "data", mountPath: paths.volume };
  const shares = keyShares(ensemble);
  // Without a certificate for members: Vault makes those of the cluster port itself.
  const tls = tlsFiles(ensemble, paths);
  return serverStatefulSet(ensemble, {
    pace,
    configChecksum,
    memberMounts: [data],
    sidecar: {
      settings: vaultSettings(ensemble),
      volumeMounts: [data, ...allMounts(shares, tls).volumeMounts],
    },
    containers: [serverContainer(ensemble)],
    volumes: [
      { name: "config", configMap: { name: configName(ensemble) } },
      { name: "tmp", emptyDir: { sizeLimit: "64Mi" } },
      ...allMounts(shares, awsAccess(ensemble.seal), tls).volumes,
    ],
    // The agent signals the server: to read new certificates, and to begin again without data. Both run as the same user.
    pod: { shareProcessNamespace: true },
  });
}

/** Optional: the Secret is missing before the initialisation. Later a pod without it still starts, and its agent says so. */
function keyShares({ name, seal }: VaultEnsemble): Mounts {
  return seal.type === "shamir" ? optionalSecret("unseal", keysName(name, seal.type), paths.unseal) : noMounts;
}

function optionalSecret(name: string, secretName: string, mountPath: string): Mounts {
  return readOnly(mountPath, { name, secret: { secretName, optional: true, defaultMode: 0o440 } });
}

/** Mounts the credentials as a file, because the environment of a process ends up in dumps and child processes. */
function awsAccess(seal: VaultEnsemble["seal"]): Mounts & { env: core.v1.EnvVar[] } {
  const secret = seal.type === "awskms" ? seal.credentialsSecret : undefined;
  if (secret === undefined) return { ...noMounts, env: [] };
  return {
    ...secretFiles("aws", paths.aws, secret, ["credentials"]),
    env: [{ name: "AWS_SHARED_CREDENTIALS_FILE", value: `${paths.aws}/credentials` }],
  };
}

/** For a checksum in the template, so that a change replaces the members: EKS adds this login to pods, and the template does not show it. */
export function injectedLogin({ seal }: VaultEnsemble): string[] {
  return seal.type === "awskms" && seal.podIdentity ? ["podIdentity"] : [];
}

/** Of the container, and of the headless Service. */
/** The server's own metrics, for a PodMonitor. It asks by address, and the certificate has names. */
export function telemetryEndpoint({ name, tls }: Ensemble, namespace: string) {
  const ca = { configMap: { name: namesOf(name).trust, key: "ca.crt" } };
  return {
    port: "telemetry",
    path: "/v1/sys/metrics",
    params: { format: ["prometheus"] },
    ...(tls === "off" ? {} : { scheme: "https", tlsConfig: { ca, serverName: serviceHost(name, namespace) } }),
  };
}

export const serverPorts = { client: ports.client, peer: ports.peer, telemetry: ports.metrics };

function serverContainer(ensemble: VaultEnsemble): core.v1.Container {
  const own = `$(POD_NAME).${namesOf(ensemble.name).peers}.$(POD_NAMESPACE).svc`;
  const protocol = scheme(ensemble.tls);
  const aws = awsAccess(ensemble.seal);
  const probe = (query: string) => ({
    httpGet: { path: `/v1/sys/health?${query}`, port: "client", scheme: protocol.toUpperCase() },
  });
  // Every state that a server can stay in counts as alive: only a server that does not answer is restarted.
  const alive = probe("standbyok=true&sealedcode=200&uninitcode=200&removedcode=200&haunhealthycode=200");
  return {
    name: "vault",
    image: ensemble.image,
    ...containerProfile,
    command: ["/bin/vault", "server", `-config=${paths.configFile}`],
    ports: containerPorts(serverPorts),
    env: [
      ...podIdentity,
      // Names, never addresses: the raft configuration keeps what is set here, and addresses change with every restart.
      { name: "VAULT_API_ADDR", value: `${protocol}://${own}:${ports.client}` },
      { name: "VAULT_CLUSTER_ADDR", value: `https://${own}:${ports.peer}` },
      goMemoryLimit(ensemble, 0.9),
      ...aws.env,
    ],
    resources: ensemble.resources,
    // The server answers within seconds in any state. Allows five minutes for a machine under load.
    startupProbe: { ...alive, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 150 },
    livenessProbe: { ...alive, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 12 },
    // 200: active, or standby that has an answer of the active one; 501 not initialised, 503 sealed, 474 standby alone,
    // 530 removed. The agent's own probe is stricter at the start: a standby must have had its first answer.
    readinessProbe: { ...probe("standbyok=true"), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2 },
    // The address leaves the Service before the server stops. No shell needed. On SIGTERM the active member hands over.
    lifecycle: { preStop: { sleep: { seconds: 2 } } },
    volumeMounts: [
      { name: "data", mountPath: paths.volume },
      { name: "config", mountPath: paths.config, readOnly: true },
      { name: "tmp", mountPath: "/tmp" },
      ...aws.volumeMounts,
      ...certificateFiles(ensemble, paths).volumeMounts,
    ],
  };
}

/** `image`: the resolved image of the ensemble. */
export function sealJob(ensemble: VaultEnsemble, image: string) {
  return agentJobSpec(ensemble, {
    name: "seal",
    command: ["seal"],
    settings: vaultSettings(ensemble),
    // The service account of the members: AWS gives a role to a service account.
    serviceAccount: namesOf(ensemble.name).server,
    // Changes before each roll, so the Job runs again: a member that restarts must be able to open its data.
    annotations: {
      "cells-services/members": digest(
        JSON.stringify([image, ensemble.resources, serverConfig(ensemble), ...injectedLogin(ensemble)]),
      ),
    },
    deadlineSeconds: 180,
    // A second attempt helps while the network is coming up, though not with a wrong key.
    retries: 1,
    ...awsAccess(ensemble.seal),
  });
}

/**
 * The throw-away server of a proof has the seal of the ensemble, and the login to AWS. It opens the data of the copy with them, and in
 * a restore with the key shares that a person has given for it.
 */
export function backupInputs(ensemble: VaultEnsemble, bundle: AgentBundle): BackupInputs {
  const { name, seal, backups } = ensemble;
  const inWork = (file: string): string => `${backupPaths.work}/${file}`;
  const aws = awsAccess(seal);
  const own = keyShares(ensemble);
  const isRestored = seal.type === "shamir" && backups?.restoreFrom !== undefined;
  const former = isRestored ? optionalSecret("former-unseal", formerKeysName(name), paths.formerUnseal) : noMounts;
  const key =
    seal.type === "awskms"
      ? [
          { name: "VAULT_SEAL_TYPE", value: seal.type },
          { name: "VAULT_AWSKMS_SEAL_KEY_ID", value: seal.keyId },
          { name: "AWS_REGION", value: seal.region },
          ...(seal.endpoint === undefined ? [] : [{ name: "AWS_KMS_ENDPOINT", value: seal.endpoint }]),
        ]
      : [];
  return {
    bundle,
    login: login(ensemble),
    // While Vault gives a snapshot, its active member cannot hand over: the snapshot waits on the disk for the store.
    copy: { bytes: ensemble.storage.bytes, servers: [] },
    proof: {
      // The copy, what is unpacked and the new data take three times as much as the data on a volume, which is half full of it at most:
      // a member that is filled again has two of them.
      bytes: 2 * ensemble.storage.bytes,
      annotations: seal.type === "awskms" ? seal.serviceAccountAnnotations : undefined,
      egress: keyServiceEgress(seal, []),
      login: { ...allMounts(own, former), volumes: allMounts(own, former, aws).volumes },
      servers: [
        {
          name: "vault",
          command: ["/bin/vault", "server", `-config=${inWork(proofFiles.config)}`],
          env: [
            goMemoryLimit(ensemble, 0.9),
            { name: "TMPDIR", value: inWork(proofFiles.temporary) },
            ...key,
            ...aws.env,
          ],
          volumeMounts: aws.volumeMounts,
        },
      ],
    },
  };
}

/** What every Job that logs in mounts: a token of its service account that only Vault accepts, for ten minutes. */
export function login(ensemble: Ensemble): Mounts {
  // Vault refuses a token that was made for another audience.
  const audience = ensemble.namespace.apply((namespace) => serviceHost(ensemble.name, namespace));
  const serviceAccountToken = { audience, expirationSeconds: 600, path: "token" };
  const projected = { defaultMode: 0o440, sources: [{ serviceAccountToken }] };
  return allMounts(readOnly(paths.login, { name: "login", projected }), trustFiles(ensemble, paths));
}

function loginJob(ensemble: VaultEnsemble, job: Omit<AgentJob, "command" | "settings">) {
  return agentJobSpec(ensemble, {
    command: [job.name],
    settings: setupSettings(ensemble),
    // An election between two steps may fail one of them.
    retries: 2,
    ...job,
    ...login(ensemble),
  });
}

export function vaultSetupJob(ensemble: VaultEnsemble) {
  const serviceAccount = namesOf(ensemble.name).setup;
  return loginJob(ensemble, { name: "setup", serviceAccount, deadlineSeconds: setupDeadlineSeconds });
}

export function tokensCronJob(ensemble: VaultEnsemble) {
  const name = tokensName(ensemble.name);
  const spec = loginJob(ensemble, { name: "tokens", serviceAccount: name, deadlineSeconds: 300 });
  return cronJob(ensemble, name, {
    // A revoked token is replaced within the hour. A token is renewed daily, and lives for weeks.
    schedule: "41 * * * *",
    startingDeadlineSeconds: 3600,
    spec: { ...spec, ttlSecondsAfterFinished: 86_400 },
  });
}

/** A member stores the keys that it has made, and reads them to unseal. `create` by name works because of server-side apply. */
export function memberRules({ name, seal }: VaultEnsemble): Rule[] {
  const other = seal.type === "shamir" ? "awskms" : "shamir";
  return [
    allow("", "secrets", ["get", "create", "patch"], [keysName(name, seal.type), rootName(name)]),
    // The proof that a key of AWS is the one that the data were made with.
    allow("", "configmaps", ["get", "create", "patch"], [sealName(name)]),
    // Whether the data were made with the other kind of seal.
    allow("", "secrets", ["get"], [keysName(name, other)]),
    allow("", "serviceaccounts", ["get"], [namesOf(name).server]),
  ];
}

/** Of a Job that fills Secrets with tokens. `others`: further Secrets that it changes. */
export function tokensRules({ name, applications }: Ensemble, others: string[] = []): Rule[] {
  const ofApplications = applications.map((application) => applicationSecretName(name, application));
  return [allow("", "secrets", ["get", "patch"], [...others, namesOf(name).admin, ...ofApplications])];
}

/** A member without data asks the agents of the others which member is active. */
export const policyPorts = {
  client: ports.client,
  peer: [ports.peer],
  internal: [agentPorts.http],
  metrics: [agentPorts.http, ports.metrics],
};

/** What a member must reach to open its seal, beyond the ports that all may reach. Undefined: nothing. */
export function sealPolicy(ensemble: VaultEnsemble): networking.v1.NetworkPolicy | undefined {
  const { seal } = ensemble;
  if (seal.type !== "awskms") return undefined;
  const open = ensemble.egress.apiServer === undefined ? apiServerPorts : [];
  const egress = keyServiceEgress(seal, open);
  if (egress.length === 0) return undefined;
  // Members, and the job that proves the seal.
  const podSelector = { matchLabels: instanceLabels(ensemble.service, ensemble.name) };
  return {
    metadata: metadata(ensemble, sealName(ensemble.name)),
    spec: { podSelector, policyTypes: ["Egress"], egress },
  };
}

/** 443 of all services of AWS, and a key service elsewhere, such as an emulator, except for what is `open` already. */
function keyServiceEgress(seal: VaultEnsemble["seal"], open: number[]): networking.v1.NetworkPolicyEgressRule[] {
  if (seal.type !== "awskms") return [];
  const wanted = new Set([443, seal.endpoint === undefined ? 443 : portOf(seal.endpoint)]);
  const ports = [...wanted].filter((port) => !open.includes(port));
  return [...(ports.length === 0 ? [] : [{ ports: ports.map(tcp) }]), ...(seal.podIdentity ? [podIdentityEgress] : [])];
}
