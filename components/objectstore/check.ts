/** Proves with the AWS SDK that the store works as its users need it. The SDK is loaded when the check runs, not with every preview. */
import { randomBytes } from "node:crypto";
import type { CompletedPart, S3 } from "@aws-sdk/client-s3";
import { type HttpResponse, http } from "../shared/agent/http";
import { checkCertificates } from "../shared/check/certificates";
import { type Connections, connections, probeName } from "../shared/check/connections";
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
import type { Check } from "../shared/core/check";
import { namesOf } from "../shared/core/names";
import type { Endpoint } from "./api";
import { healthPath, paths, ports, type Store, scheme } from "./layout";

/** Of all but the last part of an upload, the least that S3 accepts. */
const partBytes = 5 * 2 ** 20;
/** A check that was killed leaves objects. Another check removes them once they are too old to be in use. */
const leftoverMilliseconds = 3_600_000;
export const objectPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { findings, step, member: memberPlace, address } = context;
  let store: Store = { region: "", buckets: [], applicationBuckets: {} };
  const { open, close } = connections<S3>(
    async (place, access) => {
      const client = await import("./client.js");
      return client.open(await endpointOf(place, access, store.region));
    },
    (client) => client.destroy(),
  );
  try {
    const access = await administrator(context);
    if (access === undefined) return findings;
    const { config, setup } = namesOf(target.name);
    const known = await step("configuration", `look at the ConfigMap ${config}`, async () => {
      const text = (await environment.configMap(config))[paths.storeFile];
      if (!text) throw new Error(`${paths.storeFile} in the ConfigMap ${config} is missing`);
      store = JSON.parse(text) as Store;
      return `${store.buckets.length} buckets in ${store.region}`;
    });
    if (!known) return findings;

    const answering: Place[] = [];
    await greetMembers(context, async (place) => {
      const { status } = await ask(place, access, healthPath);
      if (status !== 200) throw new Error(`status ${status}, expected 200`);
      answering.push(place);
      return "it answers";
    });
    const served = await step("buckets", `look at the Service and at the log of the Job ${setup}`, async () => {
      const seen = await listBuckets(await open(address, access));
      const missing = store.buckets.filter((bucket) => !seen.includes(bucket));
      if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")}; there are ${seen.join(", ") || "none"}`);
      const others = seen.length - store.buckets.length;
      return `${store.buckets.join(", ")}${others === 0 ? "" : `; ${others} more that are not asked for`}`;
    });
    if (!served) return findings;
    for (const [application, secret] of Object.entries(target.applications)) {
      await checkApplication({ context, open, store, application, secret });
    }

    const places = [...answering, address];
    const [anonymous, wrongPassword] = loginStrangers(access, {
      anonymous: /^status 403$/,
      wrongPassword: /SignatureDoesNotMatch/,
    });
    const auth = { username: `unknown-${randomBytes(4).toString("hex")}`, password: "none" };
    const nobody = { who: "a client that is no user", access: [{ ...access, auth }], refusal: /InvalidAccessKeyId/ };
    await checkStrangers(context, {
      places,
      access,
      strangers: [anonymous, { ...wrongPassword, check: "wrong secret" }, { ...nobody, check: "unknown user" }],
      enter: async (place, as) =>
        as.auth === undefined ? askAnonymously(place, as, store) : listBuckets(await open(place, as)),
      plainText,
      remedy: "look at the arguments of the server, and at its users",
    });
    const admins = answering.map(({ name }) => memberPlace(name, ports.admin));
    await checkCertificates(context, access.ca, [...places, ...admins]);
    return findings;
  } finally {
    await close();
  }
};

/** A server that speaks TLS only ends the connection without a word, or calls the request a bad one. */
export const plainText: PlainText = {
  hello: `GET ${healthPath} HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n`,
  served: /^HTTP\/1\.[01] 2/,
  refused: /^HTTP\/1\.[01] 400/,
};

/** Always rejects: with status 403 when the server and each bucket refuse a client without a signature. */
async function askAnonymously(place: Place, access: Access, { buckets }: Store): Promise<never> {
  const served: string[] = [];
  for (const path of ["/", ...buckets.map((bucket) => `/${bucket}?list-type=2`)]) {
    const { status } = await ask(place, access, path);
    if (status !== 403) served.push(`${path} answered ${status}`);
  }
  throw new Error(served.length === 0 ? "status 403" : `${served.join(", ")}; expected 403`);
}

