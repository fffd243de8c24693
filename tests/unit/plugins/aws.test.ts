import { describe, expect, it } from "vitest";
import { aws, connect } from "../../../sandbox/plugins/aws/aws";
import { fromAws, toAws } from "../../../sandbox/plugins/aws/s3";
import { refusals, typeOf } from "../../../sandbox/plugins/server/resource";

describe("the stand-in for aws", () => {
  it("refuses another type, and says which it has", () => {
    expect(() => typeOf(aws, "aws:ec2/vpc:Vpc")).toThrow(
      /^aws:ec2\/vpc:Vpc is not part of the stand-in for aws; it has aws:kms\/key:Key, .*; use the official plugin$/,
    );
  });

  it("refuses another input", () => {
    const token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration";
    const rules = [{ id: "i", filter: { objectSizeLessThan: 1 } }];
    expect(refusals("aws", token, typeOf(aws, token).inputs, { bucket: "b", rules })).toEqual([
      expect.stringMatching(
        /has no input "rules\[\]\.filter\.objectSizeLessThan" in the stand-in for aws; it has bucket, /,
      ),
    ]);
  });

  it("refuses settings of the Provider that it does not read", () => {
    expect(refusals("aws", "the Provider", aws.settings, { region: "r", assumeRoles: "[]" })).toEqual([
      expect.stringMatching(/^the Provider has no input "assumeRoles" in the stand-in for aws/),
    ]);
  });

  it("never talks to an account: an endpoint for each service is required", async () => {
    const url = "http://127.0.0.1:1";
    const endpoints = (...services: string[]) => JSON.stringify(services.map((service) => ({ [service]: url })));
    expect(() => connect({ region: "r" })).toThrow(/talks to an emulator only.*got none for iam/);
    expect(() => connect({ region: "r", endpoints: endpoints("iam", "kms") })).toThrow(/got none for s3/);
    const { s3 } = connect({ region: "r", endpoints: endpoints("iam", "kms", "s3"), s3UsePathStyle: "true" });
    expect(await s3.config.endpoint?.()).toMatchObject({ hostname: "127.0.0.1", port: 1 });
    expect(s3.config.forcePathStyle).toBe(true);
  });
});

it("writes structures as AWS does, and back", () => {
  const pulumi = {
    rules: [{ id: "a", applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: "k" } }],
  };
  const written = {
    Rules: [{ ID: "a", ApplyServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: "k" } }],
  };
  expect(toAws(pulumi)).toEqual(written);
  expect(fromAws(written)).toEqual(pulumi);
});
