import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { CreateAccessKeyCommand, DeleteUserCommand, GetUserCommand, ListAccessKeysCommand } from "@aws-sdk/client-iam";
import { DecryptCommand, DescribeKeyCommand, EncryptCommand, UpdateKeyDescriptionCommand } from "@aws-sdk/client-kms";
import {
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadBucketCommand,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { AccessKey, Role, RolePolicy, User, UserPolicy } from "@pulumi/aws/iam";
import { Alias, Key } from "@pulumi/aws/kms";
import { Provider } from "@pulumi/aws/provider";
import * as s3 from "@pulumi/aws/s3";
import { type CustomResourceOptions, type Output, output } from "@pulumi/pulumi";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { awsAnswers, awsCommand } from "../../sandbox/aws";
import { nodeBinary } from "../../sandbox/images";
import { type Aws, connect } from "../../sandbox/plugins/aws/configuration";
import { types } from "../../sandbox/plugins/aws/types";
import { installPlugins } from "../../sandbox/plugins/install";
import { engineFolders } from "../../sandbox/toolchain";

/**
 * The real engine, the stand-in as it is installed, and an emulator of the test's own: no cluster takes part. The tests
 * build on each other.
 */
const folder = mkdtempSync(join(tmpdir(), "cells-aws-"));
const region = "eu-central-1";
const Bucket = "cells-backup";
const kinds = Object.keys(types).length;
const account = "123456789012";

/** What a program says; the tests change it. */
interface Wishes {
  description: string;
  days: number;
  forceDestroy?: boolean;
  deletionWindowInDays?: number;
  role?: string | undefined;
  user?: string | undefined;
  /** Ids to take over by type, instead of making anything. */
  imports?: Record<string, string>;
}

let endpoint: string;
let emulator: ChildProcess | undefined;
let aws: Aws;
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

interface Made {
  keyId: string;
  keyArn: string;
  targetKeyArn: string;
  accessKeyId: string;
  /** Of the access key; nothing where it was imported. */
  secret: string | undefined;
}

/** One resource of each type. */
function program(wishes: Wishes): { [Key in keyof Made]: Output<Made[Key]> } {
  const provider = new Provider("aws", {
    region,
    accessKey: "test",
    secretKey: "not-a-secret",
    endpoints: [{ s3: endpoint, kms: endpoint, iam: endpoint, sts: endpoint }],
    s3UsePathStyle: true,
    skipCredentialsValidation: true,
    skipMetadataApiCheck: true,
    skipRegionValidation: true,
    skipRequestingAccountId: true,
  });
  const options = (type: string): CustomResourceOptions => {
    const id = wishes.imports?.[type];
    return { provider, ...(id === undefined ? {} : { import: id }) };
  };
  const { forceDestroy, deletionWindowInDays, description, days } = wishes;
  const tags = { purpose: description };
  const key = new Key(
    "seal",
    {
      description,
      enableKeyRotation: true,
      tags,
      ...(deletionWindowInDays === undefined ? {} : { deletionWindowInDays }),
    },
    options("Key"),
  );
  const alias = new Alias("seal", { name: "alias/cells", targetKeyId: key.arn }, options("Alias"));
  const made = new s3.Bucket(
    "backup",
    { bucket: Bucket, objectLockEnabled: true, tags, ...(forceDestroy === undefined ? {} : { forceDestroy }) },
    options("Bucket"),
  );
  const bucket = made.bucket;
  const versioning = new s3.BucketVersioning(
    "backup",
    { bucket, versioningConfiguration: { status: "Enabled" } },
    options("BucketVersioning"),
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
    options("BucketServerSideEncryptionConfiguration"),
  );
  new s3.BucketPublicAccessBlock(
    "backup",
    { bucket, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: days > 5 },
    options("BucketPublicAccessBlock"),
  );
  new s3.BucketOwnershipControls(
    "backup",
    { bucket, rule: { objectOwnership: days > 5 ? "BucketOwnerPreferred" : "BucketOwnerEnforced" } },
    options("BucketOwnershipControls"),
  );
  new s3.BucketPolicy(
    "backup",
    {
      bucket,
      policy: {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: `Days${days}`,
            Effect: "Deny",
            Principal: "*",
            Action: "s3:PutObject",
            Resource: made.arn.apply((arn) => `${arn}/*`),
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ],
      },
    },
    options("BucketPolicy"),
  );
  new s3.BucketLifecycleConfiguration(
    "backup",
    {
      bucket,
      rules: [
        {
          id: "old",
          status: "Enabled",
          noncurrentVersionExpiration: { noncurrentDays: days },
          abortIncompleteMultipartUpload: { daysAfterInitiation: 1 },
        },
        { id: "logs", status: "Enabled", filter: { prefix: "logs/" }, expiration: { days } },
      ],
    },
    options("BucketLifecycleConfiguration"),
  );
  new s3.BucketObjectLockConfiguration(
    "backup",
    { bucket, rule: { defaultRetention: { mode: "GOVERNANCE", days } } },
    { ...options("BucketObjectLockConfiguration"), dependsOn: versioning },
  );
  const role = new Role(
    "backup",
    {
      name: wishes.role ?? "cells-backup",
      description,
      assumeRolePolicy: assume(`arn:aws:iam::${account}:root`),
      maxSessionDuration: 3600 * (days > 5 ? 2 : 1),
      tags,
    },
    options("Role"),
  );
  const mayWrite = {
    Version: "2012-10-17" as const,
    Statement: [{ Sid: `Days${days}`, Effect: "Allow" as const, Action: ["s3:PutObject"], Resource: output(made.arn) }],
  };
  new RolePolicy("backup", { name: "write", role: role.id, policy: mayWrite }, options("RolePolicy"));
  const userName = wishes.user ?? "cells-backup";
  const user = new User(
    userName,
    { name: userName, tags, ...(forceDestroy === undefined ? {} : { forceDestroy }) },
    options("User"),
  );
  new UserPolicy("backup", { name: "write", user: user.name, policy: mayWrite }, options("UserPolicy"));
  const accessKey = new AccessKey(
    "backup",
    { user: user.name, status: days > 5 ? "Inactive" : "Active" },
    options("AccessKey"),
  );
  return {
    keyId: key.keyId,
    keyArn: key.arn,
    targetKeyArn: alias.targetKeyArn,
    accessKeyId: accessKey.id,
    secret: accessKey.secret,
  };
}

