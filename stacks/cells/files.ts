/** The files for whoever installs Cells. Pure. */
import { stringify } from "yaml";
import {
  authorityId,
  brokerUrl,
  cacheUrl,
  certificatesUrl,
  documentsUrl,
  etcdUrl,
  keyringUrl,
  sqlUrl,
  storeUrl,
  type TrustedService,
  trustedServices,
  trustFile,
  trustFolder,
  trustFolders,
} from "./addresses";
import type { CellsFacts, CellsStore, Endpoint, Login } from "./facts";
import { chartSecrets } from "./secrets";

const volumes = { token: "cells-services-token", trust: "cells-services-trust" } as const;

/** The chart reads the token from the file that an injector of Vault would put there. */
const token = { key: "token", folder: "/vault/secrets" } as const;

/** For `helm install --values`. It holds names of Secrets, no password. */
export function valuesFile(facts: CellsFacts): string {
  const blocks = {
    externalSQLDatabase: facts.mysql && {
      ...block(facts.mysql),
      scheme: "mysql",
      name: facts.mysql.database,
      // Over those that the chart has.
      ...(facts.mysql.tls === "required" ? { params: { tls: "true" } } : {}),
      auth: passwordAuth(facts.mysql, chartSecrets.mysql),
    },
    externalCache: facts.redis && { ...block(facts.redis), auth: passwordAuth(facts.redis, chartSecrets.redis) },
    externalDiscovery: facts.etcd && { ...block(facts.etcd), auth: passwordAuth(facts.etcd, chartSecrets.etcd) },
    externalBroker: facts.nats && {
      ...block(facts.nats),
      auth: {
        enabled: true,
        user: facts.nats.user,
        existingSecret: chartSecrets.nats.name,
        existingSecretServerConf: chartSecrets.nats.key,
      },
    },
    externalNoSQLDatabase: facts.mongodb && {
      ...block(facts.mongodb),
      scheme: "mongodb",
      auth: passwordAuth(facts.mongodb, chartSecrets.mongodb),
    },
    // The token comes from a file: `auth` would become a part of the URL.
    externalVault: facts.vault && { ...block(facts.vault), auth: { enabled: false } },
    externalS3: facts.objectstore && {
      ...block(facts.objectstore),
      useCustomURL: true,
      customRegion: facts.objectstore.region,
      ds: dataSources(facts.objectstore),
      auth: {
        enabled: true,
        user: facts.objectstore.user,
        existingSecret: chartSecrets.objectstore.name,
        existingSecretUsernameKey: chartSecrets.objectstore.userKey,
        existingSecretPasswordKey: chartSecrets.objectstore.key,
      },
    },
  };
  const missing = Object.entries(blocks).filter(([, each]) => each === undefined);
  // All that Cells keeps is then in services.
  const isStateless = missing.length === 0;
  const head = [
    `Values of the Helm chart of Pydio Cells v5 in the namespace ${facts.namespace}: docs/cells.md`,
    ...missing.map(([name]) => `${name} is missing: the stack has no such service with a user for Cells`),
    ...(isStateless ? ["The first time with --set replicaCount=1: each pod would install Cells."] : []),
  ];
  return `${comments(head)}${yaml({ ...blocks, ...(isStateless ? replicas : {}), ...filled(mountsOfPods(facts)) })}`;
}

/** Several pods on different nodes. Without it the chart has one, which keeps files on a volume. */
const replicas = {
  replicaCount: 2,
  // All pods would mount the same ReadWriteOnce claim, which keeps them on one node.
  persistence: { enabled: false },
  // It gives the claim to the user of Cells, as root.
  volumePermissions: { enabled: false },
  affinity: {
    podAntiAffinity: {
      // Not required: a rolling update starts another pod before one stops.
      preferredDuringSchedulingIgnoredDuringExecution: [
        {
          weight: 100,
          podAffinityTerm: {
            topologyKey: "kubernetes.io/hostname",
            labelSelector: { matchLabels: { "app.kubernetes.io/name": "cells" } },
          },
        },
      ],
    },
  },
};

