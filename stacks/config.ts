/**
 * The configuration of a stack, from Pulumi.<stack>.yaml. It is read as a whole before any resource exists, and every
 * mistake in it is reported at once.
 */
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { etcdSchema } from "../components/etcd";
import { mongodbSchema } from "../components/mongodb";
import { mysqlSchema } from "../components/mysql";
import { natsSchema } from "../components/nats";
import { objectStoreSchema } from "../components/objectstore";
import { redisSchema } from "../components/redis";
import { partitionOf } from "../components/shared/core/aws";
import {
  type AddProblem,
  type EnsembleArguments,
  monitoringArgument,
  type Path,
  type Peer,
  parsed,
  pathText,
  peers,
  podArgument,
  rotation,
  type Sound,
  says,
  sentence,
  shown,
  text,
  together,
  wholeNumber,
  without,
} from "../components/shared/deploy";
import { vaultSchema } from "../components/vault";

export const environments = ["dev", "prod"] as const;
export const cellsVersions = ["v4", "v5"] as const;
export type CellsVersion = (typeof cellsVersions)[number];

/** Of a DNS label. */
const mostCharacters = 63;
const dnsLabel = text(
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
  `a DNS label of at most ${mostCharacters} lower case letters, digits and hyphens`,
  'use a name like "cells"',
);
/** What the namespace of Cells adds to that of the services. */
const suffix = "-app";

/**
 * What a stack may say about a service: the arguments of its component, without those that the stack decides on and without
 * defaults, which are those of the environment. What must be right about several of them together is judged with these.
 */
function configurable<Schema extends z.ZodObject, Key extends string = never>(schema: Schema, ofStack: Key[] = []) {
  const decided: string[] = ["namespace", ...ofStack];
  const shape = Object.entries(schema.shape as Record<string, z.ZodType>)
    .filter(([key, type]) => !decided.includes(key) && !(unwrapped(type) instanceof z.ZodUndefined))
    .flatMap(([key, type]) => [[key, partial(type)], ...Object.entries(reasons[key] ?? {})]);
  return z.strictObject(Object.fromEntries(shape) as z.ZodRawShape) as unknown as z.ZodType<
    Configurable<Omit<z.input<Schema>, "namespace" | Key>> & Partial<Record<Reason, string>>
  > & { shape: Record<string, z.ZodType> };
}

/** Groups of arguments are as optional as the arguments. */
type Configurable<T> = {
  [Key in keyof T]?: NonNullable<T[Key]> extends object ? Partial<NonNullable<T[Key]>> : T[Key];
};

type Reason = "storageReason" | "tlsReason";
const reason = (meaning: string) => text(/\S/, "a text that is not empty", "give one").describe(meaning).optional();
/** Keys of the stack alone, by the argument that they follow: for a reason prod takes what it refuses otherwise. */
const reasons: Record<string, Partial<Record<Reason, z.ZodType>>> = {
  storage: {
    storageReason: reason(
      "how volumes of another `storage.class` are encrypted: without it prod takes its own class only",
    ),
  },
  tls: {
    tlsReason: reason("why prod may do without TLS here: without a reason it refuses `tls` other than `required`"),
  },
};

export const reasonKeys = Object.values(reasons).flatMap((each) => Object.keys(each) as Reason[]);

/** The same without defaults, and with nothing that must be there. */
function partial(type: z.ZodType): z.ZodType {
  const shape = shapeOf(type);
  if (shape === undefined) return unwrapped(type).optional();
  const entries = Object.entries(shape).map(([key, each]) => [key, partial(each)]);
  return z.strictObject(Object.fromEntries(entries) as z.ZodRawShape).optional();
}

/** The schema inside `optional`, `default` and `prefault`. */
export function unwrapped(type: z.ZodType): z.ZodType {
  return type instanceof z.ZodOptional || type instanceof z.ZodDefault || type instanceof z.ZodPrefault
    ? unwrapped(type.unwrap() as z.ZodType)
    : type;
}

