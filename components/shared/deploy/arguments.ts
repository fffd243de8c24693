/**
 * The arguments that all ensembles share: their words, units, defaults and checks. A service spreads them into its own schema.
 * Everything is checked before any resource exists, and every mistake is reported at once.
 */
import { isIP } from "node:net";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { ServiceKind } from "../core/names";
import { parseCpu, parseQuantity } from "../core/quantity";
import type { Backups } from "./backup";
import { type AgentBundle, readAgentBundle } from "./bundle";
import { type Image, imageReference, mirrored } from "./images";
import { monitoringArgument } from "./monitoring";
import {
  type AddProblem,
  imageText,
  laterText,
  ofList,
  parsed,
  rule,
  type Sound,
  says,
  sentence,
  shown,
  text,
  together,
  wholeNumber,
} from "./schema";
import { podArgument } from "./template";

type Quantities = Record<string, string>;

interface Resources {
  requests: Quantities;
  limits: Quantities;
}

/** What distinguishes one service in the common arguments. */
export interface ServiceProfile {
  service: ServiceKind;
  image: Image;
  /** Requires the program of the agents, see `readAgentBundle`. */
  bundle: () => unknown;
  storage: { size: string; minimum: string };
  resources: Resources;
  /** Why an application cannot have this name, such as "which is the administrator". */
  reserved?: (application: string) => string | undefined;
  /** What the page of the service adds to the meaning of a common argument, by its path. */
  notes?: Record<string, string>;
}

const labels = z.record(z.string(), z.string());

/** Pods by labels. With both keys: pods with these labels in namespaces with those labels. Without keys: any pod of the same namespace. */
const peer = z.strictObject({ namespaceLabels: labels.optional(), podLabels: labels.optional() });
export type Peer = z.output<typeof peer>;
// Strict, because without a misspelt key the peer would be every pod of the namespace.
export const peers = z.array(peer, says("a list of peers", 'use a list like [{ podLabels: { app: "x" } }]'));

const ranges = z.array(
  z.string().check(rule(rangeProblem)),
  says("a list of at least one address range", 'use a list like ["10.96.0.1/32"]'),
);

const toleration = z.strictObject({
  key: z.string().exactOptional(),
  operator: z.enum(["Exists", "Equal"]).exactOptional(),
  value: z.string().exactOptional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).exactOptional(),
  tolerationSeconds: z.number().exactOptional(),
});

/** The record takes values of any type: the check has the words for a value that is no quantity. */
const quantities = z
  .record(
    z.string(),
    z.custom<string>(() => true),
  )
  .check(together(checkQuantities));
const resourceWords =
  "by resource: `cpu`, `memory`, `ephemeral-storage`, as Kubernetes quantities; merged with the default";

const defaultLifetimeDays = 90;
const defaultAuthorityDays = 3650;

/** A program may name objects `application-<name>`, which is a DNS label then too. */
const applicationLimit = 63 - "application-".length;
const dnsLabel = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;

const otherNamespace = text(
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
  "the name of a namespace",
  'use a name like "shop"',
);

export const rotation = wholeNumber(0, Number.POSITIVE_INFINITY, "raise it by one to rotate");

/** Issuers that are not part of cert-manager have a group and kinds of their own, such as AWSPCAClusterIssuer. */
const ownIssuers = { group: "cert-manager.io", kinds: ["Issuer", "ClusterIssuer"] };

const certificates = z.strictObject({
  issuerRef: z
    .strictObject({
      name: laterText("give the name of a cert-manager issuer").describe(
        "of a cert-manager issuer that signs instead of an authority of the service's own",
      ),
      kind: z
        .string()
        .describe("of the issuer: `Issuer`, `ClusterIssuer`, or a kind of another `group`")
        .default("Issuer"),
      group: z.string().describe("of the issuer").default(ownIssuers.group),
    })
    .optional(),
  lifetimeDays: z
    .number(says("a number of days", `use ${defaultLifetimeDays}`))
    .check(rule(lifetimeProblem))
    .describe("of server certificates, in days, at least 3; renewed in the last third")
    .default(defaultLifetimeDays),
  authorityLifetimeDays: z
    .number(says("a number of days", `use ${defaultAuthorityDays}`))
    .describe(
      "of the authority, its own or the intermediate one of the issuer, in days, at least twice `lifetimeDays`; replaced in the last third",
    )
    .default(defaultAuthorityDays),
  rotation: rotation
    .describe("raise it by one to replace the own authority, with overlap; not together with `issuerRef`")
    .default(0),
});

