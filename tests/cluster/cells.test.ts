import { createHash, randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { Etcd3 } from "etcd3";
import type { Redis } from "ioredis";
import { MongoClient } from "mongodb";
import type { Connection, RowDataPacket } from "mysql2/promise";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openProxy } from "../../components/mongodb/proxy";
import { open as openMysql } from "../../components/mysql/client";
import { open as openNats } from "../../components/nats/client";
import { open as openStore } from "../../components/objectstore/client";
import { open as openRedis } from "../../components/redis/client";
import { within } from "../../components/shared/core/wait";
import { vaultClient } from "../../components/vault/client";
import type { DrilledService } from "../../drills/profiles";
import { kubectl } from "../../sandbox/cluster";
import { home } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { type Contract, openContract } from "../support/contract";
import { type Deployment, openDeployment } from "../support/deployment";

/**
 * The services used as Pydio Cells uses them, by its source and from its namespace: docs/cells.md. Cells itself does not run. A
 * stack and namespaces of its own, shared with the tests of the stack, which begin and end without them.
 */
const stack = "test";
const namespace = `cells-${stack}`;
const ofCells = `${namespace}-app`;
const run = randomBytes(4).toString("hex");
let deployment: Deployment;
let contract: Contract;

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
  const up = await deployment.execute("tsx", ["sandbox/cli.ts", "up"], { STACK: stack, KUBE_CONTEXT: "" });
  if (up.code !== 0) throw new Error(up.output);
  contract = await openContract(deployment, stack, ofCells);
}, 1_200_000);

afterAll(async () => {
  await contract?.close();
  await deployment.deploy("destroy", "--yes", "--skip-preview");
});

/** The parts of one of the addresses. */
function variable(name: string): URL {
  const value = contract.variables[name];
  if (value === undefined) throw new Error(`${name} is not printed`);
  return new URL(value);
}

function installed(key: string): string {
  const value = contract.install[key];
  if (value === undefined) throw new Error(`${key} is not printed`);
  return String(value);
}

const loginOf = ({ username, password }: URL) => ({
  username: decodeURIComponent(username),
  password: decodeURIComponent(password),
});

/** What one test breaks must not be what the next one finds. */
const whole = (service: DrilledService): Promise<void> => deployment.checksPass(240, "--service", service);

/** What goes wrong is told where it is awaited. */
function killInTheBackground(service: DrilledService): Promise<void> {
  const killed = contract.killLeader(service);
  killed.catch(() => undefined);
  return killed;
}

describe("the namespace of Cells", () => {
  /** What the chart makes of its own values, with the mounts and variables that are printed. */
  function objectsOfChart() {
    type List = Record<string, unknown>[];
    const { extraEnvVars, extraVolumes, extraVolumeMounts } = contract.values as unknown as Record<string, List>;
    const data = { name: "cells-data", mountPath: "/var/cells" };
    const container = (name: string, securityContext?: object) => ({
      name,
      image: "docker.io/pydio/cells:v5",
      securityContext,
      env: extraEnvVars,
      volumeMounts: [data, ...(extraVolumeMounts ?? [])],
    });
    const restricted = {
      runAsNonRoot: true,
      runAsUser: 1001,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
      seccompProfile: { type: "RuntimeDefault" },
    };
    const initContainers = [
      container("volume-permissions", { runAsUser: 0 }),
      container("wait-for-deps"),
      container("install-certs", restricted),
      container("install", restricted),
    ];
    const claim = {
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "cells" },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "10Gi" } } },
    };
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "cells", labels: { "app.kubernetes.io/name": "cells" } },
      spec: {
        securityContext: { fsGroup: 1001 },
        initContainers,
        containers: [container("cells", restricted)],
        volumes: [{ name: data.name, persistentVolumeClaim: { claimName: "cells" } }, ...(extraVolumes ?? [])],
      },
    };
    return { apiVersion: "v1", kind: "List", items: [claim, pod] };
  }

  /** Decided by the API server as for a real one, and nothing is made. */
  async function tried(place: string): Promise<string> {
    const file = join(home, "chart.json");
    writeFileSync(file, JSON.stringify(objectsOfChart()));
    const create = kubectl("create", "--dry-run=server", "-n", place, "-f", file, "-o", "name");
    return create.finally(() => rmSync(file));
  }

  it("admits the pods of its chart, which that of the services refuses", async () => {
    expect((await tried(ofCells)).trim().split("\n")).toEqual(["persistentvolumeclaim/cells", "pod/cells"]);
    await expect(tried(namespace)).rejects.toThrow(/violates PodSecurity "restricted:/);
  });
});

