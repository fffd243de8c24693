/** The AWS SDK, for the check. Never imported by the component or its agent: it would be most of what they load. */
import { Agent } from "node:https";
import { S3 } from "@aws-sdk/client-s3";
import type { Endpoint } from "./api";

const connectMilliseconds = 5_000;
/** A part of 5 MiB through a slow tunnel. */
const requestMilliseconds = 30_000;

/** Each request is sent once, on a connection of its own. A caller that wants another attempt sends it again. */
export function open({ url, region, credentials, ca, servername }: Endpoint): S3 {
  const client = new S3({
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
  // S3 puts the kind of an error into its name: `AccessDenied`, `NoSuchKey`. Findings show messages only.
  client.middlewareStack.add(
    (next) => (request) =>
      next(request).catch((error: unknown) => {
        if (error instanceof Error && error.name !== "Error") error.message = `${error.name}: ${error.message}`;
        throw error;
      }),
    { step: "initialize", priority: "high" },
  );
  return client;
}
