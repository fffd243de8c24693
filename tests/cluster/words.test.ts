import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { kubectl } from "../../sandbox/cluster";
import { type Deployment, openDeployment } from "../support/deployment";

/** What a person reads in `pulumi up` when it does not get further: the words of the agent. The tests build on each other. */
const stack = "words";
const namespace = `cells-${stack}`;
let deployment: Deployment;

const up = (settings: object) =>
  deployment.up(
    deployment.configurationWith("changed", {
      "cells-services:services": ["etcd"],
      "cells-services:etcd": { applications: ["cells"], ...settings },
    }),
  );

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
  const result = await up({});
  expect(result.code, result.output).toBe(0);
});

afterAll(async () => {
  await deployment.clear();
});

describe("pulumi up ends with the words", () => {
  it("of the guard that refuses a change, which then has changed nothing that a member reads", async () => {
    const members = () => kubectl("get", "statefulset", "etcd", "-n", namespace, "-o", "jsonpath={.spec}");
    const before = await members();
    const result = await up({ version: "3.5.21" });
    expect(result.code, result.output).not.toBe(0);
    expect(result.output).toMatch(/preflight failed: members run version .*, got version 3.5.21, which is older/);
    expect(await members()).toBe(before);
  });

  it("of a Job that failed", async () => {
    const secret = (name: string) => ["secret", name, "-n", namespace];
    const right = await kubectl("get", ...secret("etcd-admin"), "-o", "jsonpath={.data.password}");
    const giveOut = (password: string) =>
      kubectl("patch", ...secret("etcd-admin"), "--type=merge", "-p", JSON.stringify({ data: { password } }));
    await giveOut(Buffer.from("wrong").toString("base64"));
    // With it the agents would get in, and give root the password of its Secret.
    await kubectl("delete", ...secret("etcd-kept"));
    try {
      const result = await up({ applications: ["cells", "other"] });
      expect(result.code, result.output).not.toBe(0);
      expect(result.output).toMatch(/setup failed: etcd does not accept the password of root/);
    } finally {
      await giveOut(right);
    }
  });
});
