import type { CheckTarget } from "../../../components/shared/core/check";

export function target(name: string): CheckTarget {
  return {
    service: name === "nats" ? "nats" : "etcd",
    name,
    namespace: "cells",
    members: [0, 1, 2].map((ordinal) => `${name}-${ordinal}`),
    peersService: `${name}-peers`,
    clientPort: 2379,
    metricsPort: 2381,
    host: `${name}.cells.svc`,
    tls: "required",
    trust: `${name}-ca`,
    adminSecret: `${name}-admin`,
    durability: null,
    applications: { cells: `${name}-application-cells` },
  };
}
