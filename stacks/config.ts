/**
 * The configuration of a stack, from Pulumi.<stack>.yaml. It is read as a whole before any resource exists, and every
 * mistake in it is reported at once.
 */
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { nearest } from "../components/shared/deploy";

export const environments = ["dev", "prod"] as const;
export const cellsVersions = ["v4", "v5"] as const;
export type CellsVersion = (typeof cellsVersions)[number];

const labels = z.record(z.string(), z.string());
const peers = z.array(z.strictObject({ namespaceLabels: labels.optional(), podLabels: labels.optional() }));
const dnsLabel = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    'a DNS label of at most 63 lower case letters, digits and hyphens, such as "cells"',
  );
const resources = "by resource: `cpu`, `memory`, `ephemeral-storage`, as Kubernetes quantities";

/** What a stack may say about any service: the plain arguments of its component. The words are those of docs/configuration.md. */
const ensemble = z.strictObject({
  members: z.number().optional().describe("3 or 5; cannot be changed later"),
  version: z.string().optional().describe("of the server, three numbers without a prefix"),
  image: z.string().optional().describe("full reference, for a mirror of the official image"),
  storage: z
    .strictObject({
      size: z.string().optional().describe("of each member's volume, with a unit; cannot be changed later"),
      class: z
        .string()
        .optional()
        .describe(
          "StorageClass; default: in prod one of the stack (gp3, encrypted), else that of the cluster; cannot be changed later",
        ),
    })
    .optional(),
  resources: z
    .strictObject({
      requests: labels.optional().describe(resources),
      limits: labels.optional().describe(`${resources}; none for CPU, which would cost elections`),
    })
    .optional(),
  placement: z
    .strictObject({
      spread: z.enum(["preferred", "required"]).optional().describe("members on different hosts"),
      zones: z.boolean().optional().describe("and in different zones, as strictly as `spread` says"),
      nodeSelector: labels.optional().describe("labels of the nodes"),
      tolerations: z
        .array(
          z.strictObject({
            key: z.string().optional(),
            operator: z.enum(["Exists", "Equal"]).optional(),
            value: z.string().optional(),
            effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
            tolerationSeconds: z.number().optional(),
          }),
        )
        .optional()
        .describe("as in a pod: `key`, `operator`, `value`, `effect`, `tolerationSeconds`"),
    })
    .optional(),
  tls: z
    .enum(["required", "optional", "off"])
    .optional()
    .describe("`optional`: TLS and plain text on the same port; cannot be switched on or off later"),
  tlsReason: z
    .string()
    .trim()
    .min(1)
    .optional()
    .describe("why prod may do without TLS here: without a reason it refuses `tls` other than `required`"),
  certificates: z
    .strictObject({
      issuerRef: z
        .strictObject({
          name: z.string().describe("of a cert-manager issuer that signs instead of an authority of the service's own"),
          kind: z.enum(["Issuer", "ClusterIssuer"]).optional().describe("default `Issuer`"),
          group: z.string().optional().describe("default `cert-manager.io`"),
        })
        .optional(),
      lifetimeDays: z.number().optional().describe("of server certificates, in days; renewed in the last third"),
      authorityLifetimeDays: z
        .number()
        .optional()
        .describe("of the own authority, in days; replaced in the last third"),
      rotation: z.number().optional().describe("raise it by one to replace the own authority, with overlap"),
    })
    .optional(),
  applications: z.array(z.string()).optional().describe("one user and one Secret for each name"),
  metrics: z
    .strictObject({
      from: peers.optional().describe("who may read the metrics port: a list of `namespaceLabels` and `podLabels`"),
    })
    .optional(),
  clients: peers
    .optional()
    .describe("who may connect: a list of `namespaceLabels` and `podLabels`; `{}` is any pod here"),
  deletion: z.enum(["keep", "delete"]).optional().describe("what becomes of the volumes when the service is removed"),
});

const nats = ensemble.extend({
  durability: z
    .enum(["fsync", "replicated"])
    .optional()
    .describe("what an acknowledged message has survived: the disks of a majority, or their memory"),
});

const redis = ensemble.extend({
  durability: z
    .enum(["everysecond", "fsync"])
    .optional()
    .describe("where an acknowledged write is: in memory, and on disk within a second, or on disk; of the master only"),
  eviction: z
    .enum(["none", "allkeys-lru"])
    .optional()
    .describe("when the memory is full: writes are refused, or what was not used for long goes"),
});

