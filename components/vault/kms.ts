/**
 * Proves that the key service opens what it has closed, with the same credentials as the members: a wrong key is a sentence
 * before anything is changed, instead of members that do not start. Two requests do not justify a client library of a
 * quarter of a megabyte.
 */
import { createHash, createHmac } from "node:crypto";
import { readFile } from "node:fs/promises";
import { http } from "../shared/agent/http";

export interface AwsCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface KmsKey {
  region: string;
  keyId: string;
  endpoint?: string;
}

const timeoutSeconds = 10;

/**
 * Throws a reason in words when the key does not serve. `former`: what it has returned when the data were made, which the
 * same key must open, and it alone.
 */
export async function proveKey(key: KmsKey, credentials: AwsCredentials, former?: string): Promise<string> {
  const plain = createHash("sha256").update("cells-services").digest("base64");
  const closed = await kms<{ CiphertextBlob: string }>(key, credentials, "Encrypt", {
    KeyId: key.keyId,
    Plaintext: plain,
  });
  const opened = await kms<{ Plaintext: string }>(key, credentials, "Decrypt", {
    CiphertextBlob: closed.CiphertextBlob,
  });
  if (opened.Plaintext !== plain) throw new Error("what was encrypted could not be decrypted");
  // The server asks for the description when it starts.
  const { KeyMetadata: known } = await kms<{ KeyMetadata: { Arn: string } }>(key, credentials, "DescribeKey", {
    KeyId: key.keyId,
  });
  if (former !== undefined) {
    const { KeyId: own } = await kms<{ KeyId: string }>(key, credentials, "Decrypt", { CiphertextBlob: former });
    if (own !== known.Arn) throw new Error(`it is ${known.Arn}, and the data were made with ${own}`);
  }
  return closed.CiphertextBlob;
}

async function kms<T>(key: KmsKey, credentials: AwsCredentials, operation: string, body: object): Promise<T> {
  const url = new URL(key.endpoint ?? `https://kms.${key.region}.amazonaws.com`);
  const payload = JSON.stringify(body);
  const headers = signed(
    { host: url.host, region: key.region, service: "kms", payload, target: `TrentService.${operation}` },
    credentials,
    new Date(),
  );
  const { status, body: text } = await http({ url: url.href, method: "POST", headers, body: payload, timeoutSeconds });
  const answer = parse<T & { __type?: string; message?: string; Message?: string }>(text);
  if (status === 200 && answer !== undefined) return answer;
  const what = answer?.__type?.replace(/^.*#/, "") ?? `status ${status}`;
  throw new Error(`${operation} was refused: ${what}: ${answer?.message ?? answer?.Message ?? "no reason given"}`);
}

interface SignedRequest {
  host: string;
  region: string;
  service: string;
  payload: string;
  target: string;
}

/** Signature version 4 of a POST of JSON to the root path. */
export function signed(request: SignedRequest, credentials: AwsCredentials, now: Date): Record<string, string> {
  const time = now.toISOString().replace(/[-:]|\.[0-9]+/g, "");
  const date = time.slice(0, 8);
  const token = credentials.sessionToken;
  const headers: Record<string, string> = {
    "content-type": "application/x-amz-json-1.1",
    host: request.host,
    "x-amz-date": time,
    ...(token === undefined ? {} : { "x-amz-security-token": token }),
    "x-amz-target": request.target,
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    "POST",
    "/",
    "",
    ...names.map((name) => `${name}:${headers[name] ?? ""}`),
    "",
    names.join(";"),
    sha256(request.payload),
  ].join("\n");
  const scope = `${date}/${request.region}/${request.service}/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical)].join("\n");
  const key = [date, request.region, request.service, "aws4_request"].reduce<Buffer>(
    (previous, part) => hmac(previous, part),
    Buffer.from(`AWS4${credentials.secretAccessKey}`),
  );
  const signature = hmac(key, text).toString("hex");
  const credential = `${credentials.accessKeyId}/${scope}`;
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${signature}`,
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

/** From the mounted file, or with the service account that AWS knows (IRSA); the server looks in the same places. */
export async function findCredentials(region: string, environment = process.env): Promise<AwsCredentials> {
  const file = environment["AWS_SHARED_CREDENTIALS_FILE"];
  if (file !== undefined) return readProfile(await readFile(file, "utf8"));
  const [role, tokenFile] = [environment["AWS_ROLE_ARN"], environment["AWS_WEB_IDENTITY_TOKEN_FILE"]];
  if (role === undefined || tokenFile === undefined) {
    throw new Error(
      "there are no AWS credentials: AWS has put no role into this pod; " +
        "check seal.serviceAccountAnnotations, or give seal.credentialsSecret",
    );
  }
  const parameters = new URLSearchParams({
    Action: "AssumeRoleWithWebIdentity",
    Version: "2011-06-15",
    RoleArn: role,
    RoleSessionName: "cells-services-vault",
    WebIdentityToken: (await readFile(tokenFile, "utf8")).trim(),
  });
  const { status, body } = await http({
    url: `https://sts.${region}.amazonaws.com/?${parameters.toString()}`,
    headers: { accept: "application/json" },
    timeoutSeconds,
  });
  const answer = parse<StsAnswer>(body);
  const found = answer?.AssumeRoleWithWebIdentityResponse?.AssumeRoleWithWebIdentityResult?.Credentials;
  if (status !== 200 || found === undefined) {
    throw new Error(`AWS gave no credentials for ${role}: ${answer?.Error?.Message ?? `status ${status}`}`);
  }
  return {
    accessKeyId: found.AccessKeyId,
    secretAccessKey: found.SecretAccessKey,
    sessionToken: found.SessionToken,
  };
}

interface StsAnswer {
  AssumeRoleWithWebIdentityResponse?: {
    AssumeRoleWithWebIdentityResult?: {
      Credentials?: { AccessKeyId: string; SecretAccessKey: string; SessionToken: string };
    };
  };
  Error?: { Message?: string };
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
  const { aws_access_key_id: id, aws_secret_access_key: secret, aws_session_token: session } = values;
  if (id === undefined || secret === undefined) {
    throw new Error(
      'the key "credentials" of seal.credentialsSecret must have the profile [default] with aws_access_key_id and ' +
        "aws_secret_access_key",
    );
  }
  return { accessKeyId: id, secretAccessKey: secret, ...(session === undefined ? {} : { sessionToken: session }) };
}

function parse<T>(text: string): T | undefined {
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}
