/**
 * Proves that the key service opens what it has closed, with the credentials of the members: a wrong key is refused before anything is
 * changed, instead of members that do not start. A few requests do not justify the AWS SDK.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { AwsV4Signer } from "aws4fetch";
import { http } from "../shared/agent/http";
import { awsHost } from "../shared/core/aws";
import { parseJson } from "./client";
import type { KmsKey } from "./layout";

export interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

const timeoutSeconds = 10;

/** Returns a ciphertext, or throws why the key does not serve. `former`: the one from when the data were made, which this key must open. */
export async function proveKey(key: KmsKey, credentials: AwsCredentials, former?: string): Promise<string> {
  const ask = <T>(operation: string, body: object) => kms<T>(key, credentials, operation, body);
  const KeyId = key.keyId;
  const Plaintext = createHash("sha256").update("cells-services").digest("base64");
  const { CiphertextBlob } = await ask<{ CiphertextBlob: string }>("Encrypt", { KeyId, Plaintext });
  const opened = await ask<{ Plaintext: string }>("Decrypt", { CiphertextBlob });
  if (opened.Plaintext !== Plaintext) throw new Error("what was encrypted could not be decrypted");
  // The server asks for the description when it starts.
  const { KeyMetadata: known } = await ask<{ KeyMetadata: { Arn: string } }>("DescribeKey", { KeyId });
  if (former !== undefined) {
    const { KeyId: own } = await ask<{ KeyId: string }>("Decrypt", { CiphertextBlob: former });
    if (own !== known.Arn) throw new Error(`it is ${known.Arn}, and the data were made with ${own}`);
  }
  return CiphertextBlob;
}

export async function kms<T>(
  { region, endpoint = `https://${awsHost("kms", region)}` }: Omit<KmsKey, "keyId">,
  credentials: AwsCredentials,
  operation: string,
  request: object,
): Promise<T> {
  const body = JSON.stringify(request);
  const signer = new AwsV4Signer({
    method: "POST",
    url: endpoint,
    headers: { "content-type": "application/x-amz-json-1.1", "x-amz-target": `TrentService.${operation}` },
    body,
    ...credentials,
    service: "kms",
    region,
    // The content type is signed too.
    allHeaders: true,
  });
  const signed = await signer.sign();
  const headers = Object.fromEntries(signed.headers);
  const response = await http({ url: signed.url.href, method: "POST", headers, body, timeoutSeconds });
  const answer = parseJson<T & { __type?: string; message?: string; Message?: string }>(response.body);
  if (response.status === 200 && answer !== undefined) return answer;
  const what = answer?.__type?.replace(/^.*#/, "") ?? `status ${response.status}`;
  throw new Error(`${operation} was refused: ${what}: ${answer?.message ?? answer?.Message ?? "no reason given"}`);
}

type Environment = Record<string, string | undefined>;

/** From the mounted file, or with the role of the service account: by IRSA, or by EKS Pod Identity. The server looks in the same order. */
export async function findCredentials(region: string, environment: Environment = process.env): Promise<AwsCredentials> {
  const file = environment["AWS_SHARED_CREDENTIALS_FILE"];
  if (file !== undefined) return readProfile(await readFile(file, "utf8"));
  const [role, webToken] = [environment["AWS_ROLE_ARN"], environment["AWS_WEB_IDENTITY_TOKEN_FILE"]];
  if (role !== undefined && webToken !== undefined) return assumeRole(role, webToken, region);
  const url = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"];
  const token = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
  if (url !== undefined && token !== undefined) return askPodIdentity(url, token);
  throw new Error(
    "there are no AWS credentials: AWS has put no role into this pod; check the association of seal.podIdentity or " +
      "seal.serviceAccountAnnotations, or give seal.credentialsSecret",
  );
}

/** IRSA. */
async function assumeRole(role: string, tokenFile: string, region: string): Promise<AwsCredentials> {
  const parameters = new URLSearchParams({
    Action: "AssumeRoleWithWebIdentity",
    Version: "2011-06-15",
    RoleArn: role,
    RoleSessionName: "cells-services-vault",
    WebIdentityToken: (await readFile(tokenFile, "utf8")).trim(),
  });
  const { status, body } = await http({
    url: `https://${awsHost("sts", region)}/?${parameters.toString()}`,
    headers: { accept: "application/json" },
    timeoutSeconds,
  });
  type Found = { AccessKeyId: string; SecretAccessKey: string; SessionToken: string };
  const answer = parseJson<{
    AssumeRoleWithWebIdentityResponse?: { AssumeRoleWithWebIdentityResult?: { Credentials?: Found } };
    Error?: { Message?: string };
  }>(body);
  const found = answer?.AssumeRoleWithWebIdentityResponse?.AssumeRoleWithWebIdentityResult?.Credentials;
  if (status !== 200 || found === undefined) {
    throw new Error(`AWS gave no credentials for ${role}: ${answer?.Error?.Message ?? `status ${status}`}`);
  }
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, SessionToken: sessionToken } = found;
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** The agent of EKS Pod Identity on the node. */
async function askPodIdentity(url: string, tokenFile: string): Promise<AwsCredentials> {
  const authorization = (await readFile(tokenFile, "utf8")).trim();
  const { status, body } = await http({ url, headers: { authorization }, timeoutSeconds });
  const found = parseJson<{ AccessKeyId?: string; SecretAccessKey?: string; Token?: string }>(body);
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken } = found ?? {};
  if (status !== 200 || accessKeyId === undefined || secretAccessKey === undefined || sessionToken === undefined) {
    // A refusal is a text. An answer of 200 may hold a key, so it is not repeated.
    const reason = status === 200 ? "the answer has no key" : body.trim() || "no reason given";
    throw new Error(`AWS gave no credentials for the ServiceAccount of this pod: status ${status}: ${reason}`);
  }
  return { accessKeyId, secretAccessKey, sessionToken };
}

/** The profile "default" of AWS's own file format. */
export function readProfile(text: string): AwsCredentials {
  const values: Record<string, string> = {};
  let profile = "";
  for (const line of text.split("\n")) {
    const header = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line)?.[1];
    if (header !== undefined) profile = header;
    const [, key, value] = /^\s*([a-z_]+)\s*=\s*(\S+)/.exec(line) ?? [];
    if (profile === "default" && key !== undefined && value !== undefined) values[key] = value;
  }
  const { aws_access_key_id: accessKeyId, aws_secret_access_key: secretAccessKey, aws_session_token: session } = values;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    const needed = "the profile [default] with aws_access_key_id and aws_secret_access_key";
    throw new Error(`the key "credentials" of seal.credentialsSecret must have ${needed}`);
  }
  return { accessKeyId, secretAccessKey, ...(session === undefined ? {} : { sessionToken: session }) };
}
