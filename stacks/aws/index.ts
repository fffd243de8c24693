/** What prod has of AWS: keys, buckets, roles for pods, and the class of its volumes. The cluster itself is there already. */
import { Role } from "@pulumi/aws/iam/role";
import { RolePolicy } from "@pulumi/aws/iam/rolePolicy";
import { Provider } from "@pulumi/aws/provider";
import { StorageClass } from "@pulumi/kubernetes/storage/v1/storageClass";
import * as pulumi from "@pulumi/pulumi";
import { bucketPurposes } from "../cells";
import type { AwsConfig, StackConfig } from "../config";
import { createBucket } from "./buckets";
import { createKey } from "./keys";
import { type AwsNames, awsNames } from "./names";
import { objectRights, sealRights, trustOf } from "./policies";

/** Of a file that somebody has overwritten or deleted. */
const formerVersionsDays = 30;

/** Makes all of it; returns what the services must wait for. */
export function createAws(config: StackConfig, aws: AwsConfig, kubernetes: pulumi.ProviderResource): pulumi.Resource[] {
  const names = awsNames(aws);
  const provider = awsProvider(aws, names);
  // What holds data or opens it stays where it is, also when it is taken out of the state.
  const kept: pulumi.CustomResourceOptions = { provider, protect: true, retainOnDelete: true };

  const vaultKey = createKey("vault", names.keys.vault, "opens Vault; without it nobody ever does", kept);
  const backupsKey = createKey("backups", names.keys.backups, "encrypts backups", kept);
  const buckets = bucketPurposes.map((purpose) =>
    createBucket(purpose, { bucket: names.buckets[purpose], formerVersionsDays }, kept),
  );
  const { lockDays } = aws;
  createBucket(
    "backups",
    {
      bucket: names.backups,
      keyArn: backupsKey.arn,
      lockDays,
      // What is locked cannot expire.
      formerVersionsDays: Math.max(lockDays, formerVersionsDays),
    },
    kept,
  );

  const roles = [
    createRole("vault", {
      role: names.roles.vault.name,
      trust: trustOf(aws.oidcProvider, { namespace: config.namespace, name: "vault" }),
      rights: vaultKey.arn.apply(sealRights),
    }),
    createRole("cells", {
      role: names.roles.cells.name,
      trust: trustOf(aws.oidcProvider, aws.cellsServiceAccount),
      rights: pulumi.all(buckets.map(({ arn }) => arn)).apply(objectRights),
    }),
  ].flat();

  return [vaultKey, ...roles, createStorageClass(names.storageClass, kubernetes)];

  function createRole(name: string, details: { role: string; trust: string; rights: pulumi.Output<string> }) {
    const role = new Role(name, { name: details.role, assumeRolePolicy: details.trust }, { provider });
    const rights = new RolePolicy(name, { name: "rights", role: role.name, policy: details.rights }, { provider });
    return [role, rights];
  }
}

function awsProvider({ region, endpoint }: AwsConfig, { account }: AwsNames): Provider {
  return new Provider("aws", {
    region,
    // Credentials of another account would make everything there.
    allowedAccountIds: [account],
    ...(endpoint === undefined
      ? {}
      : {
          endpoints: [{ iam: endpoint, kms: endpoint, s3: endpoint, sts: endpoint }],
          s3UsePathStyle: true,
          skipMetadataApiCheck: true,
        }),
  });
}

function createStorageClass(name: string, provider: pulumi.ProviderResource): StorageClass {
  return new StorageClass(
    "volumes",
    {
      metadata: { name, labels: { "app.kubernetes.io/part-of": "cells-services" } },
      provisioner: "ebs.csi.aws.com",
      parameters: { type: "gp3", encrypted: "true", "csi.storage.k8s.io/fstype": "ext4" },
      // In the zone where the pod was put.
      volumeBindingMode: "WaitForFirstConsumer",
      allowVolumeExpansion: true,
      reclaimPolicy: "Retain",
    },
    { provider },
  );
}
