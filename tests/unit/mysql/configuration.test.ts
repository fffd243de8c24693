import { describe, expect, it } from "vitest";
import {
  bufferPoolBytes,
  defaultTransactionBytes,
  initializeConfig,
  initStatements,
  largestTransactionBytes,
  memberConfig,
  messageCacheBytes,
  mostConnections,
  quoted,
  type ServerConfiguration,
  serverConfig,
} from "../../../components/mysql/configuration";

const MiB = 2 ** 20;
const server: ServerConfiguration = {
  name: "mysql",
  members: 3,
  tls: "required",
  memoryLimit: 2048 * MiB,
  maxConnections: 500,
  transactionSizeLimit: 64 * MiB,
  sqlMode: ["STRICT_TRANS_TABLES", "NO_ZERO_DATE"],
  defaultTimeZone: "SYSTEM",
  generateInvisiblePrimaryKey: true,
  useNativeAio: true,
};

/** With transactions of the default size. */
function poolBytes(memoryLimit: number, maxConnections: number): number {
  const transactionSizeLimit = defaultTransactionBytes(memoryLimit);
  return bufferPoolBytes({ memoryLimit, maxConnections, transactionSizeLimit });
}

function options(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#") || line.startsWith("[")) continue;
    const [name = "", ...value] = line.split("=");
    found.set(name, [...(found.get(name) ?? []), value.join("=")]);
  }
  return found;
}

