import { accessKey, role, rolePolicy, user, userPolicy } from "./iam";
import { alias, key } from "./kms";
import {
  bucket,
  encryption,
  lifecycle,
  objectLock,
  ownershipControls,
  policy,
  publicAccessBlock,
  versioning,
} from "./s3";
import type { ResourceType } from "./type";

/** What the stand-in has, by the names of the official plugin. */
export const types: Record<string, ResourceType> = {
  "aws:kms/key:Key": key,
  "aws:kms/alias:Alias": alias,
  "aws:s3/bucket:Bucket": bucket,
  "aws:s3/bucketVersioning:BucketVersioning": versioning,
  "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": encryption,
  "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": publicAccessBlock,
  "aws:s3/bucketOwnershipControls:BucketOwnershipControls": ownershipControls,
  "aws:s3/bucketPolicy:BucketPolicy": policy,
  "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": lifecycle,
  "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": objectLock,
  "aws:iam/role:Role": role,
  "aws:iam/rolePolicy:RolePolicy": rolePolicy,
  "aws:iam/user:User": user,
  "aws:iam/userPolicy:UserPolicy": userPolicy,
  "aws:iam/accessKey:AccessKey": accessKey,
};

export function typeOf(token: string): ResourceType {
  const type = types[token];
  if (type === undefined) throw new Error(unknownType(token));
  return type;
}

export function unknownType(token: string): string {
  const names = Object.keys(types).map((each) => each.split(":").slice(1).join(":"));
  return `${token} is not part of the stand-in for aws; it has ${names.join(", ")}; the rest needs the official plugin`;
}