export function ensembleShape(profile: ServiceProfile) {
  const { minimum } = profile.storage;
  return {
    namespace: laterText("give the name of an existing namespace").describe("name of an existing namespace"),
    members: z
      .number(says("3 or 5", "use 3 or 5"))
      .check(rule(membersProblem))
      .describe("3 or 5; can be changed while all members are whole")
      .default(3),
    version: text(/^[0-9]+\.[0-9]+\.[0-9]+$/, "three numbers without a prefix", 'use a version like "3.6.16"')
      .describe("of the server, three numbers without a prefix")
      .default(profile.image.version),
    image: imageText()
      .describe(
        "full reference of the official image, in a mirror or by digest (`name:tag@sha256:...`); `version` is then only a label, and must " +
          "say what the image has",
      )
      .optional(),
    storage: z
      .strictObject({
        size: z
          .string(says("a whole number with a unit", 'use a size like "8Gi"'))
          .check(rule((size) => sizeProblem(size, minimum)))
          .describe("of each member's volume, a whole number with a unit; can grow, not shrink")
          .default(profile.storage.size),
        class: laterText("give the name of a StorageClass")
          .describe("name of a StorageClass, without it that of the cluster; cannot be changed later")
          .optional(),
      })
      .prefault({}),
    resources: z
      .strictObject({
        requests: quantities.describe(resourceWords).default(profile.resources.requests),
        limits: quantities
          .describe(`${resourceWords}; not below the request; none for CPU, which would cost elections`)
          .default(profile.resources.limits),
      })
      .check(together((given, problem) => checkLimits(profile, given, problem)))
      .prefault({}),
    placement: z
      .strictObject({
        spread: z
          .enum(["preferred", "required"])
          .describe("members on different hosts; with `required` a member without a host of its own stays pending")
          .default("preferred"),
        zones: z
          .boolean()
          .describe("and in different zones, as strictly as `spread` says: `required` needs three")
          .default(false),
        nodeSelector: labels.describe("labels of the nodes of members, gateway and agents").default({}),
        tolerations: z
          .array(toleration)
          .describe(
            "of members, gateway and agents, as in a pod: `key`, `operator`, `value`, `effect`, `tolerationSeconds`",
          )
          .default([]),
      })
      .prefault({}),
    pod: podArgument,
    tls: z
      .enum(["required", "optional", "off"])
      .describe(
        "`optional`: TLS and plain text on the same port; to or from `off` only as a planned stop, see `plannedStop`",
      )
      .default("required"),
    plannedStop: z
      .boolean()
      .describe(
        "all members may stop at once for a change that has no online way: `tls` to or from `off`; set it for that `pulumi up` only",
      )
      .default(false),
    certificates: certificates.check(together(checkCertificates)).prefault({}),
    passwords: z
      .strictObject({
        rotation: rotation
          .describe("raise it by one to replace all passwords; the former ones are accepted until the next time")
          .default(0),
      })
      .prefault({}),
    applications: z
      .array(z.string(), says("a list of names", 'use a list like ["cells"]'))
      .check(ofList((given: string[], problem) => checkApplications(profile, given, problem)))
      .describe("one user and one Secret for each name, a DNS label of at most 51 characters")
      .default([]),
    applicationNamespaces: z
      .record(z.string(), otherNamespace)
      .describe(
        "for an application that runs in another namespace, the name of this namespace, which must exist: its Secret is there too, and " +
          "kept up to date. `clients` must admit the application",
      )
      .default({}),
    metrics: z
      .strictObject({
        from: peers.describe("who may read the metrics port: a list of `namespaceLabels` and `podLabels`").default([]),
      })
      .prefault({}),
    monitoring: monitoringArgument,
    clients: peers
      .describe(
        "who may connect: a list of `namespaceLabels` and `podLabels`; `{}` is any pod of the namespace, an empty list nobody",
      )
      .default([{}]),
    ipFamilyPolicy: z
      .enum(["SingleStack", "PreferDualStack", "RequireDualStack"])
      .describe(
        "of all Services, that of clients and that of members, as in Kubernetes, whose default is `SingleStack`: the first family of the " +
          "cluster. A Service keeps the value that it has until another one is given: `SingleStack` goes back",
      )
      .optional(),
    egress: z
      .strictObject({
        apiServer: ranges
          .min(1)
          .describe(
            "addresses of the Kubernetes API, a list in CIDR notation: of its Service and of its endpoints; without it the ports 443 and " +
              "6443 of any address",
          )
          .optional(),
      })
      .prefault({}),
    deletion: z
      .enum(["keep", "delete"])
      .describe("what becomes of the volumes when the service is removed")
      .default("keep"),
  };
}

