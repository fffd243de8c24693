import { beforeAll, describe, expect, it } from "vitest";
import { awsNames } from "../../../stacks/aws/names";
import { objectRights, type Statement, sealRights, trustOf } from "../../../stacks/aws/policies";
import type { Graph } from "../../support/recorder";
import { recordStack } from "../../support/stacks";

const oidcProvider = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE";
const statements = (document: string): Statement[] => (JSON.parse(document) as { Statement: Statement[] }).Statement;

describe("names in AWS", () => {
  it("come from the prefix, and the account from the provider of the cluster", () => {
    const names = awsNames({
      region: "eu-central-1",
      prefix: "acme",
      oidcProvider,
      lockDays: 30,
    });
    expect(names.account).toBe("111122223333");
    expect(names.keys.vault).toBe("alias/acme-vault");
    expect(names.roles.vault.arn).toBe("arn:aws:iam::111122223333:role/acme-vault");
    expect(Object.values(names.buckets)).toHaveLength(6);
    expect(names.buckets.versions).toBe("acme-versions");
  });
});

describe("policies of AWS", () => {
  it("give a role to pods of one service account only", () => {
    const [trust] = statements(trustOf(oidcProvider, { namespace: "cells", name: "vault" }));
    expect(trust).toMatchObject({
      Principal: { Federated: oidcProvider },
      Action: "sts:AssumeRoleWithWebIdentity",
      Condition: {
        StringEquals: {
          "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE:aud": "sts.amazonaws.com",
          "oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE:sub": "system:serviceaccount:cells:vault",
        },
      },
    });
  });

  it.each([
    ["Vault", sealRights("arn:key"), ["arn:key"]],
    ["Cells", objectRights(["arn:a", "arn:b"]), ["arn:a", "arn:b", "arn:a/*", "arn:b/*"]],
  ])("allow %s what it does on what it has, and nothing by a wildcard", (_, document, resources) => {
    const allowed = statements(document);
    expect(allowed.every(({ Effect }) => Effect === "Allow")).toBe(true);
    expect(allowed.flatMap(({ Action }) => Action).filter((action) => action.includes("*"))).toEqual([]);
    expect([...new Set(allowed.flatMap(({ Resource }) => Resource))].sort()).toEqual([...resources].sort());
  });

  it("let nobody get at former versions of files", () => {
    expect(
      statements(objectRights(["arn:a"]))
        .flatMap(({ Action }) => Action)
        .join(),
    ).not.toMatch(/Version|Bypass/);
  });
});

describe("what prod has in AWS", () => {
  let graph: Graph;
  beforeAll(async () => {
    graph = await recordStack("prod");
  });
  const of = (type: string) => graph.byType(`aws:${type}`);

  it("is made by the explicit provider of the account of the cluster", () => {
    const [provider, ...others] = graph.byType("pulumi:providers:aws");
    expect(others).toEqual([]);
    expect(JSON.stringify(provider?.inputs["allowedAccountIds"])).toContain("111122223333");
  });

  it("has seven buckets, each private, encrypted, versioned, over TLS alone and tidied", () => {
    const buckets = of("s3/bucket:Bucket").map(({ name }) => name);
    expect(buckets).toHaveLength(7);
    for (const part of [
      "s3/bucketVersioning:BucketVersioning",
      "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
      "s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
      "s3/bucketOwnershipControls:BucketOwnershipControls",
      "s3/bucketPolicy:BucketPolicy",
      "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
    ]) {
      expect(
        of(part).map(({ name }) => name),
        part,
      ).toEqual(buckets);
    }
    for (const { inputs } of of("s3/bucketPublicAccessBlock:BucketPublicAccessBlock")) {
      expect(Object.values(inputs).filter((each) => each === true)).toHaveLength(4);
    }
    for (const { inputs } of of("s3/bucketPolicy:BucketPolicy")) {
      expect(inputs["policy"]).toContain('"Condition":{"Bool":{"aws:SecureTransport":"false"}}');
    }
  });

  it("locks backups, and encrypts them with a key of their own", () => {
    const [lock, ...others] = of("s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration");
    expect(others).toEqual([]);
    expect(lock).toMatchObject({ name: "backups", inputs: { rule: { defaultRetention: { days: 30 } } } });
    expect(of("s3/bucket:Bucket").filter(({ inputs }) => inputs["objectLockEnabled"] === true)).toHaveLength(1);
    const encryption = of("s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration").find(
      ({ name }) => name === "backups",
    );
    expect(JSON.stringify(encryption?.inputs)).toContain('"sseAlgorithm":"aws:kms"');
  });

  it("turns its keys over and waits for a month before one is gone", () => {
    const keys = of("kms/key:Key");
    expect(keys.map(({ name }) => name)).toEqual(["vault", "backups"]);
    for (const key of keys) {
      expect(key.inputs).toMatchObject({ enableKeyRotation: true, deletionWindowInDays: 30 });
    }
  });

  it("protects keys and buckets, and leaves them where they are when the stack goes", () => {
    const kept = [...of("kms/key:Key"), ...of("kms/alias:Alias"), ...of("s3/bucket:Bucket")];
    expect(kept).toHaveLength(11);
    for (const { name, options } of kept) expect(options, name).toMatchObject({ protect: true, retainOnDelete: true });
  });

  it("keeps volumes on encrypted disks of the zone of their pod", () => {
    const [volumes] = graph.byType("kubernetes:storage.k8s.io/v1:StorageClass");
    expect(volumes?.inputs).toMatchObject({
      provisioner: "ebs.csi.aws.com",
      parameters: { type: "gp3", encrypted: "true" },
      volumeBindingMode: "WaitForFirstConsumer",
      reclaimPolicy: "Retain",
    });
    const sets = graph.byType("kubernetes:apps/v1:StatefulSet");
    expect(sets.length).toBeGreaterThan(0);
    for (const set of sets) expect(JSON.stringify(set.inputs)).toContain('"storageClassName":"example-cells-gp3"');
  });

  it("opens Vault with the key and the role that it makes", () => {
    const config = graph.byType("kubernetes:core/v1:ConfigMap").find(({ name }) => name === "vault-config");
    expect(JSON.stringify(config?.inputs)).toContain("alias/example-cells-vault");
    const account = graph.byType("kubernetes:core/v1:ServiceAccount").find(({ name }) => name === "vault");
    expect(account?.inputs).toMatchObject({
      metadata: {
        annotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/example-cells-vault" },
      },
    });
  });
});
