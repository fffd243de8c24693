import {
  type BucketLifecycleConfiguration,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteBucketEncryptionCommand,
  DeleteBucketLifecycleCommand,
  DeleteBucketOwnershipControlsCommand,
  DeleteBucketPolicyCommand,
  DeleteBucketTaggingCommand,
  DeleteObjectsCommand,
  DeletePublicAccessBlockCommand,
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  ListObjectVersionsCommand,
  type ObjectLockConfiguration,
  type ObjectOwnership,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
  PutPublicAccessBlockCommand,
  type ServerSideEncryptionRule,
} from "@aws-sdk/client-s3";
import { isMap, type PropertyMap, type Value } from "../server/values";
import type { Aws } from "./configuration";
import { fields, flag, type ResourceType, tagPairs, tagProperties, text, unlessMissing } from "./type";

const noBucket = ["NoSuchBucket", "NotFound"];

export const bucket: ResourceType = {
  inputs: { bucket: "text", forceDestroy: "flag", objectLockEnabled: "flag", tags: "tags" },
  required: [],
  replaces: ["bucket", "objectLockEnabled"],
  chosen: ["bucket", "objectLockEnabled"],
  untold: ["forceDestroy"],
  name: { key: "bucket", make: (logicalName, digits) => `${logicalName.toLowerCase().slice(0, 55)}-${digits}` },
  outputs: {
    arn: undefined,
    region: undefined,
    bucketRegion: undefined,
    bucketDomainName: undefined,
    bucketRegionalDomainName: undefined,
    tagsAll: "tags",
  },
  create: async (aws, inputs) => {
    const Bucket = text(inputs, "bucket");
    // The oldest region is meant by naming none.
    const LocationConstraint = aws.region as "eu-central-1";
    await aws.s3.send(
      new CreateBucketCommand({
        Bucket,
        ObjectLockEnabledForBucket: flag(inputs, "objectLockEnabled"),
        ...(aws.region === "us-east-1" ? {} : { CreateBucketConfiguration: { LocationConstraint } }),
      }),
    );
    return Bucket;
  },
  complete: async (aws, Bucket, inputs) => tagBucket(aws, Bucket, fields(inputs, "tags")),
  read: async (aws, Bucket) => {
    const head = await unlessMissing(noBucket, () => aws.s3.send(new HeadBucketCommand({ Bucket })));
    if (head === undefined) return undefined;
    const region = head.BucketRegion ?? aws.region;
    const [tagged, lock] = await Promise.all([
      unlessMissing(["NoSuchTagSet"], () => aws.s3.send(new GetBucketTaggingCommand({ Bucket }))),
      unlessMissing(noLock, () => aws.s3.send(new GetObjectLockConfigurationCommand({ Bucket }))),
    ]);
    return {
      arn: `arn:aws:s3:::${Bucket}`,
      region,
      bucketRegion: region,
      bucketDomainName: `${Bucket}.s3.amazonaws.com`,
      bucketRegionalDomainName: `${Bucket}.s3.${region}.amazonaws.com`,
      bucket: Bucket,
      objectLockEnabled: lock?.ObjectLockConfiguration?.ObjectLockEnabled === "Enabled",
      ...tagProperties((tagged?.TagSet ?? []).map(({ Key, Value }) => [Key, Value])),
    };
  },
  update: async (aws, Bucket, inputs, changed) => {
    if (changed("tags")) await tagBucket(aws, Bucket, fields(inputs, "tags"));
  },
  delete: async (aws, Bucket, state) => {
    await unlessMissing(noBucket, async () => {
      if (flag(state, "forceDestroy")) await emptyBucket(aws, Bucket, flag(state, "objectLockEnabled"));
      await aws.s3.send(new DeleteBucketCommand({ Bucket }));
    });
  },
};

async function tagBucket(aws: Aws, Bucket: string, tags: PropertyMap): Promise<void> {
  const TagSet = tagPairs(tags);
  if (TagSet.length > 0) await aws.s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet } }));
  else await aws.s3.send(new DeleteBucketTaggingCommand({ Bucket }));
}

