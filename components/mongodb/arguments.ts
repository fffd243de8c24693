/** The arguments of MongoDB: the common ones. */
import type { z } from "zod";
import {
  type AddProblem,
  agentPorts,
  type Ensemble,
  ensembleSchema,
  ensembleShape,
  images,
  parseQuantity,
  resolveEnsemble,
  type ServiceProfile,
  type Sound,
  shown,
} from "../shared/deploy";
import { reservedDatabases } from "./layout";

/** The smallest cache that the server takes (256 MiB), and as much for connections, sorting and the server itself. */
const leastMemory = "512Mi";

/** The release that sets are formed with, and the next; from which to which a set goes is judged by the preflight. */
const releases = ["6.0", "7.0"];

export const mongodbProfile: ServiceProfile = {
  service: "mongodb",
  image: images.mongodb,
  // Journal and diagnostics take 500 MiB, the log of operations 5 % and at least 990 MiB.
  storage: { size: "8Gi", minimum: "3Gi" },
  // No limit on CPU: throttled heartbeats cost elections.
  resources: {
    requests: { cpu: "200m", memory: "512Mi", "ephemeral-storage": "16Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": "64Mi" },
  },
  reserved: (application) =>
    reservedDatabases.some((each) => each === application) ? "which is a database of the server itself" : undefined,
  notes: {
    version: `of the release ${releases.join(" or ")}`,
    "storage.size": "at least `3Gi`",
    "resources.limits": `memory at least \`${leastMemory}\``,
    applications: `not ${reservedDatabases.map((each) => `\`${each}\``).join(", ")}; \`my-app\` has the database \`my_app\``,
    "metrics.from": `port ${agentPorts.http}`,
  },
};

export const mongodbSchema = ensembleSchema(ensembleShape(mongodbProfile), checkServer);
export type MongodbClusterArguments = z.input<typeof mongodbSchema>;

/** The arguments with all defaults; throws one error that lists every mistake. Creates nothing. */
export function resolveMongodb(name: string, args: MongodbClusterArguments) {
  return resolveEnsemble(mongodbProfile, mongodbSchema, name, args);
}

function checkServer(
  { resources, version }: Sound<Pick<Ensemble, "resources" | "version">>,
  problem: AddProblem,
): void {
  const limit = resources?.limits?.["memory"];
  const bytes = limit === undefined ? undefined : parseQuantity(limit);
  if (bytes !== undefined && bytes < (parseQuantity(leastMemory) ?? 0)) {
    problem(
      ["resources", "limits", "memory"],
      `must be at least ${leastMemory}, half of it for the cache of the server, got ${shown(limit)}; use ${leastMemory} or more`,
    );
  }
  if (version !== undefined && !releases.some((release) => version.startsWith(`${release}.`))) {
    problem(
      ["version"],
      `must be of the release ${releases.join(" or ")}, because a set goes from one release to the next only, ` +
        `got ${shown(version)}; use a version like "${images.mongodb.version}"`,
    );
  }
}
