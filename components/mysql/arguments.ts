/** The arguments of MySQL. */
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
  text,
  wholeNumber,
  withDefaults,
} from "../shared/deploy";
import { largestTransactionBytes, mostConnections } from "./configuration";
import { databaseOf, reservedConnections, reservedDatabases, reservedUsernames, usernameLimit } from "./layout";

/** The least that has room for the caches of the server. */
const leastMemory = "768Mi";
/** Connections of one application, about as many as the pool of one client has. */
const leastShare = 10;
const largestMaxConnections = 10_000;
const defaultMaxConnections = 500;
/** The largest transaction of the setup, which writes the time zones, has about 1 MiB. */
const leastTransactionSize = "8Mi";

/** The default of MySQL 8 and 9. */
const defaultSqlMode = [
  "ONLY_FULL_GROUP_BY",
  "STRICT_TRANS_TABLES",
  "NO_ZERO_IN_DATE",
  "NO_ZERO_DATE",
  "ERROR_FOR_DIVISION_BY_ZERO",
  "NO_ENGINE_SUBSTITUTION",
] as const;
/** Modes that say which values are accepted. */
const sqlModes = [
  ...defaultSqlMode,
  "STRICT_ALL_TABLES",
  "ALLOW_INVALID_DATES",
  "NO_AUTO_VALUE_ON_ZERO",
  "NO_UNSIGNED_SUBTRACTION",
  "TIME_TRUNCATE_FRACTIONAL",
] as const;
/**
 * Modes that change how a statement is read or answered, also those of agents, members and the upgrade of the server:
 * with PAD_CHAR_TO_FULL_LENGTH an agent reads `ONLINE` with spaces behind it.
 */
const sessionModes = [
  "ANSI_QUOTES",
  "PIPES_AS_CONCAT",
  "IGNORE_SPACE",
  "REAL_AS_FLOAT",
  "HIGH_NOT_PRECEDENCE",
  "NO_BACKSLASH_ESCAPES",
  "PAD_CHAR_TO_FULL_LENGTH",
];
/** Names for several modes. */
const combinedModes = ["ANSI", "TRADITIONAL"];

const sqlMode = z.enum(sqlModes, {
  error: ({ input }) => {
    const advice = sessionModes.includes(String(input))
      ? "let the sessions that need it set it, since the agents and members run statements too"
      : combinedModes.includes(String(input))
        ? "name the modes that it stands for"
        : `use some of ${sqlModes.join(", ")}`;
    return `must be a mode that decides which values are accepted, got ${shown(input)}; ${advice}`;
  },
});

export const mysqlProfile: ServiceProfile = {
  service: "mysql",
  image: images.mysql,
  bundle: (): unknown => require("../../dist/agents/mysql.json"),
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
    backups: backupsArgument,
    maxConnections: wholeNumber(leastShare, largestMaxConnections, `use ${defaultMaxConnections}`)
      .describe(
        `connections of all applications together, each gets an equal share; from ${leastShare} to ${largestMaxConnections}, ` +
          `at least ${leastShare} for each application, and no more than the memory limit has room for (173 with \`768Mi\`, ` +
          `500 need \`1052Mi\`). The server takes ${reservedConnections} more: administrators, agents, members. Each of the ` +
          "two gateway pods passes on twice as many, so that the server answers surplus clients",
      )
      .default(defaultMaxConnections),
    transactionSizeLimit: z
      .string(says("a whole number with a unit", 'use a size like "96Mi"'))
      .check(rule((size) => sizeProblem(size, leastTransactionSize, "96Mi")))
      .describe(
        `the largest transaction (\`group_replication_transaction_size_limit\`), at least \`${leastTransactionSize}\`; without ` +
          "it a 32nd of the memory limit. Of what exceeds that, the buffer pool gives up three times as much. At most half of " +
          "the message cache (`128Mi` with `2Gi`), or less when the buffer pool would be too small",
      )
      .optional(),
    sqlMode: z
      .array(sqlMode, says("a list of modes", 'use a list like ["STRICT_TRANS_TABLES"]'))
      .describe(
        "`sql_mode` of all sessions that set none; the list replaces the default. Refused, because agents and members run " +
          `statements too: ${sessionModes.map((each) => `\`${each}\``).join(", ")}`,
      )
      .default([...defaultSqlMode]),
    defaultTimeZone: text(
      /^(SYSTEM|\+00:00|[+-](?!00:00)(0[0-9]|1[0-3]):[0-5][0-9]|\+14:00)$/,
      "SYSTEM or an offset from -13:59 to +14:00",
      'use one like "+02:00"; a name is for sessions, because a server with an empty volume knows none and would not start',
    )
      .describe(
        "`default_time_zone` of all sessions that set none: `SYSTEM`, which is UTC, or an offset such as `+02:00`; no name",
      )
      .default("SYSTEM"),
    generateInvisiblePrimaryKey: z
      .boolean()
      .describe(
        "a table without a primary key gets an invisible one (`sql_generate_invisible_primary_key`); with `false` the group " +
          "refuses its rows",
      )
      .default(true),
    useNativeAio: z
      .boolean()
      .describe(
        "asynchronous reads and writes of the kernel (`innodb_use_native_aio`); `false` for nodes whose `fs.aio-max-nr` is used up",
      )
      .default(true),
  },
  ({ maxConnections, transactionSizeLimit, resources, applications = [] }, problem) => {
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
    const transaction = parseQuantity(transactionSizeLimit ?? "");
    const largest = largestTransactionBytes(bytes, maxConnections ?? 0);
    if (transaction !== undefined && maxConnections !== undefined && transaction > largest) {
      problem(
        ["transactionSizeLimit"],
        `must be at most ${largest / 2 ** 20}Mi with resources.limits.memory ${shown(limit)} and maxConnections ` +
          `${maxConnections}, got ${shown(transactionSizeLimit)}; lower it, or raise the memory limit`,
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

export const resolveMysql = resolver(mysqlProfile, mysqlSchema);