/** The keys of an object; of a union of objects, the keys of all of them together. */
export function shapeOf(type: z.ZodType): Record<string, z.ZodType> | undefined {
  const inner = unwrapped(type);
  if (inner instanceof z.ZodObject) return inner.shape;
  if (!(inner instanceof z.ZodDiscriminatedUnion)) return undefined;
  const options = inner.options as unknown as z.ZodObject[];
  const { discriminator } = inner.def;
  const kinds = options.map(({ shape }) => (shape[discriminator] as z.ZodLiteral<string>).value);
  const first = options[0]?.shape[discriminator] as z.ZodType;
  return {
    ...(Object.assign({}, ...options.map(({ shape }) => shape)) as Record<string, z.ZodType>),
    [discriminator]: z.enum(kinds).describe(first.description ?? ""),
  };
}

/** Of each service, in the order in which they are deployed. */
export const services = {
  etcd: configurable(etcdSchema),
  vault: configurable(vaultSchema, ["mounts", "policies"]),
  nats: configurable(natsSchema),
  redis: configurable(redisSchema),
  mongodb: configurable(mongodbSchema),
  mysql: configurable(mysqlSchema),
  objectstore: configurable(objectStoreSchema, ["buckets", "applicationBuckets"]),
};
export type ServiceName = keyof typeof services;
export const serviceNames = Object.keys(services) as [ServiceName, ...ServiceName[]];

export const servicesWithBackups = serviceNames.filter((service) => "backups" in services[service].shape);

/** A deletion by mistake or malice must be noticed while the lock lasts: two weeks outlast a holiday. */
const shortestLockDays = 14;
/** Of a lock, by AWS. */
const mostDays = 36_500;
const days = (from: number, advice: string) =>
  wholeNumber(from, mostDays, advice, `a whole number of days from ${from} to ${mostDays}`);
/** Longer than the lock: what a person takes days to notice is still there. */
const standardExpirationDays = 90;

const awsShape = z.strictObject({
  region: text(/^[a-z]{2}(-[a-z]+)+-[0-9]$/, "the name of a region", 'use one like "eu-central-1"').describe(
    "of all keys and buckets",
  ),
  // The longest name of a bucket, of 63 characters, ends with "-versions".
  prefix: text(
    /^[a-z][a-z0-9-]{1,30}[a-z0-9]$/,
    "3 to 32 lower case letters, digits and hyphens",
    'use one like "acme-cells"',
  ).describe("what the names of keys, buckets, roles and users begin with; those of buckets are unique in all of AWS"),
  oidcProvider: text(
    /^arn:aws[a-z-]*:iam::[0-9]{12}:oidc-provider\/.+$/,
    "the ARN of an IAM OIDC provider",
    "give that of the cluster",
  )
    .describe(
      "ARN of the IAM OIDC provider of the cluster, through which pods get their roles (IRSA); this or `cluster` must be given",
    )
    .optional(),
  cluster: text(
    /^arn:aws[a-z-]*:eks:[a-z0-9-]+:[0-9]{12}:cluster\/[0-9A-Za-z][0-9A-Za-z_-]*$/,
    "the ARN of an EKS cluster",
    "give that of the cluster",
  )
    .describe(
      "ARN of the EKS cluster: its pods get their roles through EKS Pod Identity; when both are given, pods use Pod Identity, and the roles trust `oidcProvider` too",
    )
    .optional(),
  lockDays: days(shortestLockDays, "use 30")
    .describe(`how long nobody can delete or overwrite a backup, in days, at least ${shortestLockDays}, default 30`)
    .default(30),
  expirationDays: days(1, `use ${standardExpirationDays}`)
    .describe(
      `after how many days a backup expires, at least \`lockDays\`; default ${standardExpirationDays}, or \`lockDays\` when that is more`,
    )
    .optional(),
  accessKey: z
    .strictObject({
      rotation: rotation
        .describe("raise it by one to replace the access key of Cells; the former one is accepted until the next time")
        .default(0),
    })
    .prefault({}),
  endpoint: z
    .url({ protocol: /^https?$/, ...says("a URL", 'use one like "http://localhost:5000"') })
    .optional()
    .describe("URL of an emulator that stands for AWS; the credentials are those of the environment all the same"),
});

