/**
 * The command cannot do its work: bad input, no cluster, no targets. Not the same as a service that failed, so that a
 * pipeline can tell the two apart by the exit code.
 */
export class CannotRun extends Error {
  override name = "CannotRun";
}

export const exitCodes = { passed: 0, failed: 1, cannotRun: 2 } as const;