const vault = ensemble.extend({
  seal: z
    .strictObject({
      type: z
        .enum(["shamir", "awskms"])
        .optional()
        .describe("what opens Vault: key shares in a Secret, or a key of AWS KMS; prod takes `awskms` only"),
      shares: z.number().optional().describe("shamir: into how many shares the key is split, default 1"),
      threshold: z.number().optional().describe("shamir: how many of them open Vault, default a majority"),
      region: z.string().optional().describe("awskms: of the key"),
      keyId: z.string().optional().describe("awskms: id, ARN or alias of the key; without it nobody opens Vault"),
      endpoint: z.string().optional().describe("awskms: URL of the key service, unless it is that of AWS"),
      credentialsSecret: z
        .string()
        .optional()
        .describe("awskms: name of a Secret with the key `credentials`, a file as AWS's tools read it"),
      serviceAccountAnnotations: labels
        .optional()
        .describe("awskms: instead of it, `eks.amazonaws.com/role-arn` with a role that may use the key"),
      recovery: z
        .union(
          [z.literal("none"), z.strictObject({ pgpKeys: z.array(z.string()), threshold: z.number().optional() })],
          '"none" or an object with pgpKeys',
        )
        .optional()
        .describe(
          "awskms: who can make a root token later: `pgpKeys` (base64) and `threshold`, or `none`: nobody, ever",
        ),
    })
    .optional(),
  audit: z
    .array(z.enum(["stdout", "file"]))
    .optional()
    .describe("where requests are recorded: in the log, on the volume; default `stdout`"),
  tokens: z
    .strictObject({
      periodDays: z.number().optional().describe("life of a token without renewal, in days, default 30; renewed daily"),
    })
    .optional(),
});

const objectstore = ensemble.omit({ members: true, metrics: true }).extend({
  region: z.string().optional().describe("that clients must sign for, default `us-east-1`"),
});

const mysql = ensemble.extend({
  maxConnections: z.number().optional().describe("connections of all applications together; each gets an equal share"),
});

/** Of each service, in the order in which they are deployed. */
const services = { etcd: ensemble, vault, nats, redis, mongodb: ensemble, mysql, objectstore };
export type ServiceName = keyof typeof services;
export const serviceNames = Object.keys(services) as [ServiceName, ...ServiceName[]];

const aws = z.strictObject({
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-[0-9]$/, 'the name of a region, such as "eu-central-1"')
    .describe("of all keys and buckets"),
  prefix: z
    .string()
    // The longest name of a bucket, of 63 characters, ends with "-versions".
    .regex(/^[a-z][a-z0-9-]{1,30}[a-z0-9]$/, '3 to 32 lower case letters, digits and hyphens, such as "acme-cells"')
    .describe("what the names of keys, buckets, roles and users begin with; those of buckets are unique in all of AWS"),
  oidcProvider: z
    .string()
    .regex(/^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider\/.+$/, "the ARN of an IAM OIDC provider")
    .describe("ARN of the IAM OIDC provider of the cluster, through which pods get their roles"),
  lockDays: z
    .number()
    .int("a whole number of days")
    .min(1, "at least 1 day")
    .default(30)
    .describe("how long nobody can delete or overwrite a backup, in days, default 30"),
  endpoint: z
    .url({ protocol: /^https?$/, error: 'a URL, such as "http://localhost:5000"' })
    .optional()
    .describe("URL of an emulator that stands for AWS; the credentials are those of the environment all the same"),
});
export type AwsConfig = z.output<typeof aws>;

