/** The object store that holds the copies of a service. Only the bundles of backups load the AWS SDK. */
import { readFile } from "node:fs/promises";
import { Agent } from "node:https";
import { join } from "node:path";
import { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  NoSuchKey,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from "@aws-sdk/client-s3";
import { fromHttp } from "@aws-sdk/credential-provider-http";
import { fromTokenFile } from "@aws-sdk/credential-provider-web-identity";
import { Upload } from "@aws-sdk/lib-storage";
import { backupPaths, type StoreSettings, storeKeys } from "../core/backup";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { waitFor } from "../core/wait";
import { absent } from "./files";

export interface StoredObject {
  key: string;
  bytes: number;
}

/** Every error is one sentence that begins with the store. */
export interface Store {
  /** In words why nothing answers at the URL; undefined: something does, whatever it says. */
  silence(): Promise<string | undefined>;
  list(folder: string): Promise<StoredObject[]>;
  /** Names of the folders in a folder. */
  folders(folder: string): Promise<string[]>;
  /** undefined: there is no such object, or not any more. */
  text(key: string): Promise<string | undefined>;
  read(key: string): Promise<AsyncIterable<Buffer>>;
  put(key: string, text: string): Promise<void>;
  /** An object of any size. It exists only when `parts` came to their end; an error of `parts` is thrown as it is. */
  upload(key: string, parts: AsyncIterable<Buffer>): Promise<void>;
  /** Uploads that were never completed are no objects, and take space all the same. Returns their keys. */
  abortUploads(folder: string): Promise<string[]>;
  remove(key: string): Promise<void>;
}

/** 10,000 parts are 80 GB. With one part on its way, an upload of any size takes less than 128 MiB together with the program. */
const partBytes = 8 * 2 ** 20;
const partsAtOnce = 1;
const connectMilliseconds = 10_000;
/** One part, at 140 KB/s. */
const requestMilliseconds = 60_000;
const attempts = 3;
const silent = `no answer within ${requestMilliseconds / 1000} seconds, ${attempts} times`;

const advice: Record<string, string> = {
  InvalidAccessKeyId: "correct the access key in its Secret",
  XAdminUserNotFound: "correct the access key in its Secret",
  SignatureDoesNotMatch: "correct the secret access key in its Secret",
  AccessDenied: "give its user or role the rights that docs/backups.md lists",
  NoSuchBucket: "make the bucket, or correct its name",
};

interface Login {
  credentials: NonNullable<S3ClientConfig["credentials"]>;
  /** The only authorities to trust, PEM; undefined: those of the system. */
  ca: string | undefined;
}

/** A network that enforces policies lets a new pod through a moment after it has started. */
const reachSeconds = 60;

/** With the keys in the Secret that is mounted now, or the role of the pod, and when the store answers. */
export async function openStore(
  settings: StoreSettings,
  directory: string = backupPaths.credentials,
  deadlineSeconds = reachSeconds,
): Promise<Store> {
  const { credentials: secret } = settings;
  const login = secret === undefined ? { credentials: roleOfPod(), ca: undefined } : await readKeys(secret, directory);
  const store = storeWith(settings, login);
  return waitFor(
    `an answer of the store ${settings.url}`,
    async () => {
      const reason = await store.silence();
      return reason === undefined ? { done: store } : { waiting: reason };
    },
    { deadlineSeconds, intervalSeconds: 2 },
  );
}

async function readKeys(secret: string, directory: string): Promise<Login> {
  const read = (key: string) => readFile(join(directory, key), "utf8").catch(absent);
  const needed = async (key: string): Promise<string> => {
    const value = (await read(key))?.trim();
    if (value) return value;
    throw new Error(`the Secret ${secret} must have ${key}, got nothing; write it there`);
  };
  const [accessKeyId, secretAccessKey] = [await needed(storeKeys.accessKeyId), await needed(storeKeys.secretAccessKey)];
  return { credentials: { accessKeyId, secretAccessKey }, ca: await read(storeKeys.ca) };
}

/**
 * What AWS puts into a pod: the role of its ServiceAccount by IRSA, or by EKS Pod Identity. Not the default chain of the SDK, which ends
 * with the role of the node.
 */
function roleOfPod(): Login["credentials"] {
  if (process.env["AWS_WEB_IDENTITY_TOKEN_FILE"] !== undefined) return fromTokenFile();
  if (process.env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] !== undefined) {
    return fromHttp({ timeout: connectMilliseconds, maxRetries: 0 });
  }
  throw new Error(
    "there are no AWS credentials: AWS has put no role into this pod; check the associations of backups.store.podIdentity or " +
      "backups.store.serviceAccountAnnotations, or give backups.store.credentials",
  );
}

