import { describe, expect, it } from "vitest";
import {
  cpuSeconds,
  fitLine,
  goalMet,
  growthMeasurements,
  type Measurement,
  memoryMeasurements,
  renderMeasurements,
  renderSection,
  replaceSection,
} from "../../../drills/measurement";

const preview: Measurement = {
  name: "`pulumi preview`",
  value: 6,
  unit: "s",
  reference: { name: "an empty program", value: 4 },
  goal: 2,
};
const gap: Measurement = { name: "write gap", value: 6.2, unit: "s", goal: 5 };
const machine = { cores: 2, memoryGiB: 24, nodes: 3 };

describe("a measurement", () => {
  it("meets a goal by its ratio, or by its value when there is nothing to compare with", () => {
    expect(goalMet(preview)).toBe(true);
    expect(goalMet({ ...preview, value: 9 })).toBe(false);
    expect(goalMet(gap)).toBe(false);
    expect(goalMet({ name: "x", value: 1, unit: "s" })).toBeUndefined();
    expect(goalMet({ ...preview, reference: { name: "nothing", value: 0 } })).toBe(false);
  });

  it("does not meet its goal when it must not count, and shows no number", () => {
    const lost = { ...gap, name: "write gap (FAILED)", value: Number.POSITIVE_INFINITY };
    expect(goalMet(lost)).toBe(false);
    expect(renderMeasurements([lost])).toMatch(/write gap \(FAILED\) +none .* NO/);
  });

  it("is a line of a table", () => {
    expect(renderMeasurements([preview, gap])).toMatchInlineSnapshot(`
      "MEASURED           VALUE  COMPARED WITH      VALUE  RATIO  GOAL            MET
      \`pulumi preview\`  6.00 s  an empty program  4.00 s   1.50  at most 2       yes
      write gap         6.20 s                                   at most 5.00 s  NO
      "
    `);
  });
});

describe("the page", () => {
  const section = renderSection([preview], machine);

  it("begins with a title and has the machine and the numbers", () => {
    const page = replaceSection("", section);
    expect(page).toMatch(/^# Benchmarks\n\n<!-- written by/);
    expect(page).toContain("2 cores and 24 GiB, 3 Kubernetes nodes");
    expect(page).toContain("| `pulumi preview` | 6.00 s | an empty program | 4.00 s | 1.50 | at most 2 | yes |");
  });

  it("keeps what people wrote around the generated part, and changes only with the numbers", () => {
    const page = `# Numbers\n\nBefore.\n\n${section}\n\nAfter.\n`;
    expect(replaceSection(page, section)).toBe(page);
    const changed = replaceSection(page, renderSection([gap], machine));
    expect(changed).toContain("Before.");
    expect(changed).toContain("After.");
    expect(changed).not.toContain("pulumi preview");
    expect(changed).toContain("| write gap | 6.20 s |  |  |  | at most 5.00 s | NO |");
  });
});

describe("what the kubelets say", () => {
  const stats = (name: string, containers: Record<string, [workingSetMiB: number, rssMiB: number]>) => ({
    podRef: { name, namespace: "cells" },
    containers: Object.entries(containers).map(([container, [workingSet, rss]]) => ({
      name: container,
      memory: { workingSetBytes: workingSet * 1024 ** 2, rssBytes: rss * 1024 ** 2 },
      cpu: { usageCoreNanoSeconds: 2e9 },
    })),
  });
  const pod = (instance: string, name: string, component: string) => ({
    name,
    namespace: "cells",
    instance,
    component,
  });
  const pods = [
    pod("redis", "redis-0", "server"),
    pod("redis", "redis-1", "server"),
    pod("redis", "redis-gateway-1", "gateway"),
    pod("etcd", "etcd-0", "server"),
  ];
  const nodes = [
    { pods: [stats("redis-0", { redis: [30, 25], agent: [60, 26] }), stats("redis-gateway-1", { haproxy: [7, 5] })] },
    { pods: [stats("redis-1", { redis: [40, 35], agent: [50, 20] }), stats("etcd-0", { etcd: [90, 80] })] },
  ];

  it("is the anonymous memory of the largest agent, against the budget of one", () => {
    const measured = memoryMeasurements(pods, nodes, 25);
    expect(measured.map(({ name, value }) => [name, value])).toEqual([
      ["redis: anonymous memory of the largest of 2 agents", 26],
      ["redis: memory of the servers", 70],
      ["redis: memory of the gateway", 7],
      ["etcd: memory of the servers", 90],
    ]);
    expect(measured.map(goalMet)).toEqual([false, undefined, undefined, undefined]);
  });

  it("is an error for a pod without numbers", () => {
    expect(() => memoryMeasurements([pod("etcd", "etcd-0", "server")], [{}], 25)).toThrow(
      "the kubelets know no memory use of etcd-0",
    );
  });

  it("is the CPU of the pods asked for", () => {
    expect(cpuSeconds(pods.slice(0, 1), nodes)).toBe(4);
  });
});

describe("growth", () => {
  it("is a line with the least squares, and how far a point is from it", () => {
    const points = [1, 7, 14, 28].map((x) => ({ x, y: 2 + 0.5 * x }));
    expect(fitLine(points)).toEqual({ slope: 0.5, intercept: 2, deviation: 0 });
    const bent = fitLine([1, 2, 3].map((x) => ({ x, y: x * x })));
    expect(bent.slope).toBe(4);
    expect(bent.deviation).toBeCloseTo(1 / 3);
  });

  it("is each value and what one more component costs", () => {
    const points = [1, 7].map((x) => ({ x, y: x }));
    expect(growthMeasurements("state", "MB", points).map(({ name, value }) => [name, value])).toEqual([
      ["state, 1 component", 1],
      ["state, 7 components", 7],
      ["state: each further component (0 % from a line at most)", 1],
    ]);
  });
});
