import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { memberNames } from "../../components/shared/core/names";
import type { DrilledService } from "../../drills/profiles";
import { kubectl } from "../../sandbox/cluster";
import { until } from "../../sandbox/shell";
import { type Deployment, openDeployment } from "../support/deployment";
import { expectShort, podsOf, selectorOf, underLoad } from "../support/load";
import { changed, everything } from "../support/scope";
import { openWorkload } from "../support/workload";

/** The number of members of a living service, by one number. The tests of a service build on each other. */
const stack = "scale";
const namespace = `cells-${stack}`;
let deployment: Deployment;

const configuration = (service: DrilledService, members: number, deletion: "delete" | "keep"): string =>
  deployment.configurationWith("changed", {
    "cells-services:services": [service],
    [`cells-services:${service}`]: { applications: ["cells"], tls: "required", members, deletion },
  });
const up = (service: DrilledService, members: number, deletion: "delete" | "keep") =>
  deployment.up(configuration(service, members, deletion));

async function expectMembers(service: DrilledService, members: number): Promise<void> {
  expect([...(await podsOf(stack, service)).keys()].sort()).toEqual(memberNames(service, members));
  // Also that no member knows one that is gone.
  await deployment.checksPass(60);
}

/** Makes the leadership go from one to the other until it is with one that is to leave, which some services avoid. */
async function letLeaverLead(service: DrilledService): Promise<void> {
  const leaving = memberNames(service, 5).slice(3);
  for (let tries = 0; tries < 4; tries++) {
    await deployment.checksPass(180);
    const { workload, close } = await openWorkload(stack, service, `leader${tries}`);
    const prepared = () => workload.prepare().then(() => workload.leader());
    const { member } = await until("a first write", 60, prepared).finally(close);
    process.stdout.write(`${member} leads\n`);
    if (leaving.includes(member)) return;
    await kubectl("delete", "pod", member, "-n", namespace);
  }
  await deployment.checksPass(180);
}

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
});

afterAll(async () => {
  await deployment.clear();
});

describe.each(changed)("the number of members of %s", (service) => {
  it("grows, and loses no acknowledged write", async () => {
    const first = await up(service, 3, "keep");
    expect(first.code, first.output).toBe(0);
    const { result, gapSeconds } = await underLoad(stack, service, () => up(service, 5, "keep"));
    expect(result.code, result.output).toBe(0);
    await expectMembers(service, 5);
    await expectShort(service, gapSeconds);
  });

  it("shrinks, if it can be while one that leaves leads, and loses no acknowledged write", async () => {
    await letLeaverLead(service);
    const { result, gapSeconds } = await underLoad(stack, service, () => up(service, 3, "keep"));
    expect(result.code, result.output).toBe(0);
    await expectMembers(service, 3);
    await expectShort(service, gapSeconds);
  });

  it("does not use the volumes again of those that left", async () => {
    const left = [`data-${service}-3`, `data-${service}-4`];
    const refused = await up(service, 5, "keep");
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain(`the volume claims ${left.join(", ")} are there already`);
    await expectMembers(service, 3);
    await kubectl("delete", "pvc", ...left, "-n", namespace);
  });

  it.runIf(everything)("changes when pulumi up was killed at any point and is run again", async () => {
    for (const members of [5, 3]) {
      const { result } = await underLoad(stack, service, async () => {
        for (let kills = 0; kills < 2; kills++) {
          const seconds = 3 + 40 * Math.random();
          process.stdout.write(
            `${service}: pulumi up with ${members} members is killed after ${seconds.toFixed(1)} s\n`,
          );
          await deployment.upKilled(configuration(service, members, "delete"), () => delay(seconds * 1000));
        }
        return up(service, members, "delete");
      });
      expect(result.code, result.output).toBe(0);
      await expectMembers(service, members);
    }
    const claims = await kubectl("get", "pvc", "-n", namespace, "-l", selectorOf(service), "-o", "name");
    expect(claims.trim().split("\n")).toHaveLength(3);
  });
});
