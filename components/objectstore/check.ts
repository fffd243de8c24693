/**
 * Proves with the AWS SDK that an object store works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { createHash, randomBytes } from "node:crypto";
import type { S3Client } from "@aws-sdk/client-s3";
import { http } from "../shared/agent/http";
import { checkCertificates } from "../shared/check/certificates";
import { probeName } from "../shared/check/connections";
import {
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  greetMembers,
  observeAll,
  type Place,
} from "../shared/check/context";
import { type Access, administrator, applicationAccess } from "../shared/check/logins";
import type { PlainText } from "../shared/check/plaintext";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { namesOf } from "../shared/core/names";
import { healthPath, paths, ports, type Store, scheme } from "./layout";

/** Of all but the last part of an upload, the least that S3 accepts. */
const partBytes = 5 * 2 ** 20;
/** A check that was killed leaves its objects; the next one removes them when no check can still be using them. */
const leftoverMilliseconds = 3_600_000;
export const objectPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { findings, step, member: memberPlace, address } = context;
  const session = openSession();
  try {
    const access = await administrator(context);
    if (access === undefined) return findings;
    const { config, setup } = namesOf(target.name);
    let store: Store = { region: "", buckets: [], applicationBuckets: {} };
    const known = await step("configuration", `look at the ConfigMap ${config}`, async () => {
      store = await readStore(environment, config);
      return `${store.buckets.length} buckets in ${store.region}`;
    });
    if (!known) return findings;
    session.region = store.region;

    const answering: Place[] = [];
    await greetMembers(context, async (place) => {
      const { status } = await session.ask(place, access, healthPath);
      if (status !== 200) throw new Error(`status ${status}, expected 200`);
      answering.push(place);
      return "it answers";
    });
    const served = await step("buckets", `look at the Service and at the log of the Job ${setup}`, async () => {
      const seen = await listBuckets(await session.open(address, access));
      const missing = store.buckets.filter((bucket) => !seen.includes(bucket));
      if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")}; there are ${seen.join(", ") || "none"}`);
      const others = seen.length - store.buckets.length;
      return `${store.buckets.join(", ")}${others === 0 ? "" : `; ${others} more that are not asked for`}`;
    });
    if (!served) return findings;
    for (const [application, secret] of Object.entries(target.applications)) {
      await checkApplication({ context, session, store, application, secret });
    }

    const places = [...answering, address];
    const [anonymous, wrongPassword] = loginStrangers(access, {
      anonymous: /^status 403$/,
      wrongPassword: /SignatureDoesNotMatch/,
    });
    const auth = { username: `unknown-${randomBytes(4).toString("hex")}`, password: "none" };
    await checkStrangers(context, {
      places,
      access,
      strangers: [
        anonymous,
        { ...wrongPassword, check: "wrong secret" },
        {
          check: "unknown user",
          who: "a client that is no user",
          access: [{ ...access, auth }],
          refusal: /InvalidAccessKeyId/,
        },
      ],
      enter: async (place, as) =>
        as.auth === undefined ? askAnonymously(session, place, as, store) : listBuckets(await session.open(place, as)),
      plainText,
      remedy: "look at the arguments of the server, and at its users",
    });
    const admins = answering.map(({ name }) => memberPlace(name, ports.admin));
    await checkCertificates(context, access.ca, [...places, ...admins]);
    return findings;
  } finally {
    session.close();
  }
};

/** A server that speaks TLS only ends the connection without a word, or calls the request a bad one. */
export const plainText: PlainText = {
  hello: `GET ${healthPath} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n`,
  served: /^HTTP\/1\.[01] 2/,
  refused: /^HTTP\/1\.[01] 400/,
};

/** Always rejects: with status 403 when the server and each bucket refuse a client without a signature. */
async function askAnonymously(session: Session, place: Place, access: Access, { buckets }: Store): Promise<never> {
  const open: string[] = [];
  for (const path of ["/", ...buckets.map((bucket) => `/${bucket}?list-type=2`)]) {
    const { status } = await session.ask(place, access, path);
    if (status !== 403) open.push(`${path} answered ${status}`);
  }
  throw new Error(open.length === 0 ? "status 403" : `${open.join(", ")}; expected 403`);
}

async function readStore(environment: CheckEnvironment, config: string): Promise<Store> {
  const text = (await environment.configMap(config))[paths.storeFile];
  if (!text) throw new Error(`${paths.storeFile} in the ConfigMap ${config} is missing`);
  return JSON.parse(text) as Store;
}

// --- applications

interface ApplicationUnderCheck {
  context: CheckContext;
  session: Session;
  store: Store;
  application: string;
  secret: string;
}