const aws = awsShape.check(together(checkArns), together(checkExpiration)).refine(hasWayToRoles, {
  path: ["oidcProvider"],
  error: "is missing; give the ARN of the IAM OIDC provider of the cluster, or that of the cluster in aws.cluster",
});
export type AwsConfig = z.output<typeof awsShape>;

function hasWayToRoles({ oidcProvider, cluster }: Pick<AwsConfig, "oidcProvider" | "cluster">): boolean {
  return oidcProvider !== undefined || cluster !== undefined;
}

/** ARNs of another partition, region or account would name roles that do not exist. */
function checkArns({ region, oidcProvider, cluster }: Sound<z.output<typeof awsShape>>, problem: AddProblem): void {
  const [partition, account] = [region && partitionOf(region), oidcProvider?.split(":")[4]];
  for (const [key, arn] of Object.entries({ oidcProvider, cluster })) {
    const [, ofPartition, , ofRegion, ofAccount] = arn?.split(":") ?? [];
    if (arn === undefined) continue;
    if (partition !== undefined && ofPartition !== partition) {
      problem(
        [key],
        `must be of the partition ${partition}, as the region ${region}, got ${shown(arn)}; correct one of them`,
      );
    } else if (key === "cluster" && region !== undefined && ofRegion !== region) {
      problem([key], `must be in the region ${region}, got ${shown(arn)}; correct one of them`);
    } else if (account !== undefined && ofAccount !== account) {
      problem([key], `must be of the account of oidcProvider, ${account}, got ${shown(arn)}; correct one of them`);
    }
  }
}

function checkExpiration({ lockDays, expirationDays }: Sound<z.output<typeof awsShape>>, problem: AddProblem): void {
  if (lockDays === undefined || expirationDays === undefined || expirationDays >= lockDays) return;
  const advice = `use ${lockDays} or more`;
  problem(["expirationDays"], `must be at least lockDays (${lockDays}), got ${expirationDays}; ${advice}`);
}

export function expirationDaysOf({ lockDays, expirationDays }: Pick<AwsConfig, "lockDays" | "expirationDays">): number {
  return expirationDays ?? Math.max(standardExpirationDays, lockDays);
}

