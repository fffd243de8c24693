/** The arguments of etcd: the common ones. */
import type { z } from "zod";
import {
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  resolveEnsemble,
  type ServiceProfile,
} from "../shared/deploy";
import { adminUsername, ports } from "./layout";

export const etcdProfile: ServiceProfile = {
  service: "etcd",
  image: images.etcd,
  // The quota is half of it: 4 GiB. Below 2Gi the quota would be under 1 GiB, which a busy registry fills in hours.
  storage: { size: "8Gi", minimum: "2Gi" },
  // The database is mapped into memory. No limit on CPU: throttled heartbeats cost elections.
  resources: {
    requests: { cpu: "100m", memory: "256Mi", "ephemeral-storage": "64Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": logSpace },
  },
  reserved: (application) => (application === adminUsername ? "which is the administrator" : undefined),
  notes: {
    "storage.size": "at least `2Gi`",
    applications: `not \`${adminUsername}\``,
    "metrics.from": `port ${ports.metrics}`,
  },
};

export const etcdSchema = ensembleSchema(ensembleShape(etcdProfile));
export type EtcdClusterArguments = z.input<typeof etcdSchema>;

/** The arguments with all defaults; throws one error that lists every mistake. Creates nothing. */
export function resolveEtcd(name: string, args: EtcdClusterArguments) {
  return resolveEnsemble(etcdProfile, etcdSchema, name, args);
}
