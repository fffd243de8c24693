import type { EnsembleArguments } from "../components/shared/deploy";
import { bucketsForCells, vaultForCells } from "./cells";
import type { Environment } from "./services";

// No CPU limit: a throttled member misses heartbeats, and an election is what one sees of it.
const small = {
  requests: { cpu: "50m", memory: "128Mi" },
  limits: { memory: "256Mi" },
};

/** Of each service of several members. */
const common = {
  members: 3,
  placement: { spread: "preferred" },
  applications: ["cells"],
  deletion: "delete",
} satisfies Partial<EnsembleArguments>;

export const environment: Environment = {
  services: {
    etcd: {
      ...common,
      // Room for the quota of its database.
      storage: { size: "2Gi" },
      resources: small,
    },
    vault: {
      ...common,
      storage: { size: "2Gi" },
      resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      seal: { type: "shamir" },
      ...vaultForCells,
    },
    nats: {
      ...common,
      storage: { size: "2Gi" },
      resources: small,
      durability: "fsync",
    },
    redis: {
      ...common,
      storage: { size: "1Gi" },
      resources: small,
      durability: "everysecond",
      // Cells keeps nothing in it that it could not read again.
      eviction: "allkeys-lru",
    },
    mongodb: {
      ...common,
      storage: { size: "3Gi" },
      resources: { requests: { cpu: "50m", memory: "256Mi" }, limits: { memory: "512Mi" } },
    },
    mysql: {
      ...common,
      storage: { size: "4Gi" },
      resources: { requests: { cpu: "100m", memory: "768Mi" }, limits: { memory: "1152Mi" } },
      maxConnections: 500,
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