/** The argument `tls` of a server that has one protocol on a port. */
export function tlsOrNot(why: string) {
  return z
    .enum(["required", "off"], says(`"required" or "off" because ${why}`, "use one of these"))
    .describe(`not \`optional\`: ${why}; to or from \`off\` only as a planned stop, see \`plannedStop\``)
    .default("required");
}

type CommonShape = ReturnType<typeof ensembleShape>;
type Common = z.output<z.ZodObject<CommonShape>>;
export type EnsembleArguments = z.input<z.ZodObject<CommonShape, z.core.$strict>>;

/** The schema of one service. `check` judges several arguments together. */
export function ensembleSchema<Shape extends Omit<CommonShape, OfSeveral | "tls"> & z.ZodRawShape>(
  shape: Shape,
  check: (args: Sound<z.output<z.ZodObject<Shape, z.core.$strict>>>, problem: AddProblem) => void = () => undefined,
) {
  type Args = z.output<z.ZodObject<Shape, z.core.$strict>>;
  const both = together<Args>((args, problem) => {
    checkTlsOff(args as Sound<Ensemble>, problem);
    checkApplicationNamespaces(args as Sound<Common>, problem);
    checkMonitoring(args as Sound<Common>, problem);
    check(args, problem);
  });
  return z.strictObject(shape).check(both);
}

/** The common arguments with all defaults, and what follows from them. */
export interface Ensemble extends Omit<Common, "namespace" | "image" | "storage"> {
  service: ServiceKind;
  name: string;
  namespace: pulumi.Output<string>;
  image: pulumi.Input<string>;
  /** The program of the agents. */
  bundle: () => AgentBundle;
  storage: { size: string; bytes: number; class: pulumi.Input<string> | undefined };
  /** Of a service that has this argument. */
  backups?: Backups | undefined;
}

/** What a service of one server does not have. */
type OfSeveral = "members" | "metrics" | "monitoring";
type Resolved = Omit<Common, OfSeveral> & { [Key in OfSeveral]?: Common[Key] | undefined };

/** What resolves the arguments of a service: it returns them with all defaults, or throws one error that lists every mistake. It creates nothing. */
export function resolver<Args extends Resolved, Given>(profile: ServiceProfile, schema: z.ZodType<Args, Given>) {
  return (name: string, given: Given): Omit<Args, keyof Ensemble> & Ensemble => {
    const { value: args, problems } = parsed(schema, given ?? {});
    report(profile.service, name, [...nameProblems(name), ...problems.map(sentence)]);
    // `report` has thrown unless there is a value.
    const resolved = args as Args;
    const { version, storage, resources, pod } = resolved;
    return {
      ...resolved,
      service: profile.service,
      name,
      namespace: pulumi.output(resolved.namespace),
      members: resolved.members ?? 1,
      metrics: resolved.metrics ?? { from: [] },
      monitoring: resolved.monitoring ?? monitoringArgument.parse({}),
      image: resolved.image ?? mirrored(imageReference(profile.image, version), pod.imageRegistry),
      bundle: () => readAgentBundle(profile.service, profile.bundle),
      storage: { size: storage.size, bytes: parseQuantity(storage.size) ?? 0, class: storage.class },
      resources: withDefaults(profile, resources),
    };
  };
}

