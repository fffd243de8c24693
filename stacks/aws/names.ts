/** The names of everything that prod has in AWS, from its configuration: known before anything is made, so plain text. */
import { type BucketNames, bucketNames } from "../cells";
import type { AwsConfig } from "../config";

export interface AwsNames {
  region: string;
  account: string;
  keys: { vault: string; backups: string };
  buckets: BucketNames;
  backups: string;
  roles: { vault: Role };
  users: { cells: string };
  storageClass: string;
}

interface Role {
  name: string;
  arn: string;
}

export function awsNames({ region, prefix, oidcProvider }: AwsConfig): AwsNames {
  const [, partition = "", , , account = ""] = oidcProvider.split(":");
  const role = (name: string): Role => ({ name, arn: `arn:${partition}:iam::${account}:role/${name}` });
  return {
    region,
    account,
    keys: { vault: `alias/${prefix}-vault`, backups: `alias/${prefix}-backups` },
    buckets: bucketNames(prefix),
    backups: `${prefix}-backups`,
    roles: { vault: role(`${prefix}-vault`) },
    users: { cells: `${prefix}-cells` },
    storageClass: `${prefix}-gp3`,
  };
}
