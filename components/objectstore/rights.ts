/** What exists against what is wanted: users, buckets, owners and policies as data. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { Store } from "./layout";

export interface User {
  accessKeyId: string;
  secretAccessKey: string;
  role: string;
}

export interface Bucket {
  name: string;
  /** Access key of the owner. Empty when the server was killed while it made the bucket. */
  owner: string;
  /** undefined: it has none. */
  policy: BucketPolicy | undefined;
}

export interface BucketPolicy {
  Version: string;
  Statement: { Effect: "Allow" | "Deny"; Principal: { AWS: string[] }; Action: string[]; Resource: string[] }[];
}

/** Applications read and write objects. With this role they can neither create nor delete buckets, nor give rights. */
export const role = "user";

/** What an application may do with its bucket, in the words of AWS. */
export const bucketActions = [
  "s3:GetBucketLocation",
  "s3:GetBucketTagging",
  "s3:GetBucketVersioning",
  "s3:ListBucket",
  "s3:ListBucketMultipartUploads",
];

/** What an application may do with the objects in its bucket. */
export const objectActions = [
  "s3:AbortMultipartUpload",
  "s3:DeleteObject",
  "s3:DeleteObjectTagging",
  "s3:GetObject",
  "s3:GetObjectAttributes",
  "s3:GetObjectTagging",
  "s3:ListMultipartUploadParts",
  "s3:PutObject",
  "s3:PutObjectTagging",
];

/** A policy alone decides: even the owner of the bucket may do only what its policy allows. */
export function bucketPolicy(bucket: string, application: string): BucketPolicy {
  const allow = (actions: string[], resource: string): BucketPolicy["Statement"][number] => ({
    Effect: "Allow",
    Principal: { AWS: [application] },
    Action: actions,
    Resource: [`arn:aws:s3:::${resource}`],
  });
  return { Version: "2012-10-17", Statement: [allow(bucketActions, bucket), allow(objectActions, `${bucket}/*`)] };
}

export type UserAction =
  | { kind: "create-user"; user: User }
  | { kind: "update-user"; user: User }
  /** A removed application can no longer log in. Its objects stay. */
  | { kind: "delete-user"; accessKeyId: string };

export type BucketAction =
  | { kind: "create-bucket"; bucket: string }
  /** The server removes the policy of a bucket that changes hands. */
  | { kind: "change-owner"; bucket: string; owner: string }
  | { kind: "put-policy"; bucket: string; policy: BucketPolicy };

export function decideUsers(existing: User[], wanted: User[]): UserAction[] {
  const changes = wanted.flatMap((user): UserAction[] => {
    const known = existing.find(({ accessKeyId }) => accessKeyId === user.accessKeyId);
    if (known === undefined) return [{ kind: "create-user", user }];
    return isDeepStrictEqual(known, user) ? [] : [{ kind: "update-user", user }];
  });
  const gone = existing.filter(({ accessKeyId }) => !wanted.some((user) => user.accessKeyId === accessKeyId));
  return [...changes, ...gone.map(({ accessKeyId }): UserAction => ({ kind: "delete-user", accessKeyId }))];
}

/** Never deletes: a bucket that was removed from the arguments stays as it is. */
export function decideBuckets(existing: Bucket[], store: Store, admin: string): BucketAction[] {
  return store.buckets.flatMap((bucket): BucketAction[] => {
    const application = ownerOf(store, bucket);
    const owner = application ?? admin;
    const known = existing.find(({ name }) => name === bucket);
    const policy = application === undefined ? undefined : bucketPolicy(bucket, application);
    // The administrator creates a bucket, and so owns it first.
    const moves = (known?.owner ?? admin) !== owner;
    return [
      ...(known === undefined ? [{ kind: "create-bucket", bucket } as const] : []),
      ...(moves ? [{ kind: "change-owner", bucket, owner } as const] : []),
      ...(policy !== undefined && (moves || !isDeepStrictEqual(known?.policy, policy))
        ? [{ kind: "put-policy", bucket, policy } as const]
        : []),
    ];
  });
}

/** undefined: the administrator's. */
export function ownerOf(store: Store, bucket: string): string | undefined {
  return Object.entries(store.applicationBuckets).find(([, buckets]) => buckets.includes(bucket))?.[0];
}
