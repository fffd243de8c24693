import { createHash } from "node:crypto";
import { describe, expect, it, vi } from "vitest";
import { type Durability, type Eviction, type RedisClusterArguments, resolveRedis } from "../../../components/redis";
import { commandsOf, passwordsToShow } from "../../../components/redis/accounts";
import { toServer } from "../../../components/redis/client";
import { memberConfig, sentinelConfig, sentinelId } from "../../../components/redis/configuration";
import { createResolver } from "../../../components/redis/connections";
import { sentinelUsers } from "../../../components/redis/files";
import { downAfterSeconds, replicaLagSeconds } from "../../../components/redis/layout";
import { allBut, maximumMemory, pace, serverConfig, usersConfig } from "../../../components/redis/manifest";
import type { Server } from "../../../components/redis/membership";
import { believedAble, failsToWrite, gauges, onlineReplicas } from "../../../components/redis/sidecar";

const ensemble = (args: Partial<RedisClusterArguments> = {}) => resolveRedis("redis", { namespace: "cells", ...args });

function config(
  args: Partial<RedisClusterArguments> = {},
  durability: Durability = "everysecond",
  eviction: Eviction = "none",
): string {
  return serverConfig(ensemble(args), durability, eviction);
}

const lines = (text: string): string[] => text.split("\n").filter((line) => !/^\s*(#.*)?$/.test(line));

describe("the configuration that all members share", () => {
  it("is complete", () => {
    expect(lines(config())).toEqual(
      lines(`
port 0
tls-port 6379
tls-replication yes
tls-cert-file /etc/redis-server-tls/tls.crt
tls-key-file /etc/redis-server-tls/tls.key
tls-ca-cert-file /etc/redis-trust/ca.crt
tls-auth-clients no
tls-protocols "TLSv1.2 TLSv1.3"
protected-mode no
aclfile /etc/redis-users/users.acl
daemonize no
dir /data/redis
databases 17
tcp-keepalive 60
appendonly yes
appendfsync everysec
replica-ignore-disk-write-errors yes
aof-use-rdb-preamble yes
save ""
aof-load-truncated yes
maxmemory 357913941
client-output-buffer-limit replica 80530636 0 0
maxmemory-policy noeviction
min-replicas-to-write 1
min-replicas-max-lag 3
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-diskless-load disabled
repl-timeout 10
repl-ping-replica-period 3
repl-backlog-size 16mb
shutdown-timeout 10
`),
    );
  });

  it("is plain text without TLS", () => {
    expect(lines(config({ tls: "off" }))[0]).toBe("port 6379");
    expect(config({ tls: "off" })).not.toMatch(/tls|crt/);
  });

  it("does what durability and eviction say", () => {
    expect(config({}, "fsync")).toContain("appendfsync always");
    expect(config({}, "fsync", "allkeys-lru")).toContain("maxmemory-policy allkeys-lru");
  });

  it.each<[number, string]>([
    [3, "min-replicas-to-write 1"],
    [5, "min-replicas-to-write 2"],
  ])("makes a master of %i members need a majority for a write", (members, line) => {
    expect(lines(config({ members }))).toContain(line);
  });

  it("makes a master that is cut off stop before another one is elected", () => {
    // The server counts its replicas each second.
    expect(replicaLagSeconds + 1).toBeLessThan(downAfterSeconds);
  });

  it("leaves memory beside the data", () => {
    expect(maximumMemory(ensemble({ resources: { limits: { memory: "900Mi" } } }))).toBe(600 * 2 ** 20);
  });

  it("gives the hand-over and the last copies their time", () => {
    expect(pace.terminationGraceSeconds).toBeGreaterThan(20 + 12 + 10);
  });
});

const passwords = { agent: "secretA", replication: "secretR", sentinel: "secretS" };
const member = { name: "redis", namespace: "cells", member: "redis-1", members: 3, tls: "required" } as const;
const hash = (text: string): string => `#${createHash("sha256").update(text).digest("hex")}`;
const login = (username: string, password: string) => ({ username, password });
const acl = usersConfig({
  admin: [login("admin", "secretX")],
  internal: Object.entries(passwords).map(([user, password]) => [login(user, password)]),
  applications: { cells: [login("cells", "secretC"), login("cells", "secretF")] },
});

describe("the configuration of one member", () => {
  it("starts as a replica of nobody that may not be elected", () => {
    expect(lines(memberConfig(member, passwords))).toEqual([
      "include /etc/redis/redis.conf",
      "replica-announce-ip redis-1.redis-peers.cells.svc",
      "replica-announce-port 6379",
      "masteruser replication",
      "masterauth secretR",
      "replicaof 127.0.0.1 1",
      "replica-priority 0",
    ]);
  });
});

describe("the users", () => {
  it("are known by digests only", () => {
    expect(acl).not.toContain("secret");
    expect(acl.split("\n")[0]).toBe("user default off");
  });

  it("let an application use all data, KEYS and SCAN, and nothing that is for administrators", () => {
    expect(acl).toContain(
      `user cells on ${hash("secretC")} ${hash("secretF")} ~* &* +@all -@admin -@dangerous +keys +info +sort +sort_ro +role -select +select|0 +select|1 `,
    );
    expect(acl).toContain("+select|15 -move -copy (+copy ~[^c]* ~c ~c[^e]* ");
    expect(acl).toContain(" ~cells-services:mark?*) -publish (+publish ~* &[^_]* &_ &_[^_]* ");
    expect(acl).toContain(" &__sentinel__:hello?*)\n");
    expect(acl).not.toContain("+select|16");
  });

  it("are refused one channel and one key only, by patterns for everything else", () => {
    const matches = (text: string, word: string): boolean =>
      // The patterns have no other special characters than a class at one place, and what may follow.
      allBut(word).some((pattern) => new RegExp(`^${pattern.replace("?*", ".+").replace("]*", "].*")}$`).test(text));
    for (const word of ["__sentinel__:hello", "cells-services:mark"]) {
      expect(matches(word, word)).toBe(false);
      const start = word.slice(0, -1);
      for (const text of [start, `${start}x`, `${word}x`, word[0], `x${word}`, "_action_cable_internal", "cells:1"]) {
        expect(matches(text ?? "", word), text).toBe(true);
      }
    }
  });

  it("let each agent do its work and no more", () => {
    expect(acl).toContain(`user replication on ${hash("secretR")} +psync +replconf +ping\n`);
    expect(acl).toMatch(/user agent on #\S+ ~cells-services:mark \+ping .*\+replicaof/);
    expect(acl).toMatch(/user sentinel on #\S+ allchannels .*\+slaveof .*\+config\|rewrite/);
    expect(acl).not.toMatch(/user (agent|sentinel|replication) .*@all/);
  });

  it("get their passwords in one command, so that the former one is accepted all the time", () => {
    const line = `user cells on ${hash("new")} ${hash("former")} ~* &* +@all`;
    expect(commandsOf(line)).toEqual([
      "cells",
      "resetkeys",
      "resetchannels",
      "clearselectors",
      "nocommands",
      "resetpass",
      "on",
      hash("new"),
      hash("former"),
      "~*",
      "&*",
      "+@all",
    ]);
  });

  it.each([
    ["before all have the new ones", "former", false, "former"],
    ["of a member that started just before a rotation", "older", false, "former"],
    ["when the agent starts again", "current", false, "current"],
    ["when all have the new ones", "former", true, "current"],
  ])("are shown to other members %s", (_, shown, shows, expected) => {
    expect(passwordsToShow(shown, { current: "current", former: "former", shows })).toBe(expected);
  });
});

describe("a lookup of names", () => {
  it("keeps one thread, however many ask while there is no answer", async () => {
    const answers: (() => void)[] = [];
    const resolve = createResolver((host) => new Promise((done) => answers.push(() => done(`of ${host}`))));
    const asked = [resolve("a"), resolve("b"), resolve("a"), resolve("b")];
    await Promise.resolve();
    expect(answers).toHaveLength(1);
    answers[0]?.();
    await asked[0];
    await vi.waitFor(() => expect(answers).toHaveLength(2));
    answers[1]?.();
    expect(await Promise.all(asked)).toEqual(["of a", "of b", "of a", "of b"]);
  });
});

describe("the replicas that a Sentinel would promote", () => {
  it("are those that it does not take for dead", () => {
    const replicas = [
      { name: "well", flags: "slave", "slave-priority": "100" },
      { name: "dead", flags: "s_down,slave,disconnected", "slave-priority": "100" },
      { name: "just started", flags: "slave", "slave-priority": "0" },
    ];
    expect(believedAble(replicas).map(({ name }) => name)).toEqual(["well"]);
  });

  it("is asked what it has while it is connected to the master", () => {
    const info = {
      connected_slaves: "2",
      slave0: "ip=redis-0.redis-peers.cells.svc,port=6379,state=online,offset=71,lag=0",
      slave1: "ip=redis-2.redis-peers.cells.svc,port=6379,state=wait_bgsave,offset=0,lag=0",
    };
    expect(onlineReplicas(info)).toEqual([{ host: "redis-0.redis-peers.cells.svc", port: 6379 }]);
  });
});

describe("the configuration of a Sentinel", () => {
  const write = (former: string, tls: "required" | "off" = "required"): string[] =>
    lines(sentinelConfig({ ...member, tls }, passwords, sentinelUsers(acl), former));

  it("knows no master at first", () => {
    expect(write("")).toEqual([
      "port 0",
      "tls-port 26379",
      "tls-replication yes",
      "tls-cert-file /etc/redis-peer-tls/tls.crt",
      "tls-key-file /etc/redis-peer-tls/tls.key",
      "tls-ca-cert-file /etc/redis-trust/ca.crt",
      "tls-auth-clients no",
      "protected-mode no",
      "daemonize no",
      "dir /data/sentinel",
      "loglevel notice",
      "user default off",
      `user admin on ${hash("secretX")} ~* &* +@all`,
      `user agent on ${hash("secretA")} ~* &* +@all`,
      `user sentinel on ${hash("secretS")} ~* &* +@all`,
      `sentinel myid ${sentinelId(member)}`,
      "sentinel resolve-hostnames yes",
      "sentinel announce-hostnames yes",
      "sentinel announce-ip redis-1.redis-peers.cells.svc",
      "sentinel announce-port 26379",
      "sentinel sentinel-user sentinel",
      "sentinel sentinel-pass secretS",
      "sentinel deny-scripts-reconfig yes",
    ]);
    expect(write("", "off")[0]).toBe("port 26379");
  });

  it("keeps what it has learnt and whom it has voted for, and nothing else", () => {
    const former = [
      "port 1",
      "user admin on #old ~* &* +@all",
      "sentinel myid 0000000000000000000000000000000000000000",
      "sentinel current-epoch 7",
      "sentinel monitor redis redis-2.redis-peers.cells.svc 6379 2",
      "sentinel config-epoch redis 7",
      "sentinel leader-epoch redis 7",
      "sentinel down-after-milliseconds redis 1",
      "sentinel auth-pass redis old",
      // Both are the master: what Sentinel writes when it can resolve no name, and never starts with again.
      "sentinel known-replica redis redis-2.redis-peers.cells.svc 6379",
      "sentinel known-replica redis redis-2.redis-peers.cells.svc 6379",
      "sentinel known-sentinel redis redis-0.redis-peers.cells.svc 26379 abc",
    ].join("\n");
    expect(write(former).slice(-13)).toEqual([
      "sentinel monitor redis redis-2.redis-peers.cells.svc 6379 2",
      "sentinel down-after-milliseconds redis 5000",
      "sentinel failover-timeout redis 10000",
      "sentinel parallel-syncs redis 2",
      "sentinel master-reboot-down-after-period redis 10000",
      "sentinel auth-user redis sentinel",
      "sentinel auth-pass redis secretS",
      "sentinel known-replica redis redis-0.redis-peers.cells.svc 6379",
      "sentinel known-replica redis redis-1.redis-peers.cells.svc 6379",
      "sentinel current-epoch 7",
      "sentinel config-epoch redis 7",
      "sentinel leader-epoch redis 7",
      "sentinel known-sentinel redis redis-0.redis-peers.cells.svc 26379 abc",
    ]);
  });

  it("has an id for the life of the member", () => {
    expect(sentinelId(member)).toMatch(/^[0-9a-f]{40}$/);
    expect(sentinelId({ ...member, tls: "off" })).toBe(sentinelId(member));
    expect(sentinelId({ ...member, namespace: "other" })).not.toBe(sentinelId(member));
    expect(sentinelId({ ...member, member: "redis-2" })).not.toBe(sentinelId(member));
  });
});

describe("what a server says of itself", () => {
  const memberOf = (host: string, port: number): string => (port === 1 ? "nobody" : host);

  it("is a master", () => {
    const info = {
      role: "master",
      connected_slaves: "2",
      min_slaves_good_slaves: "1",
      master_repl_offset: "4711",
      db0: "keys=3,expires=0",
      db16: "keys=1",
      slave_priority: "100",
    };
    expect(toServer(info, "id 1000000007", memberOf)).toEqual({
      state: "up",
      role: "master",
      linked: false,
      syncing: false,
      priority: 100,
      keys: 4,
      position: 1_000_000_007,
      clusterId: "id",
      offset: 4711,
      replicas: 1,
    });
  });

  it("is a replica of nobody", () => {
    const info = { role: "slave", master_host: "127.0.0.1", master_port: "1", master_link_status: "down" };
    expect(toServer(info, null, memberOf)).toMatchObject({ role: "replica", follows: "nobody", keys: 0, position: 0 });
  });
});

describe("a server without space for its append only file", () => {
  it("says so of itself, or refuses to answer", () => {
    expect(failsToWrite({ state: "loading" }, { aof_last_write_status: "err" })).toBe(true);
    expect(failsToWrite({ state: "away", reason: "MISCONF Errors writing to the AOF file" }, {})).toBe(true);
    expect(failsToWrite({ state: "away", reason: "refused" }, {})).toBe(false);
    expect(failsToWrite({ state: "loading" }, { aof_last_write_status: "ok" })).toBe(false);
  });
});

describe("the gauges", () => {
  const self = { name: "redis-0", namespace: "cells", members: ["redis-0", "redis-1", "redis-2"] };
  const info = {
    role: "master",
    aof_last_write_status: "ok",
    used_memory: "1000",
    mem_not_counted_for_evict: "300",
    maxmemory: "2000",
    maxmemory_policy: "noeviction",
    maxclients: "10000",
  };
  const look = (server: Server) => ({
    servers: { "redis-0": server },
    sentinels: {},
    marker: "unknown" as const,
    approval: undefined,
  });
  const of = (seen: Record<string, string>) => gauges(seen, look(toServer(seen, null, (host) => host)), self);

  it("are what the server says, and what it compares with its limit", () => {
    expect(of(info)).toEqual({
      keys: 0,
      max_clients: 10_000,
      used_memory_bytes: 700,
      maxmemory_bytes: 2000,
      evicts: 0,
      aof_last_write_ok: 1,
      members: 3,
      sentinels_agreed: 0,
    });
    expect(of({ ...info, maxmemory_policy: "allkeys-lru" })).toMatchObject({ evicts: 1 });
  });

  it("tell of the link of a replica", () => {
    const replica = { role: "slave", master_link_status: "down" };
    expect(of(replica)).toMatchObject({ replication_link_up: 0 });
    expect(of({ ...replica, master_link_status: "up" })).toMatchObject({ replication_link_up: 1 });
  });

  it("tell of a server that does not write, also when it says nothing else", () => {
    expect(of({ ...info, aof_last_write_status: "err" })).toMatchObject({ aof_last_write_ok: 0 });
    const away = (reason: string) => gauges({}, look({ state: "away", reason }), self);
    expect(away("MISCONF Errors writing to the AOF file")).toEqual({
      aof_last_write_ok: 0,
      members: 3,
      sentinels_agreed: 0,
    });
    expect(away("connection refused")).toEqual({ members: 3, sentinels_agreed: 0 });
  });
});
