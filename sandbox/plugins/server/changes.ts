import { equal, isMap, type Path, type Value } from "./values";

export interface Change {
  path: Path;
  kind: "add" | "delete" | "update";
}

/** The places where two values differ, as deep as both have the same shape. */
export function changes(before: Value | undefined, after: Value | undefined, path: Path = []): Change[] {
  if (equal(before, after)) return [];
  if (before === undefined || before === null) return [{ path, kind: "add" }];
  if (after === undefined || after === null) return [{ path, kind: "delete" }];
  if (Array.isArray(before) && Array.isArray(after)) {
    const length = Math.max(before.length, after.length);
    return Array.from({ length }, (_, index) => changes(before[index], after[index], [...path, index])).flat();
  }
  if (isMap(before) && isMap(after)) {
    const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return keys.flatMap((key) => changes(before[key], after[key], [...path, key]));
  }
  return [{ path, kind: "update" }];
}
