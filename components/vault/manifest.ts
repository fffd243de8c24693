/** From resolved arguments to Kubernetes specs and the configuration file of Vault: pure. */
import type { core, networking } from "@pulumi/kubernetes/types/input";
import { applicationSecretName } from "../shared/core/names";
import {
  type AgentBundle,
  agentJobSpec,
  agentPorts,
  certificateMounts,
  certificateVolumes,
  containerProfile,
  cronJob,
  digest,
  type Ensemble,
  instanceLabels,
  type LoginMounts,
  memberSettings,
  metadata,
  namesOf,
  type Pace,
  parseQuantity,
  type Rule,
  type ServerInputs,
  secretVolume,
  serverStatefulSet,
  settingsOf,
  setupDeadlineSeconds,
  trustMounts,
  trustVolumes,
} from "../shared/deploy";
import { majority, type VaultEnsemble } from "./arguments";
import {
  audience,
  keysName,
  paths,
  ports,
  rootName,
  type SealSettings,
  type SetupSettings,
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
    tcp: { address: `0.0.0.0:${port}`, cluster_address: cluster, ...secured, ...more },
  });
  return {
    storage: {
      raft: {
        path: paths.data,
        // Vault's default of 5 waits for 5 to 10 seconds until it misses its leader.
        performance_multiplier: "1",
      },
    },
    listener: [
      listener(ports.client, `0.0.0.0:${ports.peer}`),
      // Metrics name mounts and policies: without a token only where the network policy admits nobody else.
      listener(ports.metrics, `127.0.0.1:${ports.metricsCluster}`, {
        telemetry: { unauthenticated_metrics_access: true },
      }),
    ],
    ...(seal.type === "awskms"
      ? {
          seal: {
            awskms: {
              region: seal.region,
              kms_key_id: seal.keyId,
              ...(seal.endpoint === undefined ? {} : { endpoint: seal.endpoint }),
            },
          },
        }
      : {}),
    // Locking memory needs a capability that Pod Security "restricted" does not grant, and would keep the whole mapped
    // database in memory. Nodes of Kubernetes have no swap, or an encrypted one.
    disable_mlock: true,
    telemetry: { prometheus_retention_time: "30s", disable_hostname: true },
    ui: false,
    log_level: "info",
  };
}

export function vaultSettings(ensemble: VaultEnsemble): VaultSettings {
  return { ...memberSettings(ensemble), seal: sealSettings(ensemble.seal) };
}

export function setupSettings(ensemble: VaultEnsemble): SetupSettings {
  const { mounts, policies, audit, tokens, passwords } = ensemble;
  const own = { mounts, policies, audit, tokenPeriodDays: tokens.periodDays, passwords };
  return { ...settingsOf(ensemble), seal: sealSettings(ensemble.seal), ...own };
}

export const pace: Pace = {
  // The server seals itself, hands over and closes its files; most of the time is for a full disk queue.
  terminationGraceSeconds: 60,
  // It replays its log.
  startSeconds: 120,
  // A member that lost its volume votes after it was well for 10 s, and is looked at every few seconds.
  watchSeconds: 15,
};

/** What agents must know of the seal: not how the server logs in. */
function sealSettings(seal: VaultEnsemble["seal"]): SealSettings {
  if (seal.type === "shamir") return seal;
  const { type, region, keyId, endpoint, recovery } = seal;
  return {
    type,
    region,
    keyId,
    ...(endpoint === undefined ? {} : { endpoint }),
    recovery:
      recovery === "none"
        ? recovery
        : { pgpKeys: recovery.pgpKeys, threshold: recovery.threshold ?? majority(recovery.pgpKeys.length) },
  };
}

const credentialsOf = (seal: VaultEnsemble["seal"]): string | undefined =>
  seal.type === "awskms" ? seal.credentialsSecret : undefined;

export function statefulSet(ensemble: VaultEnsemble, inputs: ServerInputs) {
  return serverStatefulSet(ensemble, inputs, {
    pace,
    memberMounts: [{ name: "data", mountPath: paths.volume }],
    sidecar: {
      settings: vaultSettings(ensemble),
      volumeMounts: [
        { name: "data", mountPath: paths.volume },
        ...unsealMounts(ensemble.seal),
        ...certificateMounts(ensemble, paths),
        ...trustMounts(ensemble, paths),
      ],
    },
    containers: [serverContainer(ensemble)],
    volumes: [
      { name: "config", configMap: { name: namesOf(ensemble.name).config } },
      { name: "tmp", emptyDir: { sizeLimit: "64Mi" } },
      ...unsealVolumes(ensemble),
      ...awsVolumes(credentialsOf(ensemble.seal)),
      // The cluster port has certificates of Vault's own making.
      ...certificateVolumes(ensemble),
      ...trustVolumes(ensemble),
    ],
    // The agent signals the server: to read new certificates, and to begin again without data. Both run as the same user.
    pod: { shareProcessNamespace: true },
  });
}

