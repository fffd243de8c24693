/** The arguments that only the object store has: validation and defaults. Pure. */
import type { EnsembleArguments } from "../shared/deploy";
import { reportUnknownKeys } from "../shared/deploy";
import { adminUsername, type Store } from "./layout";

export type ObjectStoreArguments = Omit<EnsembleArguments, "members" | "metrics" | "tls"> & {
  /** Names of the buckets that exist. A plain list; a bucket that is taken from it is neither deleted nor emptied. */
  buckets: string[];
  /**
   * The buckets of each application; nobody else but the administrator may use them. Default: all buckets belong to the
   * application, if there is one only.
   */
  applicationBuckets?: Record<string, string[]>;
  /** Name of the region that clients must sign for, default "us-east-1". */
  region?: string;
  /** "required" (default) or "off": the server cannot serve both on one port. */
  tls?: "required" | "off";
};

type Problem = (message: string) => void;

/** Arguments that other services have and a single server does not: for programs that are not type-checked. */
type Untyped = Omit<ObjectStoreArguments, "tls"> & { members?: unknown; metrics?: unknown; tls?: unknown };

export function validateStore(args: Untyped, problem: Problem): void {
  if (args.members !== undefined) {
    problem(
      `members cannot be given, since this is one server for development, got ${JSON.stringify(args.members)}; ` +
        "remove members, and use AWS S3 where data must survive the loss of a volume",
    );
  }
  if (args.metrics !== undefined) {
    problem("metrics cannot be given, since the server has none that can be read; remove metrics");
  }
  if (args.tls === "optional") {
    problem(
      'tls must be "required" or "off", since the server serves one of both on its port, got "optional"; use "required"',
    );
  }
  if (
    args.region !== undefined &&
    (typeof args.region !== "string" || !/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(args.region))
  ) {
    problem(
      `region must be lower case letters, digits and hyphens, got ${JSON.stringify(args.region)}; use a name like "us-east-1"`,
    );
  }
  const applications: unknown[] = Array.isArray(args.applications) ? args.applications : [];
  if (applications.includes(adminUsername)) {
    problem(`applications must not contain "${adminUsername}", which is the administrator; use another name`);
  }
  validateBuckets(args.buckets, problem);
  validateOwners(args, applications, problem);
}

function validateBuckets(buckets: unknown, problem: Problem): void {
  if (!Array.isArray(buckets) || buckets.length === 0) {
    const got = buckets === undefined ? "nothing" : JSON.stringify(buckets);
    problem(`buckets must be a list of at least one name, got ${got}; use a list like ["files"]`);
    return;
  }
  buckets.forEach((bucket: unknown, index) => {
    const reason = bucketProblem(bucket);
    if (buckets.indexOf(bucket) !== index) {
      problem(`buckets must be distinct, got ${JSON.stringify(bucket)} twice; remove one`);
    } else if (reason !== undefined) {
      problem(`buckets must ${reason}, got ${JSON.stringify(bucket)}; use a name like "files"`);
    }
  });
}

const reservedPrefixes = ["xn--", "sthree-", "amzn-s3-demo-"];
const reservedSuffixes = ["-s3alias", "--ol-s3", "--x-s3", "--table-s3"];

/**
 * What AWS S3 demands of a general purpose bucket, so that the same names work there. It allows dots too, but not together
 * with TLS on the bucket's own host name.
 */
export function bucketProblem(bucket: unknown): string | undefined {
  if (typeof bucket !== "string" || bucket.length < 3 || bucket.length > 63) return "have 3 to 63 characters each";
  if (!/^[a-z0-9][-a-z0-9]*[a-z0-9]$/.test(bucket)) {
    return "consist of lower case letters, digits and hyphens, with a letter or digit at both ends";
  }
  const prefix = reservedPrefixes.find((each) => bucket.startsWith(each));
  if (prefix !== undefined) return `not begin with ${JSON.stringify(prefix)}, which AWS reserves`;
  const suffix = reservedSuffixes.find((each) => bucket.endsWith(each));
  return suffix === undefined ? undefined : `not end with ${JSON.stringify(suffix)}, which AWS reserves`;
}

function validateOwners(args: Untyped, applications: unknown[], problem: Problem): void {
  const { applicationBuckets } = args;
  if (applicationBuckets === undefined) {
    if (applications.length > 1) {
      problem(
        `applicationBuckets is missing, but there are ${applications.length} applications; ` +
          'say which buckets each of them has, such as { cells: ["files"] }',
      );
    }
    return;
  }
  const known = applications.filter((each) => typeof each === "string");
  reportUnknownKeys("applicationBuckets", applicationBuckets, known, problem);
  if (typeof applicationBuckets !== "object" || applicationBuckets === null) return;
  const buckets: unknown[] = Array.isArray(args.buckets) ? args.buckets : [];
  const owners = new Map<unknown, string>();
  for (const application of known) {
    const own: unknown = applicationBuckets[application];
    if (!Array.isArray(own) || own.length === 0) {
      const got = own === undefined ? "nothing" : JSON.stringify(own);
      problem(
        `applicationBuckets.${application} must be a list of at least one bucket, got ${got}; ` +
          "give it a bucket, or remove the application",
      );
      continue;
    }
    for (const bucket of own as unknown[]) {
      const owner = owners.get(bucket);
      if (!buckets.includes(bucket)) {
        problem(
          `applicationBuckets.${application} must contain names in buckets, got ${JSON.stringify(bucket)}; ` +
            "add it to buckets, or remove it here",
        );
      } else if (owner !== undefined) {
        problem(
          `applicationBuckets must name each bucket once, got ${JSON.stringify(bucket)} for ${owner} and ${application}; remove one`,
        );
      }
      owners.set(bucket, application);
    }
  }
}

/** Of valid arguments. */
export function resolveStore(args: ObjectStoreArguments): Store {
  const [only] = args.applications ?? [];
  return {
    region: args.region ?? "us-east-1",
    buckets: args.buckets,
    applicationBuckets: args.applicationBuckets ?? (only === undefined ? {} : { [only]: args.buckets }),
  };
}
