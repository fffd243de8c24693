import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { canonicalJson, difference, importedInputs, refreshInputs } from "../../../sandbox/plugins/aws/compare";
import { connect, readConfiguration, refuseConfiguration } from "../../../sandbox/plugins/aws/configuration";
import { checkInputs } from "../../../sandbox/plugins/aws/inputs";
import { awsProvider, explain, previewed, stateOf } from "../../../sandbox/plugins/aws/provider";
import { fromAws, toAws } from "../../../sandbox/plugins/aws/s3";
import { changeTags } from "../../../sandbox/plugins/aws/type";
import { typeOf, types } from "../../../sandbox/plugins/aws/types";
import { type PropertyMap, unknown } from "../../../sandbox/plugins/server/values";

const tokens = {
  key: "aws:kms/key:Key",
  alias: "aws:kms/alias:Alias",
  bucket: "aws:s3/bucket:Bucket",
  versioning: "aws:s3/bucketVersioning:BucketVersioning",
  encryption: "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
  access: "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
  ownership: "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
  policy: "aws:s3/bucketPolicy:BucketPolicy",
  lifecycle: "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
  lock: "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
  role: "aws:iam/role:Role",
  rolePolicy: "aws:iam/rolePolicy:RolePolicy",
  user: "aws:iam/user:User",
  userPolicy: "aws:iam/userPolicy:UserPolicy",
  accessKey: "aws:iam/accessKey:AccessKey",
};
type Kind = keyof typeof tokens;
const type = (kind: Kind) => typeOf(tokens[kind]);

function check(kind: Kind, news: PropertyMap, olds?: PropertyMap, seed = Buffer.from("seed")) {
  return checkInputs(tokens[kind], type(kind), news, olds, { logicalName: "Backup", seed });
}
const reasons = (kind: Kind, news: PropertyMap) => check(kind, news).failures.map(({ reason }) => reason);
const policy = (...actions: string[]) => JSON.stringify({ Version: "2012-10-17", Statement: [{ Action: actions }] });

it("has the types that it names", () => expect(Object.keys(types).sort()).toEqual(Object.values(tokens).sort()));

it("refuses another type, and says which it has", async () => {
  const nothing = { value: {}, secrets: [] };
  const request = { urn: "urn", type: "aws:ec2/vpc:Vpc", name: "v", olds: undefined, news: nothing };
  const { failures } = await awsProvider("0").check({ ...request, randomSeed: Buffer.alloc(0) });
  expect(failures.map(({ reason }) => reason)).toEqual([
    expect.stringMatching(
      /^aws:ec2\/vpc:Vpc is not part of the stand-in for aws; it has kms\/key:Key, .*official plugin$/,
    ),
  ]);
});