describe("what is printed for Cells", () => {
  it("is the file and nothing else, and refuses what is no file", async () => {
    const unknown = await deployment.tsx("stacks/cells/cli.ts", "passwords");
    expect(unknown).toMatchObject({ code: 2, stdout: "" });
    const values = await deployment.tsx("stacks/cells/cli.ts", "values");
    expect(values.output).toBe(values.stdout);
    expect(values.stdout).toMatch(/^# Values of the Helm chart/);
  });

  it("is hidden from those who do not ask for secrets", async () => {
    const { code, stdout } = await deployment.execute("pulumi", ["stack", "output", "--json", "--stack", stack]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      cellsValues: "[secret]",
      cellsPatches: "[secret]",
      cellsEnv: "[secret]",
      cellsInstall: "[secret]",
    });
  });

  it("names Secrets that hold the same passwords", async () => {
    const referred = async (block: string): Promise<string | undefined> => {
      const auth = contract.values[block]?.["auth"] as Record<string, string>;
      const key = auth["existingSecretServerConf"] ?? auth["existingSecretPasswordKey"] ?? "";
      return (await contract.secret(auth["existingSecret"] ?? ""))[key];
    };
    expect(await referred("externalDiscovery")).toBe(loginOf(variable("CELLS_CONFIG")).password);
    expect(await referred("externalCache")).toBe(loginOf(variable("CELLS_CACHE")).password);
    expect(await referred("externalBroker")).toContain(
      `password: ${JSON.stringify(loginOf(variable("CELLS_BROKER")).password)}`,
    );
    expect(await referred("externalSQLDatabase")).toBe(installed("dbtcppassword"));
    expect(await referred("externalNoSQLDatabase")).toBe(loginOf(new URL(installed("documentsdsn"))).password);
    expect(await referred("externalS3")).toBe(installed("dss3apisecret"));
  });
});

describe("etcd", () => {
  it("compares and sets one document, and a watch misses none of its versions while the leader dies", async () => {
    const url = variable("CELLS_CONFIG");
    expect(url.protocol).toBe("etcd:");
    const key = url.pathname.slice(1);
    const { host, port } = await contract.reach(url.hostname, url.port);
    const client = new Etcd3({
      hosts: `http://${host}:${port}`,
      auth: loginOf(url),
      defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + 5_000 }),
    });
    const read = async () => {
      const [kv] = (await client.get(key).exec()).kvs;
      return { value: kv?.value.toString(), revision: kv?.mod_revision ?? "0" };
    };
    const replace = async (revision: string, value: string): Promise<boolean> =>
      (await client.if(key, "Mod", "==", revision).then(client.put(key).value(value)).commit()).succeeded;
    const replaceEventually = (value: string) =>
      until(`the document ${value}`, 60, async () => {
        const seen = await read();
        // A transaction without an answer may have been done.
        return seen.value === value || (await replace(seen.revision, value)) ? true : undefined;
      });
    try {
      const before = await read();
      expect(await replace(before.revision, `${run} 0`)).toBe(true);
      // Somebody else was faster.
      expect(await replace(before.revision, `${run} conflict`)).toBe(false);

      const seen: string[] = [];
      const watcher = await within(client.watch().key(key).create(), 20, "the watch");
      watcher.on("put", (kv) => void seen.push(kv.value.toString()));
      const versions = Array.from({ length: 60 }, (_, index) => `${run} ${index + 1}`);
      let killed: Promise<void> | undefined;
      for (const [index, version] of versions.entries()) {
        if (index === 10) killed = killInTheBackground("etcd");
        await replaceEventually(version);
      }
      await killed;
      await until("all versions", 60, async () => {
        const missing = versions.filter((version) => !seen.includes(version));
        if (missing.length > 0) throw new Error(`the watch misses ${missing.join(", ")}`);
        return true;
      });
      expect([...new Set(seen)]).toEqual(versions);
      await client.delete().key(key);
      await watcher.cancel();
    } finally {
      client.close();
    }
    await whole("etcd");
  });
});

