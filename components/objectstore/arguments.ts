/** The arguments of the object store. */
import { z } from "zod";
import {
  type AddProblem,
  advice,
  type Ensemble,
  ensembleSchema,
  ensembleShape,
  images,
  logSpace,
  ofList,
  resolver,
  type ServiceProfile,
  type Sound,
  says,
  shown,
  text,
  tlsOrNot,
} from "../shared/deploy";
import { adminUsername, type Store } from "./layout";

export const objectStoreProfile: ServiceProfile = {
  service: "objectstore",
  image: images.versitygw,
  bundle: (): unknown => require("../../dist/agents/objectstore.json"),
  // The volume holds the files of users. Uploads in parts are on it twice, so a few of them fill a volume below 1Gi.
  storage: { size: "20Gi", minimum: "1Gi" },
  resources: {
    requests: { cpu: "50m", memory: "128Mi", "ephemeral-storage": "16Mi" },
    limits: { memory: "512Mi", "ephemeral-storage": logSpace },
  },
  reserved: (application) => (application === adminUsername ? "which is the administrator" : undefined),
  notes: {
    "storage.size": "at least `1Gi`",
    "storage.class": "its file system has extended attributes",
    applications: `not \`${adminUsername}\``,
  },
};

const bucketList = says("a list of at least one name", 'use a list like ["files"]');

/** An argument of the other services that one server does not have. The error has words for programs without types. */
function refused(why: string, advice: string) {
  return z
    .undefined({ error: ({ input }) => `cannot be given, since ${why}, got ${shown(input)}; ${advice}` })
    .optional();
}

export const objectStoreSchema = ensembleSchema(
  {
    ...ensembleShape(objectStoreProfile),
    members: refused(
      "this is one server for development",
      "remove members, and use AWS S3 where data must survive the loss of a volume",
    ),
    monitoring: refused("the server has no metrics that can be read", "remove monitoring"),
    metrics: refused("the server has none that can be read", "remove metrics"),
    tls: tlsOrNot("the server serves one of both on its port"),
    buckets: z
      .array(z.string(), bucketList)
      .min(1, bucketList)
      .check(ofList(checkNames))
      .describe(
        "distinct names that AWS S3 accepts too: 3 to 63 lower case letters, digits and hyphens, no prefix or suffix that AWS " +
          "reserves. A bucket that is taken from the list is neither deleted nor emptied",
      ),
    applicationBuckets: z
      .record(z.string(), z.array(z.string()))
      .describe(
        "for each application a list of its buckets; the others are the administrator's. Without it all buckets belong to the " +
          "application, if there is one only",
      )
      .optional(),
    region: text(
      /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
      "lower case letters, digits and hyphens",
      'use a name like "us-east-1"',
    )
      .describe("that clients must sign for, lower case letters, digits and hyphens")
      .default("us-east-1"),
  },
  checkOwners,
);
export type ObjectStoreArguments = z.input<typeof objectStoreSchema>;

const resolveAll = resolver(objectStoreProfile, objectStoreSchema);

export function resolveObjectStore(name: string, args: ObjectStoreArguments) {
  const { region, buckets, applicationBuckets, ...ensemble } = resolveAll(name, args);
  // Without applicationBuckets there is one application at most.
  const owners = applicationBuckets ?? Object.fromEntries(ensemble.applications.map((only) => [only, buckets]));
  return { ...ensemble, store: { region, buckets, applicationBuckets: owners } satisfies Store };
}

function checkNames(buckets: string[], problem: AddProblem): void {
  buckets.forEach((bucket, index) => {
    const reason = typeof bucket === "string" ? bucketProblem(bucket) : undefined;
    if (buckets.indexOf(bucket) !== index) {
      problem([], `must be distinct, got ${shown(bucket)} twice; remove one`);
    } else if (reason !== undefined) {
      problem([], `must ${reason}, got ${shown(bucket)}; use a name like "files"`);
    }
  });
}

const reservedPrefixes = ["xn--", "sthree-", "amzn-s3-demo-"];
const reservedSuffixes = ["-s3alias", "--ol-s3", "--x-s3", "--table-s3"];

/** The rules of AWS S3, so that the same names work there; but no dots, with which TLS on the bucket's own host name fails. */
export function bucketProblem(bucket: string): string | undefined {
  if (bucket.length < 3 || bucket.length > 63) return "have 3 to 63 characters each";
  if (!/^[a-z0-9][-a-z0-9]*[a-z0-9]$/.test(bucket)) {
    return "consist of lower case letters, digits and hyphens, with a letter or digit at both ends";
  }
  const prefix = reservedPrefixes.find((each) => bucket.startsWith(each));
  if (prefix !== undefined) return `not begin with ${JSON.stringify(prefix)}, which AWS reserves`;
  const suffix = reservedSuffixes.find((each) => bucket.endsWith(each));
  return suffix === undefined ? undefined : `not end with ${JSON.stringify(suffix)}, which AWS reserves`;
}

function checkOwners(
  { applications, applicationBuckets, buckets }: Sound<Pick<Ensemble, "applications"> & Omit<Store, "region">>,
  problem: AddProblem,
): void {
  const known = (applications ?? []).filter((each) => each !== undefined);
  if (applicationBuckets === undefined) {
    const advice = 'say which buckets each of them has, such as { cells: ["files"] }';
    if (known.length > 1) {
      problem(["applicationBuckets"], `is missing, but there are ${known.length} applications; ${advice}`);
    }
    return;
  }
  const owners = new Map<string, string>();
  for (const [application, own = []] of Object.entries(applicationBuckets)) {
    if (!known.includes(application)) {
      problem(["applicationBuckets", application], `is not an argument; ${advice(application, known)}`);
    }
    for (const bucket of own) {
      if (bucket === undefined) continue;
      const owner = owners.get(bucket);
      if (buckets !== undefined && !buckets.includes(bucket)) {
        problem(
          ["applicationBuckets", application],
          `must contain names in buckets, got ${shown(bucket)}; add it to buckets, or remove it here`,
        );
      } else if (owner !== undefined) {
        problem(
          ["applicationBuckets"],
          `must name each bucket once, got ${shown(bucket)} for ${owner} and ${application}; remove one`,
        );
      }
      owners.set(bucket, application);
    }
  }
  for (const application of known) {
    const own = applicationBuckets[application];
    if (own !== undefined && own.length > 0) continue;
    problem(
      ["applicationBuckets", application],
      `must be a list of at least one bucket, got ${shown(own)}; give it a bucket, or remove the application`,
    );
  }
}