describe("inputs", () => {
  it.each<[string, Kind, PropertyMap, RegExp]>([
    [
      "an unknown one",
      "bucket",
      { bucket: "b", acl: "private" },
      /Bucket has no input "acl" .*; it has bucket, forceDes/,
    ],
    [
      "an unknown one within",
      "lifecycle",
      { bucket: "b", rules: [{ id: "i", status: "Enabled", filter: { objectSizeLessThan: 1 } }] },
      /rules\[0\]\.filter has no input "objectSizeLessThan" .*; it has prefix, tag, and;/,
    ],
    ["a missing one", "versioning", { bucket: "b" }, /BucketVersioning needs versioningConfiguration$/],
    ["a missing one within", "lifecycle", { bucket: "b", rules: [{ id: "i" }] }, /rules\[0\] needs status$/],
    ["another type", "key", { enableKeyRotation: "yes" }, /enableKeyRotation must be true or false, got "yes"$/],
    ["a list that is none", "encryption", { bucket: "b", rules: {} }, /rules must be a list, got \{\}$/],
    ["a policy that is none", "policy", { bucket: "b", policy: "{" }, /policy must be a JSON document, got "\{"$/],
    ["a user's path", "user", { path: "/a/" }, /User has no input "path" .*; it has name, forceDestroy, tags;/],
    ["a user policy of nobody", "userPolicy", { policy: "{}" }, /UserPolicy needs user$/],
    ["an access key of nobody", "accessKey", {}, /AccessKey needs user$/],
    ["a PGP key", "accessKey", { user: "u", pgpKey: "k" }, /AccessKey has no input "pgpKey" .*; it has user, status;/],
    ["tags that are none", "role", { assumeRolePolicy: "{}", tags: { a: 1 } }, /tags must be an object of texts/],
  ])("refuses %s", (_name, kind, news, reason) => {
    expect(reasons(kind, news)).toEqual([expect.stringMatching(reason)]);
  });

  it("takes what is not known yet, and nothing for nothing", () => {
    expect(reasons("encryption", { bucket: unknown, rules: unknown })).toEqual([]);
    expect(check("key", { description: null, tags: { a: "1" } }).inputs).toEqual({ tags: { a: "1" } });
  });

  it("writes a policy as text", () => {
    expect(check("policy", { bucket: "b", policy: { Version: "x" } }).inputs["policy"]).toBe('{"Version":"x"}');
    expect(check("policy", { bucket: "b", policy: { Resource: unknown } }).inputs["policy"]).toBe(unknown);
  });

  it("names what has no name, by the seed, once", () => {
    const { inputs } = check("bucket", {});
    expect(inputs["bucket"]).toMatch(/^backup-[0-9a-f]{7}$/);
    expect(check("bucket", {}).inputs).toEqual(inputs);
    expect(check("bucket", {}, inputs, Buffer.from("other")).inputs).toEqual(inputs);
    expect(check("bucket", {}, { bucket: "given" }).inputs).toEqual(inputs);
    expect(check("bucket", { bucket: "given" }, inputs).inputs).toEqual({ bucket: "given" });
    expect(check("alias", { targetKeyId: "k" }).inputs["name"]).toMatch(/^alias\/Backup-[0-9a-f]{7}$/);
    expect(check("user", {}).inputs["name"]).toMatch(/^Backup-[0-9a-f]{7}$/);
    expect(check("accessKey", { user: "u" }).inputs).toEqual({ user: "u" });
  });
});

describe("policies", () => {
  it("are the same whatever their white space and the order of their keys", () => {
    expect(canonicalJson('{ "a": 1,\n "b": {"d": 2, "c": 3} }')).toBe(canonicalJson('{"b":{"c":3,"d":2},"a":1}'));
    expect(canonicalJson('["a","b"]')).not.toBe(canonicalJson('["b","a"]'));
    expect(canonicalJson(unknown)).toBe(unknown);
  });
});

