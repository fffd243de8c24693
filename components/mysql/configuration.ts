/** The configuration files of mysqld, and the statements that it runs when it starts: pure. */
import type { TlsMode } from "../shared/core/check";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { address, adminUsername, internalUsername, paths, ports, reservedConnections } from "./layout";

const MiB = 2 ** 20;

interface Sizes {
  /** Of the container, in bytes. */
  memoryLimit: number;
  /** Of all applications together. */
  maxConnections: number;
  /** In bytes. */
  transactionSizeLimit: number;
}

export interface ServerConfiguration extends Sizes, Pick<EnsembleSettings, "name" | "members" | "tls"> {
  sqlMode: readonly string[];
  defaultTimeZone: string;
  generateInvisiblePrimaryKey: boolean;
  useNativeAio: boolean;
}

/** Beside caches and connections: 9.7.4 had 425 MiB in a group, 64 MiB of it for the buffer pool. */
const baseBytes = 384 * MiB;
const leastBufferPoolBytes = 64 * MiB;
/** What a busy connection needs. */
const connectionBytes = 900_000;
/** The least that the server accepts. */
const leastMessageCacheBytes = 128 * MiB;

/** For messages that other members have not confirmed yet. At most 1 GiB, the default of the server. */
export function messageCacheBytes(memoryLimit: number): number {
  return Math.min(Math.max(Math.floor(memoryLimit / 8), leastMessageCacheBytes), 1024 * MiB);
}

/** What the buffer pool shares with temporary tables and large transactions. */
function freeBytes(memoryLimit: number, maxConnections: number): number {
  const connections = (maxConnections + reservedConnections) * connectionBytes;
  return memoryLimit - baseBytes - messageCacheBytes(memoryLimit) - connections;
}

/** One transaction takes about so many times its size in each member at once. */
const transactionCopies = 3;

/** The default of MySQL, 150 MB, could end all members of a small ensemble. */
export function defaultTransactionBytes(memoryLimit: number): number {
  return Math.floor(memoryLimit / 32);
}

/** In whole chunks of 1 MiB. It makes room for transactions beyond their default size. */
export function bufferPoolBytes({ memoryLimit, maxConnections, transactionSizeLimit }: Sizes): number {
  const more = Math.max(transactionSizeLimit - defaultTransactionBytes(memoryLimit), 0);
  const free = freeBytes(memoryLimit, maxConnections) - transactionCopies * more;
  return Math.max(Math.floor((free * 0.75) / MiB) * MiB, leastBufferPoolBytes);
}

/**
 * Leaves room for the least buffer pool, and half of the message cache for the messages of others: what the cache
 * drops, a member that was briefly away cannot get any more.
 */
export function largestTransactionBytes(memoryLimit: number, maxConnections: number): number {
  const room = Math.max(freeBytes(memoryLimit, maxConnections) - leastBufferPoolBytes, 0) / transactionCopies;
  const byDefault = defaultTransactionBytes(memoryLimit);
  const largest = Math.max(Math.min(byDefault + room, messageCacheBytes(memoryLimit) / 2), byDefault);
  return Math.floor(largest / MiB) * MiB;
}

/** The most connections that leave room for the least buffer pool. */
export function mostConnections(memoryLimit: number): number {
  return Math.floor((freeBytes(memoryLimit, 0) - leastBufferPoolBytes) / connectionBytes);
}