/** Optional: before the initialisation there are no keys, and without them a member must say so instead of hanging. */
function unsealVolumes({ name, seal }: VaultEnsemble): core.v1.Volume[] {
  if (seal.type !== "shamir") return [];
  const secretName = keysName(name, seal.type);
  return [{ name: "unseal", secret: { secretName, optional: true, defaultMode: 0o440 } }];
}

function unsealMounts(seal: VaultEnsemble["seal"]): core.v1.VolumeMount[] {
  return seal.type === "shamir" ? [{ name: "unseal", mountPath: paths.unseal, readOnly: true }] : [];
}

function awsVolumes(secret: string | undefined): core.v1.Volume[] {
  return secret === undefined ? [] : [secretVolume("aws", secret, ["credentials"])];
}

function awsMounts(secret: string | undefined): core.v1.VolumeMount[] {
  return secret === undefined ? [] : [{ name: "aws", mountPath: paths.aws, readOnly: true }];
}

/** The file, not the values: what is in the environment of a process ends up in dumps and child processes. */
function awsEnvironment(secret: string | undefined): core.v1.EnvVar[] {
  return secret === undefined ? [] : [{ name: "AWS_SHARED_CREDENTIALS_FILE", value: `${paths.aws}/credentials` }];
}

function serverContainer(ensemble: VaultEnsemble): core.v1.Container {
  const scheme = ensemble.tls === "off" ? "HTTP" : "HTTPS";
  const own = `$(POD_NAME).${namesOf(ensemble.name).peers}.$(POD_NAMESPACE).svc`;
  const protocol = ensemble.tls === "off" ? "http" : "https";
  const probe = (query: string) => ({ httpGet: { path: `/v1/sys/health?${query}`, port: "client", scheme } });
  // Every state that a server can be in for good: what is left is one that does not answer.
  const alive = probe("standbyok=true&sealedcode=200&uninitcode=200&removedcode=200&haunhealthycode=200");
  const field = (name: string, fieldPath: string) => ({
    name,
    valueFrom: { fieldRef: { apiVersion: "v1", fieldPath } },
  });
  return {
    name: "vault",
    image: ensemble.image,
    ...containerProfile,
    command: ["/bin/vault", "server", `-config=${paths.configFile}`],
    ports: [
      { name: "client", containerPort: ports.client, protocol: "TCP" },
      { name: "peer", containerPort: ports.peer, protocol: "TCP" },
      { name: "metrics", containerPort: ports.metrics, protocol: "TCP" },
    ],
    env: [
      field("POD_NAME", "metadata.name"),
      field("POD_NAMESPACE", "metadata.namespace"),
      // Names, never addresses: those change with every restart, and are kept in the raft configuration.
      { name: "VAULT_API_ADDR", value: `${protocol}://${own}:${ports.client}` },
      { name: "VAULT_CLUSTER_ADDR", value: `https://${own}:${ports.peer}` },
      // Below the limit of the container, so that garbage is collected before memory runs out.
      { name: "GOMEMLIMIT", value: String(memoryTarget(ensemble)) },
      ...awsEnvironment(credentialsOf(ensemble.seal)),
    ],
    resources: ensemble.resources,
    // It answers within seconds, whatever its state; the rest is for a machine under load.
    startupProbe: { ...alive, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 150 },
    livenessProbe: { ...alive, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 12 },
    // 200: active, or standby that has an answer of the active one; 501 not initialised, 503 sealed, 474 standby alone,
    // 530 removed. The agent's own probe is stricter at the start: a standby must have had its first answer.
    readinessProbe: { ...probe("standbyok=true"), periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2 },
    // The address leaves the Service before the server stops. No shell needed. On SIGTERM the active one hands over.
    lifecycle: { preStop: { sleep: { seconds: 2 } } },
    volumeMounts: [
      { name: "data", mountPath: paths.volume },
      { name: "config", mountPath: paths.config, readOnly: true },
      { name: "tmp", mountPath: "/tmp" },
      ...awsMounts(credentialsOf(ensemble.seal)),
      ...certificateMounts(ensemble, paths),
      // The roots of the key service are those of the image; this is for the members' own.
    ],
  };
}

function memoryTarget(ensemble: Ensemble): number {
  return Math.floor(0.9 * (parseQuantity(ensemble.resources.limits["memory"] ?? "") ?? 2 ** 30));
}

/** `image`: of the ensemble, which may be known only now. */
export function sealJob(ensemble: VaultEnsemble, image: string, bundle: AgentBundle) {
  return agentJobSpec(ensemble, {
    name: "seal",
    command: ["seal"],
    settings: vaultSettings(ensemble),
    // That of the members: AWS gives a role to a service account.
    serviceAccount: namesOf(ensemble.name).server,
    bundle,
    // Again before each roll: a member that is restarted must be able to open what it has.
    annotations: {
      "cells-services/members": digest(JSON.stringify([image, ensemble.resources, serverConfig(ensemble)])),
    },
    deadlineSeconds: 180,
    // A wrong key does not become right by trying again; a network that is just coming up may.
    retries: 1,
    volumeMounts: awsMounts(credentialsOf(ensemble.seal)),
    volumes: awsVolumes(credentialsOf(ensemble.seal)),
    env: awsEnvironment(credentialsOf(ensemble.seal)),
  });
}

