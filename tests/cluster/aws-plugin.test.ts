import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { GetRoleCommand, GetUserCommand, IAMClient } from "@aws-sdk/client-iam";
import { DecryptCommand, DescribeKeyCommand, EncryptCommand, KMSClient } from "@aws-sdk/client-kms";
import {
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { AccessKey, Role, RolePolicy, User, UserPolicy } from "@pulumi/aws/iam";
import { Alias, Key } from "@pulumi/aws/kms";
import { Provider } from "@pulumi/aws/provider";
import * as s3 from "@pulumi/aws/s3";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation";
import { RandomId, RandomPassword, RandomPet } from "@pulumi/random";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { awsAnswers, awsCommand, awsCredentials } from "../../sandbox/aws";
import { nodeBinary } from "../../sandbox/images";
import { aws } from "../../sandbox/plugins/aws/aws";
import { installPlugins } from "../../sandbox/plugins/install";
import { engineFolders } from "../../sandbox/toolchain";

/**
 * The real engine, the stand-ins as they are installed, and an emulator of the test's own: no cluster takes part. The tests
 * build on each other.
 */
const folder = mkdtempSync(join(tmpdir(), "cells-aws-"));
const region = "eu-central-1";
const Bucket = "cells-backup";
// One of each type of aws and two of random, the Provider and the stack. The engine counts no default provider.
const all = Object.keys(aws.types).length + 4;
const account = "123456789012";

/** What a program says; the tests change it. */
interface Wishes {
  days: number;
  role?: string;
}

let endpoint: string;
let emulator: ChildProcess | undefined;
let clients: { iam: IAMClient; kms: KMSClient; s3: S3Client };
let first: Stack;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function startEmulator(): Promise<void> {
  const place = { host: "127.0.0.1", port: Number(new URL(endpoint).port), state: join(folder, "aws.state") };
  const { command, args } = await awsCommand(place);
  emulator = spawn(command, args, { stdio: "ignore" });
  await awsAnswers(endpoint);
}

async function killEmulator(): Promise<void> {
  if (emulator === undefined) return;
  const ended = once(emulator, "exit");
  emulator.kill("SIGKILL");
  await ended;
  emulator = undefined;
}

const assume = (principal: string) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { AWS: principal }, Action: "sts:AssumeRole" }],
  });

/** One resource of each type, as the stacks make them: what holds data stays when the stack goes. */
function program({ days, role: name = "cells-backup" }: Wishes) {
  const provider = new Provider("aws", {
    region,
    allowedAccountIds: [account],
    endpoints: [{ s3: endpoint, kms: endpoint, iam: endpoint, sts: endpoint }],
    s3UsePathStyle: true,
    skipMetadataApiCheck: true,
  });
  const kept = { provider, retainOnDelete: true };
  const key = new Key("seal", { description: "seal", deletionWindowInDays: 30, enableKeyRotation: true }, kept);
  new Alias("seal", { name: "alias/cells", targetKeyId: key.keyId }, kept);
  const made = new s3.Bucket("backup", { bucket: Bucket, objectLockEnabled: true }, kept);
  const bucket = made.bucket;
  const versioning = new s3.BucketVersioning(
    "backup",
    { bucket, versioningConfiguration: { status: "Enabled" } },
    kept,
  );
  new s3.BucketServerSideEncryptionConfiguration(
    "backup",
    {
      bucket,
      rules: [
        {
          applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: key.arn },
          bucketKeyEnabled: true,
        },
      ],
    },
    kept,
  );
  new s3.BucketPublicAccessBlock(
    "backup",
    { bucket, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
    kept,
  );
  new s3.BucketOwnershipControls("backup", { bucket, rule: { objectOwnership: "BucketOwnerEnforced" } }, kept);
  const statement = (effect: string, arn: string) => ({
    Sid: `Days${days}`,
    Effect: effect,
    Action: "s3:PutObject",
    Resource: `${arn}/*`,
  });
  const denied = (arn: string) => ({
    ...statement("Deny", arn),
    Principal: "*",
    Condition: { Bool: { "aws:SecureTransport": "false" } },
  });
  const document = (...statements: object[]) => JSON.stringify({ Version: "2012-10-17", Statement: statements });
  new s3.BucketPolicy("backup", { bucket, policy: made.arn.apply((arn) => document(denied(arn))) }, kept);
  new s3.BucketLifecycleConfiguration(
    "backup",
    {
      bucket,
      rules: [
        {
          id: "tidy",
          status: "Enabled",
          filter: { prefix: "" },
          abortIncompleteMultipartUpload: { daysAfterInitiation: 7 },
          expiration: { days },
          noncurrentVersionExpiration: { noncurrentDays: days },
        },
      ],
    },
    kept,
  );
  new s3.BucketObjectLockConfiguration(
    "backup",
    { bucket, rule: { defaultRetention: { mode: "GOVERNANCE", days } } },
    { ...kept, dependsOn: versioning },
  );
  const role = new Role("backup", { name, assumeRolePolicy: assume(`arn:aws:iam::${account}:root`) }, { provider });
  const mayWrite = made.arn.apply((arn) => document(statement("Allow", arn)));
  new RolePolicy("backup", { name: "write", role: role.name, policy: mayWrite }, { provider });
  const user = new User("backup", { name: "cells-backup" }, { provider });
  new UserPolicy("backup", { name: "write", user: user.name, policy: mayWrite }, { provider });
  const accessKey = new AccessKey("backup", { user: user.name }, { provider });
  const password = new RandomPassword("password", { length: 32, special: false });
  const token = new RandomId("token", { byteLength: 8 });
  return {
    keyId: key.keyId,
    keyArn: key.arn,
    accessKeyId: accessKey.id,
    secret: accessKey.secret,
    password: password.result,
    token: token.hex,
  };
}

