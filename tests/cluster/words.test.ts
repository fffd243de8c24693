import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kubectl } from "../../sandbox/cluster";
import { checkout } from "../../sandbox/paths";
import { type Deployment, openDeployment } from "../support/deployment";

/** What a person reads in `pulumi up` when it does not get further: the words of the agent or of the kubelet. The tests build on each other. */
const stack = "words";
const namespace = `cells-${stack}`;
let deployment: Deployment;

const etcd = (settings: object, others: Record<string, object> = {}): string =>
  deployment.configurationWith("changed", {
    "cells-services:services": ["etcd", ...Object.keys(others)],
    "cells-services:etcd": { applications: ["cells"], ...settings },
    ...Object.fromEntries(Object.entries(others).map(([name, value]) => [`cells-services:${name}`, value])),
  });
const up = (settings: object) => deployment.deploy("up", "--yes", "--skip-preview", "--config-file", etcd(settings));

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
  const result = await up({});
  expect(result.code, result.output).toBe(0);
});

// The last update was interrupted: pods that never become ready would hold up each later start of the cluster.
afterAll(async () => {
  await deployment.clear();
  expect(await kubectl("get", "namespace", namespace, "--ignore-not-found")).toBe("");
});

describe("pulumi up ends with the words", () => {
  it("of the guard that refuses a change, which then has changed nothing that a member reads", async () => {
    const members = () => kubectl("get", "statefulset", "etcd", "-n", namespace, "-o", "jsonpath={.spec}");
    const before = await members();
    const result = await up({ members: 5 });
    expect(result.code, result.output).not.toBe(0);
    expect(result.output).toContain("preflight failed: the cluster was formed with 3 members, got members 5");
    expect(await members()).toBe(before);
  });

  it("of a Job that failed", async () => {
    const secret = ["secret", "etcd-admin", "-n", namespace];
    const right = await kubectl("get", ...secret, "-o", "jsonpath={.data.password}");
    const giveOut = (password: string) =>
      kubectl("patch", ...secret, "--type=merge", "-p", JSON.stringify({ data: { password } }));
    await giveOut(Buffer.from("wrong").toString("base64"));
    try {
      const result = await up({ applications: ["cells", "other"] });
      expect(result.code, result.output).not.toBe(0);
      expect(result.output).toMatch(/setup failed: etcd does not accept the password of root/);
    } finally {
      await giveOut(right);
    }
  });

  it("of the kubelet about a container that cannot start in a first deployment", async () => {
    const file = etcd({}, { nats: { image: "registry.invalid/nats:none" } });
    const child = spawn("pulumi", ["up", "--yes", "--skip-preview", "--stack", stack, "--config-file", file], {
      cwd: checkout,
      env: { ...process.env, ...deployment.engine.environment },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = once(child, "close");
    let output = "";
    const patience = setTimeout(() => child.kill("SIGINT"), 180_000);
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      output += part;
      // The members have a quarter of an hour; nobody has to wait for its end to read this.
      if (output.includes("ImagePull")) child.kill("SIGINT");
    });
    await ended;
    clearTimeout(patience);
    expect(output).toMatch(/\[(Err)?ImagePull(BackOff)?\] [^]*registry\.invalid\/nats:none/);
  });
});