/** The configuration that all members have in common; no secrets. */
export function serverConfig(server: ServerConfiguration, namespace: string): string {
  const seeds = memberNames(server.name, server.members).map((member) =>
    address(memberHost(server.name, namespace, member)),
  );
  return [
    "[mysqld]",
    `datadir=${paths.data}`,
    `tmpdir=${paths.temporary}`,
    `socket=${paths.run}/mysqld.sock`,
    `pid_file=${paths.run}/mysqld.pid`,
    "secure_file_priv=NULL",
    "# Users of the ensemble, before the first client is let in.",
    `init_file=${paths.init}`,
    "",
    `port=${ports.client}`,
    "bind_address=*",
    "# For the agent, when all connections are taken.",
    "admin_address=127.0.0.1",
    `admin_port=${ports.admin}`,
    "create_admin_listener_thread=ON",
    "mysqlx=OFF",
    "# Users are not bound to hosts; and a proxy that only looks whether the port answers must not be blocked for it.",
    "skip_name_resolve=ON",
    "host_cache_size=0",
    `max_connections=${server.maxConnections + reservedConnections}`,
    "max_prepared_stmt_count=131056",
    "character_set_server=utf8mb4",
    "collation_server=utf8mb4_bin",
    `sql_mode=${server.sqlMode.join(",")}`,
    `default_time_zone=${server.defaultTimeZone}`,
    "",
    "# On disk before it is acknowledged.",
    "innodb_flush_log_at_trx_commit=1",
    "sync_binlog=1",
    `innodb_buffer_pool_size=${bufferPoolBytes(server)}`,
    "innodb_redo_log_capacity=134217728",
    `innodb_use_native_aio=${onOrOff(server.useNativeAio)}`,
    "# A member that was away for up to three days catches up from these; after that it is cloned.",
    "binlog_expire_logs_seconds=259200",
    "max_binlog_size=134217728",
    "# Applications may create triggers and functions in their databases.",
    "log_bin_trust_function_creators=ON",
    "# The group refuses changes of tables without a primary key: with ON such a table gets an invisible one.",
    `sql_generate_invisible_primary_key=${onOrOff(server.generateInvisiblePrimaryKey)}`,
    "# The state of the group is in this schema. What is switched off counts for users, hosts and threads, which nobody reads.",
    "performance_schema=ON",
    ...["accounts", "hosts", "users"].map((each) => `performance_schema_${each}_size=0`),
    ...["statements", "stages", "transactions", "waits"].flatMap((each) =>
      ["history", "history_long"].map((history) => `performance_schema_events_${each}_${history}_size=0`),
    ),
    "performance_schema_digests_size=1000",
    "performance_schema_max_digest_length=256",
    "performance_schema_error_size=0",
    "performance_schema_instrument='memory/%=OFF'",
    "innodb_log_buffer_size=16777216",
    "key_buffer_size=1048576",
    "table_definition_cache=1400",
    "table_open_cache=2000",
    "",
    "log_bin=binlog",
    "relay_log=relay",
    "gtid_mode=ON",
    "enforce_gtid_consistency=ON",
    "skip_replica_start=ON",
    "# The group lifts it on the primary.",
    "super_read_only=ON",
    "plugin_load_add=group_replication.so",
    "plugin_load_add=mysql_clone.so",
    `group_replication_group_seeds=${seeds.join(",")}`,
    "# The agent starts it, and knows how. The bootstrap flag is in no file and never persisted.",
    "group_replication_start_on_boot=OFF",
    "group_replication_bootstrap_group=OFF",
    "group_replication_single_primary_mode=ON",
    "group_replication_communication_stack=MYSQL",
    "# A new primary serves when it has applied everything that the former one acknowledged.",
    "group_replication_consistency=BEFORE_ON_PRIMARY_FAILOVER",
    "# Expelled when it was silent for 5 s, which is the least. More is much more: the list of suspects is looked at rarely.",
    "group_replication_member_expel_timeout=0",
    "# A primary in a minority blocks its writes at once, and gives up after this time: they fail, and it leaves.",
    "group_replication_unreachable_majority_timeout=20",
    "# Then it lets nobody in, and runs on, for the agent to say why and to bring it back. One retries, not two.",
    "group_replication_exit_state_action=OFFLINE_MODE",
    "group_replication_autorejoin_tries=0",
    "# One transaction takes about three times its size in each member at once.",
    `group_replication_transaction_size_limit=${server.transactionSizeLimit}`,
    `group_replication_message_cache_size=${messageCacheBytes(server.memoryLimit)}`,
    "group_replication_recovery_reconnect_interval=5",
    "",
    ...transport(server.tls),
  ].join("\n");
}

const onOrOff = (value: boolean): string => (value ? "ON" : "OFF");

