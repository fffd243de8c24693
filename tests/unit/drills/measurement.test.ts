import { describe, expect, it } from "vitest";
import {
  goalMet,
  type Measurement,
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

  it("is that of the servers, and that of everything beside them", () => {
    const pods = [
      { name: "etcd-0", namespace: "cells", component: "server" },
      { name: "etcd-maintenance-1", namespace: "cells", component: "agent" },
    ];
    const nodes = [
      { pods: [stats("etcd-0", { etcd: 30, agent: 20 })] },
      { pods: [stats("etcd-maintenance-1", { etcd: 5 })] },
    ];
    expect(memoryUse(pods, nodes, ["etcd"])).toEqual({ serversMiB: 30, agentsMiB: 25, unknown: [] });
  });

  it("is unknown for a pod without numbers", () => {
    const pods = [{ name: "etcd-0", namespace: "cells", component: "server" }];
    expect(memoryUse(pods, [{}], ["etcd"]).unknown).toEqual(["etcd-0"]);
  });
});
