import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { median } from "../../drills/ledger";

/** What one start of Node.js takes on a quiet machine of the size that README names. */
const quietSeconds = 0.05;
const most = 10;

/**
 * By what the budgets of a drill are multiplied here and now: how much longer than on a quiet machine it takes to start a
 * process, which needs the processor, memory and files as everything else does.
 */
export async function budgetFactor(): Promise<number> {
  const seconds: number[] = [];
  for (let number = 0; number < 9; number += 1) {
    const begin = performance.now();
    await promisify(execFile)(process.execPath, ["-e", ""]);
    seconds.push((performance.now() - begin) / 1000);
  }
  const factor = (median(seconds) ?? 0) / quietSeconds;
  if (factor > most) {
    throw new Error(`this machine is ${factor.toFixed(0)} times slower than a quiet one; no drill says anything then`);
  }
  return Math.max(1, Math.round(factor * 10) / 10);
}
