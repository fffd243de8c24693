/** What the agent needs of S3 and of the server's admin API, signed by a small library: the AWS SDK is twenty times as large. */
import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { type HttpRequest, type HttpResponse, http } from "../shared/agent/http";
import type { User } from "./rights";

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

export interface Endpoint extends Pick<HttpRequest, "ca" | "servername"> {
  /** Such as https://host:9000. */
  url: string;
  region: string;
  credentials: Credentials;
}

const answerSeconds = 10;

/** One attempt, on a connection of its own. */
async function send(
  { url, region, credentials, ca, servername }: Endpoint,
  method: "GET" | "PUT" | "PATCH",
  path: string,
  query: Record<string, string>,
  body?: string,
): Promise<HttpResponse> {
  const address = new URL(path, url);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const digest = createHash("sha256").update(body ?? "");
  // Without this header the library does not sign the body.
  const unsigned = { "x-amz-content-sha256": digest.digest("hex") };
  const request = { method, url: address.href, headers: unsigned, ...credentials, service: "s3", region };
  const signed = await new AwsV4Signer(request).sign();
  const headers = Object.fromEntries(signed.headers);
  return http({ url: signed.url.href, method, headers, body, ca, servername, timeoutSeconds: answerSeconds });
}

/** S3 puts the kind of an error into its code: `AccessDenied`, `NoSuchBucket`. */
function answerOf({ status, body }: HttpResponse, path: string): string {
  if (status >= 200 && status <= 299) return body;
  const words = [elements(body, "Code")[0] ?? `status ${status}`, ...elements(body, "Message").slice(0, 1)];
  throw new Error(`${path}: ${words.join(": ")}`);
}

export type Buckets = ReturnType<typeof openBuckets>;

/** The calls of S3 that the setup needs. */
export function openBuckets(endpoint: Endpoint) {
  const policyOf = (method: "GET" | "PUT", bucket: string, policy?: string) =>
    send(endpoint, method, `/${bucket}`, { policy: "" }, policy);
  return {
    /** Names of the buckets that this user may see. */
    list: async () => elements(answerOf(await send(endpoint, "GET", "/", {}), "list of buckets"), "Name"),
    create: async (bucket: string): Promise<void> =>
      void answerOf(await send(endpoint, "PUT", `/${bucket}`, {}, bucketConfiguration(endpoint.region)), bucket),
    /** undefined: the bucket has none. */
    policy: async (bucket: string) => {
      const response = await policyOf("GET", bucket);
      if (elements(response.body, "Code")[0] === "NoSuchBucketPolicy") return undefined;
      return answerOf(response, `policy of ${bucket}`);
    },
    putPolicy: async (bucket: string, policy: string): Promise<void> =>
      void answerOf(await policyOf("PUT", bucket, policy), `policy of ${bucket}`),
  };
}

/** S3 takes no location for its first region, and asks for one in every other. */
function bucketConfiguration(region: string): string | undefined {
  if (region === "us-east-1") return undefined;
  return `<CreateBucketConfiguration><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`;
}

export type Admin = ReturnType<typeof openAdmin>;

/** Calls of the server's own admin API, on its own port: S3 has none for users, nor for owners of buckets. */
export function openAdmin(endpoint: Endpoint) {
  const call = async (path: string, query: Record<string, string> = {}, body?: string): Promise<string> =>
    answerOf(await send(endpoint, "PATCH", path, query, body), path);
  return {
    users: async () => elements(await call("/list-users"), "Accounts").map(toUser),
    createUser: async (user: User): Promise<void> => void (await call("/create-user", {}, userXml("Account", user))),
    updateUser: async (user: User): Promise<void> =>
      void (await call("/update-user", { access: user.accessKeyId }, userXml("MutableProps", user))),
    deleteUser: async (access: string): Promise<void> => void (await call("/delete-user", { access })),
    /** Owner of each bucket by name. */
    owners: async () => {
      const buckets = elements(await call("/list-buckets"), "Buckets");
      return new Map(buckets.map((bucket) => [elementOf(bucket, "Name"), elementOf(bucket, "Owner")]));
    },
    changeOwner: async (bucket: string, owner: string): Promise<void> =>
      void (await call("/change-bucket-owner", { bucket, owner })),
  };
}

function toUser(account: string): User {
  return {
    accessKeyId: elementOf(account, "Access"),
    secretAccessKey: elementOf(account, "Secret"),
    role: elementOf(account, "Role"),
  };
}

/** Access keys are DNS labels and secrets alphanumeric, so nothing needs escaping. Other characters are refused. */
function userXml(root: "Account" | "MutableProps", { accessKeyId, secretAccessKey, role }: User): string {
  for (const value of [accessKeyId, secretAccessKey, role]) {
    if (!/^[-A-Za-z0-9]+$/.test(value))
      throw new Error("a user name or password has other characters than A-Z a-z 0-9 -");
  }
  const access = root === "Account" ? `<Access>${accessKeyId}</Access>` : "";
  return `<${root}>${access}<Secret>${secretAccessKey}</Secret><Role>${role}</Role></${root}>`;
}

/** The contents of all elements of that name; they do not contain each other. */
export function elements(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, "gs"))].map(([, content]) => content ?? "");
}

function elementOf(xml: string, name: string): string {
  return elements(xml, name)[0] ?? "";
}