describe("NATS", () => {
  const connections: NatsConnection[] = [];

  /** By the name, or to one member. */
  async function connected(member?: string): Promise<NatsConnection> {
    const url = variable("CELLS_BROKER");
    expect(url.protocol).toBe("nats:");
    const address =
      member === undefined
        ? await contract.reach(url.hostname, url.port)
        : await contract.tunnel.dial(member, Number(url.port));
    const connection = await openNats({ ...address, credentials: loginOf(url), name: "contract" });
    connections.push(connection);
    return connection;
  }

  afterAll(async () => {
    await Promise.all(connections.map((each) => each.close()));
  });

  it("passes messages between clients of different servers on a subject with host, port and path", async () => {
    const url = variable("CELLS_BROKER");
    const subject = `${url.host}/broker/contract-${run}`;
    const [first = "", second = ""] = contract.members("nats");
    const [one, other] = [await connected(first), await connected(second)];
    for (const [sender, receiver] of [
      [one, other],
      [other, one],
    ] as const) {
      const subscription = receiver.subscribe(subject, { max: 1 });
      const received = (async () => {
        for await (const message of subscription) return message.string();
        return undefined;
      })();
      await receiver.flush();
      // The servers tell each other of subscriptions, and core NATS forgets what nobody listens to.
      let done = false;
      void received.then(() => (done = true));
      await until("a message", 20, async () => {
        sender.publish(subject, run);
        await sender.flush();
        return done ? true : undefined;
      });
      expect(await received).toBe(run);
    }
  });

  it("raises a stream that asks for no replicas, each time that it asks again, and keeps its messages", async () => {
    const connection = await connected();
    const manager = await jetstreamManager(connection, { checkAPI: false });
    const js = jetstream(connection);
    const stream = createHash("sha1").update(`contract/${run}`).digest("hex");
    const ask = async (subject: string, body: object) => {
      const reply = await connection.request(`$JS.API.${subject}`, JSON.stringify(body), { timeout: 10_000 });
      return reply.json<{ error?: { code: number; description: string }; config?: { num_replicas: number } }>();
    };
    /** As the library of Cells does it, with the zeros that it sends for what nobody has set. */
    const createOrUpdate = async (): Promise<void> => {
      const config = {
        name: stream,
        subjects: [`${stream}.*`],
        retention: "interest",
        discard: "old",
        storage: "file",
        num_replicas: 0,
        max_consumers: 0,
        max_msgs: 0,
        max_bytes: 0,
        max_age: 0,
      };
      const updated = await ask(`STREAM.UPDATE.${stream}`, config);
      const answer = updated.error?.code === 404 ? await ask(`STREAM.CREATE.${stream}`, config) : updated;
      if (answer.error !== undefined) throw new Error(answer.error.description);
    };
    const raised = () =>
      until("three replicas", 180, async () => {
        const { config, cluster } = await manager.streams.info(stream);
        const replicas = cluster?.replicas ?? [];
        if (config.num_replicas === 3 && replicas.length === 2 && replicas.every(({ current }) => current)) return true;
        throw new Error(`${config.num_replicas} replicas, ${replicas.filter(({ current }) => current).length} current`);
      });
    await createOrUpdate();
    try {
      const consumer = await ask(`CONSUMER.DURABLE.CREATE.${stream}.CONS`, {
        stream_name: stream,
        config: { durable_name: "CONS", ack_policy: "explicit", deliver_policy: "all", replay_policy: "instant" },
      });
      expect(consumer.error).toBeUndefined();
      await raised();
      const messages = Array.from({ length: 20 }, (_, index) => `${run} ${index}`);
      for (const message of messages) await js.publish(`${stream}.msg`, message);
      // Cells starts again.
      await createOrUpdate();
      await raised();
      expect((await manager.streams.info(stream)).state.messages).toBe(messages.length);
      const received: string[] = [];
      for await (const message of await (await js.consumers.get(stream, "CONS")).fetch({
        max_messages: messages.length,
        expires: 20_000,
      })) {
        received.push(message.string());
        message.ack();
      }
      expect(received).toEqual(messages);
    } finally {
      await manager.streams.delete(stream);
    }
  });
});

describe("Redis", () => {
  it("sets, gets, deletes, scans and lists keys through the one address, also after the master has died", async () => {
    const url = variable("CELLS_CACHE");
    expect(url.protocol).toBe("redis:");
    const withClient = async <T>(use: (client: Redis) => Promise<T>): Promise<T> => {
      const address = await contract.reach(url.hostname, url.port);
      const client = await openRedis({ ...address, credentials: loginOf(url), name: "contract" });
      try {
        return await use(client);
      } finally {
        client.disconnect();
      }
    };
    const prefix = `contract:${run}:`;
    const scanned = async (client: Redis): Promise<string[]> => {
      const keys = new Set<string>();
      let cursor = "0";
      do {
        const [next, found] = await client.scan(cursor, "MATCH", `${prefix}*`, "COUNT", 100);
        for (const key of found) keys.add(key);
        cursor = next;
      } while (cursor !== "0");
      return [...keys].sort();
    };
    const [before, gone, after] = ["before", "gone", "after"].map((each) => prefix + each) as [string, string, string];
    await withClient(async (client) => {
      for (const key of [before, gone]) expect(await client.set(key, run, "PX", 900_000)).toBe("OK");
      expect(await client.get(gone)).toBe(run);
      expect(await client.del(gone)).toBe(1);
      expect(await client.get(gone)).toBeNull();
      expect(await scanned(client)).toEqual([before]);
      expect(await client.keys(`${prefix}*`)).toEqual([before]);
    });
    await contract.killLeader("redis");
    await until("a write after the failover", 60, () =>
      withClient(async (client) => ((await client.set(after, run, "PX", 900_000)) === "OK" ? true : undefined)),
    );
    await withClient(async (client) => {
      expect(await client.get(after)).toBe(run);
      expect(await scanned(client)).toEqual([after, before].sort());
      expect((await client.keys(`${prefix}*`)).sort()).toEqual([after, before].sort());
      await client.del(before, after);
    });
    await whole("redis");
  });
});

