/** What prod has of AWS: keys, buckets, who may use them, and the class of its volumes. The cluster is there already. */
import { AccessKey } from "@pulumi/aws/iam/accessKey";
import { Role } from "@pulumi/aws/iam/role";
import { RolePolicy } from "@pulumi/aws/iam/rolePolicy";
import { User } from "@pulumi/aws/iam/user";
import { UserPolicy } from "@pulumi/aws/iam/userPolicy";
import { Provider } from "@pulumi/aws/provider";
import { StorageClass } from "@pulumi/kubernetes/storage/v1/storageClass";
import * as pulumi from "@pulumi/pulumi";
import { bucketPurposes, type CellsStore } from "../cells";
import type { AwsConfig, StackConfig } from "../config";
import type { Surroundings } from "../services";
import { createBucket } from "./buckets";
import { createKey } from "./keys";
import { type AwsNames, awsNames } from "./names";
import { objectRights, sealRights, trustOf } from "./policies";

/** Of a file that somebody has overwritten or deleted. */
const formerVersionsDays = 30;

export function createAws(config: StackConfig, aws: AwsConfig, kubernetes: pulumi.ProviderResource): Surroundings {
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

  const role = new Role(
    "vault",
    {
      name: names.roles.vault.name,
      assumeRolePolicy: trustOf(aws.oidcProvider, { namespace: config.namespace, name: "vault" }),
    },
    { provider },
  );
  const sealing = new RolePolicy(
    "vault",
    { name: "rights", role: role.name, policy: vaultKey.arn.apply(sealRights) },
    { provider },
  );

  // Cells takes no role: it wants an access key.
  const user = new User("cells", { name: names.users.cells }, { provider });
  const rights = new UserPolicy(
    "cells",
    { name: "rights", user: user.name, policy: pulumi.all(buckets.map(({ arn }) => arn)).apply(objectRights) },
    { provider },
  );
  const accessKey = new AccessKey("cells", { user: user.name }, { provider, dependsOn: rights });

  return {
    needed: [vaultKey, role, sealing, createStorageClass(names.storageClass, kubernetes)],
    store: pulumi
      .all([accessKey.id, pulumi.secret(accessKey.secret)])
      .apply(([id, secret]) => ({ ...storeOf(aws, names), user: id, password: secret })),
  };
}

/** S3 with certificates of an authority that everybody knows. */
function storeOf({ region, endpoint }: AwsConfig, { buckets }: AwsNames): Omit<CellsStore, "user" | "password"> {
  const { hostname, port, protocol } = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
  const tls = protocol === "https:";
  return { host: hostname, port: Number(port) || (tls ? 443 : 80), tls: tls ? "required" : "off", region, buckets };
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