async function checkApplication(under: ApplicationUnderCheck): Promise<void> {
  const { context, session, store, application, secret } = under;
  const { target, environment, step, address } = context;
  const own = store.applicationBuckets[application] ?? [];
  const [first] = own;
  let granted: Access | undefined;
  const usable = await step(`application ${application}`, `look at the Secret ${secret}`, async () => {
    const { access } = await applicationAccess(target, environment, application, (values) =>
      expectedWords(target, values, store.region),
    );
    const seen = await listBuckets(await session.open(address, access));
    // A bucket that is no longer wanted stays with its application.
    const foreign = seen.filter((bucket) => store.buckets.includes(bucket) && !own.includes(bucket));
    if (foreign.length > 0 || own.some((bucket) => !seen.includes(bucket)))
      throw new Error(`it sees the buckets ${seen.join(", ") || "none"}, expected ${own.join(", ")}`);
    granted = access;
    return `it sees its buckets ${own.join(", ")} and no other`;
  });
  if (!usable || granted === undefined || first === undefined) return;
  const client = await session.open(address, granted);
  const remedy = "look at the log of the pod and at the space on its volume";
  await step(`objects ${application}`, remedy, () =>
    everywhere(own, async (bucket) => {
      await checkObjects(client, bucket, probeName(objectPrefix));
      return "written, read, listed and deleted";
    }),
  );
  await step(`multipart ${application}`, remedy, () => checkMultipart(client, first));
  await step(`rights ${application}`, `look at the log of the Job ${namesOf(target.name).setup}`, () =>
    checkRights(under, client, granted as Access),
  );
  await step(`clean-up ${application}`, `delete the objects that begin with ${objectPrefix}`, () =>
    removeLeftovers(client, own),
  );
}

/** The words of AWS must say the same as those that all services have. */
function expectedWords(target: CheckTarget, values: Record<string, string>, region: string): Record<string, string> {
  const endpoint = `${scheme(target.tls)}://${target.host}:${target.clientPort}`;
  const { username = "", password = "" } = values;
  return { url: endpoint, accessKeyId: username, secretAccessKey: password, endpoint, region };
}

async function listBuckets(client: S3Client): Promise<string[]> {
  const { ListBucketsCommand } = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const { Buckets: buckets = [] } = await named(client.send(new ListBucketsCommand({})));
  return buckets.map(({ Name: name }) => name ?? "");
}

async function listObjects(client: S3Client, bucket: string, prefix: string) {
  const { ListObjectsV2Command } = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const { Contents: objects = [] } = await named(
    client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix })),
  );
  return objects.map(({ Key: key = "", LastModified: modified }) => ({ key, modified }));
}

async function checkObjects(client: S3Client, bucket: string, key: string): Promise<void> {
  const { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const object = { Bucket: bucket, Key: key };
  const value = randomBytes(256).toString("hex");
  await named(client.send(new PutObjectCommand({ ...object, Body: value, Metadata: { purpose: "check" } })));
  try {
    const { Body: body, Metadata: metadata } = await named(client.send(new GetObjectCommand(object)));
    if ((await body?.transformToString()) !== value)
      throw new Error(`${bucket}: another value was read than was written`);
    if (metadata?.["purpose"] !== "check") throw new Error(`${bucket}: the metadata of an object were lost`);
    const listed = await listObjects(client, bucket, key);
    if (listed.length !== 1) throw new Error(`${bucket}: an object that was written is not listed`);
  } finally {
    await named(client.send(new DeleteObjectCommand(object)));
  }
  const left = await listObjects(client, bucket, key);
  if (left.length > 0) throw new Error(`${bucket}: an object that was deleted is still listed`);
}

async function checkMultipart(client: S3Client, bucket: string): Promise<string> {
  const sdk = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const start = async (key: string): Promise<{ Bucket: string; Key: string; UploadId: string }> => {
    const object = { Bucket: bucket, Key: key };
    const { UploadId: id } = await named(client.send(new sdk.CreateMultipartUploadCommand(object)));
    if (!id) throw new Error("an upload was begun without a number");
    return { ...object, UploadId: id };
  };
  const parts = [randomBytes(partBytes), randomBytes(partBytes)] as const;
  const upload = await start(probeName(objectPrefix));
  const object = { Bucket: upload.Bucket, Key: upload.Key };
  let completed = false;
  try {
    const tags: { PartNumber: number; ETag?: string | undefined }[] = [];
    for (const [index, part] of parts.entries()) {
      const number = { PartNumber: index + 1 };
      const { ETag: tag } = await named(client.send(new sdk.UploadPartCommand({ ...upload, ...number, Body: part })));
      tags.push({ ...number, ETag: tag });
    }
    await named(client.send(new sdk.CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts: tags } })));
    completed = true;
    const { Body: body } = await named(client.send(new sdk.GetObjectCommand(object)));
    const read = (await body?.transformToByteArray()) ?? new Uint8Array();
    if (digest(read) !== digest(Buffer.concat(parts)))
      throw new Error("another file was read than was uploaded in parts");
  } finally {
    await named(
      completed
        ? client.send(new sdk.DeleteObjectCommand(object))
        : client.send(new sdk.AbortMultipartUploadCommand(upload)),
    );
  }

  const aborted = await start(probeName(objectPrefix));
  try {
    await named(client.send(new sdk.UploadPartCommand({ ...aborted, PartNumber: 1, Body: parts[0] })));
    if (!(await isUnderWay(client, aborted))) throw new Error("an upload that was begun is not listed");
  } finally {
    await named(client.send(new sdk.AbortMultipartUploadCommand(aborted)));
  }
  if (await isUnderWay(client, aborted)) throw new Error("an upload that was aborted is still listed");
  const left = await listObjects(client, bucket, aborted.Key);
  if (left.length > 0) throw new Error("an upload that was aborted left an object");
  return `2 parts of 5 MiB became one object in ${bucket}; another upload was aborted and is gone`;
}

