import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "./errors";
import { log } from "./log";

export type Attempt<T> = { done: T } | { waiting: string };

export interface WaitOptions {
  deadlineSeconds: number;
  /** Between two attempts, default 1. */
  intervalSeconds?: number;
  signal?: AbortSignal;
  /** Where each new reason to wait goes; default: standard output, the log of an agent. */
  say?: (line: string) => void;
  /** Default "fail": an attempt that throws ends the wait at once. "wait": the error is what was seen last. A function decides. */
  onError?: "fail" | "wait" | ((error: unknown) => "fail" | "wait");
}

/** For checks and drills: standard output belongs to their report, and drills break what they talk to on purpose. */
export const patient = { say: () => undefined, onError: "wait", intervalSeconds: 0.25 } as const;

/** The only function that waits: repeats an attempt until it is done. After the deadline the error says what was seen last. */
export async function waitFor<T>(what: string, attempt: () => Promise<Attempt<T>>, options: WaitOptions): Promise<T> {
  const { deadlineSeconds, intervalSeconds = 1, signal, say = log, onError = "fail" } = options;
  const end = performance.now() + deadlineSeconds * 1000;
  let seen = "";
  for (;;) {
    const result = await attempt().catch((error: unknown) => {
      if ((typeof onError === "string" ? onError : onError(error)) === "fail") throw error;
      return { waiting: messageOf(error) };
    });
    if ("done" in result) return result.done;
    if (result.waiting !== seen) {
      seen = result.waiting;
      say(`waiting for ${what}: ${seen}`);
    }
    if (performance.now() + intervalSeconds * 1000 > end) {
      throw new Error(`${what} did not come within ${deadlineSeconds} seconds; last seen: ${seen}`);
    }
    await delay(intervalSeconds * 1000, undefined, signal === undefined ? {} : { signal });
  }
}

/** Rejects when the promise does not settle in time. The work behind the promise goes on. */
export async function within<T>(promise: Promise<T>, seconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${seconds} seconds`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
