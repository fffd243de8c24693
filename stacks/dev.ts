import { bucketsForCells, vaultForCells } from "./cells";
import type { Environment } from "./services";

// No CPU limit: a throttled member misses heartbeats, and an election is what one sees of it.
const small = {
  requests: { cpu: "50m", memory: "128Mi" },
  limits: { memory: "256Mi" },
};

export const environment: Environment = {
  services: {
    etcd: {
      members: 3,
      // Room for the quota of its database.
      storage: { size: "2Gi" },
      resources: small,
      placement: { spread: "preferred" },
      applications: ["cells"],
      deletion: "delete",
    },
    vault: {
      members: 3,
      storage: { size: "2Gi" },
      resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      placement: { spread: "preferred" },
      seal: { type: "shamir" },
      applications: ["cells"],
      ...vaultForCells,
      deletion: "delete",
    },
    nats: {
      members: 3,
      storage: { size: "2Gi" },
      resources: small,
      placement: { spread: "preferred" },
      applications: ["cells"],
      durability: "fsync",
      deletion: "delete",
    },
    redis: {
      members: 3,
      storage: { size: "1Gi" },
      resources: small,
      placement: { spread: "preferred" },
      applications: ["cells"],
      durability: "everysecond",
      // Cells keeps nothing in it that it could not read again.
      eviction: "allkeys-lru",
      deletion: "delete",
    },
    mongodb: {
      members: 3,
      storage: { size: "3Gi" },
      resources: { requests: { cpu: "50m", memory: "256Mi" }, limits: { memory: "512Mi" } },
      placement: { spread: "preferred" },
      applications: ["cells"],
      deletion: "delete",
    },
    mysql: {
      members: 3,
      storage: { size: "4Gi" },
      resources: { requests: { cpu: "100m", memory: "768Mi" }, limits: { memory: "1152Mi" } },
      placement: { spread: "preferred" },
      applications: ["cells"],
      maxConnections: 500,
      deletion: "delete",
    },
    objectstore: {
      storage: { size: "5Gi" },
      resources: small,
      applications: ["cells", "backup"],
      ...bucketsForCells,
      deletion: "delete",
    },
  },
  protect: false,
};

/** The topology of prod in small: three members, TLS and authentication, on any cluster, gone without a trace on destroy. */
export function dev(): Environment {
  return environment;
}
