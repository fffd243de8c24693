import type { StackConfig } from "./config";
import { deployServices, type Environment, type StackOutputs } from "./services";

// No CPU limit: a throttled member misses heartbeats, and an election is what one sees of it.
const small = {
  requests: { cpu: "50m", memory: "128Mi" },
  limits: { memory: "256Mi" },
};

const environment: Environment = {
  etcd: {
    members: 3,
    // Room for the quota of its database.
    storage: { size: "2Gi" },
    resources: small,
    placement: { spread: "preferred" },
    tls: "required",
    applications: ["cells"],
    deletion: "delete",
  },
  nats: {
    members: 3,
    storage: { size: "2Gi" },
    resources: small,
    placement: { spread: "preferred" },
    tls: "required",
    applications: ["cells"],
    durability: "fsync",
    deletion: "delete",
  },
  protect: false,
};

/** The topology of prod in small: three members, TLS and authentication, on any cluster, gone without a trace on destroy. */
export function dev(config: StackConfig): StackOutputs {
  return deployServices(config, environment);
}
