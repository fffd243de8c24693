/** The arguments of etcd. */
import { z } from "zod";
import {
  agentPorts,
  backupsArgument,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  resolver,
  type ServiceProfile,
  wholeNumber,
} from "../shared/deploy";
import { adminUsername, ports } from "./layout";

export const etcdProfile: ServiceProfile = {
  service: "etcd",
  image: images.etcd,
  bundle: (): unknown => require("../../dist/agents/etcd.json"),
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
    "metrics.from": `port ${ports.metrics}, and ${agentPorts.http} of the maintenance`,
  },
};

/**
 * 30 days, longer than most clients run. Etcd does not prolong a token, and asks for a valid one also on an open stream: for each new
 * watch and lease renewal. Many clients log in again for requests only. A change of users ends access to keys at once, whatever the life.
 */
const defaultTtlHours = 720;
const longestTtlHours = 8760;

export const etcdSchema = ensembleSchema({
  ...ensembleShape(etcdProfile),
  backups: backupsArgument,
  tokens: z
    .strictObject({
      ttlHours: wholeNumber(1, longestTtlHours, `use ${defaultTtlHours}`)
        .describe(`life of a login token, in hours, from 1 to ${longestTtlHours}`)
        .default(defaultTtlHours),
    })
    .prefault({}),
});
export type EtcdClusterArguments = z.input<typeof etcdSchema>;
export type EtcdEnsemble = ReturnType<typeof resolveEtcd>;

export const resolveEtcd = resolver(etcdProfile, etcdSchema);
