/** The arguments of Vault. */
import { z } from "zod";
import { majority } from "../shared/core/names";
import {
  type AddProblem,
  agentPorts,
  backupsArgument,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  nearest,
  resolver,
  type ServiceProfile,
  says,
  shown,
  text,
  tlsOrNot,
  together,
  wholeNumber,
} from "../shared/deploy";
import { capabilities, ports, service } from "./layout";

export const vaultProfile: ServiceProfile = {
  service,
  image: images.vault,
  bundle: (): unknown => require("../../dist/agents/vault.json"),
  // The log, the database and a snapshot of it.
  storage: { size: "4Gi", minimum: "1Gi" },
  // No limit on CPU: a member that joins slowly takes itself for removed (hashicorp/vault#32099).
  resources: {
    requests: { cpu: "100m", memory: "256Mi", "ephemeral-storage": "64Mi" },
    limits: { memory: "1Gi", "ephemeral-storage": logSpace },
  },
  notes: { "storage.size": "at least `1Gi`", "metrics.from": `ports ${agentPorts.http} and ${ports.metrics}` },
};

const sealWords = "what opens Vault: a key in a Secret, for development, or a key of AWS KMS; prod takes `awskms` only";
const shamirSeal = z.strictObject({ type: z.literal("shamir").describe(sealWords) });

const pgpKey = text(/^[A-Za-z0-9+/]{100,}={0,2}$/, "a public PGP key in base64 without armour", "give at least one");
const recovery = z
  .strictObject({
    pgpKeys: z.array(pgpKey, says("a list of public PGP keys", "give at least one")).min(1),
    threshold: z.number().optional(),
  })
  .check(
    together(({ pgpKeys, threshold }, problem) => {
      if (pgpKeys === undefined || threshold === undefined) return;
      const [least, most] = [pgpKeys.length === 1 ? 1 : 2, pgpKeys.length];
      if (Number.isInteger(threshold) && threshold >= least && threshold <= most) return;
      const accepted = `a whole number from ${least} to the number of keys (${most})`;
      problem(["threshold"], `must be ${accepted}, got ${threshold}; use ${majority(most)}`);
    }),
  );

const awsKmsSeal = z
  .strictObject({
    type: z.literal("awskms").describe(sealWords),
    region: text(/^[a-z0-9-]+$/, "the name of a region", 'use one like "eu-central-1"').describe("awskms: of the key"),
    keyId: z
      .string(says("a text", "give the id, the ARN or the alias of a symmetric KMS key"))
      .min(1)
      .describe(
        "awskms: id, ARN or alias of a symmetric key, which becomes part of the data: without it nobody opens Vault",
      ),
    endpoint: z
      .url({ protocol: /^https?$/, ...says("a URL", 'use one like "https://kms.example.org"') })
      .describe("awskms: URL of the key service, unless it is that of AWS")
      .optional(),
    credentialsSecret: z
      .string()
      .describe(
        "awskms: name of a Secret with the key `credentials`, a file in AWS's format with the profile `[default]`",
      )
      .optional(),
    serviceAccountAnnotations: z
      .record(z.string(), z.string())
      .describe("awskms: instead of it, `eks.amazonaws.com/role-arn` with a role that may use the key (IRSA)")
      .optional(),
    podIdentity: z
      .boolean()
      .describe(
        "awskms: instead of both, `true`: an association of EKS Pod Identity gives the ServiceAccount of the members a role that " +
          "may use the key",
      )
      .optional(),
    recovery: z
      .union([z.literal("none"), recovery], {
        error: ({ input }) =>
          input === undefined
            ? 'is missing; give { pgpKeys } of the persons who may make a root token one day, or "none" when nobody ever shall'
            : `must be "none" or an object with pgpKeys, got ${shown(input)}; give one`,
      })
      .describe("awskms: who can make a root token later: `pgpKeys` (base64) and `threshold`, or `none`: nobody, ever"),
  })
  .check(
    together(({ credentialsSecret, serviceAccountAnnotations, podIdentity }, problem) => {
      if (credentialsSecret !== undefined || serviceAccountAnnotations !== undefined || podIdentity === true) return;
      problem(
        [],
        "has no way to log in to AWS; give serviceAccountAnnotations with a role (IRSA), podIdentity: true with an " +
          "association of EKS Pod Identity, or the name of a Secret in credentialsSecret",
      );
    }),
  );