export function storeWith({ url, region, bucket }: StoreSettings, { credentials, ca }: Login): Store {
  const client = new S3Client({
    endpoint: url,
    region,
    credentials,
    // There is one host name, not one for each bucket.
    forcePathStyle: true,
    maxAttempts: attempts,
    // The sha256 in the manifest says more, and whether a copy is damaged is not for the client of the store to say.
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: connectMilliseconds,
      requestTimeout: requestMilliseconds,
      throwOnRequestTimeout: true,
      // Also of an answer that stops in the middle.
      socketTimeout: requestMilliseconds,
      httpsAgent: new Agent(ca === undefined ? {} : { ca }),
    },
  });
  const refused = (action: string, error: unknown): Error => {
    const name = error instanceof Error && error.name !== "Error" ? error.name : undefined;
    const words =
      name === "TimeoutError" ? silent : [name, messageOf(error)].filter((each) => each !== undefined).join(": ");
    const hint = advice[name ?? ""];
    const sentence = [words.replace(/\.$/, ""), hint].filter((each) => each !== undefined).join("; ");
    return new Error(`the store ${url}/${bucket} failed to ${action}: ${sentence}`, { cause: error });
  };
  const asked = async <T>(action: string, answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch (error) {
      throw refused(action, error);
    }
  };
  const open = async (key: string) => {
    const { Body } = await asked(`read ${key}`, client.send(new GetObjectCommand({ Bucket: bucket, Key: key })));
    if (Body === undefined) throw new Error(`the store ${url}/${bucket} has nothing in ${key}`);
    return Body;
  };
  async function* pages(folder: string, delimiter?: string) {
    let next: string | undefined;
    do {
      const page = await asked(
        `list ${folder}`,
        client.send(
          new ListObjectsV2Command({ Bucket: bucket, Prefix: folder, Delimiter: delimiter, ContinuationToken: next }),
        ),
      );
      yield page;
      next = page.NextContinuationToken;
    } while (next !== undefined);
  }
  return {
    async silence() {
      try {
        await client.config.credentials();
      } catch (error) {
        // The parser quotes what it could not read, which may be a key.
        const reason = error instanceof SyntaxError ? "the answer is not JSON" : messageOf(error).replace(/\.$/, "");
        return `AWS gave no credentials for the ServiceAccount of this pod: ${reason}; check its role, and whom that trusts`;
      }
      try {
        await client.send(new HeadBucketCommand({ Bucket: bucket }));
      } catch (error) {
        const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
        if ($metadata?.httpStatusCode === undefined) return messageOf(error);
      }
      return undefined;
    },
    async list(folder) {
      const found: StoredObject[] = [];
      for await (const { Contents = [] } of pages(folder)) {
        for (const { Key = "", Size = 0 } of Contents) found.push({ key: Key, bytes: Size });
      }
      return found;
    },
    async folders(folder) {
      const found: string[] = [];
      for await (const { CommonPrefixes = [] } of pages(folder, "/")) {
        for (const { Prefix = "" } of CommonPrefixes) found.push(Prefix.slice(folder.length, -1));
      }
      return found;
    },
    async text(key) {
      try {
        return await asked(`read ${key}`, (await open(key)).transformToString());
      } catch (error) {
        if (error instanceof Error && error.cause instanceof NoSuchKey) return undefined;
        throw error;
      }
    },
    async read(key) {
      const body = (await open(key)) as unknown as AsyncIterable<Buffer>;
      return (async function* () {
        try {
          yield* body;
        } catch (error) {
          throw refused(`read ${key}`, error);
        }
      })();
    },
    async put(key, text) {
      await asked(`write ${key}`, client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: text })));
    },
    async upload(key, parts) {
      let broken: Error | undefined;
      const body = async function* () {
        try {
          yield* parts;
        } catch (error) {
          broken = error instanceof Error ? error : new Error(messageOf(error));
          throw broken;
        }
      };
      const params = { Bucket: bucket, Key: key, Body: Readable.from(body()) };
      // It aborts what it could not complete.
      const upload = new Upload({ client, params, partSize: partBytes, queueSize: partsAtOnce });
      await upload.done().catch((error: unknown) => {
        // When the store fails, the parts are broken off too.
        throw error instanceof Error && error === broken ? error : refused(`write ${key}`, error);
      });
    },
    async abortUploads(folder) {
      const { Uploads = [] } = await asked(
        `list the uploads of ${folder}`,
        client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: folder })),
      );
      const own = Uploads.filter(({ Key = "" }) => Key.startsWith(folder));
      for (const { Key, UploadId } of own) {
        const command = new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId });
        await asked(`abort the upload of ${Key}`, client.send(command));
      }
      return own.map(({ Key = "" }) => Key);
    },
    async remove(key) {
      await asked(`delete ${key}`, client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })));
      log(`deleted ${key}`);
    },
  };
}