describe("Vault", () => {
  /** As the pods of Cells have it: from the volume of the token, and the authority beside it. */
  async function vault() {
    const url = variable("CELLS_KEYRING");
    expect(url.protocol).toBe("vaults:");
    const volumes = contract.values["extraVolumes"] as unknown as { secret?: { secretName: string } }[];
    const values = await contract.secret(volumes.find(({ secret }) => secret)?.secret?.secretName ?? "");
    const { host, port } = await contract.reach(url.hostname, url.port);
    const [token, ca] = [values["token"], values["ca.crt"]];
    if (!token || !ca) throw new Error("the Secret has no token or no authority");
    return vaultClient({ url: `https://${host}:${port}`, servername: url.hostname, ca, token });
  }

  it.each(["CELLS_KEYRING", "CELLS_CERTS_STORE"])(
    "writes, reads, lists and deletes in the mount of %s, version 2, with the issued token",
    async (name) => {
      const client = await vault();
      const url = variable(name);
      const mount = url.pathname.slice(1);
      const key = `${url.searchParams.get("key") ?? "certificate"}-contract-${run}`;
      await client.write(`${mount}/data/${key}`, { data: { value: run } });
      expect(await client.read(`${mount}/data/${key}`)).toMatchObject({ data: { value: run } });
      expect(await client.list(`${mount}/metadata`)).toContain(key);
      await client.remove(`${mount}/data/${key}`);
      expect(await client.read(`${mount}/data/${key}`)).toBeUndefined();
      // The store of certificates removes all versions.
      await client.remove(`${mount}/metadata/${key}`);
      expect(await client.list(`${mount}/metadata`)).not.toContain(key);
    },
  );

  it("gave a token that somebody else renews for ever, and no right to anything else", async () => {
    const client = await vault();
    const token = await client.lookupSelf();
    expect(token).toMatchObject({ renewable: true, orphan: true });
    expect(token.ttlSeconds).toBeGreaterThan(24 * 3600);
    await expect(client.write("sys/policies/acl/contract", { policy: "" })).rejects.toThrow(/permission denied/);
  });
});

describe("MongoDB", () => {
  it("loses no acknowledged document of a client with the printed address while the primary dies", async () => {
    const address = installed("documentsdsn");
    const proxy = await openProxy(contract.tunnel);
    const client = new MongoClient(address, {
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      serverSelectionTimeoutMS: 30_000,
      connectTimeoutMS: 5_000,
      socketTimeoutMS: 15_000,
    });
    try {
      expect(client.db().databaseName).toBe(new URL(address).pathname.slice(1));
      const collection = client.db().collection<{ _id: string; text: string }>(`contract_${run}`);
      // Cells makes its collections and indexes, and drops them.
      await collection.createIndex({ text: 1 });
      const ids = Array.from({ length: 60 }, (_, index) => `${run} ${index}`);
      let killed: Promise<void> | undefined;
      for (const [index, _id] of ids.entries()) {
        if (index === 10) killed = killInTheBackground("mongodb");
        await until(`the document ${_id}`, 60, () =>
          collection.insertOne({ _id, text: _id }).then(
            () => true,
            (error: { code?: number }) => {
              // An attempt without an answer was done.
              if (error.code === 11000) return true;
              throw error as Error;
            },
          ),
        );
      }
      await killed;
      const found = await collection.find().toArray();
      expect(found.map(({ _id }) => _id).sort()).toEqual([...ids].sort());
      expect(await collection.drop()).toBe(true);
    } finally {
      await client.close();
      proxy.close();
    }
    await whole("mongodb");
  });

  it("is found by its one name without any option, as the chart writes the address", async () => {
    const { username, password, host, pathname } = new URL(installed("documentsdsn"));
    const proxy = await openProxy(contract.tunnel);
    const client = new MongoClient(`mongodb://${username}:${password}@${host}${pathname}`, {
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      serverSelectionTimeoutMS: 30_000,
    });
    try {
      const collection = client.db().collection<{ _id: string }>(`contract_${run}_plain`);
      await collection.insertOne({ _id: run });
      expect(await collection.drop()).toBe(true);
    } finally {
      await client.close();
      proxy.close();
    }
  });
});

