/** Lets several go on at the same moment, or nobody: one that does not get that far must not leave the others alone. */
export interface Barrier {
  /** Waits until all have arrived; throws when one of them never will. */
  arrive(): Promise<void>;
  /** Says that one will not arrive. Too late when all have. */
  giveUp(reason: string): void;
}

export function openBarrier(count: number): Barrier {
  let release: () => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const all = new Promise<void>((resolve, reject) => {
    release = resolve;
    fail = reject;
  });
  // Somebody may give up before anybody waits.
  all.catch(() => undefined);
  let arrived = 0;
  return {
    arrive() {
      arrived += 1;
      if (arrived === count) release();
      return all;
    },
    giveUp: (reason) => fail(new Error(reason)),
  };
}
