import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { CellsFacts, CellsStore } from "../../../stacks/cells/facts";
import { environmentFile, installFile, patchesFile, valuesFile } from "../../../stacks/cells/files";
import { bucketNames, buckets } from "../../../stacks/cells/needs";
import { chartSecrets, chartServices, secretContent } from "../../../stacks/cells/secrets";
import { tlsDefaults } from "../../../stacks/cells/tls";
import { type CellsVersion, cellsVersions, type ServiceName, serviceNames } from "../../../stacks/config";

const ports = { etcd: 2379, vault: 8200, nats: 4222, redis: 6379, mongodb: 27017, mysql: 3306, objectstore: 9000 };

function factsOf(version: CellsVersion, changes: Partial<CellsFacts> = {}): CellsFacts {
  const endpoint = (service: ServiceName) => ({
    host: `${service}.data.svc`,
    port: ports[service],
    tls: tlsDefaults[service][version].mode,
    secret: `${service}-application-cells`,
  });
  const service = (name: ServiceName) => ({ ...endpoint(name), user: "cells", password: `${name}Password` });
  return {
    version,
    namespace: "app",
    etcd: service("etcd"),
    vault: endpoint("vault"),
    nats: service("nats"),
    redis: service("redis"),
    mongodb: { ...service("mongodb"), database: "cells", replicaSet: "mongodb" },
    mysql: { ...service("mysql"), database: "cells" },
    objectstore: { ...service("objectstore"), region: "us-east-1", buckets },
    ...changes,
  };
}

const none: Partial<CellsFacts> = Object.fromEntries(serviceNames.map((each) => [each, undefined]));