describe("differences", () => {
  const rule = (id: string, more: PropertyMap = {}): PropertyMap => ({ id, status: "Enabled", ...more });
  it.each<[string, Kind, PropertyMap, PropertyMap, Record<string, string>]>([
    ["the same policy", "policy", { bucket: "b", policy: '{"a": 1}' }, { bucket: "b", policy: '{"a":1}' }, {}],
    ["false and nothing", "access", { bucket: "b", blockPublicAcls: false }, { bucket: "b" }, {}],
    ["a default", "role", { name: "r" }, { name: "r", maxSessionDuration: 3600 }, {}],
    ["a key and its ARN", "alias", { targetKeyId: "k" }, { targetKeyId: "arn:aws:kms:r:1:key/k" }, {}],
    ["an empty filter", "lifecycle", { rules: [rule("a", { filter: {} })] }, { rules: [rule("a")] }, {}],
    ["what AWS chose", "key", { policy: "{}" }, {}, {}],
    ["another policy", "policy", { policy: policy("a") }, { policy: policy("b") }, { policy: "update" }],
    ["an unknown policy", "policy", { policy: policy("a") }, { policy: unknown }, { policy: "update" }],
    ["rotation", "key", { enableKeyRotation: true }, {}, { enableKeyRotation: "delete" }],
    ["a tag", "bucket", { tags: { a: "1" } }, { tags: { a: "2" } }, { "tags.a": "update" }],
    ["an alias's key", "alias", { targetKeyId: "k" }, { targetKeyId: "l" }, { targetKeyId: "update" }],
    ["an alias's name", "alias", { name: "alias/a" }, { name: "alias/b" }, { name: "update-replace" }],
    [
      "object lock",
      "bucket",
      { objectLockEnabled: false },
      { objectLockEnabled: true },
      { objectLockEnabled: "add-replace" },
    ],
    ["a bucket", "bucket", { bucket: "a" }, { bucket: "b" }, { bucket: "update-replace" }],
    ["a bucket's setting", "versioning", { bucket: "a" }, { bucket: unknown }, { bucket: "update-replace" }],
    [
      "a lifecycle rule",
      "lifecycle",
      { bucket: "a", rules: [rule("a", { expiration: { days: 1 } })] },
      { bucket: "a", rules: [rule("a", { expiration: { days: 2 } })] },
      { "rules[0].expiration.days": "update" },
    ],
    ["the lock's state", "lock", {}, { objectLockEnabled: "Disabled" }, { objectLockEnabled: "update-replace" }],
    ["a role's name", "role", { name: "a" }, { name: "b" }, { name: "update-replace" }],
    ["an active key", "accessKey", { user: "u" }, { user: "u", status: "Active" }, {}],
    ["a key's status", "accessKey", { user: "u" }, { user: "u", status: "Inactive" }, { status: "update" }],
    ["a key's user", "accessKey", { user: "a" }, { user: "b" }, { user: "update-replace" }],
    ["a user's name", "user", { name: "a" }, { name: "b" }, { name: "update" }],
    ["a user's tag", "user", { tags: {} }, { tags: { a: "1" } }, { tags: "add" }],
    ["a user policy's user", "userPolicy", { user: "a" }, { user: "b" }, { user: "update-replace" }],
    ["a role policy's role", "rolePolicy", { role: "a" }, { role: "b" }, { role: "update-replace" }],
  ])("%s", (_name, kind, olds, news, detailed) => {
    const found = difference(type(kind), olds, news);
    expect(found.detailed).toEqual(detailed);
    expect(found.changed).toBe(Object.keys(detailed).length > 0);
  });

  it("passes over what the program ignores", () => {
    expect(difference(type("key"), { description: "a" }, { description: "b" }, ["description"]).changed).toBe(false);
  });

  it("deletes first where two would have one name", () => {
    const first = (olds: PropertyMap, news: PropertyMap) => difference(type("bucket"), olds, news).deleteBeforeReplace;
    expect(first({ bucket: "a" }, { bucket: "a", objectLockEnabled: true })).toBe(true);
    expect(first({ bucket: "a" }, { bucket: "b" })).toBe(false);
    expect(first({ bucket: "a" }, { bucket: "a", objectLockEnabled: true, __defaults: ["bucket"] })).toBe(false);
    expect(difference(type("rolePolicy"), { name: "p", role: "a" }, { name: "p", role: "b" }).deleteBeforeReplace).toBe(
      true,
    );
    expect(difference(type("accessKey"), { user: "a" }, { user: "b" }).deleteBeforeReplace).toBe(false);
  });
});

describe("refresh", () => {
  const live = {
    arn: "arn",
    description: "",
    enableKeyRotation: true,
    policy: '{"a":1}',
    tags: { a: "1" },
    tagsAll: { a: "1" },
  };

  it("keeps what means the same as the program wrote it", () => {
    const inputs = { enableKeyRotation: true, policy: '{ "a": 1 }', tags: { a: "1" }, deletionWindowInDays: 7 };
    expect(refreshInputs(type("key"), inputs, live)).toEqual(inputs);
  });

  it("sees drift, also of what the program left out", () => {
    expect(refreshInputs(type("key"), { policy: "{}" }, live)).toEqual({
      policy: '{"a":1}',
      enableKeyRotation: true,
      tags: { a: "1" },
    });
    expect(refreshInputs(type("key"), { tags: { a: "1" } }, { ...live, enableKeyRotation: false, tags: {} })).toEqual({
      tags: {},
    });
  });

  it("imports what a program would say", () => {
    expect(importedInputs(type("key"), live)).toEqual({
      enableKeyRotation: true,
      policy: '{"a":1}',
      tags: { a: "1" },
    });
  });
});

