/**
 * Proves with the AWS SDK that an object store works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { createHash, randomBytes } from "node:crypto";
import { connect as connectTcp } from "node:net";
import type { S3Client } from "@aws-sdk/client-s3";
import { http } from "../shared/agent/http";
import {
  type Access,
  adminAccess,
  adminAccessRemedy,
  applicationAccess,
  expectUrl,
  refusal,
  unrelatedAuthority,
  untrusted,
} from "../shared/check/logins";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { findingRecorder, type Recorder, within } from "../shared/core/findings";
import { memberHost, namesOf } from "../shared/core/names";
import { healthPath, paths, ports, type Store, scheme } from "./layout";

const deadlineMilliseconds = 10_000;
/** Of all but the last part of an upload, the least that S3 accepts. */
const partBytes = 5 * 2 ** 20;
/** A check that was killed leaves its objects; the next one removes them when no check can still be using them. */
const leftoverMilliseconds = 3_600_000;
export const objectPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const session = openSession(target, environment);
  try {
    let access: Access = { ca: undefined, auth: undefined };
    let store: Store = { region: "", buckets: [], applicationBuckets: {} };
    const { config } = namesOf(target.name);
    const known = await step(
      "credentials",
      `${adminAccessRemedy(target)}, and at the ConfigMap ${config}`,
      async () => {
        const { auth, ca } = await adminAccess(target, environment);
        store = await readStore(environment, config);
        access = { auth, ca };
        return `administrator ${auth?.username ?? ""}${ca === undefined ? "" : " and trust bundle"} found`;
      },
    );
    if (!known) return findings;
    session.region = store.region;

    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member} and its log`, () =>
        checkMember(target, environment, member, access),
      );
    }
    const answers = await step("buckets", `look at the log of the Job ${namesOf(target.name).setup}`, async () => {
      const seen = await listBuckets(await session.open(access));
      const missing = store.buckets.filter((bucket) => !seen.includes(bucket));
      if (missing.length > 0) throw new Error(`missing: ${missing.join(", ")}; there are ${seen.join(", ") || "none"}`);
      const others = seen.length - store.buckets.length;
      return `${store.buckets.join(", ")}${others === 0 ? "" : `; ${others} more that are not asked for`}`;
    });
    if (!answers) return findings;
    for (const [application, secret] of Object.entries(target.applications)) {
      await checkApplication({ target, environment, session, step, store, application, secret });
    }
    await checkRefusals(target, environment, session, step, { access, store });
    return findings;
  } finally {
    session.close();
  }
};

async function readStore(environment: CheckEnvironment, config: string): Promise<Store> {
  const text = (await environment.configMap(config))[paths.storeFile];
  if (!text) throw new Error(`${paths.storeFile} in the ConfigMap ${config} is missing`);
  return JSON.parse(text) as Store;
}

async function checkMember(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  { ca }: Access,
): Promise<string> {
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  const { status } = await http({
    url: `${scheme(target.tls)}://${host}:${port}${healthPath}`,
    ...(ca === undefined ? {} : { ca, servername: memberHost(target.name, target.namespace, member) }),
    timeoutSeconds: deadlineMilliseconds / 1000,
  });
  if (status !== 200) throw new Error(`status ${status}, expected 200`);
  return `${ca === undefined ? "plain text" : "TLS, certificate verified"}; it answers`;
}

// --- applications

interface ApplicationUnderCheck {
  target: CheckTarget;
  environment: CheckEnvironment;
  session: Session;
  step: Recorder["step"];
  store: Store;
  application: string;
  secret: string;
}