type Made = Record<keyof ReturnType<typeof program>, string>;

const stackOf = (wishes: Wishes): Promise<Stack> =>
  LocalWorkspace.createOrSelectStack(
    { stackName: "first", projectName: "aws-plugin", program: async () => program(wishes) },
    {
      pulumiHome: join(folder, "home"),
      envVars: {
        PULUMI_BACKEND_URL: `file://${folder}`,
        PULUMI_CONFIG_PASSPHRASE: "not-a-secret",
        PULUMI_SKIP_UPDATE_CHECK: "true",
        AWS_ACCESS_KEY_ID: awsCredentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: awsCredentials.secretAccessKey,
      },
    },
  );

async function outputs(): Promise<Made> {
  const found = Object.entries(await first.outputs()).map(([name, { value }]) => [name, value as unknown]);
  return Object.fromEntries(found) as Made;
}

/** All that the engine wrote: the state of the stack, what it was before, and the history. */
const written = (): string =>
  readdirSync(join(folder, ".pulumi"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
    .join("\n");

beforeAll(async () => {
  process.env["PATH"] = [...engineFolders(), process.env["PATH"] ?? ""].join(delimiter);
  endpoint = `http://127.0.0.1:${await freePort()}`;
  const client = { region, endpoint, credentials: awsCredentials };
  clients = {
    iam: new IAMClient(client),
    kms: new KMSClient(client),
    s3: new S3Client({ ...client, forcePathStyle: true }),
  };
  await installPlugins(join(folder, "home"), nodeBinary);
  first = await stackOf({ days: 1 });
});

afterAll(async () => {
  await killEmulator();
  rmSync(folder, { recursive: true, force: true });
});

describe("the stand-ins for aws and random", () => {
  it("preview without AWS", async () => {
    const { changeSummary, stdout } = await first.preview();
    expect(changeSummary).toEqual({ create: all });
    // No output shows a value that the update will not have.
    expect(stdout).not.toMatch(/arn:aws:kms/);
  });

  it("refuse what they do not have, before anything is made", async () => {
    const refused = (more: () => void) => first.preview({ program: async () => more() });
    const settings = () => new Provider("other", { region, profile: "mine", endpoints: [{ s3: endpoint }] });
    await expect(refused(() => new s3.Bucket("b", { acl: "private" }, { provider: settings() }))).rejects.toThrow(
      /the Provider has no input \S+profile\S+ in the stand-in for aws; it has region, /,
    );
    await expect(refused(() => new RandomPassword("p", { length: 8, minLower: 1 }))).rejects.toThrow(
      /RandomPassword has no input \S+minLower\S+ in the stand-in for random; .*use the official plugin/,
    );
    await expect(refused(() => new RandomPet("p"))).rejects.toThrow(/RandomPet is not part of the stand-in for random/);
  });

  it("say when nothing answers", async () => {
    await expect(first.up()).rejects.toThrow(/ECONNREFUSED/);
  });

  it("make one of each type, and find nothing to change then", async () => {
    await startEmulator();
    const { stderr, stdout } = await first.up();
    // The engine warns of a plugin of another version than the program's package.
    expect(stdout + stderr).not.toContain("warning");
    await expectNoChanges();
    const { keyArn, keyId, accessKeyId, secret, password, token } = await outputs();
    expect(keyArn).toBe(`arn:aws:kms:${region}:${account}:key/${keyId}`);
    expect(accessKeyId).toMatch(/^AKIA/);
    expect(secret).toMatch(/^\S{40}$/);
    expect(password).toMatch(/^\w{32}$/);
    expect(token).toMatch(/^[0-9a-f]{16}$/);
    expect(stdout + stderr).not.toContain(secret);
  });

  it("write the secret of an access key and a password nowhere in plain text", async () => {
    const { accessKeyId, secret, password } = await outputs();
    const state = written();
    expect(state).toContain(accessKeyId);
    expect(state).not.toContain(secret);
    expect(state).not.toContain(password);
  });

  it("update what changed and replace nothing", async () => {
    const before = await outputs();
    first = await stackOf({ days: 9 });
    const { changeSummary } = await first.preview();
    expect(changeSummary).toEqual({ update: 5, same: all - 5 });
    const { summary } = await first.up();
    // Policies of the bucket, the role and the user, the lifecycle and the lock.
    expect(summary.resourceChanges).toEqual({ update: 5, same: all - 5 });
    await expectNoChanges();
    // AWS told the secret once, and what was written first is what is known.
    expect(await outputs()).toEqual(before);
  });

  it("replace a role of another name, and its policy with it", async () => {
    first = await stackOf({ days: 9, role: "cells-writer" });
    const { summary } = await first.up();
    expect(summary.resourceChanges?.replace).toBe(2);
    await expectNoChanges();
  });

  it("see what somebody else changed, and change it back", async () => {
    const suspended = { Bucket, PublicAccessBlockConfiguration: { BlockPublicAcls: false } };
    await clients.s3.send(new PutPublicAccessBlockCommand(suspended));
    const { summary } = await first.refresh();
    expect(summary.resourceChanges?.update).toBe(1);
    const back = await first.up();
    expect(back.summary.resourceChanges?.update).toBe(1);
    const now = await clients.s3.send(new GetPublicAccessBlockCommand({ Bucket }));
    expect(now.PublicAccessBlockConfiguration?.BlockPublicAcls).toBe(true);
  });

  it("find everything again after the emulator was killed, and what the key closed opens", async () => {
    const { keyId } = await outputs();
    const Plaintext = Buffer.from("unseal");
    const { CiphertextBlob } = await clients.kms.send(new EncryptCommand({ KeyId: keyId, Plaintext }));
    await clients.s3.send(new PutObjectCommand({ Bucket, Key: "dump", Body: "one" }));
    await killEmulator();
    await startEmulator();
    const opened = await clients.kms.send(new DecryptCommand({ CiphertextBlob }));
    expect(Buffer.from(opened.Plaintext ?? []).toString()).toBe("unseal");
    const { Versions } = await clients.s3.send(new ListObjectVersionsCommand({ Bucket }));
    expect(Versions).toHaveLength(1);
    await expectNoChanges();
  });

  it("change the lock of a bucket that has objects", async () => {
    first = await stackOf({ days: 10, role: "cells-writer" });
    await first.up();
    await expectNoChanges();
  });

  it("delete users and roles, and leave what holds data", async () => {
    const { keyId } = await outputs();
    await first.destroy();
    const { KeyMetadata } = await clients.kms.send(new DescribeKeyCommand({ KeyId: keyId }));
    expect(KeyMetadata?.KeyState).toBe("Enabled");
    await clients.s3.send(new HeadBucketCommand({ Bucket }));
    await expect(clients.iam.send(new GetUserCommand({ UserName: "cells-backup" }))).rejects.toThrow(/cannot be found/);
    await expect(clients.iam.send(new GetRoleCommand({ RoleName: "cells-writer" }))).rejects.toThrow(/not found/);
  });
});

async function expectNoChanges(): Promise<void> {
  const { changeSummary } = await first.preview({ expectNoChanges: true });
  expect(changeSummary).toEqual({ same: all });
  const { summary } = await first.refresh({ expectNoChanges: true });
  expect(summary.resourceChanges).toEqual({ same: all });
}