/** Throws a `RunError`, which Pulumi prints without a stack: the mistake is in the arguments, not in this code. */
function report(service: string, name: string, problems: string[]): void {
  const subject = `${service} ${JSON.stringify(name)}`;
  if (problems.length === 1) throw new pulumi.RunError(`${subject}: ${problems[0] ?? ""}`);
  if (problems.length > 1) {
    throw new pulumi.RunError(
      `${subject}: ${problems.length} arguments are wrong\n${problems.map((each) => `  - ${each}`).join("\n")}`,
    );
  }
}

/**
 * The longest name derived from a component's name is that of the CronJob `<name>-certificates`: Kubernetes allows CronJobs
 * 52 characters, since the Jobs they start get a suffix of 11.
 */
export const nameLimit = 52 - "-certificates".length;

function nameProblems(name: string): string[] {
  const tooLong =
    `name must have at most ${nameLimit} characters so that ${JSON.stringify("<name>-certificates")} is a valid CronJob name, ` +
    `got ${name.length}; use a shorter name`;
  const noLabel =
    `name must be a DNS label of lower case letters, digits and hyphens that starts with a letter, ` +
    `got ${JSON.stringify(name)}; use a name like "etcd"`;
  return [...(name.length > nameLimit ? [tooLong] : []), ...(dnsLabel.test(name) ? [] : [noLabel])];
}

function membersProblem(members: number): string | undefined {
  if (members === 3 || members === 5) return undefined;
  if (!Number.isInteger(members)) return `must be 3 or 5, got ${members}; use 3 or 5`;
  if (members % 2 === 0) return `must be odd so that a majority exists, got ${members}; use 3 or 5`;
  return members < 3
    ? `must be at least 3 so that one may fail, got ${members}; use 3 or 5`
    : `must be at most 5 because each write waits for a majority, got ${members}; use 3 or 5`;
}

function rangeProblem(range: string): string | undefined {
  const [address = "", length = "", ...rest] = range.split("/");
  const bits = address.includes("%") ? 0 : { 0: 0, 4: 32, 6: 128 }[isIP(address)];
  const isRange = bits && rest.length === 0 && /^(0|[1-9][0-9]*)$/.test(length) && Number(length) <= bits;
  return isRange
    ? undefined
    : `must be a range of addresses in CIDR notation, got ${shown(range)}; use one like "10.96.0.1/32"`;
}

export function sizeProblem(size: string, minimum: string, example = "8Gi"): string | undefined {
  const bytes = parseQuantity(size);
  // Kubernetes rewrites a fraction in another unit: the size that it shows would differ from the one given.
  if (bytes === undefined || !/^[0-9]+[a-zA-Z]+$/.test(size)) {
    return `must be a whole number with a unit, got ${shown(size)}; use a size like ${shown(example)}`;
  }
  return bytes < (parseQuantity(minimum) ?? 0)
    ? `must be at least ${minimum}, got ${shown(size)}; use ${minimum} or more`
    : undefined;
}

function amountOf(kind: string, value: unknown): number | undefined {
  return typeof value !== "string" ? undefined : kind === "cpu" ? parseCpu(value) : parseQuantity(value);
}

function checkQuantities(given: Sound<Quantities>, problem: AddProblem): void {
  for (const [kind, value] of Object.entries(given)) {
    if (amountOf(kind, value) !== undefined) continue;
    const example = kind === "cpu" ? '"500m" or "2"' : '"256Mi"';
    problem([kind], `must be a Kubernetes quantity, got ${shown(value)}; use one like ${example}`);
  }
}

/** The given resources, and the defaults of the service for the others. */
export function withDefaults(
  { resources }: Pick<ServiceProfile, "resources">,
  given: Sound<Resources> | undefined,
): Resources {
  return {
    requests: { ...resources.requests, ...(given?.requests as Quantities) },
    limits: { ...resources.limits, ...(given?.limits as Quantities) },
  };
}

function checkLimits(profile: ServiceProfile, given: Sound<Resources>, problem: AddProblem): void {
  const { requests, limits } = withDefaults(profile, given);
  for (const [kind, value] of Object.entries(requests)) {
    const [request, limit] = [amountOf(kind, value), amountOf(kind, limits[kind])];
    if (request === undefined || limit === undefined || limit >= request) continue;
    problem(
      ["limits", kind],
      `must be at least resources.requests.${kind} (${value}), got ${shown(limits[kind])}; raise the limit or lower the request`,
    );
  }
}

