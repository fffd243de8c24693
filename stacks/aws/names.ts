/** The names of everything that prod has in AWS, from its configuration: known before anything is made, so plain text. */
import { bucketPurposes, type BucketPurpose } from "../cells";
import type { AwsConfig } from "../config";

export interface AwsNames {
  region: string;
  account: string;
  keys: { vault: string; backups: string };
  buckets: Record<BucketPurpose, string>;
  backups: string;
  roles: { vault: Role; cells: Role };
  storageClass: string;
}

interface Role {
  name: string;
  arn: string;
}

export function awsNames({ region, prefix, oidcProvider }: AwsConfig): AwsNames {
  const [, partition = "", , , account = ""] = oidcProvider.split(":");
  const role = (name: string): Role => ({ name, arn: `arn:${partition}:iam::${account}:role/${name}` });
  const bucket = (purpose: BucketPurpose): [BucketPurpose, string] => [purpose, `${prefix}-${purpose}`];
  return {
    region,
    account,
    keys: { vault: `alias/${prefix}-vault`, backups: `alias/${prefix}-backups` },
    buckets: Object.fromEntries(bucketPurposes.map(bucket)) as Record<BucketPurpose, string>,
    backups: `${prefix}-backups`,
    roles: { vault: role(`${prefix}-vault`), cells: role(`${prefix}-cells`) },
    storageClass: `${prefix}-gp3`,
  };
}