describe("the configuration of mysqld", () => {
  it("has one value for each option", () => {
    for (const tls of ["required", "optional", "off"] as const) {
      const common = serverConfig({ ...server, tls }, "cells");
      const all = options(memberConfig(common, { ordinal: 1, host: "mysql-1.mysql-peers.cells.svc", group: "g" }));
      for (const [name, values] of all) expect(values, name).toHaveLength(name === "plugin_load_add" ? 2 : 1);
    }
  });

  it("is durable, and numbers its transactions", () => {
    const all = options(serverConfig(server, "cells"));
    for (const [name, value] of Object.entries({
      innodb_flush_log_at_trx_commit: "1",
      sync_binlog: "1",
      gtid_mode: "ON",
      enforce_gtid_consistency: "ON",
      super_read_only: "ON",
      character_set_server: "utf8mb4",
      collation_server: "utf8mb4_bin",
      max_connections: "550",
      max_prepared_stmt_count: "131056",
      require_secure_transport: "ON",
    })) {
      expect(all.get(name), name).toEqual([value]);
    }
  });

  it("listens on all addresses of both families, and for the agent on its own", () => {
    const all = options(serverConfig(server, "cells"));
    expect(all.get("bind_address")).toEqual(["*"]);
    expect(all.get("admin_address")).toEqual(["127.0.0.1"]);
  });

  it("never founds a group by itself", () => {
    const all = options(serverConfig(server, "cells"));
    expect(all.get("group_replication_start_on_boot")).toEqual(["OFF"]);
    expect(all.get("group_replication_bootstrap_group")).toEqual(["OFF"]);
  });

  it("names all members, and itself", () => {
    const all = options(memberConfig(serverConfig(server, "cells"), { ordinal: 1, host: "h", group: "g" }));
    expect(all.get("group_replication_group_seeds")).toEqual([
      "mysql-0.mysql-peers.cells.svc:3306,mysql-1.mysql-peers.cells.svc:3306,mysql-2.mysql-peers.cells.svc:3306",
    ]);
    expect(all.get("server_id")).toEqual(["2"]);
    expect(all.get("report_host")).toEqual(["h"]);
    expect(all.get("group_replication_local_address")).toEqual(["h:3306"]);
    expect(all.get("group_replication_group_name")).toEqual(["g"]);
    expect(all.get("group_replication_member_weight")).toEqual(["49"]);
  });

  it("speaks TLS as asked for", () => {
    const optional = options(serverConfig({ ...server, tls: "optional" }, "cells"));
    expect(optional.has("require_secure_transport")).toBe(false);
    expect(optional.get("group_replication_ssl_mode")).toEqual(["VERIFY_IDENTITY"]);
    const off = options(serverConfig({ ...server, tls: "off" }, "cells"));
    expect(off.get("tls_version")).toEqual([""]);
    // Otherwise a member does not reach even itself.
    expect(off.get("group_replication_ssl_mode")).toEqual(["DISABLED"]);
    expect(off.get("group_replication_recovery_use_ssl")).toEqual(["OFF"]);
    expect([...off.keys()].filter((name) => name.startsWith("ssl_"))).toEqual([]);
  });

  it.each([
    [768, 100, 128, 95],
    [2048, 500, 256, 701],
    [16384, 500, 1024, 10877],
  ])("fits its caches into %i MiB, beside %i connections", (limit, connections, messages, pool) => {
    expect(messageCacheBytes(limit * MiB)).toBe(messages * MiB);
    expect(poolBytes(limit * MiB, connections)).toBe(pool * MiB);
  });

  it("takes as many connections as leave room for the least buffer pool", () => {
    const most = mostConnections(768 * MiB);
    expect(poolBytes(768 * MiB, most)).toBe(64 * MiB);
    expect(384 * MiB + messageCacheBytes(768 * MiB) + 64 * MiB + (most + 50) * 900_000).toBeLessThanOrEqual(768 * MiB);
  });

  it.each([
    [768, 173, 24],
    [1152, 500, 65],
    [2048, 500, 128],
    [16384, 500, 512],
    [65536, 500, 2048],
  ])("with %i MiB and %i connections takes no transaction of more than %i MiB", (limit, connections, largest) => {
    expect(largestTransactionBytes(limit * MiB, connections)).toBe(largest * MiB);
  });

  it("makes room for large transactions in the buffer pool, and leaves it the least", () => {
    const sizes = { memoryLimit: 2048 * MiB, maxConnections: 500 };
    expect(bufferPoolBytes({ ...sizes, transactionSizeLimit: 32 * MiB })).toBe(701 * MiB);
    expect(bufferPoolBytes({ ...sizes, transactionSizeLimit: 128 * MiB })).toBe(557 * MiB);
    for (const [memoryLimit, maxConnections] of [
      [768 * MiB, 173],
      [1152 * MiB, 500],
      [4096 * MiB, 2000],
    ] as const) {
      const transactionSizeLimit = largestTransactionBytes(memoryLimit, maxConnections);
      expect(bufferPoolBytes({ memoryLimit, maxConnections, transactionSizeLimit })).toBeGreaterThanOrEqual(64 * MiB);
    }
  });

  it("has what the arguments say", () => {
    const all = options(serverConfig(server, "cells"));
    expect(all.get("sql_mode")).toEqual(["STRICT_TRANS_TABLES,NO_ZERO_DATE"]);
    expect(all.get("default_time_zone")).toEqual(["SYSTEM"]);
    expect(all.get("sql_generate_invisible_primary_key")).toEqual(["ON"]);
    expect(all.get("innodb_use_native_aio")).toEqual(["ON"]);
    expect(all.get("group_replication_transaction_size_limit")).toEqual(["67108864"]);
    const others = options(
      serverConfig(
        {
          ...server,
          transactionSizeLimit: 100 * MiB,
          sqlMode: [],
          defaultTimeZone: "-03:30",
          generateInvisiblePrimaryKey: false,
          useNativeAio: false,
        },
        "cells",
      ),
    );
    expect(others.get("sql_mode")).toEqual([""]);
    expect(others.get("default_time_zone")).toEqual(["-03:30"]);
    expect(others.get("sql_generate_invisible_primary_key")).toEqual(["OFF"]);
    expect(others.get("innodb_use_native_aio")).toEqual(["OFF"]);
    expect(others.get("group_replication_transaction_size_limit")).toEqual(["104857600"]);
  });

  it("makes data also on a node without asynchronous input and output", () => {
    for (const data of ["empty", "present"] as const) {
      expect(initializeConfig(data)).toContain("innodb_use_native_aio=OFF\n");
    }
  });

  it("makes data only where there are none", () => {
    expect(initializeConfig("empty")).toContain("datadir=/data/initializing\n");
    expect(initializeConfig("empty")).toContain("initialize-insecure=ON");
    expect(initializeConfig("present")).toContain("datadir=/data/mysql\n");
    expect(initializeConfig("present")).not.toContain("initialize-insecure");
  });
});

describe("the statements at each start", () => {
  const lines = initStatements({ admin: "A1", internal: "I1" }, "required").trim().split("\n");

  it("stay out of the binary log, and leave the server read-only", () => {
    expect(lines[0]).toBe("SET SESSION sql_log_bin = OFF;");
    expect(lines.at(-1)).toBe("SET GLOBAL super_read_only = ON;");
    for (const line of lines) expect(line).toMatch(/;$/);
  });

  it("leave nobody without a password, and let the members come with TLS only", () => {
    expect(lines).toContain("DROP USER IF EXISTS 'root'@'localhost';");
    expect(lines).toContain("ALTER USER 'member'@'%' REQUIRE SSL ACCOUNT UNLOCK;");
    expect(initStatements({ admin: "A1", internal: "I1" }, "off")).not.toContain("REQUIRE SSL");
  });

  it("take no password that could end a statement", () => {
    expect(() => initStatements({ admin: "a'; DROP", internal: "I1" }, "off")).toThrow("characters other than");
    expect(() => quoted("a\\")).toThrow("characters other than");
  });
});
