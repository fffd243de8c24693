/** Sets of transactions, as MySQL writes them: `uuid:1-5:7,uuid:tag:1-3`. Pure. */

interface Interval {
  first: bigint;
  last: bigint;
}

/** By source, which is a UUID, or a UUID and a tag. Intervals are sorted and do not touch. */
export type GtidSet = ReadonlyMap<string, readonly Interval[]>;

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const tag = /^[a-z_][a-z0-9_]{0,31}$/;
const interval = /^([0-9]+)(?:-([0-9]+))?$/;

/** Throws when the text is no set, which must not pass for an empty one. */
export function parseGtidSet(text: string): GtidSet {
  const found = new Map<string, Interval[]>();
  for (const part of text.replaceAll(/\s/g, "").toLowerCase().split(",")) {
    if (part === "") continue;
    const [source = "", ...rest] = part.split(":");
    if (!uuid.test(source) || rest.length === 0) throw new Error(`not a set of transactions: ${JSON.stringify(text)}`);
    let key = source;
    for (const each of rest) {
      const match = interval.exec(each);
      if (match === null) {
        // A tag applies to the intervals that follow it.
        if (!tag.test(each)) throw new Error(`not a set of transactions: ${JSON.stringify(text)}`);
        key = `${source}:${each}`;
        continue;
      }
      const first = BigInt(match[1] ?? "");
      const last = BigInt(match[2] ?? match[1] ?? "");
      found.set(key, [...(found.get(key) ?? []), { first, last }]);
    }
  }
  return new Map([...found].map(([key, intervals]) => [key, merged(intervals)]));
}

function merged(intervals: readonly Interval[]): Interval[] {
  const result: Interval[] = [];
  for (const { first, last } of [...intervals].sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = result.at(-1);
    if (before === undefined || first > before.last + 1n) result.push({ first, last });
    else if (last > before.last) before.last = last;
  }
  return result;
}

export function union(...sets: GtidSet[]): GtidSet {
  const all = new Map<string, Interval[]>();
  for (const set of sets) {
    for (const [key, intervals] of set) all.set(key, [...(all.get(key) ?? []), ...intervals]);
  }
  return new Map([...all].map(([key, intervals]) => [key, merged(intervals)]));
}

export function subtract(set: GtidSet, other: GtidSet): GtidSet {
  const result = new Map<string, readonly Interval[]>();
  for (const [key, intervals] of set) {
    const left = (other.get(key) ?? []).reduce((parts, hole) => parts.flatMap((part) => around(part, hole)), intervals);
    if (left.length > 0) result.set(key, left);
  }
  return result;
}

/** What of an interval comes before the hole, and what comes after it. */
function around({ first, last }: Interval, hole: Interval): Interval[] {
  const before = { first, last: last < hole.first ? last : hole.first - 1n };
  const after = { first: first > hole.last ? first : hole.last + 1n, last };
  return [before, after].filter((part) => part.first <= part.last);
}

export function contains(set: GtidSet, other: GtidSet): boolean {
  return isEmpty(subtract(other, set));
}

export function isEmpty(set: GtidSet): boolean {
  return set.size === 0;
}

export function countOf(set: GtidSet): bigint {
  return [...set.values()].flat().reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
}

export function formatGtidSet(set: GtidSet): string {
  const text = ([key, intervals]: [string, readonly Interval[]]): string =>
    `${key}:${intervals.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(":")}`;
  return isEmpty(set)
    ? "nothing"
    : [...set]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(text)
        .join(",");
}
