/** The arguments of MySQL. */
import type { z } from "zod";
import {
  agentPorts,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  parseQuantity,
  resolveEnsemble,
  type ServiceProfile,
  shown,
  wholeNumber,
  withDefaults,
} from "../shared/deploy";
import { mostConnections } from "./configuration";
import { databaseOf, reservedConnections, reservedDatabases, reservedUsernames, usernameLimit } from "./layout";

/** The least that has room for the caches of the server. */
const leastMemory = "768Mi";
/** Connections of one application, about as many as the pool of one client has. */
const leastShare = 10;
const largestMaxConnections = 10_000;
const defaultMaxConnections = 500;

export const mysqlProfile: ServiceProfile = {
  service: "mysql",
  image: images.mysql,
  // A new data directory has 190 MiB, redo and relay logs up to 400, and three days of binary logs are on the volume too.
  storage: { size: "16Gi", minimum: "4Gi" },
  // No limit on CPU: a member that is throttled for five seconds is expelled.
  resources: {
    requests: { cpu: "250m", memory: "1Gi", "ephemeral-storage": "16Mi" },
    limits: { memory: "2Gi", "ephemeral-storage": logSpace },
  },
  reserved: (application) =>
    reservedUsernames.includes(application)
      ? "which is a user of the ensemble"
      : reservedDatabases.includes(databaseOf(application))
        ? "whose database is the server's own"
        : undefined,
  notes: {
    "storage.size": "at least `4Gi`",
    "resources.limits": `memory at least \`${leastMemory}\``,
    applications: `at most ${usernameLimit} characters; not ${[...reservedUsernames, ...reservedDatabases]
      .map((each) => `\`${each.replaceAll("_", "-")}\``)
      .join(", ")}`,
    "metrics.from": `port ${agentPorts.http}, and 8405 of the gateway`,
  },
};

export const mysqlSchema = ensembleSchema(
  {
    ...ensembleShape(mysqlProfile),
    maxConnections: wholeNumber(
      leastShare,
      largestMaxConnections,
      `a whole number from ${leastShare} to ${largestMaxConnections}`,
      `use ${defaultMaxConnections}`,
    )
      .describe(
        `connections of all applications together, each gets an equal share; from ${leastShare} to ${largestMaxConnections}, ` +
          `at least ${leastShare} for each application, and no more than the memory limit has room for (173 with \`768Mi\`, ` +
          `500 need \`1052Mi\`). The server takes ${reservedConnections} more: administrators, agents, members. Each of the ` +
          "two gateway pods passes on twice as many, so that the server answers surplus clients",
      )
      .default(defaultMaxConnections),
  },
  ({ maxConnections, resources, applications = [] }, problem) => {
    const limit = withDefaults(mysqlProfile, resources).limits["memory"] ?? "";
    const bytes = parseQuantity(limit) ?? Number.NaN;
    const shares = leastShare * Math.max(applications.length, 1);
    if (bytes < (parseQuantity(leastMemory) ?? 0)) {
      problem(
        ["resources", "limits", "memory"],
        `must be at least ${leastMemory}, got ${shown(limit)}; use ${leastMemory} or more`,
      );
    } else if (maxConnections !== undefined && maxConnections > mostConnections(bytes)) {
      problem(
        ["maxConnections"],
        `must be at most ${mostConnections(bytes)} with resources.limits.memory ${shown(limit)}, got ${maxConnections}; ` +
          "lower it, or raise the limit",
      );
    } else if (maxConnections !== undefined && maxConnections < shares) {
      problem(
        ["maxConnections"],
        `must be at least ${shares}, which is ${leastShare} for each application, got ${maxConnections}; use ${shares} or more`,
      );
    }
    for (const application of applications) {
      if (application === undefined || application.length <= usernameLimit) continue;
      problem(
        ["applications"],
        `must have names of at most ${usernameLimit} characters, which is the limit of MySQL for users, ` +
          `got ${shown(application)}; use a shorter name`,
      );
    }
  },
);
export type MysqlClusterArguments = z.input<typeof mysqlSchema>;

/** The arguments with all defaults; throws one error that lists every mistake. Creates nothing. */
export function resolveMysql(name: string, args: MysqlClusterArguments) {
  return resolveEnsemble(mysqlProfile, mysqlSchema, name, args);
}
