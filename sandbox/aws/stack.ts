/** What a stack that uses AWS needs beyond an emulator that answers. */
import { setTimeout } from "node:timers/promises";
import { kubectl } from "../cluster/kubectl";
import { awsCredentials, awsEndpoint } from "./emulator";

/** The account that moto plays. */
const account = "123456789012";
/** Of the namespace of the stack, with the key `credentials`: nobody here gives roles to pods. */
const credentialsSecret = "aws";

type Configuration = Record<string, unknown>;

/** What has to be said in its configuration; undefined for a stack that does not use AWS. */
export function emulatedAws(given: Configuration, stack: string): Configuration | undefined {
  const { "cells-services:aws": aws, "cells-services:vault": vault } = given as Record<string, Configuration>;
  if (aws === undefined) return undefined;
  const oidcProvider = `arn:aws:iam::${account}:oidc-provider/sandbox`;
  return {
    "cells-services:aws": { ...aws, prefix: `sandbox-${stack}`, oidcProvider, endpoint: awsEndpoint },
    "cells-services:vault": { ...vault, seal: { ...(vault?.["seal"] as Configuration), credentialsSecret } },
  };
}

/** As soon as the namespace is there, which the stack makes; pods wait for the Secret. Ends when it is told to. */
export async function giveCredentials(namespace: string, signal: AbortSignal): Promise<void> {
  const { accessKeyId, secretAccessKey } = awsCredentials;
  const profile = `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`;
  const secret = ["secret", "generic", credentialsSecret, "-n", namespace];
  while (!signal.aborted) {
    const given = await kubectl("create", ...secret, `--from-literal=credentials=${profile}`).then(
      () => true,
      (error: Error) => error.message.includes("AlreadyExists") || error.message.includes("already exists"),
    );
    if (given) return;
    await setTimeout(500);
  }
}