export const schema = z.strictObject({
  environment: z.enum(environments).describe("of the stack; default: the name of the stack, if it is one of these"),
  namespace: dnsLabel.default("cells").describe("of all services; made by the stack"),
  kubeContext: z.string().min(1).optional().describe("context of the kubeconfig; this or `kubeconfig` must be given"),
  // Its content would be a credential in the configuration and in an output of the stack.
  kubeconfig: z
    .string()
    .min(1)
    .refine((given) => !/[\r\n]|^\s*\{|apiVersion:/.test(given))
    .optional()
    .describe("path of a kubeconfig of this cluster alone, or that the context is in"),
  clusterIdentifier: z
    .string()
    .min(1)
    .optional()
    .describe(
      "of the cluster, any text; another one replaces all resources; default: `cells-services-` and the environment",
    ),
  services: z
    .array(z.enum(serviceNames))
    .min(1)
    .refine((given) => new Set(given).size === given.length, "a list that names each service once")
    .optional()
    .describe("which of the services to deploy; default: all that the environment has"),
  cells: z
    .strictObject({
      version: z
        .enum(cellsVersions)
        .default("v5")
        .describe("of Pydio Cells, which decides on the default of each `tls`; default `v5`"),
      namespace: dnsLabel
        .optional()
        .describe("that Cells runs in and has its Secrets in; it must exist; default: that of the services"),
    })
    .prefault({}),
  aws: aws.optional(),
  etcd: services.etcd.prefault({}),
  vault: services.vault.prefault({}),
  nats: services.nats.prefault({}),
  redis: services.redis.prefault({}),
  mongodb: services.mongodb.prefault({}),
  mysql: services.mysql.prefault({}),
  objectstore: services.objectstore.prefault({}),
});

export type StackConfig = Readonly<z.output<typeof schema>>;

/** Reads the configuration of the running stack. */
export function readConfig(): StackConfig {
  return parseConfig(pulumi.getProject(), pulumi.getStack(), pulumi.runtime.allConfig());
}

/** Values are texts as Pulumi passes them: objects and lists are JSON. Throws one error that lists every mistake. */
export function parseConfig(project: string, stack: string, values: Record<string, string>): StackConfig {
  const problems: string[] = [];
  const given = { ...defaultsOf(stack), ...ownValues(project, values) };
  const parsed = schema.safeParse(given);
  for (const issue of parsed.error?.issues ?? []) problems.push(...describe(project, stack, issue, given));
  const environment = given["environment"];
  if (isEnvironment(stack) && isEnvironment(environment) && environment !== stack) {
    problems.push(
      `${project}:environment must be ${JSON.stringify(stack)} in the stack of that name, ` +
        `got ${JSON.stringify(environment)}; remove it, or give the stack another name`,
    );
  }
  if (given["kubeContext"] === undefined && given["kubeconfig"] === undefined) {
    // Whoever switches the current context of kubectl must not move the stack to another cluster by that.
    problems.push(
      `${project}:kubeContext is missing; set it to the name of a context of your kubeconfig, ` +
        `or set ${project}:kubeconfig to the path of a kubeconfig of this cluster alone`,
    );
  }
  report(stack, problems);
  return Object.freeze(parsed.data as StackConfig);
}

/** Raises all problems as one error without a stack trace: the mistake is in the configuration, not in this code. */
export function report(stack: string, problems: string[]): void {
  if (problems.length === 0) return;
  const count = problems.length === 1 ? "1 configuration value is" : `${problems.length} configuration values are`;
  const lines = [
    `stack ${JSON.stringify(stack)}: ${count} wrong`,
    ...problems.map((each) => `  - ${each}`),
    "all keys: docs/configuration.md of cells-services",
  ];
  throw new pulumi.RunError(lines.join("\n"));
}

function defaultsOf(stack: string): Record<string, unknown> {
  return isEnvironment(stack) ? { environment: stack } : {};
}

const isEnvironment = (value: unknown): boolean => environments.some((each) => each === value);

const textKeys: readonly string[] = ["environment", "namespace", "kubeContext", "kubeconfig", "clusterIdentifier"];

function ownValues(project: string, values: Record<string, string>): Record<string, unknown> {
  const prefix = `${project}:`;
  return Object.fromEntries(
    Object.entries(values)
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [key.slice(prefix.length), value] as const)
      .map(([key, value]) => [key, textKeys.includes(key) ? value : fromJson(value)]),
  );
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

type Issue = z.core.$ZodIssue;

/** One issue in words: the key, the value given, what is accepted, what to change. */
function describe(project: string, stack: string, issue: Issue, given: unknown): string[] {
  const path = pathText(issue.path);
  const key = `${project}:${path}`;
  const value = valueAt(given, issue.path);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((unknown) => {
      const known = keysAt(schema, issue.path);
      const near = nearest(unknown, known);
      const advice = near === undefined ? `use one of ${known.join(", ")}` : `did you mean ${near}`;
      return `${project}:${path === "" ? unknown : `${path}.${unknown}`} is not a key of the configuration; ${advice}`;
    });
  }
  if (value === undefined) {
    if (path === "environment") {
      return [`${key} is missing and the stack is called ${JSON.stringify(stack)}; set it to dev or prod`];
    }
    return [`${key} is missing; it must be ${accepted(issue)}`];
  }
  if (path === "kubeconfig" && value !== "") {
    // Never the value: it holds keys and tokens.
    return [`${key} must be the path of a kubeconfig, got the content of one; write it to a file and give its path`];
  }
  return [`${key} must be ${accepted(issue)}, got ${JSON.stringify(value)}`];
}

const typeNames: Record<string, string> = {
  string: "a text",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};

function accepted(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return typeNames[issue.expected] ?? `a ${issue.expected}`;
    case "invalid_value": {
      const values = issue.values.map((each) => JSON.stringify(each));
      return [values.slice(0, -1).join(", "), values.at(-1) ?? ""].filter((each) => each !== "").join(" or ");
    }
    case "too_small":
      if (issue.origin === "number") return issue.message;
      return issue.origin === "array" ? "a list that is not empty" : "a text that is not empty";
    default:
      return issue.message;
  }
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, each) =>
      typeof each === "number" ? `${text}[${each}]` : text === "" ? String(each) : `${text}.${String(each)}`,
    "",
  );
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((each, key) => (each as Record<PropertyKey, unknown> | undefined)?.[key], value);
}

/** The keys that the schema knows at a path. */
function keysAt(root: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: z.ZodType = unwrapped(root);
  for (const key of path) {
    if (current instanceof z.ZodObject) current = unwrapped((current.shape as Record<PropertyKey, z.ZodType>)[key]);
    else if (current instanceof z.ZodArray) current = unwrapped(current.element as z.ZodType);
  }
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrapped(type: z.ZodType | undefined): z.ZodType {
  if (type instanceof z.ZodOptional || type instanceof z.ZodDefault || type instanceof z.ZodPrefault) {
    return unwrapped(type.unwrap() as z.ZodType);
  }
  return type ?? z.never();
}
