import type { IAMClient } from "@aws-sdk/client-iam";
import type { KMSClient } from "@aws-sdk/client-kms";
import type { S3Client } from "@aws-sdk/client-s3";

export interface Aws {
  region: string;
  iam: IAMClient;
  kms: KMSClient;
  s3: S3Client;
}

/** The answer, or undefined when AWS says that what is asked about is not there. */
export async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Error && /^NoSuch|NotFound/.test(error.name)) return undefined;
    throw error;
  }
}