function lifetimeProblem(days: number): string | undefined {
  return Number.isInteger(days) && days >= 3
    ? undefined
    : `must be at least 3 so that the daily job can renew in time, got ${days}; use ${defaultLifetimeDays}`;
}

function checkCertificates(
  { issuerRef, lifetimeDays, authorityLifetimeDays, rotation }: Sound<z.output<typeof certificates>>,
  problem: AddProblem,
): void {
  const { group, kind } = issuerRef ?? {};
  if (group === ownIssuers.group && kind !== undefined && !ownIssuers.kinds.includes(kind)) {
    const kinds = ownIssuers.kinds.join(" or ");
    problem(
      ["issuerRef", "kind"],
      `must be ${kinds} when certificates.issuerRef.group is ${group}, got ${shown(kind)}; give the group of that kind`,
    );
  }
  if (issuerRef !== undefined && rotation !== undefined && rotation !== 0) {
    problem(
      ["rotation"],
      `must not be given together with issuerRef, which says when the authority is replaced, got ${rotation}; remove one of them`,
    );
  }
  if (authorityLifetimeDays === undefined || lifetimeDays === undefined) return;
  if (!Number.isInteger(authorityLifetimeDays) || authorityLifetimeDays < 2 * lifetimeDays) {
    problem(
      ["authorityLifetimeDays"],
      `must be at least twice certificates.lifetimeDays (${lifetimeDays}), got ${authorityLifetimeDays}; ` +
        `use ${defaultAuthorityDays}`,
    );
  }
}

function checkTlsOff({ tls, certificates }: Sound<Pick<Ensemble, "tls" | "certificates">>, problem: AddProblem): void {
  if (tls !== "off" || certificates === undefined) return;
  const { issuerRef, lifetimeDays, authorityLifetimeDays, rotation } = certificates;
  const areDefault =
    lifetimeDays === defaultLifetimeDays && authorityLifetimeDays === defaultAuthorityDays && rotation === 0;
  if (issuerRef === undefined && areDefault) return;
  problem(["certificates"], 'cannot be given when tls is "off"; remove certificates or use tls "required"');
}

/** Otherwise each alert for something that is missing would fire for ever. */
function checkMonitoring({ metrics, monitoring }: Sound<Common>, problem: AddProblem): void {
  if (metrics?.from?.length !== 0) return;
  for (const key of ["rules", "monitors", "dashboards"] as const) {
    const given = monitoring?.[key];
    if (given === undefined || given === false || given === "none") continue;
    problem(
      ["monitoring", key],
      `needs metrics.from, which admits Prometheus to the metrics, got ${shown(given)} and no metrics.from; give it too`,
    );
  }
}

function checkApplicationNamespaces(
  { namespace, applications, applicationNamespaces }: Sound<Common>,
  problem: AddProblem,
): void {
  for (const [application, elsewhere] of Object.entries(applicationNamespaces ?? {})) {
    const key = ["applicationNamespaces", application];
    if (applications !== undefined && !applications.includes(application)) {
      problem(key, "is not one of applications; add it there, or remove it here");
    }
    if (elsewhere !== undefined && elsewhere === namespace) {
      problem(key, `must be another namespace than that of the service, got ${shown(elsewhere)}; remove it`);
    }
  }
}

function checkApplications({ reserved }: ServiceProfile, applications: string[], problem: AddProblem): void {
  const problemOf = (application: string, index: number): string | undefined => {
    const given = shown(application);
    if (applications.indexOf(application) !== index) return `must be distinct, got ${given} twice; remove one`;
    if (!dnsLabel.test(application)) {
      const label = "DNS labels of lower case letters, digits and hyphens that start with a letter";
      return `must be ${label}, got ${given}; use a name like "cells"`;
    }
    const { length } = application;
    if (length > applicationLimit) {
      return `must have at most ${applicationLimit} characters each, got ${given} with ${length}; use a shorter name`;
    }
    const reason = reserved?.(application);
    return reason === undefined ? undefined : `must not contain ${given}, ${reason}; use another name`;
  };
  applications.forEach((application, index) => {
    const message = typeof application === "string" ? problemOf(application, index) : undefined;
    if (message !== undefined) problem([], message);
  });
}
