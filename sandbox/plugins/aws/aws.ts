import { IAMClient } from "@aws-sdk/client-iam";
import { KMSClient } from "@aws-sdk/client-kms";
import { S3Client } from "@aws-sdk/client-s3";
import { type PropertyMap, type StandIn, text } from "../server/resource";
import type { Aws } from "./calls";
import { accessKey, role, rolePolicy, user, userPolicy } from "./iam";
import { alias, key } from "./kms";
import { accessBlock, bucket, encryption, lifecycle, objectLock, ownershipControls, policy, versioning } from "./s3";

/** The stand-in for the official `aws` plugin: what the stacks keep in AWS, in an emulator of it. */
export const aws: StandIn<Aws> = {
  name: "aws",
  settings: [
    "region",
    "endpoints",
    "s3UsePathStyle",
    // The official plugin asks AWS who it is, or is spared that; this one never asks.
    "allowedAccountIds",
    "skipCredentialsValidation",
    "skipMetadataApiCheck",
    "skipRegionValidation",
  ],
  connect,
  types: {
    "aws:kms/key:Key": key,
    "aws:kms/alias:Alias": alias,
    "aws:s3/bucket:Bucket": bucket,
    "aws:s3/bucketVersioning:BucketVersioning": versioning,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": encryption,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": accessBlock,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": ownershipControls,
    "aws:s3/bucketPolicy:BucketPolicy": policy,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": lifecycle,
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": objectLock,
    "aws:iam/role:Role": role,
    "aws:iam/rolePolicy:RolePolicy": rolePolicy,
    "aws:iam/user:User": user,
    "aws:iam/userPolicy:UserPolicy": userPolicy,
    "aws:iam/accessKey:AccessKey": accessKey,
  },
};

/** Endpoints are required, so that a forgotten setting makes nothing in somebody's account. Credentials are from `AWS_*`. */
export function connect(settings: PropertyMap): Aws {
  const region = text(settings, "region");
  const endpoints = JSON.parse(text(settings, "endpoints") || "[]") as Record<string, string>[];
  const client = (service: string) => {
    const endpoint = endpoints.map((each) => each[service]).find(Boolean);
    if (endpoint !== undefined) return { region, endpoint };
    throw new Error(
      "the stand-in for aws talks to an emulator only: endpoints of the Provider must have iam, kms and s3, " +
        `got none for ${service}; give one, or use the official plugin`,
    );
  };
  return {
    region,
    iam: new IAMClient(client("iam")),
    kms: new KMSClient(client("kms")),
    // The Provider writes its settings as JSON.
    s3: new S3Client({ ...client("s3"), forcePathStyle: settings["s3UsePathStyle"] === "true" }),
  };
}