const stackShape = z.strictObject({
  environment: z.enum(environments).describe("of the stack; default: the name of the stack, if it is one of these"),
  namespace: dnsLabel.default("cells").describe("of all services"),
  createNamespace: z
    .boolean()
    .describe(
      "whether the stack makes `namespace`, with Pod Security `restricted`, and deletes it with the services; `false`: it exists, and stays",
    )
    .default(true),
  kubeContext: z.string().min(1).optional().describe("context of the kubeconfig; this or `kubeconfig` must be given"),
  // Its content would be a credential in the configuration and in an output of the stack.
  kubeconfig: z
    .string()
    .min(1)
    .refine((given) => !/[\r\n]|^\s*\{|apiVersion:/.test(given), {
      // Never the value: it holds keys and tokens.
      error: "must be the path of a kubeconfig, got the content of one; write it to a file and give its path",
    })
    .optional()
    .describe("path of a kubeconfig of this cluster alone, or that the context is in"),
  clusterIdentifier: z
    .string()
    .min(1)
    .optional()
    .describe(
      "of the cluster, any text; another one replaces all resources; default: `cells-services-` and the environment",
    ),
  pod: (partial(podArgument) as z.ZodType<Configurable<EnsembleArguments>["pod"]>).describe(
    "default of `pod` for all services, with the same keys. What a service says in its own `pod` is merged over it: `labels` and " +
      "`annotations` key by key, the Secrets of `imagePullSecrets` are added, and any other value replaces the one given here. A service " +
      "cannot remove what is given here",
  ),
  monitoring: (
    partial(
      monitoringArgument.unwrap().extend({ from: peers.describe("default of `metrics.from` for all services") }),
    ) as z.ZodType<Configurable<EnsembleArguments>["monitoring"] & { from?: Peer[] }>
  ).describe(
    "default of `monitoring` for all services, with the same keys and `from`. What a service says in its own `monitoring` and `metrics` is " +
      "merged over it: `labels` key by key, and any other value replaces the one given here. With `dashboards` there is one of all services too",
  ),
  services: z
    .array(z.enum(serviceNames))
    .min(1)
    .refine(
      (given) => new Set(given).size === given.length,
      says("a list that names each service once", "remove what is there twice"),
    )
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
        .describe(
          "that Cells runs in and has its Secrets in; default: `namespace` and `-app`. The same as `namespace`: Cells runs among the services, where Pod Security refuses the pods of its chart",
        ),
      createNamespace: z
        .boolean()
        .describe(
          "whether the stack makes `cells.namespace`, with Pod Security `baseline`, and in dev deletes it with the services; `false`: somebody else has made it. A stack that has made it deletes it when this becomes `false`; default `true`",
        )
        .optional(),
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

export const schema = stackShape.check(together(checkCellsNamespace));

export type StackConfig = Readonly<z.output<typeof schema>>;

interface Places {
  namespace: string;
  cells: { namespace?: string | undefined };
}

function checkCellsNamespace(
  { namespace, cells }: Sound<Pick<z.output<typeof stackShape>, "namespace" | "cells">>,
  problem: AddProblem,
): void {
  if (namespace === undefined || cells === undefined) return;
  if (cells.namespace === undefined && namespace.length > mostCharacters - suffix.length) {
    problem(
      ["namespace"],
      `must have at most ${mostCharacters - suffix.length} characters without cells.namespace, whose default ends with ` +
        `${shown(suffix)}, got ${shown(namespace)}; use a shorter name, or give cells.namespace`,
    );
  }
  if (cells.createNamespace !== undefined && !isElsewhere({ namespace, cells })) {
    problem(
      ["cells", "createNamespace"],
      `must be given only when cells.namespace is not the namespace of the services (${shown(namespace)}), ` +
        `got ${cells.createNamespace}; remove it, or give Cells a namespace of its own`,
    );
  }
}

/** Pod Security of the services refuses the pods of the chart of Cells. */
export function cellsNamespace({ cells, namespace }: Places): string {
  return cells.namespace ?? `${namespace}${suffix}`;
}

/** Otherwise Cells runs among the services, where every pod may connect. */
export function isElsewhere(config: Places): boolean {
  return cellsNamespace(config) !== config.namespace;
}

/** What is sound of the configuration with its defaults, unless what everything depends on is wrong; and every mistake. */
export interface Read {
  config: StackConfig | undefined;
  problems: string[];
  /** Where the problems are. `config` lacks these parts, or the list that one of them is in. */
  wrong: Path[];
}

/** Reads the configuration of the running stack. */
export function readConfig(): Read {
  return parseConfig(pulumi.getProject(), pulumi.getStack(), pulumi.runtime.allConfig());
}

/** Values are texts as Pulumi passes them: objects and lists are JSON. */
export function parseConfig(project: string, stack: string, values: Record<string, string>): Read {
  const given = { ...defaultsOf(stack), ...ownValues(project, values) };
  const { problems } = parsed(schema, given, "is not a key of the configuration");
  const wrong = problems.map(({ path }) => path);
  const config = schema.safeParse(without(given, wrong.map(partToDrop))).data;
  const environment = given["environment"];
  const sentences = problems.map((each) =>
    pathText(each.path) === "environment" && environment === undefined
      ? `${project}:environment is missing and the stack is called ${JSON.stringify(stack)}; set it to dev or prod`
      : `${project}:${sentence(each)}`,
  );
  if (isEnvironment(stack) && isEnvironment(environment) && environment !== stack) {
    sentences.push(
      `${project}:environment must be ${JSON.stringify(stack)} in the stack of that name, ` +
        `got ${JSON.stringify(environment)}; remove it, or give the stack another name`,
    );
  }
  if (given["kubeContext"] === undefined && given["kubeconfig"] === undefined) {
    // Whoever switches the current context of kubectl must not move the stack to another cluster by that.
    sentences.push(
      `${project}:kubeContext is missing; set it to the name of a context of your kubeconfig, ` +
        `or set ${project}:kubeconfig to the path of a kubeconfig of this cluster alone`,
    );
  }
  return { config, problems: sentences, wrong };
}

/** A list with a wrong element is of no use. */
function partToDrop(path: Path): Path {
  const element = path.findIndex((each) => typeof each === "number");
  return element < 0 ? path : path.slice(0, element);
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
