import type { CheckEnvironment, Finding } from "./check";
import { messageOf } from "./errors";

export type Recorder = ReturnType<typeof findingRecorder>;

export function findingRecorder(environment: CheckEnvironment) {
  const findings: Finding[] = [];
  return {
    findings,
    /** Records the text that `run` returns, or why it failed. Never throws. Returns whether the step was ok. */
    step: async (check: string, remedy: string, run: () => Promise<string>): Promise<boolean> => {
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
