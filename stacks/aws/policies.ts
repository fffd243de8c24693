/** Who may do what in AWS: policy documents. Pure. */
import type { AwsConfig } from "../config";

export interface Statement {
  Sid?: string;
  Effect: "Allow" | "Deny";
  Principal?: unknown;
  Action: string | string[];
  Resource?: string | string[];
  Condition?: Record<string, Record<string, string>>;
}

export function policyDocument(...statements: Statement[]): string {
  return JSON.stringify({ Version: "2012-10-17", Statement: statements });
}

interface ServiceAccount {
  namespace: string;
  name: string;
}

/**
 * A pod with this service account gets the role, and no other pod: through each of the ways that are given. With both, the pods can
 * change from one to the other.
 */
export function trustOf(ways: Pick<AwsConfig, "oidcProvider" | "cluster">, account: ServiceAccount): string {
  const { oidcProvider, cluster } = ways;
  return policyDocument(
    ...(oidcProvider === undefined ? [] : [trustInIssuer(oidcProvider, account)]),
    ...(cluster === undefined ? [] : [trustInPodIdentity(cluster, account)]),
  );
}

/** IRSA. */
function trustInIssuer(oidcProvider: string, { namespace, name }: ServiceAccount): Statement {
  const issuer = oidcProvider.slice(oidcProvider.indexOf("/") + 1);
  return {
    Effect: "Allow",
    Principal: { Federated: oidcProvider },
    Action: "sts:AssumeRoleWithWebIdentity",
    Condition: {
      StringEquals: {
        // The audience is a word and no host: in China it has no ".cn" either.
        [`${issuer}:aud`]: "sts.amazonaws.com",
        [`${issuer}:sub`]: `system:serviceaccount:${namespace}:${name}`,
      },
    },
  };
}

function trustInPodIdentity(cluster: string, { namespace, name }: ServiceAccount): Statement {
  return {
    Effect: "Allow",
    // The same name in all partitions.
    Principal: { Service: "pods.eks.amazonaws.com" },
    Action: ["sts:AssumeRole", "sts:TagSession"],
    Condition: {
      StringEquals: {
        "aws:RequestTag/eks-cluster-arn": cluster,
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": name,
      },
    },
  };
}

/** What the awskms seal of Vault does. */
export function sealRights(keyArn: string): string {
  return policyDocument({
    Effect: "Allow",
    Action: ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"],
    Resource: keyArn,
  });
}

/** Objects, also in parts, and lists of them; no versions, so that what was deleted or overwritten can be brought back. */
export function objectRights(bucketArns: string[]): string {
  return policyDocument(
    { Effect: "Allow", Action: ["s3:ListBucket", "s3:GetBucketLocation"], Resource: bucketArns },
    { Effect: "Allow", Action: "s3:ListBucketMultipartUploads", Resource: bucketArns },
    {
      Effect: "Allow",
      Action: [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:GetObjectTagging",
        "s3:PutObjectTagging",
        "s3:AbortMultipartUpload",
        "s3:ListMultipartUploadParts",
      ],
      Resource: bucketArns.map((arn) => `${arn}/*`),
    },
  );
}

/** No request without TLS, whoever makes it. */
export function tlsOnly(bucketArn: string): string {
  return policyDocument({
    Sid: "OnlyTls",
    Effect: "Deny",
    Principal: "*",
    Action: "s3:*",
    Resource: [bucketArn, `${bucketArn}/*`],
    Condition: { Bool: { "aws:SecureTransport": "false" } },
  });
}
