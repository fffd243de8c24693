/**
 * The ledger of acknowledged writes. A drill proves two things with it: that no acknowledged write was lost, and how long
 * nobody could write. Everything but `record` is a pure function.
 */
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../checks";

/**
 * `ok`: the service acknowledged the write. `fail`: it refused, and the write must not be there. `unknown`: no answer,
 * the write may be there or not.
 */
export type Outcome = "ok" | "fail" | "unknown";

export interface Write {
  /** Unique; grows within a writer. */
  id: string;
  writer: number;
  /** Milliseconds of the monotonic clock. */
  started: number;
  ended: number;
  outcome: Outcome;
  error?: string;
}

/** Thrown by a workload when the service has refused a write for certain. */
export class Refused extends Error {
  override name = "Refused";
}

export interface Writers {
  writes: readonly Write[];
  /** Ends after the writes that are under way. */
  stop(): Promise<Write[]>;
}

export interface WritersOptions {
  writers: number;
  /** Between the starts of two writes of one writer: the resolution of the gap, and the size of the ledger. */
  paceMilliseconds: number;
  /** Makes the ids of this run different from those of other runs. */
  run: string;
  write(id: string, writer: number): Promise<void>;
  now?: () => number;
}

/** Starts writers that keep on writing, whatever happens, and record what they were told. */
export function startWriters(options: WritersOptions): Writers {
  const { now = () => performance.now() } = options;
  const writes: Write[] = [];
  const abort = new AbortController();
  const work = Array.from({ length: options.writers }, async (_, writer) => {
    for (let number = 0; !abort.signal.aborted; number += 1) {
      const id = `${options.run}-${writer}-${String(number).padStart(6, "0")}`;
      writes.push({ writer, ...(await record(id, () => options.write(id, writer), now)) });
      const pause = (writes.at(-1)?.started ?? 0) + options.paceMilliseconds - now();
      if (pause > 0) await delay(pause, undefined, { signal: abort.signal }).catch(() => undefined);
    }
  });
  return {
    writes,
    async stop() {
      abort.abort();
      await Promise.all(work);
      return writes;
    },
  };
}

export async function record(
  id: string,
  write: () => Promise<void>,
  now: () => number,
): Promise<Omit<Write, "writer">> {
  const started = now();
  try {
    await write();
    return { id, started, ended: now(), outcome: "ok" };
  } catch (error) {
    const outcome: Outcome = error instanceof Refused ? "fail" : "unknown";
    return { id, started, ended: now(), outcome, error: messageOf(error) };
  }
}

export interface Gap {
  milliseconds: number;
  from: number;
  to: number;
  /** Nothing was acknowledged after it: the gap was still open at the end of the observation. */
  open: boolean;
}

/** What a drill looks at: the fault at `fault`, observed until `end`. Milliseconds of the monotonic clock. */
export interface Window {
  fault: number;
  /** When all members were full and equal again; default: never. */
  recovered?: number;
  end: number;
}

/**
 * The largest interval without an acknowledgement that overlaps the time from the fault to the end. Undefined without
 * any acknowledgement.
 */
export function writeGap(writes: readonly Write[], window: Window): Gap | undefined {
  const times = acknowledgements(writes);
  const last = times.at(-1);
  if (last === undefined) return undefined;
  const gaps = times
    .slice(1)
    .map((to, index): Gap => ({ from: times[index] ?? to, to, milliseconds: to - (times[index] ?? to), open: false }));
  if (last < window.end) gaps.push({ from: last, to: window.end, milliseconds: window.end - last, open: true });
  const inWindow = gaps.filter((gap) => gap.to > window.fault && gap.from < window.end);
  // Only an open gap that is longer than all others matters: the last writes end a little before the observation does.
  return inWindow.reduce<Gap | undefined>(
    (largest, gap) => (largest === undefined || gap.milliseconds > largest.milliseconds ? gap : largest),
    undefined,
  );
}

/**
 * The most attempts that one writer saw fail one after the other since the fault: 1 is a write that a retry saves. Those that
 * began in the gap do not count: nobody got through then, how often depends on the patience of a client, and the gap has a budget.
 */
export function failuresInARow(writes: readonly Write[], window: Window): number {
  const gap = writeGap(writes, window);
  const rows = new Map<number, number>();
  let longest = 0;
  for (const { writer, outcome, started, ended } of [...writes].sort((a, b) => a.started - b.started)) {
    if (ended < window.fault) continue;
    if (gap !== undefined && started >= gap.from && started < gap.to && outcome !== "ok") continue;
    const row = outcome === "ok" ? 0 : (rows.get(writer) ?? 0) + 1;
    rows.set(writer, row);
    longest = Math.max(longest, row);
  }
  return longest;
}

