import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadCluster } from "../../checks";
import { kms } from "../../components/vault/kms";
import { killAgent } from "../../drills/faults";
import { awsCredentials, awsEndpoint, giveCredentials, signalAws, startAws } from "../../sandbox/aws";
import { kubectl } from "../../sandbox/cluster";
import { kubeconfig } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { type Deployment, openDeployment } from "../support/deployment";
import { everything } from "../support/scope";
import { allReady } from "../support/workload";

/** Vault as in prod: a key of AWS KMS opens it, and nothing in the cluster does. The tests build on each other. */
const stack = "seal";
const namespace = `cells-${stack}`;
const region = "eu-central-1";
const members = ["vault-0", "vault-1", "vault-2"];
let deployment: Deployment;
let keyId: string;

async function createKey(): Promise<string> {
  type Answer = { KeyMetadata: { KeyId: string } };
  const answer = await kms<Answer>({ region, endpoint: awsEndpoint }, awsCredentials, "CreateKey", {});
  return answer.KeyMetadata.KeyId;
}

/** Only Vault, which a key opens. */
const configuration = (name: string, key: string): string =>
  deployment.configurationWith(name, {
    "cells-services:services": ["vault"],
    "cells-services:vault": {
      seal: {
        type: "awskms",
        region,
        keyId: key,
        endpoint: awsEndpoint,
        credentialsSecret: "aws",
        recovery: "none",
      },
    },
  });

const up = (file: string) => deployment.up(file);
const check = () => deployment.tsx("checks/cli.ts");
const get = (...args: string[]): Promise<string> => kubectl("get", "-n", namespace, ...args);
const sealed = async (member: string): Promise<string> => {
  const script = `fetch("http://127.0.0.1:8008/ready").then((answer) => answer.text()).then(console.log)`;
  return kubectl("exec", "-n", namespace, member, "-c", "agent", "--", "/usr/local/bin/node", "-e", script);
};

/** What Vault calls itself: another one after a second initialisation. */
async function clusterId(): Promise<string> {
  const { data } = JSON.parse(await get("configmap", "vault-marker", "-o", "json")) as { data: { clusterId: string } };
  return data.clusterId;
}

beforeAll(async () => {
  await startAws();
  deployment = await openDeployment(stack);
  await deployment.clear();
  keyId = await createKey();
});

afterAll(async () => {
  await startAws();
  await deployment.deploy("destroy", "--yes", "--skip-preview", "--config-file", configuration("last", keyId));
});

// Without it, the prod stack proves the same seal in short.
describe.runIf(everything)("Vault with a key of AWS KMS", () => {
  it("is not begun with a key that does not exist, and says so in one sentence", async () => {
    const given = giveCredentials(namespace, AbortSignal.timeout(120_000));
    const result = await up(configuration("wrong", "alias/nobody"));
    await given;
    expect(result.code, result.output).not.toBe(0);
    expect(result.output).toMatch(/Encrypt was refused: NotFoundException/);
    expect(await get("statefulset", "vault", "--ignore-not-found")).toBe("");
  });

  it("is initialised once with the right one, also when the agent that does it is killed again and again", async () => {
    const deployed = up(configuration("right", keyId));
    let done = false;
    void deployed.finally(() => {
      done = true;
    });
    let kills = 0;
    const place = {
      config: loadCluster({ files: [kubeconfig] }),
      target: { service: "vault" as const, name: "vault", namespace, members },
      profile: { container: "vault", processes: ["vault"] },
    };
    // Every death of its container waits longer for the next start: three are some ten seconds.
    while (!done && kills < 3) {
      await killAgent(place, "vault-0").then(
        async ({ proof }) => {
          await proof;
          kills += 1;
        },
        () => new Promise((resolve) => setTimeout(resolve, 200)),
      );
    }
    const result = await deployed;
    expect(result.code, result.output).toBe(0);
    expect(kills).toBeGreaterThan(0);
    const checked = await check();
    expect(checked.code, checked.output).toBe(0);
    expect(checked.output).toContain("seal awskms");
  });

  it("leaves nothing in the cluster that opens it or may do everything", async () => {
    expect(await get("secret", "vault-unseal", "--ignore-not-found")).toBe("");
    const keysOf = async (name: string) =>
      (JSON.parse(await get("secret", name, "-o", "json")) as { data: Record<string, string> }).data;
    expect(Object.keys(await keysOf("vault-recovery"))).toEqual(["attempt"]);
    expect((await keysOf("vault-root"))["token"]).toBe("");
  });

  it("refuses another key for its data before anything is changed", async () => {
    const version = () =>
      get("statefulset/vault", "configmap/vault-config", "-o", "jsonpath={.items[*].spec.template}{.items[*].data}");
    const before = await version();
    const missing = await up(configuration("missing", "alias/nobody"));
    expect(missing.code, missing.output).not.toBe(0);
    expect(missing.output).toMatch(/Encrypt was refused: NotFoundException/);
    const other = await up(configuration("other", await createKey()));
    expect(other.code, other.output).not.toBe(0);
    expect(other.output).toMatch(/and the data were made with arn:aws:kms:/);
    expect(await version()).toBe(before);
    const mended = await up(configuration("right", keyId));
    expect(mended.code, mended.output).toBe(0);
  });

  it("comes back by itself when all members die at once", async () => {
    const result = await deployment.tsx("drills/cli.ts", "full-stop");
    process.stdout.write(result.output);
    expect(result.code, result.output).toBe(0);
  });

  it("stays closed while the key service does not answer, says so, and opens when it does, without a new beginning", async () => {
    const id = await clusterId();
    signalAws("SIGSTOP");
    try {
      await kubectl("delete", "pods", "-n", namespace, "-l", "app.kubernetes.io/component=server", "--force");
      await until("the members to say that they are closed", 120, async () => {
        const says = await Promise.all(members.map(sealed));
        return says.every((each) => /key service|does not answer/.test(each)) ? true : undefined;
      });
      const closed = await check();
      expect(closed.code, closed.output).toBe(1);
    } finally {
      signalAws("SIGCONT");
    }
    await allReady(namespace, "vault", 300);
    expect(await clusterId()).toBe(id);
    await until("the checks to pass", 120, async () => ((await check()).code === 0 ? true : undefined));
  });
});
