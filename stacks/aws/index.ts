/** What prod has of AWS: keys, buckets, who may use them, and the class of its volumes. The cluster is there already. */
import { PodIdentityAssociation } from "@pulumi/aws/eks/podIdentityAssociation";
import { AccessKey } from "@pulumi/aws/iam/accessKey";
import { Role } from "@pulumi/aws/iam/role";
import { RolePolicy } from "@pulumi/aws/iam/rolePolicy";
import { User } from "@pulumi/aws/iam/user";
import { UserPolicy } from "@pulumi/aws/iam/userPolicy";
import { Provider } from "@pulumi/aws/provider";
import { StorageClass } from "@pulumi/kubernetes/storage/v1/storageClass";
import * as pulumi from "@pulumi/pulumi";
import { awsHost } from "../../components/shared/core/aws";
import { namesOf } from "../../components/shared/core/names";
import { alternateName, portOf } from "../../components/shared/deploy";
import { bucketPurposes, type CellsStore } from "../cells";
import { type AwsConfig, expirationDaysOf, type StackConfig, servicesWithBackups } from "../config";
import type { Surroundings } from "../services";
import { createBucket } from "./buckets";
import { createKey } from "./keys";
import { type AwsNames, awsNames, backupsPrefix } from "./names";
import { backupRights, objectRights, sealRights, trustOf } from "./policies";

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
  const backups = createBucket(
    "backups",
    {
      bucket: names.backups,
      keyArn: backupsKey.arn,
      lockDays,
      expirationDays: expirationDaysOf(aws),
      // What is locked cannot be deleted.
      formerVersionsDays: Math.max(lockDays, formerVersionsDays),
    },
    kept,
  );

  const { namespace } = config;
  const role = (resource: string, details: { name: string; accounts: string[]; rights: pulumi.Output<string> }) =>
    createRole(aws, names, { resource, namespace, ...details }, { provider });
  const roles = [
    ...role("vault", { name: names.roles.vault.name, accounts: ["vault"], rights: vaultKey.arn.apply(sealRights) }),
    ...servicesWithBackups.flatMap((service) => {
      const below = [backupsPrefix, namespace, service].join("/");
      const rights = pulumi
        .all([backups.arn, backupsKey.arn, vaultKey.arn])
        // A proof of Vault opens its copy.
        .apply(([bucket, key, seal]) => backupRights(bucket, below, key, service === "vault" ? [seal] : []));
      const { name } = names.roles.backups(service);
      return role(`backups-${service}`, { name, accounts: backupAccounts(service), rights });
    }),
  ];

  // Cells takes no role: it wants an access key.
  const user = new User("cells", { name: names.users.cells }, { provider });
  const rights = new UserPolicy(
    "cells",
    { name: "rights", user: user.name, policy: pulumi.all(buckets.map(({ arn }) => arn)).apply(objectRights) },
    { provider },
  );
  const accessKey = createAccessKeys(user, aws.accessKey.rotation, { provider, dependsOn: rights });

  return {
    needed: [vaultKey, backups, ...roles, createStorageClass(names.storageClass, kubernetes)],
    store: pulumi
      .all([accessKey.id, pulumi.secret(accessKey.secret)])
      .apply(([id, secret]) => ({ ...storeOf(aws, names), user: id, password: secret })),
  };
}

/** The ServiceAccounts that reach the store. */
function backupAccounts(service: string): string[] {
  const { backup, proof, restore } = namesOf(service);
  return [backup, proof, restore];
}

/** A role for pods with these service accounts. Returns what these pods must wait for. */
function createRole(
  aws: AwsConfig,
  { cluster }: AwsNames,
  details: { resource: string; name: string; namespace: string; accounts: string[]; rights: pulumi.Output<string> },
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const { resource, name, namespace, accounts, rights } = details;
  const role = new Role(resource, { name, assumeRolePolicy: trustOf(aws, { namespace, names: accounts }) }, options);
  const policy = new RolePolicy(resource, { name: "rights", role: role.name, policy: rights }, options);
  const associate = (clusterName: string) =>
    accounts.map(
      (serviceAccount) =>
        new PodIdentityAssociation(
          serviceAccount,
          { clusterName, namespace, serviceAccount, roleArn: role.arn },
          options,
        ),
    );
  return [role, policy, ...(cluster === undefined ? [] : associate(cluster))];
}

/**
 * The current one. Two keys take turns, as passwords do: a rotation replaces the older one, and the newer one stays valid. AWS allows a
 * user two keys, so the older one goes before the next one is made.
 */
function createAccessKeys(user: User, rotation: number, options: pulumi.CustomResourceOptions): AccessKey {
  const key = (turn: number): AccessKey =>
    new AccessKey(
      turn % 2 === 1 ? alternateName("cells") : "cells",
      { user: user.name },
      // Also at the first turn: the engine replaces nothing when there was no trigger before.
      { ...options, replacementTrigger: turn, deleteBeforeReplace: true },
    );
  if (rotation > 0) key(rotation - 1);
  return key(rotation);
}

/** S3 with certificates of an authority that everybody knows. */
function storeOf({ region, endpoint }: AwsConfig, { buckets }: AwsNames): Omit<CellsStore, "user" | "password"> {
  const url = endpoint ?? `https://${awsHost("s3", region)}`;
  const { hostname, protocol } = new URL(url);
  return { host: hostname, port: portOf(url), tls: protocol === "https:" ? "required" : "off", region, buckets };
}

function awsProvider({ region, endpoint }: AwsConfig, { account }: AwsNames): Provider {
  return new Provider("aws", {
    region,
    // Credentials of another account would make everything there.
    allowedAccountIds: [account],
    ...(endpoint === undefined
      ? {}
      : {
          endpoints: [{ eks: endpoint, iam: endpoint, kms: endpoint, s3: endpoint, sts: endpoint }],
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
