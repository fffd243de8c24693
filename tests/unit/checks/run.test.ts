import { describe, expect, it } from "vitest";
import { type RunOptions, runChecks } from "../../../checks/run";
import type { Check, CheckEnvironment } from "../../../components/shared/core/check";
import { target } from "./target";

const passed = { check: "a", ok: true, detail: "seen", seconds: 0.1 };

function options(check: Check, more: Partial<RunOptions> = {}): RunOptions & { closed: string[] } {
  const closed: string[] = [];
  return {
    closed,
    checkOf: async () => check,
    open: ({ name }) => ({
      ...({} as CheckEnvironment),
      close: async () => void closed.push(name),
    }),
    deadlineSeconds: 5,
    concurrency: 2,
    clock: () => 0,
    ...more,
  };
}

describe("a run of checks", () => {
  it("keeps the order of the targets and closes every environment", async () => {
    const run = options(async () => [passed]);
    const report = await runChecks([target("etcd"), target("nats"), target("other")], run);
    expect(report.ok).toBe(true);
    expect(report.services.map((each) => each.name)).toEqual(["etcd", "nats", "other"]);
    expect(report.totals).toEqual({ services: 3, checks: 3, passed: 3, failed: 0 });
    expect(run.closed.sort()).toEqual(["etcd", "nats", "other"]);
  });

  it("turns what is thrown into a finding, and goes on with the others", async () => {
    const run = options(async ({ name }) => {
      if (name === "etcd") throw new Error("boom");
      return [passed];
    });
    const report = await runChecks([target("etcd"), target("nats")], run);
    expect(report.ok).toBe(false);
    expect(report.services[0]?.findings).toMatchObject([{ check: "run", ok: false, detail: "boom" }]);
    expect(report.services[1]?.ok).toBe(true);
    expect(run.closed.sort()).toEqual(["etcd", "nats"]);
  });

  it("does not take an empty list of findings for a success", async () => {
    const report = await runChecks(
      [target("etcd")],
      options(async () => []),
    );
    expect(report.ok).toBe(false);
    expect(report.services[0]?.findings[0]?.detail).toMatch(/reported nothing/);
  });

  it("ends a check that does not end by itself", async () => {
    const never: Check = () => new Promise(() => undefined);
    const run = options(never, { deadlineSeconds: 0.02, graceSeconds: 0.02, concurrency: 1 });
    const report = await runChecks([target("etcd"), target("nats")], run);
    expect(report.services.map((each) => each.findings[0]?.detail)).toEqual([
      "no result within the 0.02 s of the whole run",
      "no result within the 0.02 s of the whole run",
    ]);
    // The second one never began: nothing to close.
    expect(run.closed).toEqual(["etcd"]);
  });

  it("keeps what a check has found when the time is over, and says that it was late", async () => {
    const slow: Check = (_, { signal }) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve([passed]));
      });
    const run = options(slow, { deadlineSeconds: 0.02 });
    const report = await runChecks([target("etcd")], {
      ...run,
      open: (known, signal) => ({ ...run.open(known, signal), signal }),
    });
    expect(report.ok).toBe(false);
    expect(report.services[0]?.findings).toMatchObject([
      passed,
      { check: "run", ok: false, detail: "no result within the 0.02 s of the whole run" },
    ]);
    expect(run.closed).toEqual(["etcd"]);
  });

  it("runs no more at once than allowed", async () => {
    let running = 0;
    let most = 0;
    const check: Check = async () => {
      most = Math.max(most, ++running);
      await new Promise(setImmediate);
      running -= 1;
      return [passed];
    };
    await runChecks(["a", "b", "c", "d", "e"].map(target), options(check));
    expect(most).toBe(2);
  });

  it("asks for diagnostics only when a service failed, and survives their failure", async () => {
    const asked: string[] = [];
    const run = options(async ({ name }) => [{ ...passed, ok: name !== "etcd" }], {
      diagnose: async ({ name }) => {
        asked.push(name);
        throw new Error("forbidden");
      },
    });
    const report = await runChecks([target("etcd"), target("nats")], run);
    expect(asked).toEqual(["etcd"]);
    expect(report.services[0]?.diagnostics).toEqual(["no diagnostics: forbidden"]);
  });
});
