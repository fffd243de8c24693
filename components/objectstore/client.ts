/** Connections of the agent and of the check. Never imported by the component: it loads the client library. */
import { Agent } from "node:https";
import { S3Client } from "@aws-sdk/client-s3";
import { SignatureV4 } from "@smithy/signature-v4";
import { http } from "../shared/agent/http";
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

const adminSeconds = 10;

export function openAdmin(endpoint: Endpoint): Admin {
  const { url, region, credentials, ca, servername } = endpoint;
  const client = open(endpoint);
  const signer = new SignatureV4({ service: "s3", region, credentials, sha256: client.config.sha256 });
  const { protocol, hostname, port } = new URL(url);

  const call = async (path: string, query: Record<string, string> = {}, body?: string): Promise<string> => {
    const signed = await signer.sign({
      method: "PATCH",
      protocol,
      hostname,
      port: Number(port),
      path,
      query,
      headers: { host: `${hostname}:${port}` },
      ...(body === undefined ? {} : { body }),
    });
    const parameters = new URLSearchParams(query).toString();
    const response = await http({
      url: `${url}${path}${parameters === "" ? "" : `?${parameters}`}`,
      method: "PATCH",
      headers: signed.headers,
      ...(body === undefined ? {} : { body }),
      ...(ca === undefined ? {} : { ca }),
      ...(servername === undefined ? {} : { servername }),
      timeoutSeconds: adminSeconds,
    });
    if (response.status < 200 || response.status > 299) {
      throw new Error(`${path}: ${elements(response.body, "Code")[0] ?? `status ${response.status}`}`);
    }
    return response.body;
  };

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
