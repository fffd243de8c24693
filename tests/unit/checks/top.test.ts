import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { columns, isWhole, type Measured, type Row, renderRows, rowOf, type Scrape } from "../../../checks/columns";
import { endpointsOf, redraw, scrape, screen } from "../../../checks/top";
import { mongodbMetrics } from "../../../components/mongodb/metrics";
import { mysqlMetrics } from "../../../components/mysql/metrics";
import { natsMetrics } from "../../../components/nats/metrics";
import { redisMetrics } from "../../../components/redis/metrics";
import { samplesIn } from "../../../components/shared/core/exposition";
import { memberMetrics, metricPrefix } from "../../../components/shared/core/metrics";
import { memberNames } from "../../../components/shared/core/names";
import { vaultMetrics } from "../../../components/vault/metrics";

const now = 1_000_000;
const day = 24 * 3600;
const target = (service: Measured["service"]): Measured =>
  ({ service, name: service, namespace: "cells", members: memberNames(service, 3) }) as Measured;

const answer = (pod: string, ...lines: string[]): Scrape => ({ pod, samples: samplesIn(lines.join("\n")) });

const member = (pod: string, ready: number, primary: number, ...more: string[]): Scrape =>
  answer(pod, `cells_services_ready ${ready}`, `cells_services_primary ${primary}`, ...more);

const volume = (available: number) => [
  "cells_services_volume_size_bytes 1073741824",
  `cells_services_volume_available_bytes ${available * 1073741824}`,
];

const ensemble = [
  `cells_services_certificate_expiry_timestamp_seconds ${now + 78 * day}`,
  `cells_services_backup_last_success_timestamp_seconds{kind="copy"} ${now - 3 * 3600}`,
  `cells_services_backup_last_success_timestamp_seconds{kind="proof"} ${now - 2 * day}`,
];

const haproxy = (proxy: string, used: number) => [
  `haproxy_frontend_current_sessions{proxy="${proxy}"} ${used}`,
  `haproxy_frontend_limit_sessions{proxy="${proxy}"} 4096`,
];

const redis = [
  member("redis-0", 1, 1, ...volume(0.9), ...ensemble),
  member("redis-1", 1, 0, "cells_services_redis_replication_lag_bytes 2048", ...volume(0.25), ...ensemble),
  member("redis-2", 1, 0, "cells_services_redis_replication_lag_bytes 0", ...volume(0.9)),
  answer("redis-gateway-a", ...haproxy("clients", 12), ...haproxy("status", 4000)),
  answer("redis-gateway-b", ...haproxy("clients", 40)),
];

const podsOf = (scrapes: Scrape[]): string[] => scrapes.map(({ pod }) => pod);

describe("the row of a service", () => {
  it("has the fullest volume, the fullest proxy and the last member", () => {
    const row = rowOf(target("redis"), redis, podsOf(redis));
    expect(row).toEqual({
      service: "redis",
      name: "redis",
      namespace: "cells",
      members: 3,
      ready: 3,
      leaders: ["redis-0"],
      lag: { value: 2048, unit: "bytes" },
      connections: { used: 40, limit: 4096 },
      disk: { used: 805306368, limit: 1073741824 },
      certificateExpiry: now + 78 * day,
      lastBackup: now - 3 * 3600,
      lastProof: now - 2 * day,
      notes: [],
    });
    expect(isWhole(row)).toBe(true);
    expect(renderRows([row], now)).toBe(
      [
        "SERVICE  READY  LEADER   LAG      CONNECTIONS  DISK            CERTIFICATE  BACKUP   PROOF",
        "redis    3/3    redis-0  2.0 KiB  40/4096      75% of 1.0 GiB  78 d         3 h ago  2 d ago\n",
      ].join("\n"),
    );
  });

  it("knows the limit of connections by those that are left", () => {
    const of = (used: number, free: number) => [
      `cells_services_mongodb_connections ${used}`,
      `cells_services_mongodb_connections_available ${free}`,
    ];
    const scrapes = [member("mongodb-0", 1, 1, ...of(10, 90)), member("mongodb-1", 1, 0, ...of(20, 80))];
    expect(rowOf(target("mongodb"), scrapes, podsOf(scrapes))).toMatchObject({ connections: { used: 20, limit: 100 } });
  });

  it("says which members are away, which refuse, and that nobody leads", () => {
    const scrapes: Scrape[] = [
      member("redis-0", 0, 0, "cells_services_refused 1"),
      { pod: "redis-1", reason: "no answer in 3 s" },
    ];
    const row = rowOf(target("redis"), scrapes, podsOf(scrapes));
    expect(row).toMatchObject({ ready: 0, leaders: [], lag: undefined, connections: undefined, disk: undefined });
    expect(isWhole(row)).toBe(false);
    expect(renderRows([row], now).split("\n").slice(1)).toEqual([
      "redis    0/3    none    -    -            -     -            -       -",
      "",
      "cells/redis-2 is not there",
      "cells/redis-gateway has no pod",
      "cells/redis-1 is unreachable: no answer in 3 s",
      "cells/redis-0 refuses to act: the log of its agent says why",
      "",
    ]);
  });

  it("shows two leaders, and a certificate that has ended", () => {
    const ended = `cells_services_certificate_expiry_timestamp_seconds ${now - 1}`;
    const row = rowOf(target("vault"), [member("vault-0", 1, 1, ended), member("vault-1", 1, 1)], []);
    expect(isWhole({ ...row, ready: 3, notes: [] })).toBe(false);
    expect(renderRows([row], now)).toMatch(/2\/3 +vault-0 and vault-1 +- +- +- +ended /);
  });

  it("has the native metrics of etcd, and the quota as its disk", () => {
    const server = (pod: string, leader: number, applied: number) =>
      answer(
        pod,
        "etcd_server_has_leader 1",
        `etcd_server_is_leader ${leader}`,
        `etcd_server_proposals_applied_total ${applied}`,
        "etcd_mvcc_db_total_size_in_bytes 1.048576e+06",
        "etcd_server_quota_backend_bytes 2.097152e+06",
      );
    expect(rowOf(target("etcd"), [server("etcd-0", 0, 40), server("etcd-1", 1, 47)], [])).toMatchObject({
      ready: 2,
      leaders: ["etcd-1"],
      lag: { value: 7, unit: "entries" },
      disk: { used: 1048576, limit: 2097152 },
    });
  });

  it("takes the member from a label when one pod speaks for all", () => {
    const said = (name: string, ...values: number[]) =>
      values.map((value, at) => `cells_services_nats_${name}{member="nats-${at}",storage="file"} ${value}`);
    const memory = 'cells_services_nats_store_used_bytes{member="nats-0",storage="memory"} 9';
    const samples = [
      ...said("up", 1, 1, 0),
      ...said("ready", 1, 1),
      ...said("meta_leader", 0, 1),
      ...said("store_used_bytes", 1, 2),
      ...said("store_limit_bytes", 10, 10),
    ];
    const pods = ["nats-0", "nats-1", "nats-2", "nats-reconciler-x"];
    expect(rowOf(target("nats"), [answer("nats-reconciler-x", ...samples, memory)], pods)).toMatchObject({
      ready: 2,
      leaders: ["nats-1"],
      disk: { used: 2, limit: 10 },
      notes: ["nats-2 does not answer"],
    });
  });
});

