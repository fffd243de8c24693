import { table } from "../checks";
import type { DrillReport } from "./drill";

export interface DrillsReport {
  version: 1;
  ok: boolean;
  drills: DrillReport[];
}

/** No drill at all is no success. */
export function summarizeDrills(drills: DrillReport[]): DrillsReport {
  return { version: 1, ok: drills.length > 0 && drills.every((each) => each.result === "passed"), drills };
}

export function renderDrills(report: DrillsReport): string {
  const rows = report.drills.map((each) => [
    each.name,
    each.drill,
    each.result === "passed" ? "ok" : each.result.toUpperCase(),
    seconds(each.gapSeconds),
    String(each.budgetSeconds),
    seconds(each.baselineSeconds, 3),
    String(each.acknowledged),
    String(each.lostWrites),
    String(each.unknown),
    seconds(each.recoveredSeconds, 1),
    String(each.recoveryBudgetSeconds),
    `${each.leaderBefore} -> ${each.leaderAfter}`,
  ]);
  const header = [
    "SERVICE",
    "DRILL",
    "RESULT",
    "GAP s",
    "BUDGET s",
    "P99 BEFORE s",
    "ACKNOWLEDGED",
    "LOST",
    "UNKNOWN",
    "RECOVERED s",
    "BUDGET s",
    "LEADER",
  ];
  const parts = [table(header, rows, [3, 4, 5, 6, 7, 8, 9, 10])];
  for (const each of report.drills) {
    parts.push(
      [
        `${each.name} ${each.drill}: ${each.fault}`,
        ...[...each.reasons, ...each.notes].map((line) => `  ${line}`),
      ].join("\n"),
    );
  }
  const failed = report.drills.filter((each) => each.result !== "passed");
  const total = `${report.drills.length} drill${report.drills.length === 1 ? "" : "s"}`;
  parts.push(
    failed.length === 0
      ? `${total}: all passed`
      : [
          `${total}: ${report.drills.length - failed.length} passed, ${failed.length} NOT passed`,
          ...failed.map((each) => `  ${each.name} ${each.drill}: ${each.reasons.join("; ")}`),
        ].join("\n"),
  );
  return `${parts.join("\n\n")}\n`;
}

function seconds(value: number | undefined, digits = 2): string {
  return value === undefined ? "none" : value.toFixed(digits);
}