describe("what AWS tells once", () => {
  const inputs = { value: { user: "u" }, secrets: [] };
  const live = { user: "u", status: "Active", createDate: "2026-01-01T00:00:00.000Z" };
  const before = { ...live, status: "Inactive", secret: "s" };

  it("stays in the state, beside what AWS has now", () => {
    expect(stateOf(type("accessKey"), live, inputs, before).value).toEqual({ ...live, secret: "s" });
  });

  it("is a secret, as are secrets of the program", () => {
    const { secrets } = stateOf(type("accessKey"), live, { ...inputs, secrets: [["user"]] }, before);
    expect(secrets).toEqual([["user"], ["secret"]]);
  });

  it("is not there after an import", () => {
    expect(stateOf(type("accessKey"), live, inputs, {}).value).toEqual(live);
  });

  it("is not known before, and a secret already", async () => {
    const named = { urn: "urn", type: tokens.accessKey, name: "k" };
    const context = { log: () => undefined, signal: new AbortController().signal };
    const { state } = await awsProvider("0").create({ ...named, inputs, preview: true, timeoutSeconds: 0 }, context);
    expect(state).toEqual({
      value: { user: "u", status: "Active", createDate: unknown, secret: unknown },
      secrets: [["secret"]],
    });
  });

  it("is in the state even when what is asked next fails", async () => {
    const made = "<AccessKey><AccessKeyId>AKIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey></AccessKey>";
    const answer = `<CreateAccessKeyResponse><CreateAccessKeyResult>${made}</CreateAccessKeyResult></CreateAccessKeyResponse>`;
    const iam = createServer((request, response) => {
      void text(request).then((asked) => {
        const creates = asked.includes("Action=CreateAccessKey");
        response.writeHead(creates ? 200 : 400).end(creates ? answer : "");
      });
    }).listen(0, "127.0.0.1");
    await once(iam, "listening");
    const endpoints = JSON.stringify([{ iam: `http://127.0.0.1:${(iam.address() as AddressInfo).port}` }]);
    const context = { log: () => undefined, signal: new AbortController().signal };
    const provider = awsProvider("0");
    await provider.configure({ region: "r", accessKey: "a", secretKey: "b", endpoints }, context);
    const named = { urn: "urn", type: tokens.accessKey, name: "k" };
    const created = provider.create({ ...named, inputs, preview: false, timeoutSeconds: 0 }, context);
    await expect(created).rejects.toMatchObject({
      id: "AKIA",
      state: { value: { user: "u", secret: "s" }, secrets: [["secret"]] },
    });
    iam.closeAllConnections();
    iam.close();
  });

  it("does not come with a change of something imported", () => {
    const wanted = { user: "u", status: "Inactive" };
    expect(previewed(type("accessKey"), wanted, live)).toEqual({ ...live, status: "Inactive" });
  });

  it("is not what a program says", () => {
    expect(importedInputs(type("accessKey"), before)).toEqual({ user: "u", status: "Inactive" });
    expect(importedInputs(type("accessKey"), live)).toEqual({ user: "u" });
  });
});

describe("previews", () => {
  it("do not know what AWS will make", () => {
    expect(previewed(type("alias"), { name: "alias/a", targetKeyId: unknown })).toEqual({
      name: "alias/a",
      targetKeyId: unknown,
      arn: unknown,
      region: unknown,
      targetKeyArn: unknown,
    });
  });

  it("know what stays", () => {
    const before = { name: "alias/a", targetKeyId: "k", arn: "arn", region: "r", targetKeyArn: "arn:k" };
    const inputs = { name: "alias/a", targetKeyId: "l" };
    expect(previewed(type("alias"), inputs, before, (key) => key === "targetKeyId")).toEqual({
      ...before,
      targetKeyId: "l",
      targetKeyArn: unknown,
    });
  });

  it("ask nothing", async () => {
    const provider = awsProvider("0");
    const named = { urn: "urn", type: tokens.key, name: "k" };
    const context = { log: () => undefined, signal: new AbortController().signal };
    const inputs = { value: {}, secrets: [] };
    const { state } = await provider.create({ ...named, inputs, preview: true, timeoutSeconds: 0 }, context);
    expect(state.value["arn"]).toBe(unknown);
  });
});

