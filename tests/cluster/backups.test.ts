import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRedaction, openEnvironment } from "../../checks";
import type { ServiceCopies } from "../../checks/backups";
import { open as openS3 } from "../../components/objectstore/client";
import { ports as storePorts } from "../../components/objectstore/layout";
import type { Listed } from "../../components/shared/core/backup";
import { applicationSecretName, memberName } from "../../components/shared/core/names";
import { formerKeysName, keysName } from "../../components/vault/layout";
import type { DrilledService } from "../../drills/profiles";
import { kubectl } from "../../sandbox/cluster";
import { home } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { type Deployment, openDeployment, type Result } from "../support/deployment";
import { expectShort, underLoad } from "../support/load";
import { changed } from "../support/scope";
import { expectStored, openWorkload, placeOf } from "../support/workload";

/** Copies in the object store of the stack, their proof, and a restore after everything was lost. The tests of a service build on each other. */
const stack = "backups";
const namespace = `cells-${stack}`;
/** Bucket and user that dev makes in its object store. */
const bucket = "cells-backups";
const keySecret = applicationSecretName("objectstore", "backup");
/** No run of a CronJob joins those of the tests. */
const never = "0 0 31 2 *";
const backups = {
  schedule: never,
  proof: { schedule: never },
  store: { url: `https://objectstore.${namespace}.svc:${storePorts.client}`, bucket, credentials: keySecret },
};
let deployment: Deployment;

/** What is written before the copy, and read from each member after the restore. */
const written = Array.from({ length: 200 }, (_, number) => `kept-${number}`);
const run = "backup";

function expectSuccess({ code, output }: Result): string {
  expect(code, output).toBe(0);
  return output;
}

function expectFailure({ code, output }: Result): string {
  expect(code, output).not.toBe(0);
  return output;
}

/** Ports and Secrets of the namespace, from here. */
async function inNamespace<T>(
  service: DrilledService,
  use: (at: ReturnType<typeof openEnvironment>) => Promise<T>,
): Promise<T> {
  const { config, target } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  try {
    return await use(environment);
  } finally {
    await environment.close();
  }
}

/** Overwrites the largest file of a copy, as a fault of the store would. */
const damage = (service: DrilledService, { id }: Listed, change: (data: Uint8Array) => Uint8Array) =>
  inNamespace(service, async (at) => {
    const { accessKeyId = "", secretAccessKey = "", region = "", "ca.crt": ca } = await at.secret(keySecret);
    const { host, port } = await at.tunnel.dial(memberName("objectstore", 0), storePorts.client);
    const credentials = { accessKeyId, secretAccessKey };
    const s3 = openS3({ url: `https://${host}:${port}`, region, credentials, ca });
    try {
      const listed = await s3.listObjectsV2({ Bucket: bucket, Prefix: `${namespace}/${service}/${id}/data/` });
      const [largest] = [...(listed.Contents ?? [])].sort((one, other) => (other.Size ?? 0) - (one.Size ?? 0));
      const place = { Bucket: bucket, Key: largest?.Key };
      const { Body } = await s3.getObject(place);
      await s3.putObject({ ...place, Body: change((await Body?.transformToByteArray()) ?? new Uint8Array()) });
    } finally {
      s3.destroy();
    }
  });

/** What opens a copy of Vault: a person has it elsewhere. */
async function keepKeyShares(): Promise<void> {
  const { data } = JSON.parse(
    await kubectl("get", "secret", keysName("vault", "shamir"), "-n", namespace, "-o", "json"),
  ) as { data: Record<string, string> };
  const file = join(home, "former-keys.json");
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: formerKeysName("vault"), namespace }, data };
  writeFileSync(file, JSON.stringify(secret), { mode: 0o600 });
  try {
    await kubectl("apply", "-f", file);
  } finally {
    rmSync(file);
  }
}

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
});

afterAll(async () => {
  await deployment.clear();
});