/** A request without a signature. */
async function ask(place: Place, access: Access, path: string): Promise<HttpResponse> {
  const { url, ca, servername } = await endpointOf(place, access, "");
  return http({ url: `${url}${path}`, ca, servername, timeoutSeconds: answerSeconds });
}

async function endpointOf(place: Place, { ca, auth }: Access, region: string): Promise<Endpoint> {
  const { host, port } = await place.dial();
  const credentials = { accessKeyId: auth?.username ?? "", secretAccessKey: auth?.password ?? "" };
  const url = `${ca === undefined ? "http" : "https"}://${host}:${port}`;
  return { url, region, credentials, ca, servername: place.host };
}

// --- applications

interface ApplicationUnderCheck {
  context: CheckContext;
  open: Connections<S3>["open"];
  store: Store;
  application: string;
  secret: string;
}

async function checkApplication(under: ApplicationUnderCheck): Promise<void> {
  const { context, open, store, application, secret } = under;
  const { target, environment, step, address } = context;
  const own = store.applicationBuckets[application] ?? [];
  const [first] = own;
  let granted: Access | undefined;
  await step(`application ${application}`, `look at the Secret ${secret}`, async () => {
    // The keys with AWS's names must hold the same values as the keys that all services have.
    const endpoint = `${scheme(target.tls)}://${target.host}:${target.clientPort}`;
    const { access } = await applicationAccess(target, environment, application, ({ username = "", password = "" }) => {
      return { url: endpoint, accessKeyId: username, secretAccessKey: password, endpoint, region: store.region };
    });
    const seen = await listBuckets(await open(address, access));
    // A bucket that was removed from the arguments stays with its application.
    const foreign = seen.filter((bucket) => store.buckets.includes(bucket) && !own.includes(bucket));
    if (foreign.length > 0 || own.some((bucket) => !seen.includes(bucket)))
      throw new Error(`it sees the buckets ${seen.join(", ") || "none"}, expected ${own.join(", ")}`);
    granted = access;
    return `it sees its buckets ${own.join(", ")} and no other`;
  });
  // A failed step has granted nothing.
  const access = granted;
  if (access === undefined || first === undefined) return;
  const client = await open(address, access);
  const remedy = "look at the log of the pod and at the space on its volume";
  await step(`objects ${application}`, remedy, () =>
    everywhere(own, async (bucket) => {
      await checkObjects(client, bucket, probeName(objectPrefix));
      return "written, read, listed and deleted";
    }),
  );
  await step(`multipart ${application}`, remedy, () => checkMultipart(client, first));
  await step(`rights ${application}`, `look at the log of the Job ${namesOf(target.name).setup}`, () =>
    checkRights(under, client, access),
  );
  await step(`clean-up ${application}`, `delete the objects that begin with ${objectPrefix}`, () =>
    removeLeftovers(client, own),
  );
}

async function listBuckets(client: S3): Promise<string[]> {
  const { Buckets: buckets = [] } = await client.listBuckets({});
  return buckets.map(({ Name: name }) => name ?? "");
}

async function listObjects(client: S3, bucket: string, prefix: string) {
  return (await client.listObjectsV2({ Bucket: bucket, Prefix: prefix })).Contents ?? [];
}

async function listUploads(client: S3, bucket: string, prefix: string) {
  return (await client.listMultipartUploads({ Bucket: bucket, Prefix: prefix })).Uploads ?? [];
}

async function checkObjects(client: S3, bucket: string, key: string): Promise<void> {
  const object = { Bucket: bucket, Key: key };
  const value = randomBytes(256).toString("hex");
  await client.putObject({ ...object, Body: value, Metadata: { purpose: "check" } });
  try {
    const { Body: body, Metadata: metadata } = await client.getObject(object);
    const read = await body?.transformToString();
    if (read !== value) throw new Error(`${bucket}: another value was read than was written`);
    if (metadata?.["purpose"] !== "check") throw new Error(`${bucket}: the metadata of an object were lost`);
    const listed = await listObjects(client, bucket, key);
    if (listed.length !== 1) throw new Error(`${bucket}: an object that was written is not listed`);
  } finally {
    await client.deleteObject(object);
  }
  const left = await listObjects(client, bucket, key);
  if (left.length > 0) throw new Error(`${bucket}: an object that was deleted is still listed`);
}

