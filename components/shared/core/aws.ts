/** Names of AWS that depend on the region: pure. */

/** What ARNs begin with: China and GovCloud are clouds of their own. */
export function partitionOf(region: string): "aws" | "aws-cn" | "aws-us-gov" {
  return region.startsWith("cn-") ? "aws-cn" : region.startsWith("us-gov-") ? "aws-us-gov" : "aws";
}

/** The regional host of a service. */
export function awsHost(service: "kms" | "s3" | "sts", region: string): string {
  return `${service}.${region}.amazonaws.com${partitionOf(region) === "aws-cn" ? ".cn" : ""}`;
}