/** The 99th percentile of the intervals between acknowledgements before the fault: what a gap is without a fault. */
export function baselineGap(writes: readonly Write[], fault: number): number | undefined {
  const times = acknowledgements(writes).filter((each) => each < fault);
  const intervals = times.slice(1).map((to, index) => to - (times[index] ?? to));
  return percentile(intervals, 0.99);
}

export function percentile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

export function median(values: readonly number[]): number | undefined {
  return percentile(values, 0.5);
}

function acknowledgements(writes: readonly Write[]): number[] {
  return writes
    .filter((each) => each.outcome === "ok")
    .map((each) => each.ended)
    .sort((a, b) => a - b);
}

/** How many writes ended in each bucket of time, by what came of them, and what happened meanwhile. */
export interface Timeline extends Record<Outcome, number[]> {
  bucketSeconds: number;
  /** From the begin of the first bucket. */
  marks: { seconds: number; what: string }[];
}

/** Milliseconds of the monotonic clock. */
export interface Mark {
  at: number;
  what: string;
}

const bucketMilliseconds = 100;

export function timelineOf(writes: readonly Write[], marks: readonly Mark[], end: number): Timeline {
  const begin = writes.reduce((least, { started }) => Math.min(least, started), end);
  const bucketOf = (time: number): number => Math.floor((time - begin) / bucketMilliseconds);
  const count = (outcome: Outcome): number[] => {
    const counts = new Array<number>(bucketOf(end) + 1).fill(0);
    for (const each of writes) {
      const bucket = Math.min(bucketOf(each.ended), counts.length - 1);
      if (each.outcome === outcome) counts[bucket] = (counts[bucket] ?? 0) + 1;
    }
    return counts;
  };
  return {
    bucketSeconds: bucketMilliseconds / 1000,
    ok: count("ok"),
    fail: count("fail"),
    unknown: count("unknown"),
    marks: marks.map(({ at, what }) => ({ seconds: (at - begin) / 1000, what })),
  };
}

/** A fault that was seen to have happened, or why it is not certain that it has. */
export interface Proof {
  proven: boolean;
  /** In words: "process 123 is gone, the container runs as 456". */
  detail: string;
}

export interface Evidence {
  writes: readonly Write[];
  window: Window;
  proof: Proof;
  /** The ids that each member holds at the end. */
  stored: Readonly<Record<string, ReadonlySet<string>>>;
  /** The longest write gap. */
  budgetSeconds: number;
  /** Until all members were full and equal again; undefined: they never were. Judged apart from the gap. */
  recovery?: { seconds: number | undefined; budgetSeconds: number };
  /** The least number of acknowledged writes before the fault, and after the recovery. */
  minimum: number;
  /** How many attempts of one writer may fail one after the other; default: any number. */
  failuresInARow?: number;
  /** Acknowledged writes that may be lost; default: none. */
  loss?: Loss;
  /** Further reasons why the drill proves nothing. */
  doubts?: string[];
}

/** A leader that acknowledges before it replicates may take its last writes with it: they are counted, not judged. */
export interface Loss {
  /** When leaders died, milliseconds of the monotonic clock. */
  strikes: readonly number[];
  /** A lost write must have been acknowledged at most this long before a strike; default: at any time. */
  seconds?: number;
}

/** Several attempts of a writer, of which each gives up after a second or two. */
const patienceMilliseconds = 5000;
/** An acknowledgement was on its way when its leader died. */
const onItsWayMilliseconds = 1000;

export type Result = "passed" | "failed" | "invalid";

export interface Verdict {
  result: Result;
  /** Why not passed, in words. */
  reasons: string[];
  /** What a reader must know although it is no reason to fail. */
  notes: string[];
  acknowledged: number;
  refused: number;
  unknown: number;
  /** Acknowledged and not stored, for each member. */
  lost: Record<string, string[]>;
  /** The number of different writes in `lost`. */
  lostWrites: number;
  gapSeconds: number | undefined;
  baselineSeconds: number | undefined;
}