async function checkMultipart(client: S3, bucket: string): Promise<string> {
  const start = async () => {
    const object = { Bucket: bucket, Key: probeName(objectPrefix) };
    const { UploadId } = await client.createMultipartUpload(object);
    if (!UploadId) throw new Error("an upload was begun without a number");
    return { object, upload: { ...object, UploadId } };
  };
  const parts = [randomBytes(partBytes), randomBytes(partBytes)] as const;
  const { object, upload } = await start();
  let completed = false;
  try {
    const Parts: CompletedPart[] = [];
    for (const [index, Body] of parts.entries()) {
      const PartNumber = index + 1;
      const { ETag } = await client.uploadPart({ ...upload, PartNumber, Body });
      Parts.push({ PartNumber, ETag });
    }
    await client.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } });
    completed = true;
    const { Body: body } = await client.getObject(object);
    const read = (await body?.transformToByteArray()) ?? Buffer.alloc(0);
    if (!Buffer.concat(parts).equals(read)) throw new Error("another file was read than was uploaded in parts");
  } finally {
    await (completed ? client.deleteObject(object) : client.abortMultipartUpload(upload));
  }

  const { upload: aborted } = await start();
  const isUnderWay = async (): Promise<boolean> =>
    (await listUploads(client, bucket, aborted.Key)).some(({ UploadId: id }) => id === aborted.UploadId);
  try {
    await client.uploadPart({ ...aborted, PartNumber: 1, Body: parts[0] });
    if (!(await isUnderWay())) throw new Error("an upload that was begun is not listed");
  } finally {
    await client.abortMultipartUpload(aborted);
  }
  if (await isUnderWay()) throw new Error("an upload that was aborted is still listed");
  const left = await listObjects(client, bucket, aborted.Key);
  if (left.length > 0) throw new Error("an upload that was aborted left an object");
  return `2 parts of 5 MiB became one object in ${bucket}; another upload was aborted and is gone`;
}

/** Every request here must be refused, and would do no harm if it were not. */
async function checkRights(
  { context, store, application }: ApplicationUnderCheck,
  client: S3,
  access: Access,
): Promise<string> {
  const { openAdmin } = await import("./api.js");
  const own = store.applicationBuckets[application] ?? [];
  const denied = /AccessDenied/;
  const others = store.buckets.filter((bucket) => !own.includes(bucket));
  const { failures } = await observeAll(others, async (bucket) => {
    const who = `${application} in ${bucket}`;
    await refusal(client.listObjectsV2({ Bucket: bucket }), denied, who);
    await refusal(client.getObject({ Bucket: bucket, Key: `${objectPrefix}none` }), denied, who);
  });
  const { failures: onPolicies } = await observeAll(own, (bucket) =>
    refusal(client.getBucketPolicy({ Bucket: bucket }), denied, `${application} at the policy of ${bucket}`),
  );
  const { failures: onAdmin } = await observeAll(context.target.members, async (member) => {
    const admin = openAdmin(await endpointOf(context.member(member, ports.admin), access, store.region));
    await refusal(admin.owners(), denied, `${application} at the admin API`);
  });
  failIfAny([...failures, ...onPolicies, ...onAdmin]);
  const elsewhere = others.length === 0 ? "there are no buckets of others" : `refused in ${others.join(", ")}`;
  return `${elsewhere}; refused at policies and at the admin API`;
}

async function removeLeftovers(client: S3, buckets: string[]): Promise<string> {
  const isOld = (date: Date | undefined): boolean =>
    date !== undefined && Date.now() - date.getTime() > leftoverMilliseconds;
  let removed = 0;
  for (const bucket of buckets) {
    for (const { Key, LastModified } of await listObjects(client, bucket, objectPrefix)) {
      if (!isOld(LastModified)) continue;
      await client.deleteObject({ Bucket: bucket, Key });
      removed += 1;
    }
    for (const { Key, UploadId, Initiated } of await listUploads(client, bucket, objectPrefix)) {
      if (!isOld(Initiated)) continue;
      await client.abortMultipartUpload({ Bucket: bucket, Key, UploadId });
      removed += 1;
    }
  }
  return removed === 0 ? "nothing of former checks" : `${removed} objects and uploads of former checks removed`;
}