it("writes structures as AWS does, and back", () => {
  const pulumi = {
    id: "a",
    filter: { and: { prefix: "p", tags: { a: "1" } } },
    applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: "k" },
  };
  const aws = {
    ID: "a",
    Filter: { And: { Prefix: "p", Tags: [{ Key: "a", Value: "1" }] } },
    ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: "k" },
  };
  expect(toAws(pulumi)).toEqual(aws);
  expect(fromAws(aws)).toEqual(pulumi);
});

it("changes tags: takes away what is gone, sets what is wanted, and asks nothing for nothing", async () => {
  const asked: unknown[] = [];
  const change = (before: PropertyMap, after: PropertyMap) =>
    changeTags(
      { tags: before },
      { tags: after },
      { untag: async (keys) => asked.push(keys), tag: async (tags) => asked.push(tags) },
    );
  await change({ a: "1", b: "1" }, { b: "2" });
  expect(asked.splice(0)).toEqual([["a"], [{ Key: "b", Value: "2" }]]);
  await change({ a: "1" }, {});
  expect(asked.splice(0)).toEqual([["a"]]);
  await change({}, {});
  expect(asked).toEqual([]);
});

it("does not rename a user, whose policies and keys would look for the old name", async () => {
  const nobody = connect(readConfiguration({}, {}));
  const renamed = type("user").update(nobody, "a", { name: "b" }, (key) => key === "name", { name: "a" });
  await expect(renamed).rejects.toThrow(/^name cannot go from a to b; give the resource another name as well/);
});

it("names an inline policy by its owner", async () => {
  const nobody = connect(readConfiguration({}, {}));
  await expect(type("userPolicy").read(nobody, "u", {})).rejects.toThrow(/^the id must be user:policy, got "u"$/);
  await expect(type("rolePolicy").read(nobody, ":p", {})).rejects.toThrow(/^the id must be role:policy, got ":p"$/);
});

describe("configuration", () => {
  const url = "http://127.0.0.1:1";

  it("is read from JSON in strings and from the environment", () => {
    const endpoints = JSON.stringify([{ s3: url }, { kms: url }]);
    const environment = { AWS_REGION: "r", AWS_ACCESS_KEY_ID: "a", AWS_ENDPOINT_URL_IAM: "http://iam" };
    expect(readConfiguration({ endpoints, s3UsePathStyle: "true", secretKey: "s" }, environment)).toEqual({
      region: "r",
      accessKey: "a",
      secretKey: "s",
      token: undefined,
      s3UsePathStyle: true,
      endpoints: { s3: url, kms: url, iam: "http://iam" },
    });
  });

  it("refuses what it does not do", () => {
    const said = (config: PropertyMap) => refuseConfiguration(config).map(({ reason }) => reason);
    expect(said({ region: "r", skipMetadataApiCheck: "true", version: "7.48.0" })).toEqual([]);
    expect(said({ assumeRoles: "[]" })).toEqual([expect.stringMatching(/^assumeRoles is not part of the stand-in/)]);
    expect(said({ endpoints: '[{"ec2":"x"}]' })).toEqual([expect.stringMatching(/for s3, kms, iam, sts, got ec2;/)]);
  });

  it("says what is missing when AWS is asked", () => {
    const connected = (config: PropertyMap) => connect(readConfiguration(config, {}));
    const keys = { accessKey: "a", secretKey: "b" };
    expect(() => connected(keys).s3).toThrow(/^aws has no region;/);
    expect(() => connected({ region: "r" }).s3).toThrow(/^aws has no credentials;/);
    expect(() => connected({ region: "r", ...keys }).kms).toThrow(
      /talks to an emulator only, and has no endpoint for kms/,
    );
  });
});

it("names the error of AWS, and says who does not answer", () => {
  const refused = Object.assign(new Error("The bucket is not empty"), { name: "BucketNotEmpty" });
  expect(explain(refused)).toBe("BucketNotEmpty: The bucket is not empty");
  expect(explain(Object.assign(new Error(""), { code: "ECONNREFUSED" }))).toBe("AWS does not answer: ECONNREFUSED");
});
