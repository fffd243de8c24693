/** Who may do what in AWS: policy documents. Pure. */

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

/** A pod with this service account gets the role, and no other pod (IRSA). */
export function trustOf(oidcProvider: string, account: { namespace: string; name: string }): string {
  const issuer = oidcProvider.slice(oidcProvider.indexOf("/") + 1);
  return policyDocument({
    Effect: "Allow",
    Principal: { Federated: oidcProvider },
    Action: "sts:AssumeRoleWithWebIdentity",
    Condition: {
      StringEquals: {
        [`${issuer}:aud`]: "sts.amazonaws.com",
        [`${issuer}:sub`]: `system:serviceaccount:${account.namespace}:${account.name}`,
      },
    },
  });
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
