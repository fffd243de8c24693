/** The arguments of NATS. */
import { z } from "zod";
import {
  agentPorts,
  backupsArgument,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  parseQuantity,
  resolver,
  rule,
  type ServiceProfile,
  says,
  shown,
  sizeProblem,
} from "../shared/deploy";
import { adminUsername } from "./layout";

/** The least is the default of the server, which clients rely on. */
const leastPayload = "1Mi";
/**
 * With its subject and headers a message in a stream may have 32 MiB: `rlBadThresh` in
 * https://github.com/nats-io/nats-server/blob/v2.15.2/server/filestore.go
 */
const mostPayload = "31Mi";

/** Above it the server warns when it starts. */
const usualPayload = "8Mi";

export const natsProfile: ServiceProfile = {
  service: "nats",
  image: images.nats,
  bundle: (): unknown => require("../../dist/agents/nats.json"),
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
    "metrics.from": `port ${agentPorts.http} of the reconciler`,
  },
};

export const natsSchema = ensembleSchema({
  ...ensembleShape(natsProfile),
  backups: backupsArgument,
  durability: z
    .enum(["fsync", "replicated"])
    .describe(
      "what an acknowledged message in a stream has survived: the disks of a majority, or their memory, with the disks " +
        "within two minutes",
    )
    .default("fsync"),
  maxPayload: z
    .string(says("a whole number with a unit", `use a size like "${usualPayload}"`))
    .check(rule(payloadProblem))
    .describe(
      `the largest message, with its headers (\`max_payload\`): from \`${leastPayload}\` to \`${mostPayload}\`; NATS discourages more than ` +
        `\`${usualPayload}\`, and warns in its log. A client that sends more is disconnected`,
    )
    .default(leastPayload),
});

function payloadProblem(size: string): string | undefined {
  const tooLarge = (parseQuantity(size) ?? 0) > (parseQuantity(mostPayload) ?? 0);
  return (
    sizeProblem(size, leastPayload, usualPayload) ??
    (tooLarge
      ? `must be at most ${mostPayload}, because streams store no larger messages, got ${shown(size)}; send large data in parts`
      : undefined)
  );
}

export type NatsClusterArguments = z.input<typeof natsSchema>;
export type Durability = z.output<typeof natsSchema>["durability"];
export type NatsEnsemble = ReturnType<typeof resolveNats>;

export const resolveNats = resolver(natsProfile, natsSchema);
