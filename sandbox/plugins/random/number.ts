import { randomBytes } from "node:crypto";

/** Bytes from a source of randomness; tests give their own. */
export type Source = (count: number) => Buffer;

export const systemSource: Source = (count) => randomBytes(count);

/** A whole number in [0, limit), each as likely as the others: values beyond the last full round are thrown away. */
export function below(limit: number, source: Source = systemSource): number {
  if (!Number.isSafeInteger(limit) || limit < 1)
    throw new Error(`a limit must be a positive whole number, got ${limit}`);
  // 48 bits are read at a time, the most that readUIntBE gives.
  const range = 2 ** 48;
  const usable = range - (range % limit);
  for (;;) {
    const value = source(6).readUIntBE(0, 6);
    if (value < usable) return value % limit;
  }
}

/** Fisher and Yates. */
export function shuffle<T>(items: readonly T[], source: Source = systemSource): T[] {
  const shuffled = [...items];
  for (let last = shuffled.length - 1; last > 0; last--) {
    const other = below(last + 1, source);
    [shuffled[last], shuffled[other]] = [shuffled[other] as T, shuffled[last] as T];
  }
  return shuffled;
}

/** The same numbers for the same seed, for resources with a `seed`; not for secrets. */
export function seededSource(seed: string, digest: (text: string) => Buffer): Source {
  let counter = 0;
  let pool = Buffer.alloc(0);
  return (count) => {
    while (pool.length < count) pool = Buffer.concat([pool, digest(`${seed}:${counter++}`)]);
    const taken = pool.subarray(0, count);
    pool = pool.subarray(count);
    return taken;
  };
}