describe("MySQL", () => {
  async function connected(): Promise<Connection> {
    expect(installed("dbconnectiontype")).toBe("tcp");
    const address = await contract.reach(installed("dbtcphostname"), installed("dbtcpport"));
    return openMysql(
      {
        ...address,
        credentials: { username: installed("dbtcpuser"), password: installed("dbtcppassword") },
        database: installed("dbtcpname"),
      },
      30_000,
    );
  }

  const first = async (connection: Connection, sql: string): Promise<Record<string, unknown> | undefined> =>
    (await connection.query<RowDataPacket[]>(sql))[0][0];

  it("has the collation that Cells migrates with, all rights in its database, and prepared statements", async () => {
    const connection = await connected();
    const table = `contract_${run}`;
    try {
      const settings = await first(
        connection,
        "SELECT @@character_set_database AS charset, @@collation_database AS collation, " +
          "@@max_connections AS connections, @@max_prepared_stmt_count AS statements",
      );
      expect(settings).toMatchObject({ charset: "utf8mb4", collation: "utf8mb4_bin", statements: 131_056 });
      expect(settings?.["connections"]).toBeGreaterThanOrEqual(500);
      const [grants] = await connection.query<RowDataPacket[]>("SHOW GRANTS");
      expect(JSON.stringify(grants)).toContain(`GRANT ALL PRIVILEGES ON \`${installed("dbtcpname")}\`.*`);

      await connection.query(`CREATE TABLE ${table} (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(64))`);
      await connection.query(`ALTER TABLE ${table} ADD UNIQUE INDEX by_name (name)`);
      // Another letter and another case are another name.
      for (const name of ["a", "A", "ä", "🐬"]) {
        await connection.execute(`INSERT INTO ${table} (name) VALUES (?)`, [name]);
      }
      const [rows] = await connection.execute<RowDataPacket[]>(`SELECT name FROM ${table} WHERE name = ?`, ["A"]);
      expect(rows).toMatchObject([{ name: "A" }]);
      await connection.query(`DROP TABLE ${table}`);
    } finally {
      await connection.end();
    }
  });

  it("takes 500 connections at once", async () => {
    const connections: Connection[] = [];
    try {
      while (connections.length < 500) {
        // The forwarding of ports is slower than the server.
        connections.push(...(await Promise.all(Array.from({ length: 20 }, connected))));
      }
      const ids = await Promise.all(connections.map((each) => first(each, "SELECT CONNECTION_ID() AS id")));
      expect(new Set(ids.map((each) => each?.["id"])).size).toBe(500);
    } finally {
      await Promise.allSettled(connections.map((each) => each.end()));
    }
  });
});

describe("the object store", () => {
  it("keeps and gives back an object in each of the six buckets", async () => {
    const endpoint = new URL(installed("dss3custom"));
    expect(endpoint.protocol).toBe("https:");
    const tls = contract.values["externalS3"]?.["tls"] as { ca: { existingSecret: string; cert: string } };
    const { host, port } = await contract.reach(endpoint.hostname, endpoint.port);
    const client = openStore({
      url: `https://${host}:${port}`,
      servername: endpoint.hostname,
      region: installed("dss3customregion"),
      credentials: { accessKeyId: installed("dss3apikey"), secretAccessKey: installed("dss3apisecret") },
      ca: (await contract.secret(tls.ca.existingSecret))[tls.ca.cert],
    });
    const buckets = Object.keys(contract.install).filter((key) => key.startsWith("dss3bucket"));
    expect(buckets).toHaveLength(6);
    // The chart names the same ones.
    expect(Object.values(contract.values["externalS3"]?.["ds"] as object).sort()).toEqual(
      buckets.map(installed).sort(),
    );
    try {
      for (const Bucket of buckets.map(installed)) {
        const object = { Bucket, Key: `contract-${run}` };
        await client.send(new PutObjectCommand({ ...object, Body: run }));
        const { Body: body } = await client.send(new GetObjectCommand(object));
        expect(await body?.transformToString(), Bucket).toBe(run);
        await client.send(new DeleteObjectCommand(object));
      }
    } finally {
      client.destroy();
    }
  });
});
