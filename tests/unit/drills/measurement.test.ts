import { describe, expect, it } from "vitest";
import {
  goalMet,
  type Measurement,
  memoryMeasurements,
  memoryUse,
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

  it("may have a least instead of a most", () => {
    const rate: Measurement = {
      name: "GET through the gateway",
      value: 9600.4,
      unit: "/s",
      reference: { name: "direct", value: 10_000 },
      atLeast: 0.95,
    };
    expect(goalMet(rate)).toBe(true);
    expect(goalMet({ ...rate, value: 9400 })).toBe(false);
    expect(goalMet({ ...rate, value: Number.NaN })).toBe(false);
    expect(renderMeasurements([rate])).toMatch(/9600 \/s +direct +10000 \/s +0.96 +at least 0.95 +yes/);
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

describe("memory", () => {
  const stats = (name: string, containers: Record<string, number>) => ({
    podRef: { name, namespace: "cells" },
    containers: Object.entries(containers).map(([container, mebibytes]) => ({
      name: container,
      memory: { workingSetBytes: mebibytes * 1024 ** 2 },
    })),
  });

  const pod = (instance: string, name: string, component: string) => ({
    name,
    namespace: "cells",
    instance,
    component,
  });

  it("is that of the servers, and apart from it that of agents and gateways, for each ensemble", () => {
    const pods = [
      pod("redis", "redis-0", "server"),
      pod("redis", "redis-gateway-1", "gateway"),
      pod("etcd", "etcd-0", "server"),
      pod("etcd", "etcd-maintenance-1", "agent"),
    ];
    const nodes = [
      { pods: [stats("redis-0", { redis: 30, sentinel: 10, agent: 20 }), stats("redis-gateway-1", { haproxy: 7 })] },
      { pods: [stats("etcd-0", { etcd: 40 }), stats("etcd-maintenance-1", { maintenance: 5 })] },
    ];
    expect(memoryUse(pods, nodes)).toEqual({
      ensembles: {
        redis: { serversMiB: 40, agentsMiB: 20, gatewaysMiB: 7 },
        etcd: { serversMiB: 40, agentsMiB: 5, gatewaysMiB: 0 },
      },
      unknown: [],
    });
  });

  it("is unknown for a pod without numbers", () => {
    expect(memoryUse([pod("etcd", "etcd-0", "server")], [{}]).unknown).toEqual(["etcd-0"]);
  });

  it("is a goal for each ensemble and for all of them", () => {
    const redis = { serversMiB: 40, agentsMiB: 20, gatewaysMiB: 7 };
    const etcd = { serversMiB: 60, agentsMiB: 5, gatewaysMiB: 0 };
    const measured = memoryMeasurements({ redis, etcd }, 0.15);
    expect(measured.map(({ name, value, reference }) => [name, value, reference?.value])).toEqual([
      ["redis: memory of agents that run all the time (20.0 MiB) and gateways (7.0 MiB)", 27, 40],
      ["etcd: memory of agents that run all the time (5.0 MiB)", 5, 60],
      ["all services: memory of agents that run all the time (25.0 MiB) and gateways (7.0 MiB)", 32, 100],
    ]);
    expect(measured.map(goalMet)).toEqual([false, true, false]);
    expect(memoryMeasurements({ etcd }, 0.15)).toHaveLength(1);
  });
});
