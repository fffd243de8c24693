/** The arguments that only Vault has: their types, their defaults and their validation. Creates nothing. */
import * as pulumi from "@pulumi/pulumi";
import { nearest, oneOf, reportUnknownKeys } from "../shared/deploy";
import { type AuditDevice, capabilities, type Mount, type PolicyRule } from "./layout";
import type { VaultDetails } from "./manifest";

export interface ShamirSeal {
  type: "shamir";
  /** Into how many shares the key is split, default 1: all are in the same Secret. */
  shares?: number;
  /** How many of them open Vault, default: all but a minority of the shares. */
  threshold?: number;
}

export interface AwsKmsSeal {
  type: "awskms";
  /** Such as "eu-central-1". */
  region: string;
  /** Id, ARN or alias ("alias/...") of a symmetric key. It becomes part of the data: without it nobody opens Vault. */
  keyId: pulumi.Input<string>;
  /** URL of the key service, for a private endpoint or an emulator. Default: that of AWS. */
  endpoint?: string;
  /** Name of a Secret of the namespace whose key `credentials` is a file in AWS's own format, with the profile [default]. */
  credentialsSecret?: pulumi.Input<string>;
  /** On the ServiceAccount of the members, such as "eks.amazonaws.com/role-arn" (IRSA). */
  serviceAccountAnnotations?: Record<string, pulumi.Input<string>>;
  /**
   * Who can make a root token later. `pgpKeys`: one recovery key for each of these public keys (base64), encrypted with it
   * and stored in the Secret `<name>-recovery`. "none": nobody, ever.
   */
  recovery: { pgpKeys: string[]; threshold?: number } | "none";
}

export type Seal = ShamirSeal | AwsKmsSeal;

/** "stdout": the log of the server. "file": on the volume, rotated by the agent. An empty list: nowhere. */
export type Audit = AuditDevice[];

/** What is validated and resolved here. */
interface Given {
  seal: Seal;
  mounts?: Record<string, Mount>;
  policies?: Record<string, PolicyRule[]>;
  audit?: Audit;
  tokens?: { periodDays?: number };
  applications?: string[];
  tls?: string;
}

export const vaultKeys = ["seal", "mounts", "policies", "audit", "tokens"] as const;

export const defaultPeriodDays = 30;
/** Below Vault's largest lease of 768 hours, which cuts what is longer. */
const longestPeriodDays = 31;
/** Renewed after a day, and the job may fail for some. */
const shortestPeriodDays = 3;
const mostShares = 255;

type Problem = (message: string) => void;

export function resolveDetails(args: Given): pulumi.Output<VaultDetails> {
  const { seal } = args;
  const rest = {
    mounts: args.mounts ?? {},
    policies: args.policies ?? {},
    audit: args.audit ?? ["stdout" as const],
    tokenPeriodDays: args.tokens?.periodDays ?? defaultPeriodDays,
  };
  if (seal.type === "shamir") {
    const shares = seal.shares ?? 1;
    const threshold = seal.threshold ?? defaultThreshold(shares);
    return pulumi.output({ ...rest, seal: { type: seal.type, shares, threshold }, credentialsSecret: undefined });
  }
  const { type, region, endpoint, recovery } = seal;
  return pulumi.all([seal.keyId, seal.credentialsSecret]).apply(([keyId, credentialsSecret]) => ({
    ...rest,
    seal: {
      type,
      region,
      keyId,
      ...(endpoint === undefined ? {} : { endpoint }),
      recovery:
        recovery === "none"
          ? recovery
          : { pgpKeys: recovery.pgpKeys, threshold: recovery.threshold ?? defaultThreshold(recovery.pgpKeys.length) },
    },
    credentialsSecret,
  }));
}

/** A majority. */
function defaultThreshold(shares: number): number {
  return Math.floor(shares / 2) + 1;
}

