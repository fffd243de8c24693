import { beforeAll, describe, expect, it } from "vitest";
import { awsNames } from "../../../stacks/aws/names";
import { backupRights, objectRights, type Statement, sealRights, tlsOnly, trustOf } from "../../../stacks/aws/policies";
import { servicesWithBackups } from "../../../stacks/config";
import { at, inputs, listAt } from "../../support/graph";
import type { Graph, RecordOptions } from "../../support/recorder";
import { recordStack } from "../../support/stacks";

const oidcProvider = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE";
const vault = { namespace: "cells", names: ["vault"] };
/** As in Pulumi.prod.yaml. */
const awsConfig = { region: "eu-central-1", prefix: "example-cells", oidcProvider };
const statements = (document: string): Statement[] => (JSON.parse(document) as { Statement: Statement[] }).Statement;

describe("names in AWS", () => {
  it("come from the prefix, and the account from the provider of the cluster", () => {
    const names = awsNames({
      region: "eu-central-1",
      prefix: "acme",
      oidcProvider,
      lockDays: 30,
      accessKey: { rotation: 0 },
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
    const [trust] = statements(trustOf({ oidcProvider }, vault));
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

  it("give a role through EKS Pod Identity to the same pods of that cluster only", () => {
    const cluster = "arn:aws:eks:eu-central-1:111122223333:cluster/production";
    const trust = {
      Effect: "Allow",
      Principal: { Service: "pods.eks.amazonaws.com" },
      Action: ["sts:AssumeRole", "sts:TagSession"],
      Condition: {
        StringEquals: {
          "aws:RequestTag/eks-cluster-arn": cluster,
          "aws:RequestTag/kubernetes-namespace": "cells",
          "aws:RequestTag/kubernetes-service-account": "vault",
        },
      },
    };
    expect(statements(trustOf({ cluster }, vault))).toEqual([trust]);
    // So that pods of before and after a change of the way have the role.
    expect(statements(trustOf({ oidcProvider, cluster }, vault))).toHaveLength(2);
  });

  it("give a role to several service accounts, by either way", () => {
    const cluster = "arn:aws:eks:eu-central-1:111122223333:cluster/production";
    const both = statements(trustOf({ oidcProvider, cluster }, { namespace: "cells", names: ["a", "b"] }));
    expect(both.map(({ Condition }) => Object.values(Condition?.["StringEquals"] ?? {}))).toEqual([
      ["sts.amazonaws.com", ["system:serviceaccount:cells:a", "system:serviceaccount:cells:b"]],
      [cluster, "cells", ["a", "b"]],
    ]);
  });

  it("let backups list, write and read below their prefix, and delete nothing", () => {
    const rights = statements(backupRights("arn:a", "one", "arn:key"));
    const actions = rights.flatMap(({ Action }) => Action);
    expect(actions.filter((action) => action.startsWith("s3:")).sort()).toEqual([
      "s3:AbortMultipartUpload",
      "s3:GetObject",
      "s3:ListBucket",
      "s3:ListBucketMultipartUploads",
      "s3:PutObject",
    ]);
    // An upload in parts needs both.
    expect(actions.filter((action) => action.startsWith("kms:")).sort()).toEqual([
      "kms:Decrypt",
      "kms:GenerateDataKey",
    ]);
    const list = rights.find(({ Action }) => Action === "s3:ListBucket");
    expect(list?.Condition).toEqual({ StringLike: { "s3:prefix": "one/*" } });
  });

  it.each([
    ["Vault", sealRights("arn:key"), ["arn:key"]],
    ["Cells", objectRights(["arn:a", "arn:b"]), ["arn:a", "arn:b", "arn:a/*", "arn:b/*"]],
    ["backups", backupRights("arn:a", "one", "arn:key"), ["arn:a", "arn:a/one/*", "arn:key"]],
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

describe("the access key of Cells", () => {
  const keysAt = async (rotation: number) => {
    const aws = { ...awsConfig, accessKey: { rotation } };
    const graph = await recordStack("prod", { config: { aws: JSON.stringify(aws) } });
    const keys = graph.byType("aws:iam/accessKey:AccessKey");
    const secret = graph.byType("kubernetes:core/v1:Secret").find(({ name }) => name === "cells-objectstore");
    const given = Object.values(secret?.options.propertyDependencies ?? {}).flat();
    return {
      keys: Object.fromEntries(keys.map(({ name, options }) => [name, options.replacementTrigger])),
      /** What the Secret is made of. */
      given: keys.filter(({ urn }) => given.includes(urn)).map(({ name }) => name),
      options: keys.map(({ options }) => options.deleteBeforeReplace),
    };
  };

  it("is one of two that take turns: a rotation replaces the older one, and the newer one stays", async () => {
    const [first, second] = [await keysAt(0), await keysAt(1)];
    const [third, fourth] = [await keysAt(2), await keysAt(3)];
    expect(first).toMatchObject({ keys: { cells: 0 }, given: ["cells"] });
    expect(second).toMatchObject({ keys: { cells: 0, cells_alternate: 1 }, given: ["cells_alternate"] });
    expect(third).toMatchObject({ keys: { cells: 2, cells_alternate: 1 }, given: ["cells"] });
    expect(fourth).toMatchObject({ keys: { cells: 2, cells_alternate: 3 }, given: ["cells_alternate"] });
    // AWS allows a user two keys: the older one goes before the next one comes.
    for (const { options } of [first, second, third, fourth]) expect(new Set(options)).toEqual(new Set([true]));
  });
});

describe("backups", () => {
  const rulesOf = async (aws: object): Promise<[string, Record<string, unknown>][]> => {
    const graph = await recordStack("prod", { config: { aws: JSON.stringify({ ...awsConfig, ...aws }) } });
    return graph
      .byType("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
      .map(({ name, inputs }) => [name, (inputs["rules"] as Record<string, unknown>[])[0] ?? {}]);
  };

  it.each([
    [{}, 90, 30],
    [{ expirationDays: 45 }, 45, 30],
    [{ lockDays: 60 }, 90, 60],
    [{ lockDays: 120 }, 120, 120],
  ])("expire, and nothing else does: %j", async (aws, days, noncurrentDays) => {
    const rules = await rulesOf(aws);
    expect(rules.filter(([, rule]) => rule["expiration"] !== undefined)).toEqual([
      ["backups", expect.objectContaining({ expiration: { days }, noncurrentVersionExpiration: { noncurrentDays } })],
    ]);
  });
});

describe("backups of prod", () => {
  const accounts = (service: string) => ["backup", "backup-proof", "restore"].map((suffix) => `${service}-${suffix}`);
  const roleOf = (service: string) => `arn:aws:iam::111122223333:role/example-cells-backups-${service}`;
  const services = JSON.stringify(servicesWithBackups);
  const settingsOf = (graph: Graph, service: string): unknown => {
    const pod = at(inputs(graph, "kubernetes:batch/v1:CronJob", `${service}-backup`), "spec.jobTemplate.spec.template");
    return JSON.parse(String(at(listAt(listAt(pod, "spec.containers")[0], "env")[0], "value")));
  };
  const annotationsOf = (graph: Graph, name: string) =>
    at(inputs(graph, "kubernetes:core/v1:ServiceAccount", name), "metadata.annotations");

  it("are made of each service that has the argument, into the locked bucket, with a role of their own", async () => {
    const graph = await recordStack("prod", { config: { services } });
    expect(servicesWithBackups).toEqual(["etcd", "vault", "nats", "mongodb", "mysql"]);
    for (const service of servicesWithBackups) {
      const role = inputs(graph, "aws:iam/role:Role", `backups-${service}`);
      const [trust] = statements(String(role["assumeRolePolicy"]));
      expect(settingsOf(graph, service), service).toMatchObject({
        store: {
          url: "https://s3.eu-central-1.amazonaws.com",
          region: "eu-central-1",
          bucket: "example-cells-backups",
          prefix: "cells-services",
        },
      });
      expect(annotationsOf(graph, `${service}-backup`)).toEqual({ "eks.amazonaws.com/role-arn": roleOf(service) });
      for (const account of accounts(service)) {
        expect(JSON.stringify(trust?.Condition)).toContain(`"system:serviceaccount:cells:${account}"`);
      }
      // Below the folder of its own copies, and no other one.
      const rights = String(inputs(graph, "aws:iam/rolePolicy:RolePolicy", `backups-${service}`)["policy"]);
      expect(rights).toContain(`/cells-services/cells/${service}/*`);
      expect(rights.includes("kms:DescribeKey")).toBe(service === "vault");
    }
  });

  it("take a schedule from the stack file, and keep their store", async () => {
    const etcd = JSON.stringify({ backups: { schedule: "0 1 * * *", keep: 30 } });
    const graph = await recordStack("prod", { config: { services, etcd } });
    expect(at(inputs(graph, "kubernetes:batch/v1:CronJob", "etcd-backup"), "spec.schedule")).toBe("0 1 * * *");
    expect(settingsOf(graph, "etcd")).toMatchObject({ keep: 30, store: { bucket: "example-cells-backups" } });
  });

  it("go into the store that the stack file names, with its login alone", async () => {
    const store = { url: "https://s3.example.com", bucket: "elsewhere", credentials: "keys" };
    const graph = await recordStack("prod", { config: { services, etcd: JSON.stringify({ backups: { store } }) } });
    expect(settingsOf(graph, "etcd")).toMatchObject({ store: { ...store, prefix: "" } });
    expect(annotationsOf(graph, "etcd-backup")).toBeUndefined();
  });
});

describe("prod through EKS Pod Identity", () => {
  const cluster = "arn:aws:eks:eu-central-1:111122223333:cluster/production";
  it("associates the account of Vault with its role before Vault starts, and needs no OIDC provider", async () => {
    const aws = JSON.stringify({ ...awsConfig, oidcProvider: undefined, cluster });
    const graph = await recordStack("prod", { config: { aws } });
    const associations = graph.byType("aws:eks/podIdentityAssociation:PodIdentityAssociation");
    const [association, ...ofBackups] = associations;
    expect(ofBackups.map(({ inputs: given }) => given["serviceAccount"])).toEqual(
      servicesWithBackups.flatMap((service) => [`${service}-backup`, `${service}-backup-proof`, `${service}-restore`]),
    );
    expect(association?.inputs).toMatchObject({
      clusterName: "production",
      namespace: "cells",
      serviceAccount: "vault",
    });
    const [component] = graph.byType("cells-services:index:VaultCluster");
    const seal = graph.byType("kubernetes:batch/v1:Job").find(({ name }) => name === "vault-seal");
    expect([component, seal].some((each) => each?.options.dependsOn?.includes(association?.urn ?? ""))).toBe(true);
    const accounts = graph.byType("kubernetes:core/v1:ServiceAccount");
    expect(accounts.map(({ name }) => name)).toContain("etcd-backup");
    expect(JSON.stringify(accounts)).not.toContain("eks.amazonaws.com");
    expect(JSON.stringify(inputs(graph, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "etcd-backup"))).toContain(
      "169.254.170.23/32",
    );
    expect(JSON.stringify(graph.byType("pulumi:providers:aws")[0]?.inputs)).toContain("111122223333");
  });
});

describe.each([
  ["cn-north-1", "aws-cn", ".amazonaws.com.cn"],
  ["us-gov-west-1", "aws-us-gov", ".amazonaws.com"],
])("prod in %s", (region, partition, domain) => {
  const provider = `arn:${partition}:iam::111122223333:oidc-provider/oidc.eks.${region}${domain}/id/EXAMPLE`;
  const config = { aws: JSON.stringify({ ...awsConfig, region, oidcProvider: provider }) };
  const options: RecordOptions = { config };

  it("has the hosts of its cloud", async () => {
    const { secrets } = await recordStack("prod", options);
    const install = secrets.find((each) => each.includes("dss3custom"));
    expect(install).toContain(`dss3custom: https://s3.${region}${domain}:443\n`);
  });

  it("has the ARNs of its partition, and no other", async () => {
    const graph = await recordStack("prod", options);
    const texts = JSON.stringify(graph.resources);
    expect(new Set([...texts.matchAll(/\barn:(aws[a-z-]*):/g)].map(([, found]) => found))).toEqual(
      new Set([partition]),
    );
    const account = graph.byType("kubernetes:core/v1:ServiceAccount").find(({ name }) => name === "vault");
    expect(account?.inputs).toMatchObject({
      metadata: {
        annotations: { "eks.amazonaws.com/role-arn": `arn:${partition}:iam::111122223333:role/example-cells-vault` },
      },
    });
  });

  it("trusts tokens of its cluster, whose audience has the same name in each cloud", () => {
    const [trust] = statements(trustOf({ oidcProvider: provider }, vault));
    expect(trust?.Condition).toEqual({
      StringEquals: {
        [`oidc.eks.${region}${domain}/id/EXAMPLE:aud`]: "sts.amazonaws.com",
        [`oidc.eks.${region}${domain}/id/EXAMPLE:sub`]: "system:serviceaccount:cells:vault",
      },
    });
  });

  it("has policies about what AWS names, not about names of another cloud", () => {
    const arn = `arn:${partition}:s3:::bucket`;
    for (const { Resource } of [...statements(objectRights([arn])), ...statements(tlsOnly(arn))]) {
      for (const each of [Resource].flat()) expect(each).toMatch(new RegExp(`^arn:${partition}:s3:::bucket`));
    }
  });
});
