/** What many drills have shown, one row for each and one column for each service: a page, a table for the documentation, JUnit. Pure. */
import { xml } from "../checks";
import type { DrillReport } from "./drill";
import type { Timeline } from "./ledger";

/** What the numbers depend on, such as `Kubernetes: 1.36.2`. */
export type Facts = Record<string, string>;

export interface Cell {
  runs: number;
  passed: number;
  /** The longest of all runs, seconds; undefined when no run has acknowledged anything. */
  gapSeconds: number | undefined;
  budgetSeconds: number;
  acknowledged: number;
  lostWrites: number;
  /** Why runs did not pass, each reason once. */
  reasons: string[];
}

export interface Matrix {
  services: string[];
  rows: { drill: string; cells: (Cell | undefined)[] }[];
}

export function matrixOf(reports: readonly DrillReport[]): Matrix {
  const services = [...new Set(reports.map(({ name }) => name))];
  const drills = [...new Set(reports.map(({ drill }) => drill))];
  const cellOf = (drill: string, service: string): Cell | undefined => {
    const runs = reports.filter((each) => each.drill === drill && each.name === service);
    const [first] = runs;
    if (first === undefined) return undefined;
    const gaps = runs.flatMap(({ gapSeconds }) => gapSeconds ?? []);
    const sum = (count: (report: DrillReport) => number): number =>
      runs.reduce((total, each) => total + count(each), 0);
    return {
      runs: runs.length,
      passed: runs.filter(({ result }) => result === "passed").length,
      gapSeconds: gaps.length === 0 ? undefined : Math.max(...gaps),
      budgetSeconds: first.budgetSeconds,
      acknowledged: sum(({ acknowledged }) => acknowledged),
      lostWrites: sum(({ lostWrites }) => lostWrites),
      reasons: [...new Set(runs.filter(({ result }) => result !== "passed").flatMap(({ reasons }) => reasons))],
    };
  };
  return {
    services,
    rows: drills.map((drill) => ({ drill, cells: services.map((service) => cellOf(drill, service)) })),
  };
}

/** For a page of the documentation. */
export function renderMarkdown(reports: readonly DrillReport[], facts: Facts): string {
  const { services, rows } = matrixOf(reports);
  const lines = rows.map(({ drill, cells }) => `| \`${drill}\` | ${cells.map(wordsOf).join(" | ")} |`);
  const failed = rows.flatMap(({ drill, cells }) =>
    cells.flatMap((cell, index) =>
      (cell?.reasons ?? []).map((reason) => `- ${services[index]} \`${drill}\`: ${reason}`),
    ),
  );
  return `${[
    ...Object.entries(facts).map(([name, value]) => `- ${name}: ${value}`),
    "",
    `| drill | ${services.join(" | ")} |`,
    `| --- |${" --- |".repeat(services.length)}`,
    ...lines,
    ...(failed.length === 0 ? [] : ["", "What did not pass:", "", ...failed]),
  ].join("\n")}\n`;
}

function wordsOf(cell: Cell | undefined): string {
  if (cell === undefined) return "";
  const gap = `${secondsOf(cell.gapSeconds)} of ${cell.budgetSeconds} s`;
  const lost = cell.lostWrites === 0 ? "" : `, ${cell.lostWrites} lost`;
  return cell.passed === cell.runs ? `${gap}${lost}` : `**${gap}${lost}, ${cell.passed} of ${cell.runs} passed**`;
}

const secondsOf = (seconds: number | undefined): string => seconds?.toFixed(1) ?? "none";