function variables(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

const comments = (text: string): string[] => text.split("\n").filter((line) => line.startsWith("#"));

describe("the defaults of tls", () => {
  it("say why, wherever Cells does not connect over TLS", () => {
    for (const service of serviceNames) {
      for (const version of cellsVersions) {
        const known = tlsDefaults[service][version];
        if (known.mode !== "required") expect(known.reason, `${service} ${version}`).toMatch(/Cells/);
      }
    }
  });

  it("never give up TLS where both can be had on one port", () => {
    const off = serviceNames.filter((service) =>
      cellsVersions.some((version) => tlsDefaults[service][version].mode === "off"),
    );
    expect(off).toEqual(["redis"]);
  });
});

/**
 * What the chart 1.0.0-beta.22 takes, where it is printed: by its values file, and by its template of the Deployment, which
 * alone knows the `extra` lists and most Secrets of TLS. `*`: anything below.
 */
const chartKeys = [
  "replicaCount",
  "persistence.enabled",
  "volumePermissions.enabled",
  "affinity.*",
  "extraEnvVars.*",
  "extraVolumes.*",
  "extraVolumeMounts.*",
  ...[
    "externalSQLDatabase",
    "externalCache",
    "externalDiscovery",
    "externalBroker",
    "externalNoSQLDatabase",
    "externalVault",
    "externalS3",
  ].flatMap((block) =>
    ["enabled", "host", "port", "auth.enabled", "tls.enabled", "tls.ca.*", "tls.client.*"].map(
      (key) => `${block}.${key}`,
    ),
  ),
  ...["externalSQLDatabase", "externalCache", "externalDiscovery", "externalNoSQLDatabase", "externalS3"].flatMap(
    (block) => ["user", "existingSecret", "existingSecretPasswordKey"].map((key) => `${block}.auth.${key}`),
  ),
  "externalSQLDatabase.scheme",
  "externalSQLDatabase.name",
  "externalSQLDatabase.params.*",
  "externalNoSQLDatabase.scheme",
  ...["user", "existingSecret", "existingSecretServerConf"].map((key) => `externalBroker.auth.${key}`),
  "externalS3.useCustomURL",
  "externalS3.customRegion",
  "externalS3.auth.existingSecretUsernameKey",
  ...["pydiods1", "personal", "cellsdata", "binaries", "thumbnails", "versions"].map((key) => `externalS3.ds.${key}`),
];

/** The paths of all that is no object. */
function leaves(value: unknown, path: string[] = []): string[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [path.join(".")];
  return Object.entries(value).flatMap(([key, each]) => leaves(each, [...path, key]));
}

describe("the values of the chart", () => {
  const values = parse(valuesFile(factsOf("v5"))) as Record<string, Record<string, unknown>>;

  it("are the seven blocks", () => {
    expect(values).toMatchObject({
      externalSQLDatabase: {
        enabled: true,
        scheme: "mysql",
        host: "mysql.data.svc",
        port: 3306,
        name: "cells",
        tls: { enabled: false },
        auth: {
          enabled: true,
          user: "cells",
          existingSecret: "cells-mariadb",
          existingSecretPasswordKey: "mariadb-root-password",
        },
      },
      externalCache: {
        host: "redis.data.svc",
        port: 6379,
        tls: { enabled: false },
        auth: {
          enabled: true,
          user: "cells",
          existingSecret: "cells-redis",
          existingSecretPasswordKey: "redis-password",
        },
      },
      externalDiscovery: {
        host: "etcd.data.svc",
        port: 2379,
        tls: { enabled: false },
        auth: {
          enabled: true,
          user: "cells",
          existingSecret: "cells-etcd",
          existingSecretPasswordKey: "etcd-root-password",
        },
      },
      externalBroker: {
        host: "nats.data.svc",
        port: 4222,
        tls: { enabled: false },
        auth: { user: "cells", existingSecret: "cells-nats", existingSecretServerConf: "nats-server.conf" },
      },
      externalNoSQLDatabase: {
        scheme: "mongodb",
        host: "mongodb.data.svc",
        port: 27017,
        auth: { user: "cells", existingSecret: "mongodb", existingSecretPasswordKey: "mongodb-root-password" },
      },
      externalVault: { host: "vault.data.svc", port: 8200, tls: { enabled: true }, auth: { enabled: false } },
      externalS3: {
        host: "objectstore.data.svc",
        port: 9000,
        customRegion: "us-east-1",
        tls: { enabled: true },
        auth: {
          existingSecret: "cells-minio",
          existingSecretUsernameKey: "root-user",
          existingSecretPasswordKey: "root-password",
        },
      },
    });
  });

  it("give each of the six datasources and stores a bucket of its own", () => {
    const given = Object.entries(values["externalS3"]?.["ds"] ?? {});
    expect(given.map(([key]) => key).sort()).toEqual(
      ["pydiods1", "personal", "cellsdata", "binaries", "thumbnails", "versions"].sort(),
    );
    expect(given.map(([, bucket]) => bucket as string).sort()).toEqual(Object.values(buckets).sort());
  });

  it("have one host for each service, by its name", () => {
    for (const [key, block] of Object.entries(values)) {
      if (key.startsWith("external")) expect(block["host"], key).toMatch(/^[a-z]+\.data\.svc$/);
    }
  });

  it("are keys that the chart has, with TLS for some services and for all", () => {
    const facts = factsOf("v5");
    const secured = Object.fromEntries(
      serviceNames.map((service) => [service, { ...facts[service], tls: "required" as const }]),
    );
    for (const given of [facts, { ...facts, ...secured }]) {
      const unknown = leaves(parse(valuesFile(given))).filter(
        (leaf) =>
          !chartKeys.some((key) => (key.endsWith("*") ? `${leaf}.`.startsWith(key.slice(0, -1)) : leaf === key)),
      );
      expect(unknown).toEqual([]);
    }
  });

  it("spread two pods without a volume when all services are there, and leave both to the chart otherwise", () => {
    expect(values).toMatchObject({
      replicaCount: 2,
      persistence: { enabled: false },
      volumePermissions: { enabled: false },
      affinity: { podAntiAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100 }] } },
    });
    const others = ["replicaCount", "persistence", "volumePermissions", "affinity"];
    const some = parse(valuesFile(factsOf("v5", { mongodb: undefined as never }))) as object;
    expect(Object.keys(some).filter((key) => others.includes(key))).toEqual([]);
  });

  it("hold no password", () => {
    expect(valuesFile(factsOf("v5"))).not.toMatch(/Password\b/);
  });

  it("mount the token of Vault where the chart reads it, and authorities where Go reads them", () => {
    expect(values).toMatchObject({
      extraVolumes: [
        { name: "cells-services-token", secret: { secretName: "vault-application-cells" } },
        {
          name: "cells-services-trust",
          projected: {
            sources: [
              { secret: { name: "vault-application-cells", items: [{ key: "ca.crt", path: "vault.crt" }] } },
              {
                secret: { name: "objectstore-application-cells", items: [{ key: "ca.crt", path: "objectstore.crt" }] },
              },
            ],
          },
        },
      ],
      extraVolumeMounts: [
        { name: "cells-services-token", mountPath: "/vault/secrets", readOnly: true },
        { name: "cells-services-trust", mountPath: "/etc/cells-services", readOnly: true },
      ],
      extraEnvVars: [{ name: "SSL_CERT_DIR", value: "/etc/ssl/certs:/etc/cells-services" }],
    });
  });

  it("use TLS with an authority only where it is required", () => {
    const facts = factsOf("v5");
    const [etcd, mysql] = [facts.etcd, facts.mysql];
    if (etcd === undefined || mysql === undefined) throw new Error("no etcd or mysql");
    const authority = (secret: string) => ({ existingSecret: secret, cert: "ca.crt" });
    const text = valuesFile({ ...facts, etcd: { ...etcd, tls: "required" }, mysql: { ...mysql, tls: "required" } });
    expect(parse(text)).toMatchObject({
      externalDiscovery: { tls: { enabled: true, ca: authority("etcd-application-cells") } },
      externalSQLDatabase: { tls: { enabled: true }, params: { tls: "true" } },
    });
  });

  it("name no authority for S3, whose authority is known", () => {
    const { objectstore, ...facts } = factsOf("v5");
    if (objectstore === undefined) throw new Error("no object store");
    const store: CellsStore = { ...objectstore, host: "s3.eu-central-1.amazonaws.com", port: 443 };
    delete store.secret;
    const inAws = { ...facts, objectstore: { ...store, buckets: bucketNames("acme") } };
    expect(parse(valuesFile(inAws))).toMatchObject({
      externalS3: {
        host: "s3.eu-central-1.amazonaws.com",
        port: 443,
        tls: { enabled: true },
        ds: { pydiods1: "acme-default", thumbnails: "acme-thumbs" },
      },
    });
    expect(valuesFile(inAws)).not.toContain("objectstore");
    expect(parse(installFile(inAws))).toMatchObject({
      dss3custom: "https://s3.eu-central-1.amazonaws.com:443",
      dss3bucketversions: "acme-versions",
    });
  });

  it("say what is missing, and are without it", () => {
    const text = valuesFile(factsOf("v5", { objectstore: undefined as never }));
    expect(parse(text)).not.toHaveProperty("externalS3");
    expect(comments(text).join()).toContain("externalS3 is missing");
    expect(parse(valuesFile(factsOf("v5", none)))).toBeNull();
  });
});

