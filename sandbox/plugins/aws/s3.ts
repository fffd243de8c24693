import {
  CreateBucketCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
  PutPublicAccessBlockCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { isMap, type Live, type PropertyMap, type ResourceType, text, type Value } from "../server/resource";
import { type Aws, unlessMissing } from "./calls";

export const bucket: ResourceType<Aws> = {
  inputs: ["bucket", "objectLockEnabled"],
  replaces: ["bucket"],
  create: async ({ s3, region }, inputs) => {
    const Bucket = text(inputs, "bucket");
    await s3.send(
      new CreateBucketCommand({
        Bucket,
        ObjectLockEnabledForBucket: inputs["objectLockEnabled"] === true,
        // The oldest region is meant by naming none.
        ...(region === "us-east-1" ? {} : { CreateBucketConfiguration: { LocationConstraint: region as "eu-west-1" } }),
      }),
    );
    return { id: Bucket, outputs: { arn: `arn:aws:s3:::${Bucket}` } };
  },
  read: async ({ s3 }, Bucket) => (await unlessMissing(s3.send(new HeadBucketCommand({ Bucket })))) && {},
};

/** Settings of a bucket are resources of their own, with its name as id; to make one is to write it. */
function setting(
  inputs: string[],
  put: (s3: S3Client, Bucket: string, inputs: PropertyMap) => Promise<unknown>,
  get: (s3: S3Client, Bucket: string) => Promise<Record<string, unknown>>,
): ResourceType<Aws> {
  return {
    inputs: ["bucket", ...inputs],
    replaces: ["bucket"],
    create: async ({ s3 }, given) => {
      const id = text(given, "bucket");
      await put(s3, id, given);
      return { id };
    },
    read: async ({ s3 }, Bucket) => {
      const found = await unlessMissing(get(s3, Bucket));
      return found && fromAws(found);
    },
    update: ({ s3 }, Bucket, given) => put(s3, Bucket, given),
  };
}

export const versioning = setting(
  ["versioningConfiguration.status"],
  (s3, Bucket, { versioningConfiguration }) =>
    s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: toAws(versioningConfiguration) })),
  async (s3, Bucket) => {
    const { Status } = await s3.send(new GetBucketVersioningCommand({ Bucket }));
    return { VersioningConfiguration: { Status } };
  },
);

export const encryption = setting(
  [
    "rules[].applyServerSideEncryptionByDefault.sseAlgorithm",
    "rules[].applyServerSideEncryptionByDefault.kmsMasterKeyId",
    "rules[].bucketKeyEnabled",
  ],
  (s3, Bucket, { rules }) =>
    s3.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration: { Rules: toAws(rules) } })),
  async (s3, Bucket) => {
    const found = await s3.send(new GetBucketEncryptionCommand({ Bucket }));
    return { Rules: found.ServerSideEncryptionConfiguration?.Rules };
  },
);

const access = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"];

export const accessBlock = setting(
  access,
  (s3, Bucket, inputs) => {
    const flags = Object.fromEntries(access.map((key) => [key, inputs[key] ?? false]));
    return s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: toAws(flags) }));
  },
  async (s3, Bucket) => {
    const found = await s3.send(new GetPublicAccessBlockCommand({ Bucket }));
    return { ...found.PublicAccessBlockConfiguration };
  },
);

export const ownershipControls = setting(
  ["rule.objectOwnership"],
  (s3, Bucket, { rule }) =>
    s3.send(new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules: [toAws(rule)] } })),
  async (s3, Bucket) => {
    const { OwnershipControls } = await s3.send(new GetBucketOwnershipControlsCommand({ Bucket }));
    return { Rule: OwnershipControls?.Rules?.[0] };
  },
);

export const policy = setting(
  ["policy"],
  (s3, Bucket, inputs) => s3.send(new PutBucketPolicyCommand({ Bucket, Policy: text(inputs, "policy") })),
  async (s3, Bucket) => {
    const { Policy } = await s3.send(new GetBucketPolicyCommand({ Bucket }));
    return { Policy };
  },
);

export const lifecycle = setting(
  [
    "rules[].id",
    "rules[].status",
    "rules[].filter.prefix",
    "rules[].expiration.days",
    "rules[].abortIncompleteMultipartUpload.daysAfterInitiation",
    "rules[].noncurrentVersionExpiration.noncurrentDays",
  ],
  (s3, Bucket, { rules }) =>
    s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: toAws(rules) } })),
  async (s3, Bucket) => {
    const { Rules } = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
    return { Rules };
  },
);

export const objectLock = setting(
  ["rule.defaultRetention.mode", "rule.defaultRetention.days"],
  (s3, Bucket, { rule }) =>
    s3.send(
      new PutObjectLockConfigurationCommand({
        Bucket,
        ObjectLockConfiguration: { ObjectLockEnabled: "Enabled", Rule: toAws(rule) },
      }),
    ),
  async (s3, Bucket) => {
    const { ObjectLockConfiguration } = await s3.send(new GetObjectLockConfigurationCommand({ Bucket }));
    return { Rule: ObjectLockConfiguration?.Rule };
  },
);

// The names that differ in more than the first letter.
const special: Record<string, string> = { id: "ID", sseAlgorithm: "SSEAlgorithm", kmsMasterKeyId: "KMSMasterKeyID" };
const plain = Object.fromEntries(Object.entries(special).map(([pulumi, aws]) => [aws, pulumi]));

/** A structure as AWS writes it: `{ storageClass }` is `{ StorageClass }`. Of the type that its command wants. */
export const toAws = (value: Value | undefined): never =>
  renamed(value, (key) => special[key] ?? key.charAt(0).toUpperCase() + key.slice(1)) as never;

/** A structure as Pulumi writes it. */
export const fromAws = (value: Record<string, unknown>): Live =>
  renamed(value, (key) => plain[key] ?? key.charAt(0).toLowerCase() + key.slice(1)) as Live;

function renamed(value: unknown, rename: (key: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename));
  if (!isMap(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [rename(key), renamed(item, rename)]));
}