/** Removes every version of every object. Retention that may be passed over is; the other kind is AWS's to refuse. */
async function emptyBucket(aws: Aws, Bucket: string, locked: boolean): Promise<void> {
  for (;;) {
    const { Versions = [], DeleteMarkers = [] } = await aws.s3.send(new ListObjectVersionsCommand({ Bucket }));
    const Objects = [...Versions, ...DeleteMarkers].map(({ Key, VersionId }) => ({ Key, VersionId }));
    if (Objects.length === 0) return;
    const { Errors = [] } = await aws.s3.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Objects, Quiet: true },
        ...(locked ? { BypassGovernanceRetention: true } : {}),
      }),
    );
    const [first] = Errors;
    if (first !== undefined) {
      const kept = `${Errors.length} objects of ${Bucket} could not be deleted, the first is ${first.Key ?? ""}`;
      throw new Error(`${kept}: ${first.Code ?? ""}: ${first.Message ?? ""}`);
    }
  }
}

/** Settings of a bucket are resources of their own, with its name as id; writing them twice is writing them once. */
function setting(
  own: Pick<ResourceType, "inputs" | "defaults" | "untold" | "delete"> & {
    optional?: string[];
    replaces?: string[];
  } & {
    write: (aws: Aws, Bucket: string, inputs: PropertyMap) => Promise<unknown>;
    /** The errors that say that there is no such setting. */
    missing: string[];
    get: (aws: Aws, Bucket: string) => Promise<PropertyMap | undefined>;
  },
): ResourceType {
  const { inputs, optional = [], replaces = [], missing, write, get, delete: remove, ...rest } = own;
  return {
    ...rest,
    inputs: { bucket: "text", ...inputs },
    required: ["bucket", ...Object.keys(inputs).filter((key) => !optional.includes(key))],
    replaces: ["bucket", ...replaces],
    outputs: { region: undefined },
    create: async (aws, given) => {
      await write(aws, text(given, "bucket"), given);
      return text(given, "bucket");
    },
    read: async (aws, Bucket) => {
      const found = await unlessMissing([...noBucket, ...missing], () => get(aws, Bucket));
      return found === undefined ? undefined : { bucket: Bucket, region: aws.region, ...found };
    },
    update: async (aws, Bucket, given) => {
      await write(aws, Bucket, given);
    },
    delete: async (aws, Bucket, state) => {
      await unlessMissing([...noBucket, ...missing], () => remove(aws, Bucket, state));
    },
  };
}

export const versioning: ResourceType = setting({
  inputs: { versioningConfiguration: { fields: { status: "text" }, required: ["status"] } },
  missing: [],
  write: async (aws, Bucket, inputs) => {
    const status = text(fields(inputs, "versioningConfiguration"), "status");
    const before = await aws.s3.send(new GetBucketVersioningCommand({ Bucket }));
    if (status === "Disabled") {
      // A bucket that never had versions is left as it is; one that had them can only stop to make more.
      if (before.Status === undefined) return;
      throw new Error(`versioning cannot go from ${before.Status} to Disabled; use "Suspended"`);
    }
    const Status = status as "Enabled" | "Suspended";
    await aws.s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status } }));
  },
  get: async (aws, Bucket) => {
    const { Status } = await aws.s3.send(new GetBucketVersioningCommand({ Bucket }));
    return { versioningConfiguration: { status: Status ?? "Disabled" } };
  },
  delete: async (aws, Bucket, state) => {
    if (text(fields(state, "versioningConfiguration"), "status") === "Disabled") return;
    const suspend = new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Suspended" } });
    // The versions of a bucket with object lock cannot be stopped: they go with the bucket.
    await unlessMissing(["InvalidBucketState"], () => aws.s3.send(suspend));
  },
});

export const encryption: ResourceType = setting({
  inputs: {
    rules: {
      list: {
        fields: {
          applyServerSideEncryptionByDefault: {
            fields: { sseAlgorithm: "text", kmsMasterKeyId: "text" },
            required: ["sseAlgorithm"],
          },
          bucketKeyEnabled: "flag",
        },
        required: [],
      },
    },
  },
  missing: ["ServerSideEncryptionConfigurationNotFoundError"],
  write: async (aws, Bucket, inputs) => {
    const Rules = toAws(inputs["rules"] ?? []) as ServerSideEncryptionRule[];
    await aws.s3.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration: { Rules } }));
  },
  get: async (aws, Bucket) => {
    const found = await aws.s3.send(new GetBucketEncryptionCommand({ Bucket }));
    return { rules: fromAws(found.ServerSideEncryptionConfiguration?.Rules ?? []) };
  },
  delete: (aws, Bucket) => aws.s3.send(new DeleteBucketEncryptionCommand({ Bucket })).then(() => undefined),
});