/** A drill that proves nothing is invalid, not passed: too few writes, or a fault that may not have happened. */
export function judge(evidence: Evidence): Verdict {
  const { writes, window, proof, stored, budgetSeconds, minimum } = evidence;
  const ok = writes.filter((each) => each.outcome === "ok");
  const failed = writes.filter((each) => each.outcome === "fail");
  const members = Object.entries(stored);
  const doubts = [...(evidence.doubts ?? [])];
  const failures: string[] = [];

  if (!proof.proven) doubts.push(`the fault is not proven: ${proof.detail}`);
  if (members.length === 0) doubts.push("no member was read at the end");
  const before = ok.filter((each) => each.ended < window.fault).length;
  const after = ok.filter((each) => each.started > (window.recovered ?? window.fault)).length;
  if (before < minimum)
    doubts.push(`only ${before} writes were acknowledged before the fault, at least ${minimum} are needed`);

  const lost = Object.fromEntries(
    members.map(([member, ids]) => [member, ok.filter((each) => !ids.has(each.id)).map((each) => each.id)] as const),
  );
  const lostWrites = new Set(Object.values(lost).flat()).size;
  failures.push(...lossFailures(evidence, lost, ok));
  const notes =
    evidence.loss !== undefined && lostWrites > 0
      ? [`${lostWrites} acknowledged writes are lost and counted, and are on no member`]
      : [];
  for (const [member, ids] of members) {
    const ghosts = failed.filter((each) => ids.has(each.id));
    if (ghosts.length > 0) failures.push(`${member} holds ${ghosts.length} writes that were refused`);
  }

  const gap = writeGap(writes, window);
  if (gap !== undefined && gap.milliseconds > budgetSeconds * 1000) {
    const state = gap.open ? " and was still open at the end" : "";
    failures.push(
      `the write gap was ${(gap.milliseconds / 1000).toFixed(2)} s${state}, the budget is ${budgetSeconds} s`,
    );
  } else if (after < minimum) {
    doubts.push(
      `only ${after} writes were acknowledged after the recovery, at least ${minimum} are needed${lastWords(writes)}`,
    );
  }

  const starved = gap === undefined || window.end - gap.to < patienceMilliseconds ? [] : starvedWriters(writes, gap.to);
  if (starved.length > 0) {
    const theirs = writes.filter(({ writer }) => starved.includes(writer));
    failures.push(`writer ${starved.join(", ")} never got through again, although others did${lastWords(theirs)}`);
  }
  const row = failuresInARow(writes, window);
  if (evidence.failuresInARow !== undefined && row > evidence.failuresInARow) {
    failures.push(`a writer failed ${row} times in a row, ${evidence.failuresInARow} is what a retry saves`);
  }
  if (evidence.recovery !== undefined) failures.push(...lateRecovery(evidence.recovery));

  const baseline = baselineGap(writes, window.fault);
  return {
    // A loss is a loss, even in a drill that could not prove its fault.
    result: failures.length > 0 ? "failed" : doubts.length > 0 ? "invalid" : "passed",
    reasons: [...failures, ...doubts],
    notes,
    acknowledged: ok.length,
    refused: failed.length,
    unknown: writes.length - ok.length - failed.length,
    lost,
    lostWrites,
    gapSeconds: gap === undefined ? undefined : gap.milliseconds / 1000,
    baselineSeconds: baseline === undefined ? undefined : baseline / 1000,
  };
}

/** Without an allowance every loss counts. With one, members must still agree, and nothing old may be gone. */
function lossFailures(
  { loss, stored }: Evidence,
  lost: Readonly<Record<string, readonly string[]>>,
  ok: readonly Write[],
): string[] {
  const lacking = (ids: (member: string) => readonly string[], what: string): string[] =>
    Object.keys(lost).flatMap((member) => {
      const [first, ...others] = ids(member);
      return first === undefined ? [] : [`${member} lacks ${others.length + 1} ${what}, the first is ${first}`];
    });
  if (loss === undefined) return lacking((member) => lost[member] ?? [], "acknowledged writes");
  const somewhere = (id: string): boolean => Object.values(stored).some((ids) => ids.has(id));
  const differences = lacking(
    (member) => (lost[member] ?? []).filter(somewhere),
    "acknowledged writes that another member has",
  );
  const { seconds } = loss;
  if (seconds === undefined) return differences;
  const gone = new Set(Object.values(lost).flat());
  const far = ok.filter(
    ({ id, ended }) =>
      gone.has(id) &&
      loss.strikes.every((strike) => ended < strike - seconds * 1000 || ended > strike + onItsWayMilliseconds),
  );
  const [first] = far;
  return first === undefined
    ? differences
    : [
        ...differences,
        `${far.length} lost writes were acknowledged more than ${seconds} s before the fault, or after it, the first is ${first.id}`,
      ];
}

/** What the last attempt that failed was told, for a sentence to end with. */
function lastWords(writes: readonly Write[]): string {
  const error = writes.findLast(({ outcome }) => outcome !== "ok")?.error;
  return error === undefined ? "" : `; the last one that failed: ${error}`;
}

/** Writers that have tried since then without any success. */
function starvedWriters(writes: readonly Write[], since: number): number[] {
  const later = writes.filter(({ started }) => started > since);
  const served = new Set(later.filter(({ outcome }) => outcome === "ok").map(({ writer }) => writer));
  return [...new Set(later.map(({ writer }) => writer))].filter((writer) => !served.has(writer));
}

function lateRecovery({ seconds, budgetSeconds }: NonNullable<Evidence["recovery"]>): string[] {
  if (seconds !== undefined && seconds <= budgetSeconds) return [];
  const took =
    seconds === undefined ? "not all members came back" : `all members were back after ${seconds.toFixed(1)} s`;
  return [`${took}, the budget is ${budgetSeconds} s`];
}
