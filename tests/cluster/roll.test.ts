import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { namesOf } from "../../components/shared/core/names";
import { killServer } from "../../drills/faults";
import type { DrilledService } from "../../drills/profiles";
import { kubectl, loadImage } from "../../sandbox/cluster";
import { formerVersions, makeOtherImage, nextVersions, type OtherImage } from "../../sandbox/images";
import { type Deployment, openDeployment } from "../support/deployment";
import { expectShort, podsOf, selectorOf, underLoad } from "../support/load";
import { changed, everything } from "../support/scope";
import { heldBy, placeOf, refusalOf, runNow } from "../support/workload";

/** Changes of a living service, under load. The tests of a service build on each other. */
const stack = "roll";
const namespace = `cells-${stack}`;
interface Upgrade {
  title: string;
  service: DrilledService;
  /** Without one: the default. */
  from?: OtherImage;
  to?: OtherImage;
}
const from = (service: keyof typeof formerVersions): Upgrade => ({
  title: `${service} from ${formerVersions[service].version}`,
  service,
  from: formerVersions[service],
});
/** Between versions that can be had. */
const upgrades: Upgrade[] = [
  from("etcd"),
  ...(everything
    ? [
        { title: `etcd to ${nextVersions.etcd.version}`, service: "etcd" as const, to: nextVersions.etcd },
        ...(["vault", "nats", "redis", "mongodb"] as const).map(from),
      ]
    : []),
];
let deployment: Deployment;

/** It only goes up, whatever else a test changes. */
let rotation = 0;
const configuration = (service: DrilledService, settings: object): string =>
  deployment.configurationWith("changed", {
    "cells-services:services": [service],
    [`cells-services:${service}`]: { applications: ["cells"], tls: "required", passwords: { rotation }, ...settings },
  });
const up = (service: DrilledService, settings: object) => deployment.up(configuration(service, settings));
const nowhere = { image: "registry.invalid/server:none" };
const cannotStart = /roll failed: [a-z]+-[0-2] cannot start: (ErrImagePull|ImagePullBackOff)/;

/** Each server dies without a word, and comes back by itself, before the next one does. */
async function crashAll(service: DrilledService): Promise<void> {
  const place = await placeOf(stack, service);
  for (const member of place.target.members) {
    const { proven, detail } = await (await killServer(place, member)).proof;
    expect(proven, detail).toBe(true);
    await deployment.checksPass(180);
  }
}

/** Since the last phase of a change of the authority. */
async function letTwoDaysPass(secret: string): Promise<void> {
  const { data } = JSON.parse(await kubectl("get", "secret", secret, "-n", namespace, "-o", "json")) as {
    data: { "state.json": string };
  };
  const state = JSON.parse(Buffer.from(data["state.json"], "base64").toString()) as { since: number };
  const earlier = { ...state, since: state.since - 2 * 24 * 60 * 60 * 1000 };
  const patch = JSON.stringify({ stringData: { "state.json": JSON.stringify(earlier) } });
  await kubectl("patch", "secret", secret, "-n", namespace, "--type=merge", "-p", patch);
}

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await deployment.clear();
});

afterAll(async () => {
  await deployment.clear();
});

