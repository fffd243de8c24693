/** The AWS SDK, for the check. Never imported by the component or its agent: it would be most of what they load. */
import { Agent } from "node:https";
import { S3Client } from "@aws-sdk/client-s3";
import type { Endpoint } from "./api";

const connectMilliseconds = 5_000;
/** A part of 5 MiB through a slow tunnel. */
const requestMilliseconds = 30_000;

/** One attempt for each request, each on a connection of its own. Who wants more asks again. */
export function open({ url, region, credentials, ca, servername }: Endpoint): S3Client {
  return new S3Client({
    endpoint: url,
    region,
    credentials,
    // There is one host name, not one for each bucket.
    forcePathStyle: true,
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: connectMilliseconds,
      requestTimeout: requestMilliseconds,
      throwOnRequestTimeout: true,
      httpsAgent: new Agent({
        ...(ca === undefined ? {} : { ca }),
        ...(servername === undefined ? {} : { servername }),
      }),
    },
  });
}

/** Errors of S3 say what they are in their name: `AccessDenied`, `NoSuchKey`. */
export async function named<T>(request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new Error(error.name === "Error" ? error.message : `${error.name}: ${error.message}`, { cause: error });
  }
}
