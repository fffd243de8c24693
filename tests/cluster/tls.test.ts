import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memberNames } from "../../components/shared/core/names";
import type { DrilledService } from "../../drills/profiles";
import type { Workload } from "../../drills/workload";
import { kubectl } from "../../sandbox/cluster";
import { until } from "../../sandbox/shell";
import { type Deployment, openDeployment, type Result } from "../support/deployment";
import { podsOf, startClients } from "../support/load";
import { changed, everything } from "../support/scope";
import { expectStored, openWorkload } from "../support/workload";

/** TLS of a living service on and off, by a planned stop. The tests of a service build on each other. */
const stack = "tls";
const namespace = `cells-${stack}`;
let deployment: Deployment;

const configuration = (service: DrilledService, tls: "required" | "off", plannedStop: boolean): string =>
  deployment.configurationWith("changed", {
    "cells-services:services": [service],
    [`cells-services:${service}`]: { applications: ["cells"], tls, plannedStop, deletion: "delete" },
  });
const up = (service: DrilledService, tls: "required" | "off", plannedStop: boolean) =>
  deployment.up(configuration(service, tls, plannedStop));

/** What a refused change must leave alone: the members, what they are to be, and the marker. */
async function living(service: DrilledService): Promise<string[]> {
  const of = (kind: string, name: string, path: string) =>
    kubectl("get", kind, name, "-n", namespace, "-o", `jsonpath=${path}`);
  return [
    await of("statefulset", service, "{.spec}"),
    await of("configmap", `${service}-marker`, "{.data}{.metadata.annotations}"),
    JSON.stringify([...(await podsOf(stack, service))]),
  ];
}

/** The ids of all writes that were acknowledged within some seconds. */
async function acknowledged(workload: Workload, run: string): Promise<string[]> {
  await until("a first write", 60, () => workload.prepare().then(() => true));
  const writers = startClients(workload, run);
  await delay(3_000);
  const ids = (await writers.stop()).flatMap(({ id, outcome }) => (outcome === "ok" ? [id] : []));
  expect(ids.length).toBeGreaterThan(50);
  return ids;
}

/** The former clients close in the end, since they remove then what they wrote. Those afterwards have another address. */
async function expectNothingLost(service: DrilledService, change: () => Promise<Result>): Promise<void> {
  const run = `tls${Date.now().toString(36)}`;
  const before = await openWorkload(stack, service, run);
  try {
    const written = await acknowledged(before.workload, "before");
    const result = await change();
    expect(result.code, result.output).toBe(0);
    await deployment.checksPass(60);
    expect([...(await podsOf(stack, service)).keys()].sort()).toEqual(memberNames(service, 3));
    const after = await openWorkload(stack, service, run);
    try {
      const more = await acknowledged(after.workload, "after");
      const members = await until("who holds all writes", 60, () => after.workload.holders());
      await expectStored({ members, workload: after.workload }, [...written, ...more]);
    } finally {
      await after.close();
    }
  } finally {
    await before.close();
  }
}

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
});

afterAll(async () => {
  await deployment.clear();
});

describe.each(changed)("TLS of %s", (service) => {
  it("is not switched on without a planned stop, and then nothing has changed", async () => {
    const first = await up(service, "off", false);
    expect(first.code, first.output).toBe(0);
    const before = await living(service);
    const refused = await up(service, "required", false);
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("or plannedStop to true for one pulumi up, which stops all members at once");
    expect(await living(service)).toEqual(before);
  });

  it("is switched on, and loses no acknowledged write", async () => {
    await expectNothingLost(service, () => up(service, "required", true));
  });

  it.runIf(everything)("needs the planned stop no more, whose end changes nothing of the members", async () => {
    const before = await living(service);
    const result = await up(service, "required", false);
    expect(result.code, result.output).toBe(0);
    expect(await living(service)).toEqual(before);
  });

  it.runIf(everything)("is switched off when pulumi up was killed at any point and is run again", async () => {
    await expectNothingLost(service, async () => {
      for (let kills = 0; kills < 2; kills++) {
        const seconds = 3 + 40 * Math.random();
        process.stdout.write(`${service}: pulumi up with tls off is killed after ${seconds.toFixed(1)} s\n`);
        await deployment.upKilled(configuration(service, "off", true), () => delay(seconds * 1000));
      }
      return up(service, "off", true);
    });
  });
});