describe.each(changed)("a change of %s", (service) => {
  beforeAll(() => {
    rotation = 0;
  });

  it.runIf(everything)("is made without hands after a first deployment with a wrong image", async () => {
    const wrong = await up(service, nowhere);
    expect(wrong.code).not.toBe(0);
    expect(wrong.output).toMatch(cannotStart);
    const right = await up(service, {});
    expect(right.code, right.output).toBe(0);
  });

  it("replaces one member after the other, the leader last, and loses no acknowledged write", async () => {
    const first = await up(service, {});
    expect(first.code, first.output).toBe(0);
    const before = await podsOf(stack, service);
    const { result, leader, gapSeconds } = await underLoad(stack, service, () =>
      up(service, { resources: { requests: { cpu: "60m" } } }),
    );
    expect(result.code, result.output).toBe(0);
    const after = await podsOf(stack, service);
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [member, uid] of after) expect(uid, member).not.toBe(before.get(member));
    // In NATS the stream that is written to has a leader of its own, and the roll asks for that of all.
    if (service !== "nats") expect([...after.keys()].at(-1)).toBe(leader);
    await expectShort(service, gapSeconds);
  });

  it("stops at the first member that cannot start, says why, and is set back", async () => {
    const before = await podsOf(stack, service);
    const { result } = await underLoad(stack, service, async () => {
      const broken = await up(service, nowhere);
      const meanwhile = await podsOf(stack, service);
      const back = await up(service, {});
      return { broken, meanwhile, back };
    });
    expect(result.broken.code).not.toBe(0);
    expect(result.broken.output).toMatch(cannotStart);
    const replaced = [...result.meanwhile].filter(([member, uid]) => before.get(member) !== uid);
    expect(replaced).toHaveLength(1);
    expect(result.back.code, result.back.output).toBe(0);
  });

  it.runIf(everything)("replaces its authority in three phases, and loses no acknowledged write", async () => {
    const step = (happens: () => Promise<unknown>) =>
      underLoad(stack, service, async () => {
        await happens();
        await runNow(namespace, `${service}-roll`);
        // Every port shows what was issued last, and its authority is trusted.
        await deployment.checksPass(300);
      });
    const nextNight = async () => {
      await letTwoDaysPass(namesOf(service).authority);
      return runNow(namespace, `${service}-certificates`);
    };
    const steps = [
      await step(async () => {
        const introduced = await up(service, { certificates: { rotation: 1 } });
        expect(introduced.code, introduced.output).toBe(0);
      }),
      await step(async () => expect(await nextNight()).toContain("signing with the new certificate authority")),
      await step(async () => expect(await nextNight()).toContain("no longer trusting the old certificate authority")),
    ];
    for (const { gapSeconds } of steps) await expectShort(service, gapSeconds);
  });

  it.runIf(everything)("is made when pulumi up was killed at any point and is run again", async () => {
    const before = await podsOf(stack, service);
    rotation += 1;
    const change = { resources: { requests: { cpu: "70m" } } };
    const { result } = await underLoad(stack, service, async () => {
      for (let kills = 0; kills < 3; kills++) {
        const seconds = 3 + 40 * Math.random();
        process.stdout.write(`${service}: pulumi up is killed after ${seconds.toFixed(1)} s\n`);
        await deployment.upKilled(configuration(service, change), () => delay(seconds * 1000));
      }
      return up(service, change);
    });
    expect(result.code, result.output).toBe(0);
    const after = await podsOf(stack, service);
    for (const [member, uid] of after) expect(uid, member).not.toBe(before.get(member));
    await deployment.checksPass(60);
  });

  it.runIf(everything)("replaces its passwords, and refuses no client that has read them once since", async () => {
    const rotate = async () => {
      rotation += 1;
      const { result, failures } = await underLoad(stack, service, () => up(service, {}));
      expect(result.code, result.output).toBe(0);
      expect(failures).toEqual([]);
      return heldBy(stack, service);
    };
    // Nothing but the passwords is changed below.
    const settled = await up(service, {});
    expect(settled.code, settled.output).toBe(0);
    const zero = await heldBy(stack, service);
    const one = await rotate();
    expect(one).not.toEqual(zero);
    await crashAll(service);
    await crashAll(service);
    for (const held of [zero, one]) expect(await refusalOf(stack, service, held)).toBeUndefined();
    const skipped = await up(service, { passwords: { rotation: rotation + 2 } });
    expect(skipped.code).not.toBe(0);
    expect(skipped.output).toContain(
      `the passwords were rotated to passwords.rotation ${rotation}, got ${rotation + 2}`,
    );
    // The writers hold those of the first rotation during the second one.
    const two = await rotate();
    for (const held of [one, two]) expect(await refusalOf(stack, service, held)).toBeUndefined();
    expect(await refusalOf(stack, service, zero)).toMatch(/auth|password|denied|permission|WRONGPASS/i);
  });

  it("grows the volumes in place, and does not shrink them", async () => {
    const uid = () => kubectl("get", "statefulset", service, "-n", namespace, "-o", "jsonpath={.metadata.uid}");
    const sizes = async () => {
      const path = "jsonpath={.items[*].spec.resources.requests.storage}";
      return (await kubectl("get", "pvc", "-n", namespace, "-l", selectorOf(service), "-o", path)).split(" ");
    };
    const before = await uid();
    const grown = await up(service, { storage: { size: "20Gi" } });
    expect(grown.code, grown.output).toBe(0);
    expect(await sizes()).toEqual(["20Gi", "20Gi", "20Gi"]);
    expect(await uid()).toBe(before);
    const smaller = await up(service, { storage: { size: "19Gi" } });
    expect(smaller.code, smaller.output).not.toBe(0);
    expect(smaller.output).toContain("has 20Gi, got storage.size 19Gi; a volume cannot become smaller");
  });
});

describe.each(upgrades)("an upgrade of $title", ({ service, from, to }) => {
  const settings = (other?: OtherImage) => (other === undefined ? {} : { version: other.version });

  it("loses no acknowledged write", async () => {
    await deployment.clear();
    rotation = 0;
    for (const other of [from, to]) if (other !== undefined) await loadImage(await makeOtherImage(other));
    const first = await up(service, settings(from));
    expect(first.code, first.output).toBe(0);
    const { result, gapSeconds } = await underLoad(stack, service, () => up(service, settings(to)));
    expect(result.code, result.output).toBe(0);
    await expectShort(service, gapSeconds);
    await deployment.checksPass(60);
  });

  it.runIf(service === "mongodb")("has two steps, of which the second one is asked for", async () => {
    const next = { version: "7.0.14" };
    const early = await up(service, next);
    expect(early.code).not.toBe(0);
    expect(early.output).toContain("the data has featureCompatibilityVersion 5.0, got version 7.0.14");
    const { result, failures } = await underLoad(stack, service, () =>
      up(service, { featureCompatibilityVersion: "6.0" }),
    );
    expect(result.code, result.output).toBe(0);
    expect(failures).toEqual([]);
    const judged = await deployment.deploy("preview", "--config-file", configuration(service, next));
    expect(judged.code, judged.output).toBe(0);
    const said = `fetch("http://127.0.0.1:8008/metrics").then((answer) => answer.text()).then(console.log)`;
    const run = ["-c", "agent", "--", "/usr/local/bin/node", "-e", said];
    expect(await kubectl("exec", "-n", namespace, "mongodb-0", ...run)).toContain(
      "cells_services_mongodb_feature_compatibility_version 6\n",
    );
  });

  it("is not taken back", async () => {
    const before = await podsOf(stack, service);
    const back = await up(service, settings(from));
    expect(back.code).not.toBe(0);
    expect(back.output).toMatch(/preflight failed: members run version .*, which is older and may not read their data/);
    expect(await podsOf(stack, service)).toEqual(before);
  });
});
