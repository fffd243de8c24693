/** Who may do what in AWS: policy documents. Pure. */
import type { AwsConfig } from "../config";

export interface Statement {
  Sid?: string;
  Effect: "Allow" | "Deny";
  Principal?: unknown;
  Action: string | string[];
  Resource?: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

export function policyDocument(...statements: Statement[]): string {
  return JSON.stringify({ Version: "2012-10-17", Statement: statements });
}

interface ServiceAccounts {
  namespace: string;
  names: string[];
}

/**
 * A pod with one of these service accounts gets the role, and no other pod: through each of the ways that are given. With both, the pods can
 * change from one to the other.
 */
export function trustOf(ways: Pick<AwsConfig, "oidcProvider" | "cluster">, accounts: ServiceAccounts): string {
  const { oidcProvider, cluster } = ways;
  return policyDocument(
    ...(oidcProvider === undefined ? [] : [trustInIssuer(oidcProvider, accounts)]),
    ...(cluster === undefined ? [] : [trustInPodIdentity(cluster, accounts)]),
  );
}

/** IRSA. */
function trustInIssuer(oidcProvider: string, { namespace, names }: ServiceAccounts): Statement {
  const issuer = oidcProvider.slice(oidcProvider.indexOf("/") + 1);
  return {
    Effect: "Allow",
    Principal: { Federated: oidcProvider },
    Action: "sts:AssumeRoleWithWebIdentity",
    Condition: {
      StringEquals: {
        // The audience is a word and no host: in China it has no ".cn" either.
        [`${issuer}:aud`]: "sts.amazonaws.com",
        [`${issuer}:sub`]: anyOf(names.map((name) => `system:serviceaccount:${namespace}:${name}`)),
      },
    },
  };
}

function trustInPodIdentity(cluster: string, { namespace, names }: ServiceAccounts): Statement {
  return {
    Effect: "Allow",
    // The same name in all partitions.
    Principal: { Service: "pods.eks.amazonaws.com" },
    Action: ["sts:AssumeRole", "sts:TagSession"],
    Condition: {
      StringEquals: {
        "aws:RequestTag/eks-cluster-arn": cluster,
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": anyOf(names),
      },
    },
  };
}

/** As AWS gives it back: a list of one is a text. */
function anyOf(values: string[]): string | string[] {
  const [first = "", ...others] = values;
  return others.length === 0 ? first : values;
}

/** What the awskms seal of Vault does. */
export function sealRights(keyArn: string): string {
  return policyDocument(useOfSeal(keyArn));
}

function useOfSeal(keyArn: string): Statement {
  return { Effect: "Allow", Action: ["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"], Resource: keyArn };
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

/**
 * Lists, writes and reads what is below one prefix. It deletes nothing, so that a thief cannot hide a backup either: backups expire by
 * the rule of the bucket. `sealArns`: the keys that open the data of a copy.
 */
export function backupRights(bucketArn: string, prefix: string, keyArn: string, sealArns: string[] = []): string {
  return policyDocument(
    {
      Effect: "Allow",
      Action: "s3:ListBucket",
      Resource: bucketArn,
      Condition: { StringLike: { "s3:prefix": `${prefix}/*` } },
    },
    // AWS knows no condition on the prefix for this list. It names uploads that have not ended, and no objects.
    { Effect: "Allow", Action: "s3:ListBucketMultipartUploads", Resource: bucketArn },
    {
      Effect: "Allow",
      Action: ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
      Resource: `${bucketArn}/${prefix}/*`,
    },
    // An upload in parts decrypts too: each part continues what the first request has begun.
    { Effect: "Allow", Action: ["kms:GenerateDataKey", "kms:Decrypt"], Resource: keyArn },
    ...sealArns.map(useOfSeal),
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