describe("the patches of what the chart renders", () => {
  interface Patch {
    target: object;
    patch: string;
  }
  const patchOf = (facts: CellsFacts) => {
    const { patches } = parse(patchesFile(facts)) as { patches: Patch[] };
    const [{ target, patch } = { target: {}, patch: "" }] = patches;
    const { initContainers } = (
      parse(patch) as { spec: { template: { spec: { initContainers: Record<string, unknown>[] } } } }
    ).spec.template.spec;
    return {
      target,
      initContainers: Object.fromEntries(initContainers.map((each) => [each["name"] as string, each] as const)),
    };
  };

  it("give the init containers the mounts and variables of Cells, which the values give to Cells alone", () => {
    const { extraEnvVars, extraVolumeMounts } = parse(valuesFile(factsOf("v5"))) as Record<string, unknown>;
    const { target, initContainers } = patchOf(factsOf("v5"));
    expect(target).toEqual({ kind: "Deployment", name: "cells" });
    expect(initContainers).toMatchObject({
      "install-certs": { env: extraEnvVars, volumeMounts: extraVolumeMounts },
      install: { env: extraEnvVars, volumeMounts: extraVolumeMounts },
    });
    expect(parse(patchesFile(factsOf("v5")))).toMatchObject({ resources: ["all.yaml"] });
  });

  it("take root from the one that waits for the services", () => {
    expect(patchOf(factsOf("v5")).initContainers["wait-for-deps"]).toMatchObject({
      securityContext: { runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
    });
  });

  it("are for this one alone without Vault and authorities", () => {
    expect(patchOf(factsOf("v5", none)).initContainers).toMatchObject({ install: { name: "install" } });
    expect(patchesFile(factsOf("v5", none))).not.toContain("volumeMounts");
  });
});

describe("the environment of Cells", () => {
  it("of v4 uses TLS wherever Cells can", () => {
    expect(variables(environmentFile(factsOf("v4")))).toEqual({
      CELLS_CONFIG: "etcd+tls://cells:etcdPassword@etcd.data.svc:2379/config?tlsCertCAUUID=cells-services-etcd",
      CELLS_VAULT: "etcd+tls://cells:etcdPassword@etcd.data.svc:2379/vault?tlsCertCAUUID=cells-services-etcd",
      CELLS_REGISTRY: "etcd+tls://cells:etcdPassword@etcd.data.svc:2379/registry?tlsCertCAUUID=cells-services-etcd",
      CELLS_BROKER: "nats://cells:natsPassword@nats.data.svc:4222",
      CELLS_PERSISTQUEUE: "nats://cells:natsPassword@nats.data.svc:4222",
      CELLS_CACHE: "redis+tls://cells:redisPassword@redis.data.svc:6379?tlsCertCAUUID=cells-services-redis",
      CELLS_KEYRING: "vaults://vault.data.svc:8200/secret?key=keyring",
      CELLS_CERTS_STORE: "vaults://vault.data.svc:8200/caddycerts",
      VAULT_CACERT: "/etc/cells-services/vault.crt",
      SSL_CERT_DIR: "/etc/ssl/certs:/etc/cells-services",
    });
  });

  it("of v5 is plain text, but for Vault", () => {
    expect(variables(environmentFile(factsOf("v5")))).toMatchObject({
      CELLS_CONFIG: "etcd://cells:etcdPassword@etcd.data.svc:2379/config",
      CELLS_CACHE: "redis://cells:redisPassword@redis.data.svc:6379",
      CELLS_KEYRING: "vaults://vault.data.svc:8200/secret?key=keyring",
    });
  });

  it.each(cellsVersions)("of %s needs no quotes anywhere, and gives the broker no parameter", (version) => {
    const given = variables(environmentFile(factsOf(version)));
    for (const [name, value] of Object.entries(given)) expect(value, name).toMatch(/^[-A-Za-z0-9+:/@.?=]+$/);
    expect(given["CELLS_BROKER"]).not.toContain("?");
    expect(given["CELLS_PERSISTQUEUE"]).not.toContain("?");
  });

  it("names the Secrets with what only the cluster knows", () => {
    expect(comments(environmentFile(factsOf("v4")))).toEqual([
      "# Variables of Pydio Cells for these services: docs/cells.md",
      "# VAULT_TOKEN: the key token of the Secret vault-application-cells in the namespace app",
      "# /etc/cells-services/vault.crt: the key ca.crt of the Secret vault-application-cells in the namespace app",
      "# /etc/cells-services/mongodb.crt: the key ca.crt of the Secret mongodb-application-cells in the namespace app",
      "# /etc/cells-services/objectstore.crt: the key ca.crt of the Secret objectstore-application-cells in the namespace app",
      "# cells admin cert import --uuid cells-services-etcd ca.crt: the key ca.crt of the Secret etcd-application-cells in the namespace app",
      "# cells admin cert import --uuid cells-services-redis ca.crt: the key ca.crt of the Secret redis-application-cells in the namespace app",
    ]);
  });

  it("encodes what has a meaning in an address, and refuses what no code helps against", () => {
    const facts = factsOf("v5");
    const [etcd] = [facts.etcd];
    if (etcd === undefined) throw new Error("no etcd");
    const text = environmentFile({ ...facts, etcd: { ...etcd, password: "a@b:c/d?e#f%g h" } });
    const { CELLS_CONFIG: config = "" } = variables(text);
    expect(config).toContain("cells:a%40b%3Ac%2Fd%3Fe%23f%25g%20h@etcd.data.svc");
    expect(decodeURIComponent(new URL(config).password)).toBe("a@b:c/d?e#f%g h");
    expect(() => environmentFile({ ...facts, etcd: { ...etcd, password: "a$b" } })).toThrow(/dollar/);
  });
});

describe("the install file", () => {
  it("of v5 is without TLS but for S3", () => {
    expect(parse(installFile(factsOf("v5")))).toEqual({
      dbconnectiontype: "tcp",
      dbtcphostname: "mysql.data.svc",
      dbtcpport: 3306,
      dbtcpname: "cells",
      dbtcpuser: "cells",
      dbtcppassword: "mysqlPassword",
      usedocumentsdsn: true,
      documentsdsn:
        "mongodb://cells:mongodbPassword@mongodb.data.svc:27017/cells?replicaSet=mongodb&w=majority&maxPoolSize=20",
      dstype: "S3",
      dss3custom: "https://objectstore.data.svc:9000",
      dss3customregion: "us-east-1",
      dss3apikey: "cells",
      dss3apisecret: "objectstorePassword",
      dss3bucketdefault: "cells-default",
      dss3bucketpersonal: "cells-personal",
      dss3bucketcells: "cells-cells",
      dss3bucketbinaries: "cells-binaries",
      dss3bucketthumbs: "cells-thumbs",
      dss3bucketversions: "cells-versions",
    });
  });

  it("of v4 gives the driver of MongoDB the options of TLS", () => {
    const { documentsdsn } = parse(installFile(factsOf("v4"))) as { documentsdsn: string };
    expect(documentsdsn).toMatch(/&tls=true&tlsCAFile=\/etc\/cells-services\/mongodb\.crt$/);
  });

  it("takes a whole address of MySQL where TLS is required", () => {
    const facts = factsOf("v5");
    const [mysql] = [facts.mysql];
    if (mysql === undefined) throw new Error("no mysql");
    expect(parse(installFile({ ...facts, mysql: { ...mysql, tls: "required" } }))).toMatchObject({
      dbconnectiontype: "manual",
      dbmanualdsn:
        "mysql://cells:mysqlPassword@tcp(mysql.data.svc:3306)/cells?parseTime=true&tls=true" +
        "&prefix={{ .Meta.prefix }}&policies={{ .Meta.policies }}&singular={{ .Meta.singular }}",
    });
  });

  it("is without what the stack does not have", () => {
    expect(parse(installFile(factsOf("v5", none)))).toBeNull();
  });
});

describe("the Secrets of the chart", () => {
  const login = { user: "cells", password: "secret" };

  it("have the keys that the chart takes for granted", () => {
    const keys = chartServices.map((service) => [
      chartSecrets[service].name,
      Object.keys(secretContent(service, login)),
    ]);
    expect(Object.fromEntries(keys)).toEqual({
      "cells-mariadb": ["mariadb-root-password"],
      "cells-redis": ["redis-password"],
      "cells-etcd": ["etcd-root-password"],
      "cells-nats": ["nats-server.conf"],
      mongodb: ["mongodb-root-password"],
      "cells-minio": ["root-user", "root-password"],
    });
  });

  it("have user and password of NATS where the chart looks for them", () => {
    const { "nats-server.conf": text = "" } = secretContent("nats", login);
    // The expressions of its helper.
    expect(/user: "[^"]*"/.exec(text)?.[0]).toBe('user: "cells"');
    expect(/password: "[^"]*"/.exec(text)?.[0]).toBe('password: "secret"');
  });
});
