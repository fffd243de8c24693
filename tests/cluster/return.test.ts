import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { namesOf } from "../../components/shared/core/names";
import type { DrilledService } from "../../drills/profiles";
import { kubectl } from "../../sandbox/cluster";
import { until } from "../../sandbox/shell";
import { serviceNames } from "../../stacks/config";
import { endCertificates } from "../support/certificates";
import { type Deployment, openDeployment } from "../support/deployment";
import { everything } from "../support/scope";
import { drilledServices, expectStored, type Held, heldBy, openWorkload, refusalOf, runNow } from "../support/workload";

/** What was destroyed with `deletion: "keep"` and is deployed anew. The tests build on each other. */
const stack = "return";
const namespace = `cells-${stack}`;
const urnOfNamespace = `urn:pulumi:${stack}::cells-services::kubernetes:core/v1:Namespace::namespace`;
const settingsWith = (changes: object) =>
  Object.fromEntries(
    serviceNames.map((each) => [`cells-services:${each}`, { tls: "required", deletion: "keep", ...changes }]),
  );
const componentLabel = "app.kubernetes.io/component=server";
const ids = Array.from({ length: 20 }, (_, index) => `kept-${index}`);
let deployment: Deployment;

/** Closed at the very end: whoever closes a workload removes what it has written. */
const opened: { close: () => Promise<void> }[] = [];
async function open(service: DrilledService) {
  const workload = await openWorkload(stack, service, "return");
  opened.push(workload);
  return workload;
}

const up = async (): Promise<void> => {
  const { code, output } = await deployment.deploy("up", "--yes", "--skip-preview");
  expect(code, output).toBe(0);
};
const marker = (service: string) =>
  kubectl("get", "configmap", namesOf(service).marker, "-n", namespace, "-o", "jsonpath={.data}");
const names = (kinds: string) => kubectl("get", kinds, "-n", namespace, "-o", "name");

beforeAll(async () => {
  deployment = await openDeployment(stack, settingsWith({}));
  await deployment.clear();
});

afterAll(async () => {
  await Promise.all(opened.map(({ close }) => close()));
  await deployment.clear();
});

describe("services that are destroyed with their volumes kept", () => {
  const markers = new Map<string, string>();

  it("take writes", async () => {
    await up();
    for (const service of drilledServices) {
      const { workload } = await open(service);
      await until("a first write", 60, () => workload.prepare().then(() => true));
      for (const id of ids) await until(`${service} takes ${id}`, 30, () => workload.write(id, 0).then(() => true));
    }
  });

  it("replace their passwords, while clients with the former ones go on", async () => {
    const former = new Map<DrilledService, Held>();
    for (const service of drilledServices) former.set(service, await heldBy(stack, service));
    deployment = await openDeployment(stack, settingsWith({ passwords: { rotation: 1 } }));
    await up();
    for (const [service, held] of former) {
      expect(await heldBy(stack, service), service).not.toEqual(held);
      expect(await refusalOf(stack, service, held), service).toBeUndefined();
    }
    // With what is in the Secrets now.
    await deployment.checksPass(60);
  });

  it.runIf(everything)("come back by themselves when their certificates ended while everything was off", async () => {
    const scale = async (replicas: number) => {
      for (const service of drilledServices) {
        await kubectl("scale", "statefulset", service, "-n", namespace, `--replicas=${replicas}`);
      }
    };
    await scale(0);
    await until("nothing that runs", 180, async () => {
      const members = await kubectl("get", "pods", "-n", namespace, "-l", componentLabel, "-o", "name");
      return members.includes("objectstore") && members.trim().split("\n").length === 1 ? true : undefined;
    });
    for (const service of drilledServices) await endCertificates(namespace, service);
    await scale(3);
    // As in the night after.
    await Promise.all(
      drilledServices.map(async (service) => {
        await runNow(namespace, `${service}-certificates`);
        await runNow(namespace, `${service}-roll`, 1500);
      }),
    );
    await deployment.checksPass(300);
  });

  it("leave volumes and markers, and nothing that runs", async () => {
    for (const service of serviceNames) markers.set(service, await marker(service));
    const destroyed = await deployment.deploy("destroy", "--yes", "--skip-preview", "--exclude", urnOfNamespace);
    expect(destroyed.code, destroyed.output).toBe(0);
    expect(await names("statefulsets,pods,jobs")).toBe("");
    expect((await names("persistentvolumeclaims")).trim().split("\n")).toHaveLength(3 * drilledServices.length + 1);
  });

  it("come back as the same clusters, with other passwords", async () => {
    await up();
    await deployment.checksPass(120);
    for (const service of serviceNames) expect(await marker(service), service).toBe(markers.get(service));
  });

  it.each(drilledServices)("have every acknowledged write on each member of %s", async (service) => {
    await expectStored(await open(service), ids);
  });
});