async function checkApplication(under: ApplicationUnderCheck): Promise<void> {
  const { target, environment, session, step, store, application, secret } = under;
  const own = store.applicationBuckets[application] ?? [];
  const [first] = own;
  let granted: Access | undefined;
  const usable = await step(`application ${application}`, `look at the Secret ${secret}`, async () => {
    const { access, values } = await applicationAccess(target, environment, application);
    expectWords(target, values, store.region);
    const seen = await listBuckets(await session.open(access));
    // A bucket that is no longer wanted stays with its application.
    const foreign = seen.filter((bucket) => store.buckets.includes(bucket) && !own.includes(bucket));
    if (foreign.length > 0 || own.some((bucket) => !seen.includes(bucket)))
      throw new Error(`it sees the buckets ${seen.join(", ") || "none"}, expected ${own.join(", ")}`);
    granted = access;
    return `it sees its buckets ${own.join(", ")} and no other`;
  });
  if (!usable || granted === undefined || first === undefined) return;
  const client = await session.open(granted);
  const remedy = "look at the log of the pod and at the space on its volume";
  await step(`objects ${application}`, remedy, async () => {
    for (const bucket of own) await checkObjects(client, bucket, session.key());
    return `written, read, listed and deleted in ${own.join(", ")}`;
  });
  await step(`multipart ${application}`, remedy, () => checkMultipart(client, first, session));
  await step(`rights ${application}`, `look at the log of the Job ${namesOf(target.name).setup}`, () =>
    checkRights(under, client, granted as Access),
  );
  await step(`clean-up ${application}`, `delete the objects that begin with ${objectPrefix}`, () =>
    removeLeftovers(client, own),
  );
}