const stackOf = (stackName: string, wishes: Wishes): Promise<Stack> =>
  LocalWorkspace.createOrSelectStack(
    { stackName, projectName: "aws-plugin", program: async () => program(wishes) },
    {
      pulumiHome: join(folder, "home"),
      envVars: {
        PULUMI_BACKEND_URL: `file://${folder}`,
        PULUMI_CONFIG_PASSPHRASE: "not-a-secret",
        PULUMI_SKIP_UPDATE_CHECK: "true",
      },
    },
  );

const small: Wishes = { description: "one", days: 1, deletionWindowInDays: 7 };
const large: Wishes = { description: "two", days: 9, deletionWindowInDays: 7 };
const renamed: Wishes = { ...large, role: "cells-writer" };
const UserName = "cells-writer";
const moved: Wishes = { ...renamed, user: UserName };

async function outputs(stack: Stack = first): Promise<Made> {
  const found = Object.entries(await stack.outputs()).map(([name, { value }]) => [name, value as unknown]);
  return Object.fromEntries(found) as Made;
}

/** All that the engine wrote: the state of the stacks, what it was before, and the history. */
const written = (): string =>
  readdirSync(join(folder, ".pulumi"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
    .join("\n");

beforeAll(async () => {
  process.env["PATH"] = [...engineFolders(), process.env["PATH"] ?? ""].join(delimiter);
  endpoint = `http://127.0.0.1:${await freePort()}`;
  aws = connect({
    region,
    accessKey: "test",
    secretKey: "not-a-secret",
    token: undefined,
    s3UsePathStyle: true,
    endpoints: { s3: endpoint, kms: endpoint, iam: endpoint },
  });
  await installPlugins(join(folder, "home"), nodeBinary);
  first = await stackOf("first", small);
});

afterAll(async () => {
  await killEmulator();
  rmSync(folder, { recursive: true, force: true });
});

describe("the stand-in for aws", () => {
  it("previews without AWS", async () => {
    const { changeSummary } = await first.preview();
    // The stack and the Provider are resources too.
    expect(changeSummary).toEqual({ create: kinds + 2 });
  });

  it("says who does not answer", async () => {
    await expect(first.up()).rejects.toThrow(/creating aws:\S+ \S+: AWS does not answer: .*ECONNREFUSED/);
  });

  it("makes one of each type, and finds nothing to change then", async () => {
    await startEmulator();
    const { stderr, stdout } = await first.up();
    const { changeSummary } = await first.preview({ expectNoChanges: true });
    expect(changeSummary).toEqual({ same: kinds + 2 });
    const { summary } = await first.refresh({ expectNoChanges: true });
    expect(summary.resourceChanges).toEqual({ same: kinds + 2 });
    const { keyArn, keyId, targetKeyArn, accessKeyId, secret } = await outputs();
    expect(keyArn).toBe(`arn:aws:kms:${region}:${account}:key/${keyId}`);
    expect(targetKeyArn).toBe(keyArn);
    expect(accessKeyId).toMatch(/^AKIA/);
    expect(secret).toMatch(/^\S{40}$/);
    expect(stdout + stderr).not.toContain(secret);
  });

  it("writes the secret of an access key nowhere in plain text", async () => {
    const { accessKeyId, secret } = await outputs();
    const state = written();
    expect(state).toContain(accessKeyId);
    expect(state).not.toContain(secret);
  });

  it("updates what changed and replaces nothing", async () => {
    const { accessKeyId, secret } = await outputs();
    first = await stackOf("first", large);
    const { summary } = await first.up();
    const { create, replace, update } = summary.resourceChanges ?? {};
    // All but the alias, the versions and the encryption.
    expect({ create, replace, update }).toEqual({ create: undefined, replace: undefined, update: kinds - 3 });
    await first.preview({ expectNoChanges: true });
    await first.refresh({ expectNoChanges: true });
    // AWS told it once, and what was written first is what is known.
    expect(await outputs()).toMatchObject({ accessKeyId, secret });
  });

  it("replaces a role of another name, and its policy with it", async () => {
    first = await stackOf("first", renamed);
    const { summary } = await first.up();
    expect(summary.resourceChanges?.replace).toBe(2);
    await first.refresh({ expectNoChanges: true });
  });

  it("takes the policy and the key to another user, and the former user goes", async () => {
    const { accessKeyId, secret } = await outputs();
    first = await stackOf("first", moved);
    const { summary } = await first.up();
    expect(summary.resourceChanges).toMatchObject({ create: 1, replace: 2, delete: 1 });
    await first.refresh({ expectNoChanges: true });
    const now = await outputs();
    expect(now.accessKeyId).not.toBe(accessKeyId);
    expect(now.secret).not.toBe(secret);
    const { AccessKeyMetadata } = await aws.iam.send(new ListAccessKeysCommand({ UserName }));
    expect(AccessKeyMetadata).toMatchObject([{ AccessKeyId: now.accessKeyId, Status: "Inactive" }]);
    await expect(aws.iam.send(new GetUserCommand({ UserName: "cells-backup" }))).rejects.toThrow(/cannot be found/);
  });

  it("sees what somebody else changed, and changes it back", async () => {
    const { keyId } = await outputs();
    await aws.kms.send(new UpdateKeyDescriptionCommand({ KeyId: keyId, Description: "else" }));
    const { summary } = await first.refresh();
    expect(summary.resourceChanges?.update).toBe(1);
    const back = await first.up();
    expect(back.summary.resourceChanges?.update).toBe(1);
    const { KeyMetadata } = await aws.kms.send(new DescribeKeyCommand({ KeyId: keyId }));
    expect(KeyMetadata?.Description).toBe(large.description);
  });

  it("finds everything again after the emulator was killed, and what the key closed opens", async () => {
    const { keyId } = await outputs();
    const Plaintext = Buffer.from("unseal");
    const { CiphertextBlob } = await aws.kms.send(new EncryptCommand({ KeyId: keyId, Plaintext }));
    await aws.s3.send(new PutObjectCommand({ Bucket, Key: "dump", Body: "one" }));
    await killEmulator();
    await startEmulator();
    const opened = await aws.kms.send(new DecryptCommand({ CiphertextBlob }));
    expect(Buffer.from(opened.Plaintext ?? []).toString()).toBe("unseal");
    expect((await aws.s3.send(new GetBucketVersioningCommand({ Bucket }))).Status).toBe("Enabled");
    const { ObjectLockConfiguration } = await aws.s3.send(new GetObjectLockConfigurationCommand({ Bucket }));
    expect(ObjectLockConfiguration?.Rule?.DefaultRetention?.Days).toBe(large.days);
    await first.refresh({ expectNoChanges: true });
  });

  it("imports one of each type into another stack", async () => {
    const { keyId, accessKeyId } = await outputs();
    const settings = Object.keys(types).flatMap((token) => {
      const kind = token.split(":").at(-1) ?? "";
      return kind.startsWith("Bucket") ? [[kind, Bucket] as const] : [];
    });
    const imports = {
      ...Object.fromEntries(settings),
      Key: keyId,
      Alias: "alias/cells",
      Role: "cells-writer",
      RolePolicy: "cells-writer:write",
      User: UserName,
      UserPolicy: `${UserName}:write`,
      AccessKey: accessKeyId,
    };
    const { description, days, role, user } = moved;
    const second = await stackOf("second", { description, days, role, user, imports });
    const { summary } = await second.up();
    expect(summary.resourceChanges).toEqual({ create: 2, import: kinds });
    await second.preview({ expectNoChanges: true });
    expect((await outputs(second)).secret).toBeUndefined();
    await second.workspace.removeStack("second", { force: true });
  });

  it("does not delete a user with keys, as AWS does not", async () => {
    await expect(aws.iam.send(new DeleteUserCommand({ UserName }))).rejects.toThrow(/must delete access keys first/);
  });

  it("does not delete a bucket with objects, or a user with another's key, unless the program says so", async () => {
    await expect(first.destroy()).rejects.toThrow(/deleting aws:s3\S+ cells-backup: BucketNotEmpty: /);
    first = await stackOf("first", { ...moved, forceDestroy: true });
    await first.up();
    const { keyId } = await outputs();
    await aws.iam.send(new CreateAccessKeyCommand({ UserName }));
    await first.destroy();
    await expect(aws.s3.send(new HeadBucketCommand({ Bucket }))).rejects.toThrow();
    await expect(aws.iam.send(new GetUserCommand({ UserName }))).rejects.toThrow(/cannot be found/);
    const { KeyMetadata } = await aws.kms.send(new DescribeKeyCommand({ KeyId: keyId }));
    expect(KeyMetadata?.KeyState).toBe("PendingDeletion");
    const days = ((KeyMetadata?.DeletionDate?.getTime() ?? 0) - Date.now()) / 86_400_000;
    expect(Math.round(days)).toBe(7);
  });
});
