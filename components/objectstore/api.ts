/**
 * What the agent asks of the server: a few calls of S3 and of the server's own admin API, signed by a small library. The AWS
 * SDK, with which the check proves the same from outside, is twenty times as large.
 */
import { createHash } from "node:crypto";
import { AwsV4Signer } from "aws4fetch";
import { type HttpRequest, type HttpResponse, http } from "../shared/agent/http";
import type { User } from "./rights";

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

export interface Endpoint {
  /** Such as https://host:9000. */
  url: string;
  region: string;
  credentials: Credentials;
  /** The only authorities to trust, PEM. */
  ca?: string | undefined;
  /** The name that the certificate must carry, default: the host of the URL. */
  servername?: string | undefined;
}

const answerSeconds = 10;

interface Call {
  method: NonNullable<HttpRequest["method"]>;
  path: string;
  query?: Record<string, string>;
  body?: string;
}

/** One attempt, on a connection of its own. */
async function send(endpoint: Endpoint, { method, path, query = {}, body }: Call): Promise<HttpResponse> {
  const { url, region, credentials, ca, servername } = endpoint;
  const address = new URL(path, url);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  const signed = await new AwsV4Signer({
    method,
    url: address.href,
    // The body is signed too: without this header the library leaves it out.
    headers: {
      "x-amz-content-sha256": createHash("sha256")
        .update(body ?? "")
        .digest("hex"),
    },
    ...credentials,
    service: "s3",
    region,
  }).sign();
  return http({
    url: signed.url.href,
    method,
    headers: Object.fromEntries(signed.headers),
    ...(body === undefined ? {} : { body }),
    ...(ca === undefined ? {} : { ca }),
    ...(servername === undefined ? {} : { servername }),
    timeoutSeconds: answerSeconds,
  });
}

/** Errors of S3 say what they are in their code: `AccessDenied`, `NoSuchBucket`. */
function answerOf({ status, body }: HttpResponse, path: string): string {
  if (status >= 200 && status <= 299) return body;
  const words = [elements(body, "Code")[0] ?? `status ${status}`, ...elements(body, "Message").slice(0, 1)];
  throw new Error(`${path}: ${words.join(": ")}`);
}

/** The calls of S3 that the setup needs. */
export interface Buckets {
  /** Names of those that this user may see. */
  list(): Promise<string[]>;
  create(bucket: string): Promise<void>;
  /** undefined: the bucket has none. */
  policy(bucket: string): Promise<string | undefined>;
  putPolicy(bucket: string, policy: string): Promise<void>;
}

export function openBuckets(endpoint: Endpoint): Buckets {
  const call = async (method: "GET" | "PUT", path: string, query: Record<string, string> = {}, body?: string) =>
    send(endpoint, { method, path, query, ...(body === undefined ? {} : { body }) });
  return {
    list: async () => elements(answerOf(await call("GET", "/"), "list of buckets"), "Name"),
    create: async (bucket) =>
      void answerOf(await call("PUT", `/${bucket}`, {}, bucketConfiguration(endpoint.region)), bucket),
    policy: async (bucket) => {
      const response = await call("GET", `/${bucket}`, { policy: "" });
      if (elements(response.body, "Code")[0] === "NoSuchBucketPolicy") return undefined;
      return answerOf(response, `policy of ${bucket}`);
    },
    putPolicy: async (bucket, policy) =>
      void answerOf(await call("PUT", `/${bucket}`, { policy: "" }, policy), `policy of ${bucket}`),
  };
}

/** S3 takes no location for its first region, and asks for one in every other. */
function bucketConfiguration(region: string): string | undefined {
  if (region === "us-east-1") return undefined;
  return `<CreateBucketConfiguration><LocationConstraint>${region}</LocationConstraint></CreateBucketConfiguration>`;
}

/** The few calls of the server's own admin API, on its own port: S3 has none for users, nor for owners of buckets. */
export interface Admin {
  users(): Promise<User[]>;
  createUser(user: User): Promise<void>;
  updateUser(user: User): Promise<void>;
  deleteUser(accessKeyId: string): Promise<void>;
  /** Owner of each bucket by name. */
  owners(): Promise<Map<string, string>>;
  changeOwner(bucket: string, owner: string): Promise<void>;
}

export function openAdmin(endpoint: Endpoint): Admin {
  const call = async (path: string, query: Record<string, string> = {}, body?: string): Promise<string> =>
    answerOf(await send(endpoint, { method: "PATCH", path, query, ...(body === undefined ? {} : { body }) }), path);

  return {
    users: async () => elements(await call("/list-users"), "Accounts").map(toUser),
    createUser: async (user) => void (await call("/create-user", {}, userXml("Account", user))),
    updateUser: async (user) => {
      await call("/update-user", { access: user.accessKeyId }, userXml("MutableProps", user));
    },
    deleteUser: async (access) => void (await call("/delete-user", { access })),
    owners: async () =>
      new Map(
        elements(await call("/list-buckets"), "Buckets").map((bucket) => [
          elements(bucket, "Name")[0] ?? "",
          elements(bucket, "Owner")[0] ?? "",
        ]),
      ),
    changeOwner: async (bucket, owner) => void (await call("/change-bucket-owner", { bucket, owner })),
  };
}

function toUser(account: string): User {
  return {
    accessKeyId: elements(account, "Access")[0] ?? "",
    secretAccessKey: elements(account, "Secret")[0] ?? "",
    role: elements(account, "Role")[0] ?? "",
  };
}

/** Access keys are DNS labels and secrets alphanumeric, so nothing needs escaping; what does is refused. */
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
