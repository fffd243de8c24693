import { DeleteAliasCommand, KMSClient } from "@aws-sdk/client-kms";
import { DeleteBucketCommand, GetBucketVersioningCommand, ListBucketsCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { awsCredentials, awsEndpoint, startAws } from "../../sandbox/aws";
import { kubectl } from "../../sandbox/cluster";
import { pulumi } from "../../sandbox/engine";
import { type Deployment, openDeployment, type Result } from "../support/deployment";

/** The real program of prod, with an emulated AWS: a stack of its own, which is gone in the end. */
const stack = "prod-test";
const namespace = `cells-${stack}`;
const ofCells = `${namespace}-app`;
const prefix = `sandbox-${stack}`;
let deployment: Deployment;

const s3 = new S3Client({
  region: "eu-central-1",
  endpoint: awsEndpoint,
  forcePathStyle: true,
  credentials: awsCredentials,
});

const kms = new KMSClient({ region: "eu-central-1", endpoint: awsEndpoint, credentials: awsCredentials });

async function ownBuckets(): Promise<string[]> {
  const { Buckets = [] } = await s3.send(new ListBucketsCommand({}));
  return Buckets.map(({ Name = "" }) => Name).filter((name) => name.startsWith(`${prefix}-`));
}

async function destroyUnprotected(): Promise<Result> {
  await pulumi(deployment.engine, "state", "unprotect", "--all", "--yes", "--stack", stack).catch(() => undefined);
  return deployment.deploy("destroy", "--yes", "--skip-preview");
}

/** Keys and buckets are protected and retained, as in the real AWS: whoever wants them gone removes them there. */
async function clear(): Promise<void> {
  await pulumi(deployment.engine, "cancel", "--yes", "--stack", stack).catch(() => undefined);
  await destroyUnprotected();
  const released = `{.items[?(@.spec.claimRef.namespace=="${namespace}")].metadata.name}`;
  await kubectl("delete", "namespace", namespace, ofCells, "--ignore-not-found", "--timeout=120s");
  const volumes = (await kubectl("get", "pv", "-o", `jsonpath=${released}`)).split(" ").filter(Boolean);
  if (volumes.length > 0) await kubectl("delete", "pv", ...volumes);
  for (const bucket of await ownBuckets()) await s3.send(new DeleteBucketCommand({ Bucket: bucket }));
  for (const key of ["vault", "backups"]) {
    await kms.send(new DeleteAliasCommand({ AliasName: `alias/${prefix}-${key}` })).catch(() => undefined);
  }
}

beforeAll(async () => {
  await startAws();
  deployment = await openDeployment(stack);
  await clear();
});

afterAll(async () => {
  await clear();
});

describe("the prod stack", () => {
  it("deploys, and passes the checks of every service", async () => {
    const result = await deployment.execute("tsx", ["sandbox/cli.ts", "up"], { STACK: stack, KUBE_CONTEXT: "" });
    expect(result.code, result.output).toBe(0);
    expect(result.output).toContain("all passed");
    expect(result.output).toContain("seal awskms");
  });

  it("has nothing to change afterwards", async () => {
    const preview = await deployment.deploy("preview", "--expect-no-changes", "--diff");
    expect(preview.code, preview.output).toBe(0);
  });

  it("has its buckets in AWS, with the versions of what is in them", async () => {
    const own = await ownBuckets();
    expect(own).toHaveLength(7);
    for (const bucket of own) {
      expect((await s3.send(new GetBucketVersioningCommand({ Bucket: bucket }))).Status, bucket).toBe("Enabled");
    }
  });

  it("puts each member on a node and in a zone of its own", async () => {
    for (const service of ["etcd", "vault", "nats", "redis", "mongodb", "mysql"]) {
      const selector = `app.kubernetes.io/name=${service},app.kubernetes.io/component=server`;
      const nodes = await kubectl(
        "get",
        "pods",
        "-n",
        namespace,
        "-l",
        selector,
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
      );
      expect(new Set(nodes.split(" ")).size, service).toBe(3);
    }
  });

  it("is not destroyed in passing", async () => {
    const result = await deployment.deploy("destroy", "--yes", "--skip-preview");
    expect(result.code).not.toBe(0);
    expect(result.output).toContain("protect");
    expect(await kubectl("get", "statefulsets", "-n", namespace, "-o", "name")).toContain("statefulset.apps/mysql");
  });

  it("leaves the namespace of Cells when it is destroyed on purpose", async () => {
    const result = await destroyUnprotected();
    expect(result.code, result.output).toBe(0);
    expect(await kubectl("get", "namespaces", namespace, ofCells, "--ignore-not-found", "-o", "name")).toBe(
      `namespace/${ofCells}\n`,
    );
  });
});