/** What every Job reads that logs in: a token of its service account that is good for Vault alone, and for minutes only. */
export function login(ensemble: Ensemble): LoginMounts {
  return {
    volumeMounts: [{ name: "login", mountPath: paths.login, readOnly: true }, ...trustMounts(ensemble, paths)],
    volumes: [
      {
        name: "login",
        projected: {
          defaultMode: 0o440,
          sources: [
            {
              serviceAccountToken: {
                audience: ensemble.namespace.apply((namespace) => audience(ensemble.name, namespace)),
                expirationSeconds: 600,
                path: "token",
              },
            },
          ],
        },
      },
      ...trustVolumes(ensemble),
    ],
  };
}

export function vaultSetupJob(ensemble: VaultEnsemble, bundle: AgentBundle) {
  return agentJobSpec(ensemble, {
    name: "setup",
    command: ["setup"],
    settings: setupSettings(ensemble),
    serviceAccount: namesOf(ensemble.name).setup,
    bundle,
    deadlineSeconds: setupDeadlineSeconds,
    // An election between two steps of the setup may fail one of them.
    retries: 2,
    ...login(ensemble),
  });
}

export function tokensCronJob(ensemble: VaultEnsemble, bundle: AgentBundle) {
  const name = tokensName(ensemble.name);
  const spec = agentJobSpec(ensemble, {
    name: "tokens",
    command: ["tokens"],
    settings: setupSettings(ensemble),
    serviceAccount: name,
    bundle,
    deadlineSeconds: 300,
    retries: 2,
    ...login(ensemble),
  });
  return cronJob(ensemble, name, {
    // A token that somebody revoked is back within the hour. Renewals are once a day, of thirty.
    schedule: "41 * * * *",
    startingDeadlineSeconds: 3600,
    spec: { ...spec, ttlSecondsAfterFinished: 86_400 },
  });
}

/** Secrets that the jobs fill with tokens. */
function tokenSecrets(ensemble: Ensemble): string[] {
  return [
    namesOf(ensemble.name).admin,
    ...ensemble.applications.map((application) => applicationSecretName(ensemble.name, application)),
  ];
}

/**
 * A member stores the keys that it has made, and reads them to unseal. `create` by name works because the agent only creates
 * by server-side apply, whose request carries the name.
 */
export function memberRules(ensemble: VaultEnsemble): Rule[] {
  const names = namesOf(ensemble.name);
  const { type } = ensemble.seal;
  const other = type === "shamir" ? "awskms" : "shamir";
  return [
    {
      apiGroups: [""],
      resources: ["secrets"],
      verbs: ["get", "create", "patch"],
      resourceNames: [keysName(ensemble.name, type), rootName(ensemble.name)],
    },
    // What proves that a key of AWS is the one the data were made with.
    {
      apiGroups: [""],
      resources: ["configmaps"],
      verbs: ["get", "create", "patch"],
      resourceNames: [sealName(ensemble.name)],
    },
    // Whether the data were made with the other kind of seal.
    { apiGroups: [""], resources: ["secrets"], verbs: ["get"], resourceNames: [keysName(ensemble.name, other)] },
    { apiGroups: [""], resources: ["serviceaccounts"], verbs: ["get"], resourceNames: [names.server] },
  ];
}

export function setupJobRules(ensemble: Ensemble): Rule[] {
  return [
    {
      apiGroups: [""],
      resources: ["secrets"],
      verbs: ["get", "patch"],
      resourceNames: [rootName(ensemble.name), ...tokenSecrets(ensemble)],
    },
  ];
}

export function tokensRules(ensemble: Ensemble): Rule[] {
  return [{ apiGroups: [""], resources: ["secrets"], verbs: ["get", "patch"], resourceNames: tokenSecrets(ensemble) }];
}

/** Peers ask each other's agent who is active, while one of them has no data. */
export const policyPorts = {
  client: ports.client,
  peer: [ports.peer],
  internal: [agentPorts.http],
  metrics: ports.metrics,
};

/** A key service at another port than 443, such as an emulator, needs a rule of its own; undefined otherwise. */
export function sealPolicy(ensemble: VaultEnsemble): networking.v1.NetworkPolicy | undefined {
  const { seal } = ensemble;
  if (seal.type !== "awskms" || seal.endpoint === undefined) return undefined;
  const { port, protocol } = new URL(seal.endpoint);
  const number = port === "" ? (protocol === "http:" ? 80 : 443) : Number(port);
  if (number === 443 || number === 6443) return undefined;
  return {
    metadata: metadata(ensemble, sealName(ensemble.name)),
    spec: {
      // Members, and the job that proves the seal.
      podSelector: { matchLabels: instanceLabels(ensemble.service, ensemble.name) },
      policyTypes: ["Egress"],
      egress: [{ ports: [{ protocol: "TCP", port: number }] }],
    },
  };
}
