/**
 * The container images that the components start: official ones only, by exact version. A service image carries its version in
 * `version`; the arguments `version` and `image` of a component override it.
 */
export interface Image {
  repository: string;
  version: string;
  /** What comes before the version in the tag. */
  tagPrefix: string;
}

export const images = {
  // Distroless since 3.6: etcd, etcdctl and etcdutl in /usr/local/bin, no shell.
  etcd: { repository: "gcr.io/etcd-development/etcd", version: "3.6.16", tagPrefix: "v" },
  // The binary is /bin/vault; the entry point, which needs a shell and root, is not used.
  vault: { repository: "docker.io/hashicorp/vault", version: "1.21.2", tagPrefix: "" },
  // From scratch: only /nats-server, no shell.
  nats: { repository: "docker.io/library/nats", version: "2.15.2", tagPrefix: "" },
  redis: { repository: "docker.io/library/redis", version: "8.0.6", tagPrefix: "" },
  mongodb: { repository: "docker.io/library/mongo", version: "6.0.27", tagPrefix: "" },
  mysql: { repository: "docker.io/library/mysql", version: "9.7.4", tagPrefix: "" },
  haproxy: { repository: "docker.io/library/haproxy", version: "3.2.26", tagPrefix: "" },
  // S3 over a directory: a static /usr/local/bin/versitygw on Alpine.
  versitygw: { repository: "docker.io/versity/versitygw", version: "1.8.0", tagPrefix: "v" },
  // The stock Node.js image runs the agent from a bundle in a ConfigMap: there is no image of ours to publish.
  agent: { repository: "docker.io/library/node", version: "22.23.3-bookworm-slim", tagPrefix: "" },
} as const satisfies Record<string, Image>;

export function imageReference(image: Image, version: string = image.version): string {
  return `${image.repository}:${image.tagPrefix}${version}`;
}

/** The same image in a mirror: the registry stands for the host of the official one. */
export function mirrored(reference: string, registry: string | undefined): string {
  return registry === undefined ? reference : `${registry}${reference.slice(reference.indexOf("/"))}`;
}

export const gatewayImage = imageReference(images.haproxy);
export const agentImage = imageReference(images.agent);