/** The words of AWS must say the same as those that all services have. */
function expectWords(target: CheckTarget, values: Record<string, string>, region: string): void {
  const endpoint = `${scheme(target.tls)}://${target.host}:${target.clientPort}`;
  expectUrl(values, endpoint);
  const { username = "", password = "" } = values;
  const expected = { accessKeyId: username, secretAccessKey: password, endpoint, region };
  for (const [key, value] of Object.entries(expected)) {
    // Neither value is shown: one of them is a password.
    if (values[key] !== value) throw new Error(`${key} in the Secret is ${values[key] ? "another one" : "missing"}`);
  }
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

async function checkMultipart(client: S3Client, bucket: string, session: Session): Promise<string> {
  const sdk = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const start = async (key: string): Promise<{ Bucket: string; Key: string; UploadId: string }> => {
    const object = { Bucket: bucket, Key: key };
    const { UploadId: id } = await named(client.send(new sdk.CreateMultipartUploadCommand(object)));
    if (!id) throw new Error("an upload was begun without a number");
    return { ...object, UploadId: id };
  };
  const parts = [randomBytes(partBytes), randomBytes(partBytes)] as const;
  const upload = await start(session.key());
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

  const aborted = await start(session.key());
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
  const { target, environment, store, application } = under;
  const sdk = await import("@aws-sdk/client-s3");
  const { named } = await import("./client.js");
  const { openAdmin } = await import("./api.js");
  const own = store.applicationBuckets[application] ?? [];
  const denied = /AccessDenied/;
  const others = store.buckets.filter((bucket) => !own.includes(bucket));
  for (const bucket of others) {
    const who = `${application} in ${bucket}`;
    await refusal(named(client.send(new sdk.ListObjectsV2Command({ Bucket: bucket }))), denied, who);
    const object = { Bucket: bucket, Key: `${objectPrefix}none` };
    await refusal(named(client.send(new sdk.GetObjectCommand(object))), denied, who);
  }
  for (const bucket of own) {
    const policy = client.send(new sdk.GetBucketPolicyCommand({ Bucket: bucket }));
    await refusal(named(policy), denied, `${application} at the policy of ${bucket}`);
  }
  const [member = ""] = target.members;
  const { host, port } = await environment.tunnel.dial(member, ports.admin);
  const admin = openAdmin({
    url: `${scheme(target.tls)}://${host}:${port}`,
    region: store.region,
    credentials: { accessKeyId: auth?.username ?? "", secretAccessKey: auth?.password ?? "" },
    ca,
    servername: memberHost(target.name, target.namespace, member),
  });
  await refusal(admin.owners(), denied, `${application} at the admin API`);
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

// --- who must not get in

async function checkRefusals(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  step: Recorder["step"],
  { access, store }: { access: Access; store: Store },
): Promise<void> {
  const remedy = "look at the arguments of the server, and at its users";
  await step("anonymous access", remedy, async () => {
    const { url, options } = await session.address(access);
    for (const path of ["/", ...store.buckets.map((bucket) => `/${bucket}?list-type=2`)]) {
      const { status } = await http({ url: `${url}${path}`, ...options });
      if (status !== 403) throw new Error(`a client without credentials got status ${status} at ${path}, expected 403`);
    }
    return "a client without credentials is refused, in all buckets too";
  });
  await step("wrong secret", remedy, async () => {
    const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
    const attempt = session.open({ ...access, auth }).then(listBuckets);
    return refusal(attempt, /SignatureDoesNotMatch/, "a client with a wrong secret");
  });
  await step("unknown user", remedy, async () => {
    const auth = { username: `unknown-${randomBytes(4).toString("hex")}`, password: "none" };
    const attempt = session.open({ ...access, auth }).then(listBuckets);
    return refusal(attempt, /InvalidAccessKeyId/, "a client that is no user");
  });
  if (target.tls === "off") return;
  await step("unknown authority", "the server does not show a certificate of its own authority", async () => {
    const ca = await unrelatedAuthority();
    return refusal(
      session.open({ ...access, ca }).then(listBuckets),
      untrusted,
      "a client that trusts another authority",
    );
  });
  await step("plain text refused", "tls is required: look at the arguments of the server", async () => {
    const refused = await refusedInPlainText(target, environment);
    // The server closes without a word, as a broken tunnel would: over TLS the same way must be open.
    await listBuckets(await session.open(access));
    return refused;
  });
}

export async function refusedInPlainText(target: CheckTarget, environment: CheckEnvironment): Promise<string> {
  const { host, port } = await environment.tunnel.service(target.name, target.clientPort);
  const socket = connectTcp({ host, port });
  const outcome = new Promise<string>((resolve, reject) => {
    let received = "";
    let connected = false;
    socket.on("connect", () => {
      connected = true;
      socket.write(`GET ${healthPath} HTTP/1.1\r\nHost: ${target.host}\r\nConnection: close\r\n\r\n`);
    });
    socket.on("data", (data) => {
      received += data.toString("latin1");
      if (/^HTTP\/1\.[01] 2/.test(received)) reject(new Error("a client without TLS was let in"));
    });
    const ended = (): void => {
      if (connected) resolve("a client without TLS is refused");
      else reject(new Error("a client without TLS got neither in nor a refusal: no connection"));
    };
    socket.on("close", ended).on("error", ended);
  });
  try {
    return await within(outcome, deadlineMilliseconds, "a refusal");
  } finally {
    socket.destroy();
  }
}

// --- connections

interface Session {
  /** For signatures; known when the configuration was read. */
  region: string;
  /** Different each time. */
  key(): string;
  /** Through the one name, as applications do. */
  open(access: Access): Promise<S3Client>;
  /** The same way for requests without a signature. */
  address(access: Access): Promise<{
    url: string;
    options: { ca?: string; servername: string; timeoutSeconds: number };
  }>;
  close(): void;
}

function openSession(target: CheckTarget, environment: CheckEnvironment): Session {
  const clients: S3Client[] = [];
  const run = randomBytes(6).toString("hex");
  let keys = 0;
  const way = async (): Promise<string> => {
    const { host, port } = await environment.tunnel.service(target.name, target.clientPort);
    return `${scheme(target.tls)}://${host}:${port}`;
  };
  return {
    region: "",
    key: () => `${objectPrefix}${run}-${keys++}`,
    async open({ ca, auth }) {
      const { open } = await import("./client.js");
      const client = open({
        url: await way(),
        region: this.region,
        credentials: { accessKeyId: auth?.username ?? "", secretAccessKey: auth?.password ?? "" },
        ca,
        // Through the tunnel the address is local, but the certificate must be that of the store.
        servername: target.host,
      });
      clients.push(client);
      return client;
    },
    async address({ ca }) {
      const options = { servername: target.host, timeoutSeconds: deadlineMilliseconds / 1000 };
      return { url: await way(), options: ca === undefined ? options : { ...options, ca } };
    },
    close() {
      for (const client of clients) client.destroy();
    },
  };
}