async function isUnderWay(
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string },
): Promise<boolean> {
  const { ListMultipartUploadsCommand } = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const { Uploads: uploads = [] } = await named(
    client.send(new ListMultipartUploadsCommand({ Bucket: upload.Bucket, Prefix: upload.Key })),
  );
  return uploads.some(({ UploadId: id }) => id === upload.UploadId);
}

function digest(content: Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** Nothing here would do harm if it were allowed. */
async function checkRights(under: ApplicationUnderCheck, client: S3Client, { ca, auth }: Access): Promise<string> {
  const { context, store, application } = under;
  const { target } = context;
  const sdk = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const { openAdmin } = await import("./api.js");
  const own = store.applicationBuckets[application] ?? [];
  const denied = /AccessDenied/;
  const others = store.buckets.filter((bucket) => !own.includes(bucket));
  const { failures } = await observeAll(others, async (bucket) => {
    const who = `${application} in ${bucket}`;
    await refusal(named(client.send(new sdk.ListObjectsV2Command({ Bucket: bucket }))), denied, who);
    const object = { Bucket: bucket, Key: `${objectPrefix}none` };
    await refusal(named(client.send(new sdk.GetObjectCommand(object))), denied, who);
  });
  const { failures: onPolicies } = await observeAll(own, async (bucket) => {
    const policy = client.send(new sdk.GetBucketPolicyCommand({ Bucket: bucket }));
    await refusal(named(policy), denied, `${application} at the policy of ${bucket}`);
  });
  const { failures: onAdmin } = await observeAll(target.members, async (member) => {
    const place = context.member(member, ports.admin);
    const { host, port } = await place.dial();
    const admin = openAdmin({
      url: `${scheme(target.tls)}://${host}:${port}`,
      region: store.region,
      credentials: { accessKeyId: auth?.username ?? "", secretAccessKey: auth?.password ?? "" },
      ca,
      servername: place.host,
    });
    await refusal(admin.owners(), denied, `${application} at the admin API`);
  });
  failIfAny([...failures, ...onPolicies, ...onAdmin]);
  const elsewhere = others.length === 0 ? "there are no buckets of others" : `refused in ${others.join(", ")}`;
  return `${elsewhere}; refused at policies and at the admin API`;
}

async function removeLeftovers(client: S3Client, buckets: string[]): Promise<string> {
  const sdk = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const isOld = (date: Date | undefined): boolean =>
    Date.now() - (date?.getTime() ?? Date.now()) > leftoverMilliseconds;
  let removed = 0;
  for (const bucket of buckets) {
    for (const { key, modified } of await listObjects(client, bucket, objectPrefix)) {
      if (!isOld(modified)) continue;
      await named(client.send(new sdk.DeleteObjectCommand({ Bucket: bucket, Key: key })));
      removed += 1;
    }
    const { Uploads: uploads = [] } = await named(
      client.send(new sdk.ListMultipartUploadsCommand({ Bucket: bucket, Prefix: objectPrefix })),
    );
    for (const { Key: key, UploadId: id, Initiated: begun } of uploads) {
      if (!isOld(begun)) continue;
      await named(client.send(new sdk.AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: id })));
      removed += 1;
    }
  }
  return removed === 0 ? "nothing of former checks" : `${removed} objects and uploads of former checks removed`;
}

// --- connections

interface Session {
  /** For signatures; known when the configuration was read. */
  region: string;
  open(place: Place, access: Access): Promise<S3Client>;
  /** Without a signature. */
  ask(place: Place, access: Access, path: string): Promise<{ status: number }>;
  close(): void;
}

function openSession(): Session {
  const clients: S3Client[] = [];
  const urlOf = async (place: Place, { ca }: Access): Promise<string> => {
    const { host, port } = await place.dial();
    return `${ca === undefined ? "http" : "https"}://${host}:${port}`;
  };
  return {
    region: "",
    async open(place, access) {
      const { open } = await import("./client.js");
      const client = open({
        url: await urlOf(place, access),
        region: this.region,
        credentials: { accessKeyId: access.auth?.username ?? "", secretAccessKey: access.auth?.password ?? "" },
        ca: access.ca,
        servername: place.host,
      });
      clients.push(client);
      return client;
    },
    async ask(place, access, path) {
      return http({
        url: `${await urlOf(place, access)}${path}`,
        ...(access.ca === undefined ? {} : { ca: access.ca, servername: place.host }),
        timeoutSeconds: answerSeconds,
      });
    },
    close() {
      for (const client of clients) client.destroy();
    },
  };
}