/**
 * A kustomization of what the chart renders: its values reach Cells only, and not the init containers beside it, which need the token
 * and the authorities too.
 */
export function patchesFile(facts: CellsFacts): string {
  const { extraEnvVars, extraVolumeMounts } = mountsOfPods(facts);
  const own = filled({ env: extraEnvVars, volumeMounts: extraVolumeMounts });
  const initContainers = [
    { name: "wait-for-deps", securityContext: restricted },
    ...["install-certs", "install"].map((name) => ({ name, ...own })),
  ];
  const patch = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: release },
    spec: { template: { spec: { initContainers } } },
  };
  const head = [
    `Patches of the Helm chart of Pydio Cells v5, for a release with the name ${release}: docs/cells.md`,
    "The post-renderer: cat > all.yaml && exec kubectl kustomize .",
  ];
  const target = { kind: "Deployment", name: release };
  return `${comments(head)}${yaml({ resources: ["all.yaml"], patches: [{ target, patch: yaml(patch) }] })}`;
}

/** Of the page. The chart gives its Deployment the same name. */
const release = "cells";

/** As the chart has it for its other containers. This one only opens connections, and has none. */
const restricted = {
  runAsNonRoot: true,
  runAsUser: 1001,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

function block(endpoint: Endpoint & { secret?: string }) {
  const { host, port, tls, secret } = endpoint;
  // The chart mounts Secrets of both kinds as soon as there is TLS; nothing here asks for a client certificate.
  const authority = { existingSecret: secret, cert: "ca.crt" };
  const trust = secret === undefined ? {} : { ca: authority, client: authority };
  return { enabled: true, host, port, tls: tls === "required" ? { enabled: true, ...trust } : { enabled: false } };
}

/** Under the names that the chart gives to them. */
function dataSources({ buckets }: CellsStore) {
  const { default: pydiods1, personal, cells: cellsdata, binaries, thumbs: thumbnails, versions } = buckets;
  return { pydiods1, personal, cellsdata, binaries, thumbnails, versions };
}

function passwordAuth({ user }: Login, { name, key }: { name: string; key: string }) {
  return { enabled: true, user, existingSecret: name, existingSecretPasswordKey: key };
}

/** The token of Vault, and the authorities as files that Go programs trust. */
function mountsOfPods(facts: CellsFacts) {
  const trusted = trustedOf(facts);
  const volumesOfPod = [
    ...(facts.vault === undefined
      ? []
      : [{ name: volumes.token, secret: projection(facts.vault.secret, token.key, token.key, "secretName") }]),
    ...(trusted.length === 0
      ? []
      : [
          {
            name: volumes.trust,
            projected: {
              sources: trusted.map(([service, { secret }]) => ({
                secret: projection(secret, "ca.crt", `${service}.crt`, "name"),
              })),
            },
          },
        ]),
  ];
  const folders = { [volumes.token]: token.folder, [volumes.trust]: trustFolder };
  return {
    extraEnvVars: trusted.length === 0 ? [] : [{ name: "SSL_CERT_DIR", value: trustFolders }],
    extraVolumes: volumesOfPod,
    extraVolumeMounts: volumesOfPod.map(({ name }) => ({ name, mountPath: folders[name], readOnly: true })),
  };
}

/** Without empty lists. */
function filled(lists: Record<string, unknown[]>): Record<string, unknown[]> {
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));
}

function projection(secret: string, key: string, path: string, nameKey: "name" | "secretName") {
  return { [nameKey]: secret, items: [{ key, path }] };
}

/** Services with the Secret of an authority that nobody knows. */
function trustedOf(facts: CellsFacts): [TrustedService, { secret: string }][] {
  return trustedServices.flatMap((service): [TrustedService, { secret: string }][] => {
    const { tls, secret } = facts[service] ?? {};
    return tls === "required" && secret !== undefined ? [[service, { secret }]] : [];
  });
}