const publicAccess = ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"] as const;

export const publicAccessBlock: ResourceType = setting({
  inputs: Object.fromEntries(publicAccess.map((key) => [key, "flag" as const])),
  optional: [...publicAccess],
  missing: ["NoSuchPublicAccessBlockConfiguration"],
  write: async (aws, Bucket, inputs) => {
    const PublicAccessBlockConfiguration = {
      BlockPublicAcls: flag(inputs, "blockPublicAcls"),
      BlockPublicPolicy: flag(inputs, "blockPublicPolicy"),
      IgnorePublicAcls: flag(inputs, "ignorePublicAcls"),
      RestrictPublicBuckets: flag(inputs, "restrictPublicBuckets"),
    };
    await aws.s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }));
  },
  get: async (aws, Bucket) => {
    const found = await aws.s3.send(new GetPublicAccessBlockCommand({ Bucket }));
    return fromAws(found.PublicAccessBlockConfiguration ?? {}) as PropertyMap;
  },
  delete: (aws, Bucket) => aws.s3.send(new DeletePublicAccessBlockCommand({ Bucket })).then(() => undefined),
});

export const ownershipControls: ResourceType = setting({
  inputs: { rule: { fields: { objectOwnership: "text" }, required: ["objectOwnership"] } },
  missing: ["OwnershipControlsNotFoundError"],
  write: async (aws, Bucket, inputs) => {
    const ObjectOwnership = text(fields(inputs, "rule"), "objectOwnership") as ObjectOwnership;
    await aws.s3.send(
      new PutBucketOwnershipControlsCommand({ Bucket, OwnershipControls: { Rules: [{ ObjectOwnership }] } }),
    );
  },
  get: async (aws, Bucket) => {
    const { OwnershipControls } = await aws.s3.send(new GetBucketOwnershipControlsCommand({ Bucket }));
    const [rule] = OwnershipControls?.Rules ?? [];
    return rule === undefined ? undefined : { rule: { objectOwnership: rule.ObjectOwnership ?? "" } };
  },
  delete: (aws, Bucket) => aws.s3.send(new DeleteBucketOwnershipControlsCommand({ Bucket })).then(() => undefined),
});

export const policy: ResourceType = setting({
  inputs: { policy: "policy" },
  missing: ["NoSuchBucketPolicy"],
  write: (aws, Bucket, inputs) => aws.s3.send(new PutBucketPolicyCommand({ Bucket, Policy: text(inputs, "policy") })),
  get: async (aws, Bucket) => {
    const { Policy } = await aws.s3.send(new GetBucketPolicyCommand({ Bucket }));
    return { policy: Policy ?? "" };
  },
  delete: (aws, Bucket) => aws.s3.send(new DeleteBucketPolicyCommand({ Bucket })).then(() => undefined),
});

export const lifecycle: ResourceType = setting({
  inputs: {
    rules: {
      list: {
        fields: {
          id: "text",
          status: "text",
          filter: {
            fields: {
              prefix: "text",
              tag: { fields: { key: "text", value: "text" }, required: ["key", "value"] },
              and: { fields: { prefix: "text", tags: "tags" }, required: [] },
            },
            required: [],
          },
          expiration: { fields: { days: "number", expiredObjectDeleteMarker: "flag" }, required: [] },
          noncurrentVersionExpiration: { fields: { noncurrentDays: "number" }, required: ["noncurrentDays"] },
          transitions: {
            list: { fields: { days: "number", storageClass: "text" }, required: ["storageClass"] },
          },
          noncurrentVersionTransitions: {
            list: {
              fields: { noncurrentDays: "number", storageClass: "text" },
              required: ["noncurrentDays", "storageClass"],
            },
          },
          abortIncompleteMultipartUpload: { fields: { daysAfterInitiation: "number" }, required: [] },
        },
        required: ["id", "status"],
      },
    },
  },
  missing: ["NoSuchLifecycleConfiguration"],
  write: async (aws, Bucket, inputs) => {
    // A rule for all objects is one with an empty prefix.
    const everything = { filter: { prefix: "" } };
    const rules = listOf(inputs["rules"]).map((rule) =>
      Object.keys(fields(rule, "filter")).length === 0 ? { ...rule, ...everything } : rule,
    );
    const LifecycleConfiguration = { Rules: toAws(rules) } as BucketLifecycleConfiguration;
    await aws.s3.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
  },
  get: async (aws, Bucket) => {
    const { Rules = [] } = await aws.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
    return Rules.length === 0 ? undefined : { rules: fromAws(Rules) };
  },
  delete: (aws, Bucket) => aws.s3.send(new DeleteBucketLifecycleCommand({ Bucket })).then(() => undefined),
});