function transport(tls: TlsMode): string[] {
  if (tls === "off") {
    return [
      "# Without TLS; passwords are encrypted with the public key of the server.",
      "tls_version=",
      "admin_tls_version=",
      "auto_generate_certs=OFF",
      "# The defaults of 9.7.4 are REQUIRED and ON, and a member could not reach even itself.",
      "group_replication_ssl_mode=DISABLED",
      "group_replication_recovery_use_ssl=OFF",
      "group_replication_recovery_get_public_key=ON",
      "",
    ];
  }
  return [
    `ssl_cert=${paths.serverTls}/tls.crt`,
    `ssl_key=${paths.serverTls}/tls.key`,
    "# Without it the server refuses to read renewed certificates, since it cannot verify its own.",
    `ssl_ca=${paths.trust}/ca.crt`,
    "auto_generate_certs=OFF",
    ...(tls === "required" ? ["require_secure_transport=ON"] : []),
    "# A member shows a certificate with its own name to the others.",
    "group_replication_ssl_mode=VERIFY_IDENTITY",
    "group_replication_recovery_use_ssl=ON",
    `group_replication_recovery_ssl_ca=${paths.trust}/ca.crt`,
    "group_replication_recovery_ssl_verify_server_cert=ON",
    "",
  ];
}

export function memberConfig(common: string, member: { ordinal: number; host: string; group: string }): string {
  return [
    common,
    `server_id=${member.ordinal + 1}`,
    `report_host=${member.host}`,
    `group_replication_local_address=${address(member.host)}`,
    `group_replication_group_name=${member.group}`,
    "# The lowest ordinal is elected: the highest ones leave when the number of members goes down. The default is 50.",
    `group_replication_member_weight=${50 - member.ordinal}`,
    "",
  ].join("\n");
}

/** For a run of mysqld before the server: it makes a data directory or validates its options, and ends. */
export function initializeConfig(data: "present" | "empty"): string {
  return [
    "[mysqld]",
    `datadir=${data === "empty" ? paths.initializing : paths.data}`,
    `tmpdir=${paths.temporary}`,
    "secure_file_priv=NULL",
    "# It lasts seconds, and must not fail when other servers of the node hold all that the kernel has of it.",
    "innodb_use_native_aio=OFF",
    ...(data === "empty" ? ["auto_generate_certs=OFF", "initialize-insecure=ON"] : ["validate-config=ON"]),
    "",
  ].join("\n");
}

/** Of the agents. The setup sets passwords as this user, so it can act as any user. */
const internalPrivileges = [
  "SELECT",
  "PROCESS",
  "RELOAD",
  "SHUTDOWN",
  "REPLICATION SLAVE",
  "REPLICATION CLIENT",
  "CREATE USER",
  "BACKUP_ADMIN",
  "CLONE_ADMIN",
  "CONNECTION_ADMIN",
  "GROUP_REPLICATION_ADMIN",
  "GROUP_REPLICATION_STREAM",
  "REPLICATION_SLAVE_ADMIN",
  "SERVICE_CONNECTION_ADMIN",
  "SYSTEM_VARIABLES_ADMIN",
  "SYSTEM_USER",
  "APPLICATION_PASSWORD_ADMIN",
];

/**
 * Run at each start, before clients are let in, one statement a line. Not in the binary log: members make these users
 * before they join, and a transaction that the group lacks would keep them out. The internal user gets the password of
 * its Secret, since kept volumes may be deployed anew; the setup logs in with it and sets that of the administrator.
 */
export function initStatements(passwords: Record<"admin" | "internal", string>, tls: TlsMode): string {
  const user = (username: string, password: string, transportOf: "NONE" | "SSL"): string[] => [
    `CREATE USER IF NOT EXISTS '${username}'@'%' IDENTIFIED BY ${quoted(password)};`,
    `ALTER USER '${username}'@'%' REQUIRE ${transportOf} ACCOUNT UNLOCK;`,
  ];
  return [
    "SET SESSION sql_log_bin = OFF;",
    "SET GLOBAL super_read_only = OFF;",
    ...user(adminUsername, passwords.admin, "NONE"),
    ...user(internalUsername, passwords.internal, tls === "off" ? "NONE" : "SSL"),
    `ALTER USER '${internalUsername}'@'%' IDENTIFIED BY ${quoted(passwords.internal)} RETAIN CURRENT PASSWORD;`,
    "DROP USER IF EXISTS 'root'@'localhost';",
    `GRANT ALL ON *.* TO '${adminUsername}'@'%' WITH GRANT OPTION;`,
    `GRANT ${internalPrivileges.join(", ")} ON *.* TO '${internalUsername}'@'%';`,
    "SET GLOBAL super_read_only = ON;",
    "",
  ].join("\n");
}

/** Throws for a password or name that must not come into a statement. */
export function quoted(text: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) {
    throw new Error("a user name or password has characters other than letters, digits, hyphens and underscores");
  }
  return `'${text}'`;
}
