/** The arguments of MongoDB: the common ones, when the features of a release are switched on, and the size of the oplog. */
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
import { compatibleWith, releaseOf, releases } from "./compatibility";
import { reservedDatabases } from "./layout";

/** The smallest cache that the server accepts (256 MiB), and as much for connections, sorting and the server itself. */
const leastMemory = "512Mi";

/** The least that the server accepts. */
const leastOplog = "990Mi";
/** Data, journal and diagnostics need the rest. The server lets the log grow beyond its size while a majority lags. */
const largestOplogShare = 0.5;

const releaseWords = `${releases.slice(0, -1).join(", ")} or ${releases.at(-1) ?? ""}`;

export const mongodbProfile: ServiceProfile = {
  service: "mongodb",
  image: images.mongodb,
  bundle: (): unknown => require("../../dist/agents/mongodb.json"),
  // Journal and diagnostics take 500 MiB, the log of operations 5 % and at least 990 MiB.
  storage: { size: "8Gi", minimum: "3Gi" },
  // No limit on CPU: throttled heartbeats cost elections.
  resources: {
    requests: { cpu: "200m", memory: "512Mi", "ephemeral-storage": "16Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": logSpace },
  },
  reserved: (application) =>
    reservedDatabases.some((each) => each === application) ? "which is a database of the server itself" : undefined,
  notes: {
    version: `of the release ${releaseWords}`,
    "storage.size": "at least `3Gi`",
    "resources.limits": `memory at least \`${leastMemory}\``,
    applications: `not ${reservedDatabases.map((each) => `\`${each}\``).join(", ")}; \`my-app\` has the database \`my_app\``,
    "metrics.from": `port ${agentPorts.http}`,
  },
};

export const mongodbSchema = ensembleSchema(
  {
    ...ensembleShape(mongodbProfile),
    backups: backupsArgument,
    featureCompatibilityVersion: z
      .string()
      .describe(
        "such as `6.0`, the release of `version` or the one before: set when all members run `version`, and never lowered; without it, it stays as it is",
      )
      .optional(),
    oplogSize: z
      .string(says("a whole number with a unit", 'use a size like "2Gi"'))
      .check(rule((size) => sizeProblem(size, leastOplog, "2Gi")))
      .describe(
        `how much each member keeps for members that were away (\`oplogSizeMB\`): at least \`${leastOplog}\`, at most half of \`storage.size\`; ` +
          "without it, members with new volumes get 5 % of `storage.size`, at least `990Mi`, and the others keep what they have",
      )
      .optional(),
  },
  ({ resources, storage, oplogSize, version, featureCompatibilityVersion: compatibility }, problem) => {
    const limit = resources?.limits?.["memory"];
    const bytes = limit === undefined ? undefined : parseQuantity(limit);
    if (bytes !== undefined && bytes < (parseQuantity(leastMemory) ?? 0)) {
      problem(
        ["resources", "limits", "memory"],
        `must be at least ${leastMemory}, half of it for the cache of the server, got ${shown(limit)}; use ${leastMemory} or more`,
      );
    }
    const [oplog, volume] = [oplogSize, storage?.size].map((size) => parseQuantity(size ?? ""));
    if (oplog !== undefined && volume !== undefined && oplog > volume * largestOplogShare) {
      problem(
        ["oplogSize"],
        `must be at most half of storage.size (${storage?.size ?? ""}), because the data need the rest, got ${shown(oplogSize)}; ` +
          "use less, or a larger volume",
      );
    }
    if (version === undefined) return;
    const accepted = compatibleWith(releaseOf(version));
    if (accepted.length === 0) {
      problem(
        ["version"],
        `must be of the release ${releaseWords}, because a set goes from one release to the next only, ` +
          `got ${shown(version)}; use a version like "${images.mongodb.version}"`,
      );
    } else if (compatibility !== undefined && !accepted.includes(compatibility)) {
      problem(
        ["featureCompatibilityVersion"],
        `must be ${accepted.join(" or ")} with version ${version}, got ${shown(compatibility)}; use ${accepted.at(-1) ?? ""}`,
      );
    }
  },
);
export type MongodbClusterArguments = z.input<typeof mongodbSchema>;
export type MongodbEnsemble = ReturnType<typeof resolveMongodb>;

export const resolveMongodb = resolver(mongodbProfile, mongodbSchema);
