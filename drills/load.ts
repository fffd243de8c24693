/**
 * The client that the bench runs in a pod: the same operations at the same rate, by turns straight to the leader and
 * through the gateway, and how long they took each time. Its settings come in LOAD, its credentials as files; the last line it prints is
 * the result.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Redis } from "ioredis";
import { createConnection } from "mysql2/promise";
import type { Latency, LoadResult, LoadSettings } from "./throughput";

/** One connection, and what can be done with it: each operation resolves when it is done. */
interface Client {
  operations: Record<string, () => Promise<unknown>>;
  close(): Promise<void>;
}

type Connect = (host: string, secret: (key: string) => string, settings: LoadSettings) => Promise<Client>;

/** As many keys or rows as there is nothing to gain from a cache of one. */
const spread = 1000;
const value = "x".repeat(100);
const key = (): number => 1 + Math.floor(Math.random() * spread);

const connects: Record<LoadSettings["service"], Connect> = {
  redis: async (host, secret, settings) => {
    const client = new Redis({
      host,
      port: settings.port,
      username: secret("username"),
      password: secret("password"),
      ...(settings.tls ? { tls: { ca: secret("ca.crt"), servername: host } } : {}),
      lazyConnect: true,
      maxRetriesPerRequest: 0,
      retryStrategy: () => null,
    });
    // The failed command says the same.
    client.on("error", () => undefined);
    await client.connect();
    // A key that nobody removes goes by itself.
    const name = (): string => `${settings.table}:${key()}`;
    return {
      operations: {
        SET: () => client.set(name(), value, "EX", 3600),
        GET: () => client.get(name()),
      },
      close: async () => client.disconnect(),
    };
  },
  mysql: async (host, secret, settings) => {
    const client = await createConnection({
      host,
      port: settings.port,
      user: secret("username"),
      password: secret("password"),
      database: secret("database"),
      ...(settings.tls ? { ssl: { ca: secret("ca.crt"), rejectUnauthorized: true, verifyIdentity: true } } : {}),
    });
    const { table } = settings;
    return {
      operations: {
        // An INSERT waits for a disk longer than any rate worth measuring lets it.
        "SELECT by primary key": () => client.execute(`SELECT value FROM ${table} WHERE id = ?`, [key()]),
      },
      close: () => client.end(),
    };
  },
};

/** What the operations need, made through the gateway, and a function that removes it. */
async function prepare(secret: (key: string) => string, settings: LoadSettings): Promise<() => Promise<void>> {
  if (settings.service === "redis") return async () => undefined;
  const admin = await createConnection({
    host: settings.routes.gateway,
    port: settings.port,
    user: secret("username"),
    password: secret("password"),
    database: secret("database"),
    ...(settings.tls ? { ssl: { ca: secret("ca.crt"), rejectUnauthorized: true, verifyIdentity: true } } : {}),
  });
  const { table } = settings;
  await admin.query(`DROP TABLE IF EXISTS ${table}`);
  await admin.query(`CREATE TABLE ${table} (id BIGINT AUTO_INCREMENT PRIMARY KEY, value VARCHAR(128) NOT NULL)`);
  const rows = Array.from({ length: spread }, () => [value]);
  await admin.query(`INSERT INTO ${table} (value) VALUES ?`, [rows]);
  return async () => {
    await admin.query(`DROP TABLE ${table}`);
    await admin.end();
  };
}

/** Each connection starts its operations at equal distances, and not before the last one is done. */
async function measure(clients: Client[], operation: string, { rate, seconds }: LoadSettings): Promise<Latency> {
  const paceMilliseconds = (1000 * clients.length) / rate;
  const started = performance.now();
  const took: number[] = [];
  await Promise.all(
    clients.map(async ({ operations }, number) => {
      const act = operations[operation];
      if (act === undefined) throw new Error(`no operation ${operation}`);
      const first = started + (number * paceMilliseconds) / clients.length;
      for (let next = first; next < started + seconds * 1000; next += paceMilliseconds) {
        const pause = next - performance.now();
        if (pause > 0) await delay(pause);
        const sent = performance.now();
        await act();
        took.push(performance.now() - sent);
      }
    }),
  );
  took.sort((a, b) => a - b);
  const part = (share: number): number => took[Math.floor(share * (took.length - 1))] ?? Number.NaN;
  return { p50: part(0.5), p99: part(0.99), operations: took.length };
}

async function main(): Promise<void> {
  const settings = JSON.parse(process.env["LOAD"] ?? "") as LoadSettings;
  const secret = (name: string): string => readFileSync(join(settings.secrets, name), "utf8");
  const remove = await prepare(secret, settings);
  try {
    const connect = (host: string): Promise<Client[]> =>
      Promise.all(
        Array.from({ length: settings.connections }, () => connects[settings.service](host, secret, settings)),
      );
    const routes = { direct: await connect(settings.routes.direct), gateway: await connect(settings.routes.gateway) };
    const operations = Object.keys(routes.direct[0]?.operations ?? {});
    const result: LoadResult = Object.fromEntries(operations.map((each) => [each, { direct: [], gateway: [] }]));
    // By turns, so that a slow minute of the machine hits both.
    for (let round = 0; round <= settings.rounds; round += 1) {
      for (const operation of operations) {
        for (const route of ["direct", "gateway"] as const) {
          const latency = await measure(routes[route], operation, settings);
          result[operation]?.[route].push(latency);
        }
      }
    }
    await Promise.all([...routes.direct, ...routes.gateway].map((client) => client.close()));
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    await remove();
  }
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exit(1);
  },
);