describe.each(changed.filter((service) => service !== "redis"))("backups of %s", (service) => {
  const up = (given: object = {}, services: string[] = [service, "objectstore"]) =>
    deployment.up(
      deployment.configurationWith("backups", {
        "cells-services:services": services,
        "cells-services:objectstore": { tls: "required" },
        ...(services.includes(service)
          ? {
              [`cells-services:${service}`]: {
                applications: ["cells"],
                tls: "required",
                backups: { ...backups, ...given },
              },
            }
          : {}),
      }),
    );
  const backup = (...flags: string[]) => deployment.tsx("checks/backup.ts", "--service", service, ...flags);
  const proof = () => backup("--proof");

  /** The newest first. `failed`: one of them failed its proof. */
  const copies = async (): Promise<{ listed: Listed[]; failed: boolean }> => {
    const { code, output, stdout } = await deployment.tsx("checks/backups.ts", "--service", service, "--json");
    expect([0, 1], output).toContain(code);
    const services = JSON.parse(stdout) as ServiceCopies[];
    expect(services.map(({ name }) => name)).toEqual([service]);
    return { listed: services[0]?.copies ?? [], failed: code === 1 };
  };

  it("cannot be proven before the first copy", async () => {
    expectSuccess(await up());
    expect(expectFailure(await proof())).toContain(`there is no copy of ${service}`);
    expect((await copies()).listed).toEqual([]);
  });

  it("are made while clients write, who hardly notice", async () => {
    const { result, gapSeconds } = await underLoad(stack, service, () => backup());
    expect(expectSuccess(result)).toMatch(/copied \d+ bytes from /);
    await expectShort(service, gapSeconds);
    const { listed, failed } = await copies();
    expect(failed).toBe(false);
    expect(listed).toHaveLength(1);
    expect(listed[0]?.manifest).toMatchObject({ service, name: service, namespace });
    expect(listed[0]?.manifest?.bytes).toBeGreaterThan(0);
    expect(listed[0]?.proof).toBeUndefined();
  });

  it("are proven by a restore", async () => {
    expect(expectSuccess(await proof())).toContain("proven: ");
    const { listed } = await copies();
    expect(listed[0]?.proof).toMatchObject({ ok: true });
  });

  it.runIf(service === "etcd")("are made one after the other", async () => {
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
    await damage(service, newest, change);
    const output = expectFailure(await proof());
    expect(output).toContain(`the copy ${newest.id} is not proven: `);
    expect(output).toContain(reason);
    const { listed, failed } = await copies();
    expect(failed).toBe(true);
    expect(listed[0]?.proof).toMatchObject({ ok: false });
  });

  it("are good again with the next copy, and fill a new ensemble when all else was lost", async () => {
    const before = await openWorkload(stack, service, run);
    try {
      await until("a first write", 60, () => before.workload.prepare().then(() => true));
      for (const id of written) await before.workload.write(id, 0);
      // A follower that is copied has all of it.
      await expectStored(before, written);
      await delay(1_000);
      expectSuccess(await backup());
      expect(expectSuccess(await proof())).toContain("proven: ");
      expect((await copies()).listed[0]?.proof).toMatchObject({ ok: true });

      const refused = expectFailure(await up({ restoreFrom: { copy: "latest" } }));
      expect(refused).toContain(`${service} is not new: `);
      await deployment.checksPass(60);

      if (service === "vault") await keepKeyShares();
      expectSuccess(await up({}, ["objectstore"]));
    } finally {
      await before.close();
    }
    expectSuccess(await up({ restoreFrom: { copy: "latest" } }));
    const after = await openWorkload(stack, service, run);
    try {
      await expectStored(after, written);
    } finally {
      await after.close();
    }
    await deployment.checksPass(60);
  });

  it("fill an ensemble once", async () => {
    const output = expectFailure(await up({ restoreFrom: { copy: "latest" }, keep: 3 }));
    expect(output).toContain(`${service} was restored from `);
    expectSuccess(await up());
    expectSuccess(await backup());
    await deployment.checksPass(60);
  });
});