/** The format of the Ant task, which build servers read. */
export function renderJunit(reports: readonly DrillReport[]): string {
  const cases = reports.map((each, index) => {
    const head = `<testcase classname="${xml(each.drill)}" name="${xml(`${each.name} ${index + 1}`)}" time="${each.recoveredSeconds?.toFixed(1) ?? "0"}"`;
    if (each.result === "passed") return `  ${head}/>`;
    return `  ${head}><failure message="${xml(each.reasons.join("; "))}"/></testcase>`;
  });
  const failures = reports.filter(({ result }) => result !== "passed").length;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite name="drills" tests="${reports.length}" failures="${failures}">`,
    ...cases,
    "</testsuite>",
    "",
  ].join("\n");
}

const style = `
:root { color-scheme: light dark; --ok: #2e7d32; --fail: #ef6c00; --unknown: #c62828; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { border: 1px solid #8886; padding: .3rem .6rem; text-align: left; }
td.passed { background: #2e7d3226; } td.failed { background: #c6282840; }
small { opacity: .75; } svg { display: block; width: 100%; height: 5rem; background: #8881; }
.ok { fill: var(--ok); } .fail { fill: var(--fail); } .unknown { fill: var(--unknown); }
line { stroke: currentColor; stroke-width: .1; } h3 { margin-bottom: 0; }
`;

/** One page that needs nothing else: the matrix, and for each run when which writes were acknowledged. */
export function renderPage(reports: readonly DrillReport[], facts: Facts): string {
  const { services, rows } = matrixOf(reports);
  const head = services.map((service) => `<th>${xml(service)}</th>`).join("");
  const body = rows.map(
    ({ drill, cells }) => `<tr><th>${xml(drill)}</th>${cells.map((cell) => cellMarkup(cell)).join("")}</tr>`,
  );
  return [
    "<!doctype html>",
    `<html lang="en"><meta charset="utf-8"><title>drills</title><style>${style}</style>`,
    "<h1>Drills</h1>",
    `<ul>${Object.entries(facts)
      .map(([name, value]) => `<li>${xml(name)}: ${xml(value)}</li>`)
      .join("")}</ul>`,
    "<p>The longest time without an acknowledged write, and its budget; below it acknowledged and lost writes of all runs.</p>",
    `<table><tr><th>drill</th>${head}</tr>${body.join("")}</table>`,
    "<h2>Runs</h2>",
    "<p>Writes per tenth of a second by their end: acknowledged in green, refused in orange, without an answer in red.</p>",
    ...reports.map(runMarkup),
    "</html>",
    "",
  ].join("\n");
}

function cellMarkup(cell: Cell | undefined): string {
  if (cell === undefined) return "<td></td>";
  const { runs, passed, gapSeconds, budgetSeconds, acknowledged, lostWrites } = cell;
  const title = xml(cell.reasons.join("; "));
  return `<td class="${passed === runs ? "passed" : "failed"}" title="${title}">${secondsOf(gapSeconds)} of ${budgetSeconds} s<br><small>${passed} of ${runs} passed, ${acknowledged}, ${lostWrites} lost</small></td>`;
}

function runMarkup(report: DrillReport): string {
  const { name, drill, result, fault, reasons, notes, timeline } = report;
  return [
    `<h3>${xml(name)} ${xml(drill)}: ${result}</h3>`,
    `<small>${xml([fault, ...reasons, ...notes].join("; "))}</small>`,
    timeline === undefined ? "" : timelineMarkup(timeline),
  ].join("\n");
}

/** One unit of the drawing is one bucket wide and one write high. */
function timelineMarkup({ bucketSeconds, ok, fail, unknown, marks }: Timeline): string {
  const most = Math.max(1, ...ok.map((count, index) => count + (fail[index] ?? 0) + (unknown[index] ?? 0)));
  const bars = ok.flatMap((count, index) => {
    let top = most;
    return Object.entries({ ok: count, fail: fail[index] ?? 0, unknown: unknown[index] ?? 0 }).flatMap(
      ([kind, height]) => {
        if (height === 0) return [];
        top -= height;
        return [`<rect class="${kind}" x="${index}" y="${top}" width="1" height="${height}"/>`];
      },
    );
  });
  const lines = marks.map(({ seconds, what }) => {
    const x = (seconds / bucketSeconds).toFixed(1);
    return `<line x1="${x}" x2="${x}" y1="0" y2="${most}"><title>${xml(what)}</title></line>`;
  });
  const words = marks.map(({ seconds, what }) => `${seconds.toFixed(1)} s ${what}`).join(", ");
  return [
    `<svg viewBox="0 0 ${ok.length} ${most}" preserveAspectRatio="none">${bars.join("")}${lines.join("")}</svg>`,
    `<small>${xml(words)}</small>`,
  ].join("\n");
}