export function validateVault(args: Given, problem: Problem): void {
  if (args.tls === "optional") {
    problem('tls must be "required" or "off", got "optional": Vault has one protocol on a port; use "required"');
  }
  validateSeal(args.seal, problem);
  const mounts = isGroup(args.mounts) ? Object.keys(args.mounts ?? {}) : [];
  validateMounts(args.mounts, problem);
  validatePolicies(args, mounts, problem);
  validateAudit(args.audit, problem);
  reportUnknownKeys("tokens", args.tokens, ["periodDays"], problem);
  const { periodDays = defaultPeriodDays } = isGroup(args.tokens) ? (args.tokens ?? {}) : {};
  if (!Number.isInteger(periodDays) || periodDays < shortestPeriodDays || periodDays > longestPeriodDays) {
    problem(
      `tokens.periodDays must be a whole number from ${shortestPeriodDays} to ${longestPeriodDays}, ` +
        `got ${JSON.stringify(periodDays)}; use ${defaultPeriodDays}`,
    );
  }
}

function isGroup(value: unknown): boolean {
  return value === undefined || (typeof value === "object" && value !== null && !Array.isArray(value));
}

function validateSeal(seal: Seal | undefined, problem: Problem): void {
  if (seal === undefined || !isGroup(seal)) {
    problem('seal is missing; use { type: "shamir" } for development, { type: "awskms", ... } for everything else');
    return;
  }
  if (seal.type === "shamir") return validateShamir(seal, problem);
  if (seal.type === "awskms") return validateAwsKms(seal, problem);
  oneOf("seal.type", (seal as { type?: unknown }).type ?? null, ["shamir", "awskms"], problem);
}

function validateShamir(seal: ShamirSeal, problem: Problem): void {
  reportUnknownKeys("seal", seal, ["type", "shares", "threshold"], problem);
  const shares = seal.shares ?? 1;
  if (!Number.isInteger(shares) || shares < 1 || shares > mostShares) {
    problem(`seal.shares must be a whole number from 1 to ${mostShares}, got ${JSON.stringify(shares)}; use 1`);
    return;
  }
  validateThreshold("seal", shares, seal.threshold, problem);
}

function validateThreshold(path: string, shares: number, given: number | undefined, problem: Problem): void {
  const threshold = given ?? defaultThreshold(shares);
  const least = shares === 1 ? 1 : 2;
  if (Number.isInteger(threshold) && threshold >= least && threshold <= shares) return;
  problem(
    `${path}.threshold must be a whole number from ${least} to the number of shares (${shares}), ` +
      `got ${JSON.stringify(threshold)}; use ${defaultThreshold(shares)}`,
  );
}

function validateAwsKms(seal: AwsKmsSeal, problem: Problem): void {
  const known = ["type", "region", "keyId", "endpoint", "credentialsSecret", "serviceAccountAnnotations", "recovery"];
  reportUnknownKeys("seal", seal, known, problem);
  if (typeof seal.region !== "string" || !/^[a-z0-9-]+$/.test(seal.region)) {
    problem(
      `seal.region must be the name of a region, got ${JSON.stringify(seal.region)}; use one like "eu-central-1"`,
    );
  }
  if (seal.keyId === undefined || seal.keyId === "") {
    problem("seal.keyId is missing; give the id, the ARN or the alias of a symmetric KMS key");
  }
  if (seal.endpoint !== undefined && !isUrl(seal.endpoint)) {
    problem(
      `seal.endpoint must be a URL, got ${JSON.stringify(seal.endpoint)}; use one like "https://kms.example.org"`,
    );
  }
  if (seal.credentialsSecret === undefined && seal.serviceAccountAnnotations === undefined) {
    problem(
      "seal has no way to log in to AWS; give serviceAccountAnnotations with a role (IRSA), or the name of a Secret in " +
        "credentialsSecret",
    );
  }
  if (seal.recovery === "none") return;
  if (seal.recovery === undefined || !isGroup(seal.recovery)) {
    problem(
      'seal.recovery is missing; give { pgpKeys } of the persons who may make a root token one day, or "none" when ' +
        "nobody ever shall",
    );
    return;
  }
  reportUnknownKeys("seal.recovery", seal.recovery, ["pgpKeys", "threshold"], problem);
  const { pgpKeys, threshold } = seal.recovery;
  if (!Array.isArray(pgpKeys) || pgpKeys.length === 0 || !pgpKeys.every(isBase64)) {
    problem("seal.recovery.pgpKeys must be a list of public PGP keys in base64 without armour; give at least one");
    return;
  }
  validateThreshold("seal.recovery", pgpKeys.length, threshold, problem);
}

