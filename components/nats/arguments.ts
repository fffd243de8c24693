/** The arguments of NATS. */
import { z } from "zod";
import {
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  resolveEnsemble,
  type ServiceProfile,
} from "../shared/deploy";
import { adminUsername, ports } from "./layout";

export const natsProfile: ServiceProfile = {
  service: "nats",
  image: images.nats,
  // Below 1Gi the blocks that streams allocate (up to 8 MiB each) and raft logs leave little for messages.
  storage: { size: "8Gi", minimum: "1Gi" },
  // No limit on CPU: throttled heartbeats cost elections.
  resources: {
    requests: { cpu: "100m", memory: "256Mi", "ephemeral-storage": "16Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": logSpace },
  },
  reserved: (application) => (application === adminUsername ? "which is the administrator" : undefined),
  notes: {
    "storage.size": "at least `1Gi`",
    applications: `not \`${adminUsername}\``,
    "metrics.from": `port ${ports.metrics}`,
  },
};

export const natsSchema = ensembleSchema({
  ...ensembleShape(natsProfile),
  durability: z
    .enum(["fsync", "replicated"])
    .describe(
      "what an acknowledged message in a stream has survived: the disks of a majority, or their memory, with the disks " +
        "within two minutes",
    )
    .default("fsync"),
});
export type NatsClusterArguments = z.input<typeof natsSchema>;
export type Durability = z.output<typeof natsSchema>["durability"];

/** The arguments with all defaults; throws one error that lists every mistake. Creates nothing. */
export function resolveNats(name: string, args: NatsClusterArguments) {
  return resolveEnsemble(natsProfile, natsSchema, name, args);
}