const mount = z.strictObject({
  maxVersions: wholeNumber(1, Number.MAX_SAFE_INTEGER, "use 10", "a whole number from 1 up").optional(),
  casRequired: z.boolean().optional(),
});
/** One part, so that the first part of "secret/data/x" names its mount. */
const mountPath = /^[a-z][a-z0-9_-]*$/;
/** The paths that Vault itself uses. */
const reservedMounts = ["sys", "auth", "identity", "cubbyhole", "audit"];

const policyRule = z.strictObject({ path: z.string(), capabilities: z.array(z.enum(capabilities)).min(1) });
const policies = z.record(
  z.string(),
  z.array(policyRule, says("a list of rules", "give a list")),
  says("an object by application", "use one like { cells: [] }"),
);

const defaultPeriodDays = 30;
/** A token is renewed after a day, and the job may fail for two days more. Vault cuts a period beyond its largest lease of 768 hours. */
const [shortestPeriodDays, longestPeriodDays] = [3, 31];

export const vaultSchema = ensembleSchema(
  {
    ...ensembleShape(vaultProfile),
    backups: backupsArgument,
    tls: tlsOrNot("Vault has one protocol on a port"),
    seal: z.discriminatedUnion("type", [shamirSeal, awsKmsSeal], {
      error: ({ code, input }) =>
        code === "invalid_union"
          ? undefined
          : input === undefined
            ? 'is missing; use { type: "shamir" } for development, { type: "awskms", ... } for everything else'
            : `must be an object with type, got ${shown(input)}; give one`,
    }),
    mounts: z
      .record(z.string(), mount, says("an object by path", "use one like { secret: {} }"))
      .check(together(checkMounts))
      .describe(
        "mounts of the key-value engine, version 2, by path of one part: `maxVersions` (10) and `casRequired` (`false`). One " +
          "that is left out later stays, with its data",
      )
      .default({}),
    policies: policies
      .describe(
        "what each application may do, by application: a list of `path`, which begins with a mount, and `capabilities`: " +
          capabilities.map((each) => `\`${each}\``).join(", "),
      )
      .default({}),
    audit: z
      .enum(["stdout", "off"])
      .describe("where requests are recorded: in the log of the server, or nowhere")
      .default("stdout"),
    tokens: z
      .strictObject({
        periodDays: wholeNumber(shortestPeriodDays, longestPeriodDays, `use ${defaultPeriodDays}`)
          .describe(
            `life of a token without renewal, in days, from ${shortestPeriodDays} to ${longestPeriodDays}; renewed daily`,
          )
          .default(defaultPeriodDays),
      })
      .prefault({}),
  },
  ({ applications, mounts, policies }, problem) => {
    if (applications === undefined || policies === undefined) return;
    const known = applications.filter((each) => each !== undefined);
    for (const application of Object.keys(policies).filter((each) => !known.includes(each))) {
      const near = nearest(application, known);
      const advice = near === undefined ? "add it to applications" : `did you mean ${near}`;
      problem(["policies", application], `is for no application; ${advice}`);
    }
    for (const application of known.filter((each) => !(each in policies))) {
      problem(["policies", application], "is missing, and without it the application may do nothing; give its rules");
    }
    if (mounts === undefined) return;
    const paths = Object.keys(mounts);
    for (const [application, rules = []] of Object.entries(policies)) {
      rules.forEach((rule, index) => {
        if (rule?.path === undefined) return;
        const [first = "", ...others] = rule.path.split("/");
        if (others.length > 0 && paths.includes(first)) return;
        problem(
          ["policies", application, index, "path"],
          `must begin with one of the mounts (${paths.join(", ") || "none"}), got ${shown(rule.path)}; ` +
            `use one like "${paths[0] ?? "secret"}/data/*"`,
        );
      });
    }
  },
);

export type VaultClusterArguments = z.input<typeof vaultSchema>;
export type Seal = VaultClusterArguments["seal"];
export type ShamirSeal = z.input<typeof shamirSeal>;
export type AwsKmsSeal = z.input<typeof awsKmsSeal>;
export type VaultEnsemble = ReturnType<typeof resolveVault>;

export const resolveVault = resolver(vaultProfile, vaultSchema);

function checkMounts(mounts: Record<string, unknown>, problem: AddProblem): void {
  const accepted = `paths of one part in lower case that are not ${reservedMounts.join(", ")}`;
  for (const path of Object.keys(mounts)) {
    if (mountPath.test(path) && !reservedMounts.includes(path)) continue;
    problem([], `must have ${accepted}, got ${shown(path)}; use one like "secret"`);
  }
}