/** `KEY=value` without quotes, for env files of Kubernetes, Docker and systemd, and for a shell. */
export function environmentFile(facts: CellsFacts): string {
  const { etcd, nats, redis, vault } = facts;
  const trusted = trustedOf(facts);
  const variables = {
    ...(etcd && {
      CELLS_CONFIG: etcdUrl(etcd, "config"),
      CELLS_VAULT: etcdUrl(etcd, "vault"),
      CELLS_REGISTRY: etcdUrl(etcd, "registry"),
    }),
    ...(nats && { CELLS_BROKER: brokerUrl(nats), CELLS_PERSISTQUEUE: brokerUrl(nats) }),
    ...(redis && { CELLS_CACHE: cacheUrl(redis) }),
    ...(vault && { CELLS_KEYRING: keyringUrl(vault), CELLS_CERTS_STORE: certificatesUrl(vault) }),
    ...(vault?.tls === "required" ? { VAULT_CACERT: trustFile("vault") } : {}),
    ...(trusted.length === 0 ? {} : { SSL_CERT_DIR: trustFolders }),
  };
  const imported = (["etcd", "redis"] as const).flatMap((service) => {
    const endpoint = facts[service];
    return endpoint?.tls === "required" ? [[authorityId(service), endpoint.secret] as const] : [];
  });
  const head = [
    "Variables of Pydio Cells for these services: docs/cells.md",
    ...(vault === undefined ? [] : [`VAULT_TOKEN: ${where(facts, token.key, vault.secret)}`]),
    ...trusted.map(([service, { secret }]) => `${trustFile(service)}: ${where(facts, "ca.crt", secret)}`),
    ...imported.map(([id, secret]) => `cells admin cert import --uuid ${id} ca.crt: ${where(facts, "ca.crt", secret)}`),
  ];
  const lines = Object.entries(variables).map(([name, value]) => `${name}=${value}\n`);
  return `${comments(head)}${lines.join("")}`;
}

const where = ({ namespace }: CellsFacts, key: string, secret: string): string =>
  `the key ${key} of the Secret ${secret} in the namespace ${namespace}`;

/** For `CELLS_INSTALL_YAML`. It holds passwords. */
export function installFile(facts: CellsFacts): string {
  const { mysql, mongodb, objectstore } = facts;
  const head = [
    "Installation of Pydio Cells with these services: docs/cells.md",
    "Yours: frontendlogin, frontendpassword, proxyconfigs, and a license.",
    ...trustedOf(facts)
      .filter(([service]) => service !== "vault")
      .map(([service, { secret }]) => `${trustFile(service)}: ${where(facts, "ca.crt", secret)}`),
  ];
  return `${comments(head)}${yaml({
    ...(mysql && databaseKeys(mysql, facts)),
    ...(mongodb && { usedocumentsdsn: true, documentsdsn: documentsUrl(mongodb) }),
    ...(objectstore && {
      dstype: "S3",
      dss3custom: storeUrl(objectstore),
      dss3customregion: objectstore.region,
      dss3apikey: objectstore.user,
      dss3apisecret: objectstore.password,
      ...Object.fromEntries(
        Object.entries(objectstore.buckets).map(([purpose, bucket]) => [`dss3bucket${purpose}`, bucket]),
      ),
    }),
  })}`;
}

function databaseKeys(mysql: NonNullable<CellsFacts["mysql"]>, facts: CellsFacts) {
  // The parts of an address have no place for TLS.
  if (mysql.tls === "required") return { dbconnectiontype: "manual", dbmanualdsn: sqlUrl(mysql, facts) };
  return {
    dbconnectiontype: "tcp",
    dbtcphostname: mysql.host,
    dbtcpport: mysql.port,
    dbtcpname: mysql.database,
    dbtcpuser: mysql.user,
    dbtcppassword: mysql.password,
  };
}

const comments = (lines: string[]): string => lines.map((each) => `# ${each}\n`).join("");

/** Without what the stack does not have, and with each value on its line. */
function yaml(content: Record<string, unknown>): string {
  const known = Object.fromEntries(Object.entries(content).filter(([, value]) => value !== undefined));
  return Object.keys(known).length === 0 ? "" : stringify(known, { lineWidth: 0, aliasDuplicateObjects: false });
}
