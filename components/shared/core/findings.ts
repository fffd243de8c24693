import type { CheckEnvironment, Finding } from "./check";

export interface Recorder {
  findings: Finding[];
  /**
   * Runs one step and records what it found: the text it returns, or the reason why it failed. Never throws.
   * Returns whether the step was ok.
   */
  step: (check: string, remedy: string, run: () => Promise<string>) => Promise<boolean>;
}

export function findingRecorder(environment: CheckEnvironment): Recorder {
  const findings: Finding[] = [];
  return {
    findings,
    async step(check, remedy, run) {
      const start = environment.clock();
      const seconds = () => (environment.clock() - start) / 1000;
      try {
        environment.signal.throwIfAborted();
        findings.push({ check, ok: true, detail: await run(), seconds: seconds() });
        return true;
      } catch (error) {
        const detail = error instanceof Error ? error.message : String(error);
        findings.push({ check, ok: false, detail, remedy, seconds: seconds() });
        return false;
      }
    },
  };
}

/** Rejects when the promise has not settled in time; `what` says what was awaited. */
export async function within<T>(promise: Promise<T>, milliseconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = (): void => reject(new Error(`${what}: nothing within ${milliseconds / 1000} seconds`));
    timer = setTimeout(fail, milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
