import { setTimeout as delay } from "node:timers/promises";
import { log } from "./log";

export type Attempt<T> = { done: T } | { waiting: string };

export interface WaitOptions {
  deadlineSeconds: number;
  /** Between two attempts, default 1. */
  intervalSeconds?: number;
  signal?: AbortSignal;
}

/**
 * The only place that waits: repeats an attempt until it is done, and says what was awaited and what was seen last when it
 * is not done in time. An attempt that throws ends the wait at once; it returns `waiting` for what may pass.
 */
export async function waitFor<T>(what: string, attempt: () => Promise<Attempt<T>>, options: WaitOptions): Promise<T> {
  const { deadlineSeconds, intervalSeconds = 1, signal } = options;
  const end = Date.now() + deadlineSeconds * 1000;
  let seen = "";
  for (;;) {
    const result = await attempt();
    if ("done" in result) return result.done;
    if (result.waiting !== seen) {
      seen = result.waiting;
      log(`waiting for ${what}: ${seen}`);
    }
    if (Date.now() + intervalSeconds * 1000 > end) {
      throw new Error(`${what} did not come within ${deadlineSeconds} seconds; last seen: ${seen}`);
    }
    await delay(intervalSeconds * 1000, undefined, signal === undefined ? {} : { signal });
  }
}
