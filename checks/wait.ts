import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "./failure";

export interface WaitOptions {
  deadlineSeconds: number;
  intervalSeconds?: number;
  signal?: AbortSignal;
}

/** What an attempt saw when it is not there yet. */
export interface NotYet {
  waiting: string;
}

/**
 * The only place of checks and drills that waits. An attempt that throws counts as "not yet", because all of this talks to
 * services that are being broken on purpose; the error at the end says what was awaited and what was seen last.
 */
export async function until<T>(
  what: string,
  attempt: () => Promise<{ done: T } | NotYet>,
  options: WaitOptions,
): Promise<T> {
  const { deadlineSeconds, intervalSeconds = 0.25, signal } = options;
  const end = performance.now() + deadlineSeconds * 1000;
  for (;;) {
    const result = await attempt().catch((error: unknown): NotYet => ({ waiting: messageOf(error) }));
    if ("done" in result) return result.done;
    if (performance.now() + intervalSeconds * 1000 > end) {
      throw new Error(`${what} did not come within ${deadlineSeconds} s; last seen: ${result.waiting}`);
    }
    await delay(intervalSeconds * 1000, undefined, signal === undefined ? {} : { signal });
  }
}

/** Ends the waiting for a promise, not the work behind it. */
export async function within<T>(what: string, seconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: no answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
