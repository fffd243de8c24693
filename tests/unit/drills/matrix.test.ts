import { describe, expect, it } from "vitest";
import type { DrillReport } from "../../../drills/drill";
import { matrixOf, renderJunit, renderMarkdown, renderPage } from "../../../drills/matrix";
import { passedDrill } from "./sample";

const run = (more: Partial<DrillReport> = {}): DrillReport => ({
  ...passedDrill,
  acknowledged: 100,
  gapSeconds: 1.5,
  recoveredSeconds: 3.2,
  ...more,
});

const late = run({ result: "failed", gapSeconds: 7.25, lostWrites: 2, reasons: ["the write gap was 7.25 s <late>"] });
const reports = [run(), late, run({ drill: "hand-over", name: "redis", gapSeconds: undefined })];
const facts = { date: "2026-11-30" };

describe("many drills", () => {
  it("are a matrix: the longest gap, all writes, and each reason once", () => {
    const { services, rows } = matrixOf([...reports, late]);
    expect(services).toEqual(["etcd", "redis"]);
    expect(rows.map(({ drill, cells }) => [drill, ...cells.map((cell) => cell?.runs)])).toEqual([
      ["leader-kill", 3, undefined],
      ["hand-over", undefined, 1],
    ]);
    expect(rows[0]?.cells[0]).toEqual({
      runs: 3,
      passed: 1,
      gapSeconds: 7.25,
      budgetSeconds: 5,
      acknowledged: 300,
      lostWrites: 4,
      reasons: late.reasons,
    });
  });

  it("are a table that says what did not pass", () => {
    expect(renderMarkdown(reports, facts)).toBe(
      [
        "- date: 2026-11-30",
        "",
        "| drill | etcd | redis |",
        "| --- | --- | --- |",
        "| `leader-kill` | **7.3 of 5 s, 2 lost, 1 of 2 passed** |  |",
        "| `hand-over` |  | none of 5 s |",
        "",
        "What did not pass:",
        "",
        "- etcd `leader-kill`: the write gap was 7.25 s <late>",
        "",
      ].join("\n"),
    );
  });

  it("are test cases for a build server", () => {
    const text = renderJunit(reports);
    expect(text).toContain('<testsuite name="drills" tests="3" failures="1">');
    expect(text).toContain('<testcase classname="leader-kill" name="etcd 1" time="3.2"/>');
    expect(text).toContain('<failure message="the write gap was 7.25 s &lt;late&gt;"/>');
  });

  it("are a page with the writes of each run, in which nothing is markup but its own", () => {
    const timeline = {
      bucketSeconds: 0.1,
      ok: [3, 0],
      fail: [0, 0],
      unknown: [0, 1],
      marks: [{ seconds: 0.1, what: "fault" }],
    };
    const page = renderPage([run({ timeline }), late], facts);
    expect(page).toContain('<td class="failed" title="the write gap was 7.25 s &lt;late&gt;">7.3 of 5 s<br>');
    expect(page).toContain('<svg viewBox="0 0 2 3"');
    expect(page).toContain('<rect class="ok" x="0" y="0" width="1" height="3"/>');
    expect(page).toContain('<rect class="unknown" x="1" y="2" width="1" height="1"/>');
    expect(page).toContain('<line x1="1.0" x2="1.0" y1="0" y2="3"><title>fault</title></line>');
    expect(page).not.toContain("<late>");
  });
});