function isUrl(text: unknown): boolean {
  return typeof text === "string" && /^https?:\/\//.test(text) && URL.canParse(text);
}

function isBase64(text: unknown): boolean {
  return typeof text === "string" && text.length > 100 && /^[A-Za-z0-9+/]+={0,2}$/.test(text);
}

/** One part, so that "secret/data/x" says which mount it belongs to. */
const mountPath = /^[a-z][a-z0-9_-]*$/;
/** What Vault has at the root itself. */
const reservedMounts = ["sys", "auth", "identity", "cubbyhole", "audit"];

function validateMounts(mounts: Record<string, Mount> | undefined, problem: Problem): void {
  if (!isGroup(mounts)) {
    problem(`mounts must be an object by path, got ${JSON.stringify(mounts)}; use one like { secret: {} }`);
    return;
  }
  for (const [path, mount] of Object.entries(mounts ?? {})) {
    if (!mountPath.test(path) || reservedMounts.includes(path)) {
      problem(
        `mounts must have paths of one part in lower case that are not ${reservedMounts.join(", ")}, ` +
          `got ${JSON.stringify(path)}; use one like "secret"`,
      );
      continue;
    }
    reportUnknownKeys(`mounts.${path}`, mount, ["maxVersions", "casRequired"], problem);
    const { maxVersions, casRequired } = isGroup(mount) ? mount : {};
    if (maxVersions !== undefined && (!Number.isInteger(maxVersions) || maxVersions < 1)) {
      problem(
        `mounts.${path}.maxVersions must be a whole number from 1 up, got ${JSON.stringify(maxVersions)}; use 10`,
      );
    }
    if (casRequired !== undefined && typeof casRequired !== "boolean") {
      problem(`mounts.${path}.casRequired must be true or false, got ${JSON.stringify(casRequired)}; use false`);
    }
  }
}

function validatePolicies({ policies, applications = [] }: Given, mounts: string[], problem: Problem): void {
  if (!isGroup(policies)) {
    problem(`policies must be an object by application, got ${JSON.stringify(policies)}; use one like { cells: [] }`);
    return;
  }
  const known = Array.isArray(applications) ? applications : [];
  for (const [application, rules] of Object.entries(policies ?? {})) {
    if (!known.includes(application)) {
      const near = nearest(application, known);
      const advice = near === undefined ? "add it to applications" : `did you mean ${near}`;
      problem(`policies.${application} is for no application; ${advice}`);
    }
    if (!Array.isArray(rules)) {
      problem(`policies.${application} must be a list of rules, got ${JSON.stringify(rules)}; give a list`);
      continue;
    }
    rules.forEach((rule: PolicyRule, index) => {
      validateRule(`policies.${application}[${index}]`, rule, mounts, problem);
    });
  }
  for (const application of known) {
    if (policies?.[application] !== undefined) continue;
    problem(`policies.${application} is missing, and without it the application may do nothing; give its rules`);
  }
}

function validateRule(at: string, rule: PolicyRule, mounts: string[], problem: Problem): void {
  reportUnknownKeys(at, rule, ["path", "capabilities"], problem);
  if (!isGroup(rule)) return;
  const mount = typeof rule.path === "string" ? rule.path.split("/") : [];
  if (mount.length < 2 || !mounts.includes(mount[0] ?? "")) {
    problem(
      `${at}.path must begin with one of the mounts (${mounts.join(", ") || "none"}), got ${JSON.stringify(rule.path)}; ` +
        `use one like "${mounts[0] ?? "secret"}/data/*"`,
    );
  }
  if (!Array.isArray(rule.capabilities) || rule.capabilities.length === 0) {
    problem(`${at}.capabilities must be a list of ${capabilities.join(", ")}; give at least one`);
    return;
  }
  for (const each of rule.capabilities) oneOf(`${at}.capabilities`, each, capabilities, problem);
}

function validateAudit(audit: Audit | undefined, problem: Problem): void {
  if (audit === undefined) return;
  if (!Array.isArray(audit)) {
    problem(`audit must be a list of "stdout" and "file", got ${JSON.stringify(audit)}; use ["stdout"]`);
    return;
  }
  for (const each of audit) oneOf("audit", each, ["stdout", "file"], problem);
}