it("a member that nobody speaks for is there all the same", () => {
  const row = rowOf(target("nats"), [], ["nats-0", "nats-1", "nats-2"]);
  expect(row).toMatchObject({ ready: 0, notes: ["nats-reconciler has no pod"] });
});

describe("the columns", () => {
  const tables = {
    vault: vaultMetrics,
    nats: natsMetrics,
    redis: redisMetrics,
    mongodb: mongodbMetrics,
    mysql: mysqlMetrics,
  };
  it.each(Object.entries(tables))("of %s are metrics that its agent serves", (service, own) => {
    const known = [...Object.keys(memberMetrics), ...Object.keys(own).map((name) => `${service}_${name}`)];
    const used = JSON.stringify(columns[service as keyof typeof tables]).matchAll(/"name":"cells_services_(\w+)"/g);
    const unknown = [...used].map(([, name = ""]) => name).filter((name) => !known.includes(name));
    expect(unknown).toEqual([]);
    expect(columns[service as keyof typeof tables].ready.name).toMatch(new RegExp(`^${metricPrefix}(nats_)?ready$`));
  });
});

describe("what is drawn again and again", () => {
  const whole = { name: "etcd", members: 1, ready: 1, leaders: ["a"], notes: [] } as unknown as Row;

  it("is whole as it was at the last look that was not cut short", async () => {
    const ended = new AbortController();
    const looks = [[whole], [{ ...whole, ready: 0 }]];
    const look = async (): Promise<Row[]> => {
      const rows = looks.shift() ?? [];
      if (looks.length === 0) ended.abort();
      return rows;
    };
    expect(await redraw(look, ended.signal, () => undefined)).toBe(true);
  });

  it("begins with a look that succeeds", async () => {
    const look = () => Promise.reject(new Error("pods is forbidden"));
    await expect(redraw(look, new AbortController().signal, () => undefined)).rejects.toThrow("forbidden");
  });
});

describe("what is scraped", () => {
  const pod = (name: string, phase: string, ports: object, init = false) => ({
    metadata: { name },
    spec: { containers: [], initContainers: [], [init ? "initContainers" : "containers"]: [{ name: "a", ports }] },
    status: { phase },
  });

  it("is the port metrics of pods that have not ended, of sidecars too", () => {
    const metrics = [
      { name: "gateway", containerPort: 8009 },
      { name: "metrics", containerPort: 8008 },
    ];
    expect(
      endpointsOf([
        pod("redis-0", "Running", metrics, true),
        pod("redis-gateway-a", "Pending", [{ name: "metrics", containerPort: 8405 }]),
        pod("redis-setup", "Succeeded", metrics),
        pod("redis-roll", "Running", []),
      ]),
    ).toEqual([
      { pod: "redis-0", port: 8008 },
      { pod: "redis-gateway-a", port: 8405 },
    ]);
  });

  const server = createServer((request, response) => {
    if (request.url === "/metrics") return void response.end("a 1\n");
    response.writeHead(404).end("not here\n");
  });
  afterEach(() => void server.close());

  it("is read over the tunnel, and what does not answer says why", async () => {
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const tunnel = {
      dial: async (name: string) => ({ host: "127.0.0.1", port: name === "redis-0" ? port : 1 }),
      lastError: () => "cannot connect to port 8008 of redis-1: connection refused",
    };
    const signal = new AbortController().signal;
    expect(await scrape(tunnel, { pod: "redis-0", port: 8008 }, signal)).toEqual(answer("redis-0", "a 1"));
    expect(await scrape(tunnel, { pod: "redis-1", port: 8008 }, signal)).toEqual({
      pod: "redis-1",
      reason: "cannot connect to port 8008 of redis-1: connection refused",
    });
  });

  it("is drawn over what was there, in lines that do not wrap", () => {
    expect(screen("abcdef\ngh\n", 4)).toBe("\x1b[Habcd\x1b[K\ngh\x1b[K\n\x1b[J");
  });
});