const noLock = ["ObjectLockConfigurationNotFoundError"];

export const objectLock: ResourceType = setting({
  inputs: {
    objectLockEnabled: "text",
    rule: {
      fields: { defaultRetention: { fields: { mode: "text", days: "number", years: "number" }, required: ["mode"] } },
      required: ["defaultRetention"],
    },
  },
  optional: ["objectLockEnabled", "rule"],
  defaults: { objectLockEnabled: "Enabled" },
  replaces: ["objectLockEnabled"],
  missing: noLock,
  write: (aws, Bucket, inputs) => {
    const rule = fields(fields(inputs, "rule"), "defaultRetention");
    return lockBucket(aws, Bucket, rule);
  },
  get: async (aws, Bucket) => {
    const { ObjectLockConfiguration: found } = await aws.s3.send(new GetObjectLockConfigurationCommand({ Bucket }));
    const { Mode, Days, Years } = found?.Rule?.DefaultRetention ?? {};
    const period: PropertyMap = { ...(Days ? { days: Days } : {}), ...(Years ? { years: Years } : {}) };
    const rule = Mode === undefined ? {} : { rule: { defaultRetention: { mode: Mode, ...period } } };
    return { objectLockEnabled: found?.ObjectLockEnabled ?? "Enabled", ...rule };
  },
  // The lock of a bucket is for its life; only the rule for new objects goes.
  delete: (aws, Bucket) => lockBucket(aws, Bucket, {}),
});

async function lockBucket(aws: Aws, Bucket: string, retention: PropertyMap): Promise<void> {
  const Rule = { DefaultRetention: toAws(retention) };
  const ObjectLockConfiguration = {
    ObjectLockEnabled: "Enabled",
    ...(Object.keys(retention).length === 0 ? {} : { Rule }),
  } as ObjectLockConfiguration;
  await aws.s3.send(new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }));
}

function listOf(value: Value | undefined): PropertyMap[] {
  return Array.isArray(value) ? value.filter(isMap) : [];
}

// The names that differ in more than the first letter.
const special: Record<string, string> = { id: "ID", sseAlgorithm: "SSEAlgorithm", kmsMasterKeyId: "KMSMasterKeyID" };
const plain = Object.fromEntries(Object.entries(special).map(([pulumi, aws]) => [aws, pulumi]));

/** A structure as AWS writes it: `{ storageClass }` is `{ StorageClass }`, and tags are a list of pairs. */
export function toAws(value: Value): unknown {
  if (Array.isArray(value)) return value.map(toAws);
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      special[key] ?? key.charAt(0).toUpperCase() + key.slice(1),
      key === "tags" && isMap(item) ? tagPairs(item) : toAws(item),
    ]),
  );
}

/** A structure as Pulumi writes it. */
export function fromAws(value: unknown): Value {
  if (Array.isArray(value)) return value.map(fromAws);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== "object" || value === null) return (value ?? null) as Value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined && item !== null)
      .map(([key, item]): [string, Value] => [
        plain[key] ?? key.charAt(0).toLowerCase() + key.slice(1),
        key === "Tags" && Array.isArray(item) ? tagsOf(item as { Key: string; Value: string }[]) : fromAws(item),
      ]),
  );
}

const tagsOf = (pairs: { Key: string; Value: string }[]): Value =>
  tagProperties(pairs.map(({ Key, Value }) => [Key, Value]))["tags"] ?? {};
