/** The names of everything that prod has in AWS, from its configuration: known before anything is made, so plain text. */
import { type BucketNames, bucketNames } from "../cells";
import type { AwsConfig, ServiceName } from "../config";

export interface AwsNames {
  region: string;
  account: string;
  keys: { vault: string; backups: string };
  buckets: BucketNames;
  backups: string;
  roles: { vault: Role; backups: (service: ServiceName) => Role };
  /** With EKS Pod Identity. */
  cluster: string | undefined;
  users: { cells: string };
  storageClass: string;
}

/** What the keys of all backups begin with: whatever else comes into the bucket one day, their roles do not reach it. */
export const backupsPrefix = "cells-services";

interface Role {
  name: string;
  arn: string;
}

export function awsNames({ region, prefix, oidcProvider, cluster }: AwsConfig): AwsNames {
  const [, partition = "", , , account = ""] = (oidcProvider ?? cluster ?? "").split(":");
  const role = (name: string): Role => ({ name, arn: `arn:${partition}:iam::${account}:role/${name}` });
  return {
    region,
    account,
    keys: { vault: `alias/${prefix}-vault`, backups: `alias/${prefix}-backups` },
    buckets: bucketNames(prefix),
    backups: `${prefix}-backups`,
    roles: { vault: role(`${prefix}-vault`), backups: (service) => role(`${prefix}-backups-${service}`) },
    cluster: cluster?.slice(cluster.indexOf("/") + 1),
    users: { cells: `${prefix}-cells` },
    storageClass: `${prefix}-gp3`,
  };
}
