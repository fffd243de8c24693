import type { CheckEnvironment, Finding } from "./check";
import { messageOf } from "./errors";

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
        findings.push({ check, ok: false, detail: messageOf(error), remedy, seconds: seconds() });
        return false;
      }
    },
  };
}
