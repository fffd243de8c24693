/** The arguments of Redis. */
import { z } from "zod";
import {
  agentPorts,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  parseQuantity,
  resolver,
  type ServiceProfile,
  tlsOrNot,
  withDefaults,
} from "../shared/deploy";
import { dataShare, reservedUsers } from "./layout";

/** The memory for replicas, 15 % of the limit, holds the backlog of 16 MiB. A smaller limit has no room for it. */
const minimumMemory = "128Mi";
/** The volume holds the data, a second copy while the files are rewritten, and what is written meanwhile. */
const storageFactor = 3 * dataShare;

export const redisProfile: ServiceProfile = {
  service: "redis",
  image: images.redis,
  bundle: (): unknown => require("../../dist/agents/redis.json"),
  storage: { size: "8Gi", minimum: "1Gi" },
  // No limit on CPU: the Sentinels take a throttled server for dead.
  resources: {
    requests: { cpu: "100m", memory: "256Mi", "ephemeral-storage": "16Mi" },
    limits: { memory: "512Mi", "ephemeral-storage": logSpace },
  },
  reserved: (application) =>
    reservedUsers.some((each) => each === application) ? "which is a user of the ensemble" : undefined,
  notes: {
    "storage.size": "at least `1Gi`, and twice `resources.limits.memory`, so that the files can be rewritten",
    "resources.requests": "of the server",
    "resources.limits": `of the server; memory at least \`${minimumMemory}\`, two thirds of it for data (\`maxmemory\`), 15 % for what replicas have not got yet`,
    applications: `not ${reservedUsers.map((each) => `\`${each}\``).join(", ")}`,
    "metrics.from": `port ${agentPorts.http}, and 8405 of the gateway`,
  },
};

export const redisSchema = ensembleSchema(
  {
    ...ensembleShape(redisProfile),
    tls: tlsOrNot("Redis cannot speak both on one port"),
    durability: z
      .enum(["everysecond", "fsync"])
      .describe(
        "where an acknowledged write is: in the memory of the master, with its disk within a second, or on its disk; " +
          "neither waits for a replica",
      )
      .default("everysecond"),
    eviction: z
      .enum(["none", "allkeys-lru"])
      .describe("when the memory is full: writes are refused (`OOM`), or keys that were not used for long are removed")
      .default("none"),
  },
  ({ resources, storage }, problem) => {
    const memory = withDefaults(redisProfile, resources).limits["memory"] ?? "";
    const [limit, size, minimum = 0] = [memory, storage?.size ?? "", minimumMemory].map(parseQuantity);
    if (limit !== undefined && limit < minimum) {
      problem(
        ["resources", "limits", "memory"],
        `must be at least ${minimumMemory}, got "${memory}"; use ${minimumMemory} or more`,
      );
    }
    if (limit !== undefined && size !== undefined && size < limit * storageFactor) {
      problem(
        ["storage", "size"],
        `must be at least ${storageFactor} times resources.limits.memory (${memory}) so that the files can be ` +
          `rewritten, got "${storage?.size}"; use ${Math.ceil((limit * storageFactor) / 2 ** 30)}Gi or more`,
      );
    }
  },
);
export type RedisClusterArguments = z.input<typeof redisSchema>;
export type Durability = z.output<typeof redisSchema>["durability"];
export type Eviction = z.output<typeof redisSchema>["eviction"];

export const resolveRedis = resolver(redisProfile, redisSchema);
