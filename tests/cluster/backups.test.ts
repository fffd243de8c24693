import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRedaction, openEnvironment } from "../../checks";
import type { ServiceCopies } from "../../checks/backups";
import { etcdClient } from "../../components/etcd/client";
import { ports as etcdPorts, snapshotFile } from "../../components/etcd/layout";
import { open as openS3 } from "../../components/objectstore/client";
import { ports as storePorts } from "../../components/objectstore/layout";
import type { Listed } from "../../components/shared/core/backup";
import { applicationSecretName, memberName } from "../../components/shared/core/names";
import { type Deployment, openDeployment, type Result } from "../support/deployment";
import { expectShort, underLoad } from "../support/load";
import { placeOf } from "../support/workload";

/** Copies of etcd in the object store of the stack, and their proof. The tests build on each other. */
const stack = "backups";
/** Bucket and user that dev makes in its object store. */
const bucket = "cells-backups";
const keySecret = applicationSecretName("objectstore", "backup");
/** No run of a CronJob joins those of the tests. */
const never = "0 0 31 2 *";
const backups = {
  schedule: never,
  proof: { schedule: never },
  store: { url: `https://objectstore.cells-${stack}.svc:${storePorts.client}`, bucket, credentials: keySecret },
};
let deployment: Deployment;

const mebibyte = 2 ** 20;
/** Two parts of an upload. */
const filledMebibytes = 12;

const backup = (...flags: string[]) => deployment.tsx("checks/backup.ts", "--service", "etcd", ...flags);
const proof = () => backup("--proof");

/** The newest first. `failed`: one of them failed its proof. */
async function copies(): Promise<{ listed: Listed[]; failed: boolean }> {
  const { code, output, stdout } = await deployment.tsx("checks/backups.ts", "--service", "etcd", "--json");
  expect([0, 1], output).toContain(code);
  const services = JSON.parse(stdout) as ServiceCopies[];
  expect(services.map(({ name }) => name)).toEqual(["etcd"]);
  return { listed: services[0]?.copies ?? [], failed: code === 1 };
}

function expectSuccess({ code, output }: Result): string {
  expect(code, output).toBe(0);
  return output;
}

/** Ports and Secrets of the namespace, from here. */
async function inNamespace<T>(use: (at: ReturnType<typeof openEnvironment>) => Promise<T>): Promise<T> {
  const { config, target } = await placeOf(stack, "etcd");
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  try {
    return await use(environment);
  } finally {
    await environment.close();
  }
}

const fill = () =>
  inNamespace(async (at) => {
    const { username = "", password = "", "ca.crt": ca } = await at.secret(applicationSecretName("etcd", "cells"));
    const { host, port } = await at.tunnel.dial(memberName("etcd", 0), etcdPorts.client);
    const client = etcdClient({ url: `https://${host}:${port}`, ca, credentials: [{ username, password }] });
    for (let number = 0; number < 2 * filledMebibytes; number++) {
      const key = Buffer.from(`filled/${number}`).toString("base64");
      await client.call("kv/put", { key, value: randomBytes(mebibyte / 2).toString("base64") });
    }
  });

/** Overwrites the data of a copy, as a fault of the store would. */
const damage = ({ id }: Listed, change: (data: Uint8Array) => Uint8Array) =>
  inNamespace(async (at) => {
    const keys = await at.secret(keySecret);
    const { accessKeyId = "", secretAccessKey = "", region = "", "ca.crt": ca } = keys;
    const { host, port } = await at.tunnel.dial(memberName("objectstore", 0), storePorts.client);
    const credentials = { accessKeyId, secretAccessKey };
    const s3 = openS3({ url: `https://${host}:${port}`, region, credentials, ca });
    const place = { Bucket: bucket, Key: `cells-${stack}/etcd/${id}/data/${snapshotFile}` };
    try {
      const { Body } = await s3.getObject(place);
      const data = (await Body?.transformToByteArray()) ?? new Uint8Array();
      expect(data.length).toBeGreaterThan(filledMebibytes * mebibyte);
      await s3.putObject({ ...place, Body: change(data) });
    } finally {
      s3.destroy();
    }
  });

beforeAll(async () => {
  deployment = await openDeployment(stack, {
    "cells-services:services": ["etcd", "objectstore"],
    "cells-services:etcd": { applications: ["cells"], tls: "required", backups },
    "cells-services:objectstore": { tls: "required" },
  });
  await deployment.clear();
});

afterAll(async () => {
  await deployment.clear();
});

describe("backups of etcd", () => {
  it("cannot be proven before the first copy", async () => {
    expectSuccess(await deployment.deploy("up", "--yes", "--skip-preview"));
    const { code, output } = await proof();
    expect(code, output).toBe(1);
    expect(output).toContain("there is no copy of etcd");
    expect((await copies()).listed).toEqual([]);
  });

  it("are made while clients write, who hardly notice", async () => {
    await fill();
    const { result, gapSeconds } = await underLoad(stack, "etcd", () => backup());
    expect(expectSuccess(result)).toMatch(/copied \d+ bytes from etcd-\d/);
    await expectShort("etcd", gapSeconds);
    const { listed, failed } = await copies();
    expect(failed).toBe(false);
    expect(listed).toHaveLength(1);
    expect(listed[0]?.manifest).toMatchObject({ service: "etcd", name: "etcd", namespace: `cells-${stack}` });
    expect(listed[0]?.manifest?.bytes).toBeGreaterThan(filledMebibytes * mebibyte);
    expect(listed[0]?.proof).toBeUndefined();
  });

  it("are proven by a restore", async () => {
    expect(expectSuccess(await proof())).toContain("proven: ");
    const { listed } = await copies();
    expect(listed[0]?.proof).toMatchObject({ ok: true });
  });

  it("are made one after the other", async () => {
    for (const result of await Promise.all([backup(), backup()])) expectSuccess(result);
    expect((await copies()).listed).toHaveLength(3);
  });

  it.each<[string, (data: Uint8Array) => Uint8Array, string]>([
    [
      "damaged",
      (data) => data.map((byte, at) => (at === data.length >> 1 ? byte ^ 1 : byte)),
      "the sha256 of its file",
    ],
    ["cut", (data) => data.subarray(0, data.length - 1), "bytes, and its manifest says"],
  ])("are not proven when the data was %s", async (_, change, reason) => {
    const [newest] = (await copies()).listed;
    if (newest === undefined) throw new Error("there is no copy");
    await damage(newest, change);
    const { code, output } = await proof();
    expect(code, output).toBe(1);
    expect(output).toContain(`the copy ${newest.id} is not proven: `);
    expect(output).toContain(reason);
    const { listed, failed } = await copies();
    expect(failed).toBe(true);
    expect(listed[0]?.proof).toMatchObject({ ok: false });
    // The one before it is as good as it was.
    expect(listed.at(-1)?.proof).toMatchObject({ ok: true });
  });

  it("are good again with the next copy, and leave the service as it was", async () => {
    expectSuccess(await backup());
    expect(expectSuccess(await proof())).toContain("proven: ");
    expect((await copies()).listed[0]?.proof).toMatchObject({ ok: true });
    await deployment.checksPass(60);
  });
});
