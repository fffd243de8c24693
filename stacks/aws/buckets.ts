import { Bucket } from "@pulumi/aws/s3/bucket";
import { BucketLifecycleConfiguration } from "@pulumi/aws/s3/bucketLifecycleConfiguration";
import { BucketObjectLockConfiguration } from "@pulumi/aws/s3/bucketObjectLockConfiguration";
import { BucketOwnershipControls } from "@pulumi/aws/s3/bucketOwnershipControls";
import { BucketPolicy } from "@pulumi/aws/s3/bucketPolicy";
import { BucketPublicAccessBlock } from "@pulumi/aws/s3/bucketPublicAccessBlock";
import { BucketServerSideEncryptionConfiguration } from "@pulumi/aws/s3/bucketServerSideEncryptionConfiguration";
import { BucketVersioning } from "@pulumi/aws/s3/bucketVersioning";
import * as pulumi from "@pulumi/pulumi";
import { tlsOnly } from "./policies";

export interface BucketDetails {
  /** In all of AWS. */
  bucket: string;
  /** Key of AWS KMS; without it AWS encrypts with keys of its own. */
  keyArn?: pulumi.Input<string>;
  /** How long nobody can delete or overwrite a version. */
  lockDays?: number;
  /** When what is in it is deleted by itself; it is a former version then. */
  expirationDays?: number;
  /** How long what was deleted or overwritten can be brought back. */
  formerVersionsDays: number;
}

/** Parts of uploads that nobody ends; they cost and cannot be seen as objects. */
const unfinishedDays = 7;

/** Private, encrypted, versioned, over TLS alone. */
export function createBucket(name: string, details: BucketDetails, options: pulumi.CustomResourceOptions): Bucket {
  const { keyArn, lockDays, expirationDays, formerVersionsDays } = details;
  const made = new Bucket(name, { bucket: details.bucket, objectLockEnabled: lockDays !== undefined }, options);
  const { bucket } = made;
  const versioning = new BucketVersioning(name, { bucket, versioningConfiguration: { status: "Enabled" } }, options);
  new BucketServerSideEncryptionConfiguration(
    name,
    {
      bucket,
      rules: [
        {
          applyServerSideEncryptionByDefault:
            keyArn === undefined ? { sseAlgorithm: "AES256" } : { sseAlgorithm: "aws:kms", kmsMasterKeyId: keyArn },
          // One request to the key service for many objects.
          ...(keyArn === undefined ? {} : { bucketKeyEnabled: true }),
        },
      ],
    },
    options,
  );
  const blocked = new BucketPublicAccessBlock(
    name,
    { bucket, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
    options,
  );
  new BucketOwnershipControls(name, { bucket, rule: { objectOwnership: "BucketOwnerEnforced" } }, options);
  // AWS refuses two changes of the access to a bucket at the same time.
  new BucketPolicy(
    name,
    { bucket, policy: made.arn.apply(tlsOnly) },
    pulumi.mergeOptions(options, { dependsOn: blocked }),
  );
  new BucketLifecycleConfiguration(
    name,
    {
      bucket,
      rules: [
        {
          id: "tidy",
          status: "Enabled",
          filter: { prefix: "" },
          ...(expirationDays === undefined ? {} : { expiration: { days: expirationDays } }),
          abortIncompleteMultipartUpload: { daysAfterInitiation: unfinishedDays },
          noncurrentVersionExpiration: { noncurrentDays: formerVersionsDays },
        },
      ],
    },
    pulumi.mergeOptions(options, { dependsOn: versioning }),
  );
  if (lockDays !== undefined) {
    new BucketObjectLockConfiguration(
      name,
      // Not COMPLIANCE, which not even the owner of the account can end: a mistake in the days would be for good.
      { bucket, rule: { defaultRetention: { mode: "GOVERNANCE", days: lockDays } } },
      pulumi.mergeOptions(options, { dependsOn: versioning }),
    );
  }
  return made;
}
