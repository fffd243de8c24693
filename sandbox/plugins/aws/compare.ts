import { changes } from "../server/changes";
import type { Difference, DiffKind } from "../server/provider";
import { equal, formatPath, isMap, type PropertyMap, type Value } from "../server/values";
import type { ResourceType } from "./type";

/** Beside the inputs, as the official plugin writes it: which of them this plugin chose. */
export const autonamed = "__defaults";

/** The inputs in one form for what means the same: defaults filled in, empty things left out, policies ordered. */
export function comparable(type: ResourceType, inputs: PropertyMap): PropertyMap {
  const complete = { ...type.defaults, ...inputs };
  const normal = type.normal?.(complete) ?? complete;
  return Object.fromEntries(
    Object.entries(normal).flatMap(([key, value]): [string, Value][] => {
      const shape = type.inputs[key];
      if (shape === undefined) return [];
      const item = shape === "policy" ? canonicalJson(value) : compact(value);
      return item === undefined ? [] : [[key, item]];
    }),
  );
}

/** Without what says nothing: false, empty text, empty objects and lists. Elements of a list keep their places. */
function compact(value: Value): Value | undefined {
  if (value === null || value === false || value === "") return undefined;
  if (Array.isArray(value)) return value.length === 0 ? undefined : value.map((item) => compact(item) ?? {});
  if (!isMap(value)) return value;
  const entries = Object.entries(value).flatMap(([key, item]): [string, Value][] => {
    const kept = compact(item);
    return kept === undefined ? [] : [[key, kept]];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** A JSON document without its white space and with its keys in order; other text stays as it is. */
export function canonicalJson(value: Value): Value | undefined {
  if (value === null || value === "") return undefined;
  if (typeof value !== "string") return value;
  try {
    return JSON.stringify(ordered(JSON.parse(value) as Value));
  } catch {
    return value;
  }
}

function ordered(value: Value): Value {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isMap(value)) return value;
  const entries = Object.entries(value).map(([key, item]): [string, Value] => [key, ordered(item)]);
  return Object.fromEntries(entries.sort(([left], [right]) => (left < right ? -1 : 1)));
}

export function difference(
  type: ResourceType,
  oldInputs: PropertyMap,
  news: PropertyMap,
  ignoreChanges: string[] = [],
): Difference {
  const found = changes(comparable(type, oldInputs), comparable(type, news)).filter(
    ({ path: [top, ...rest], kind }) => {
      const key = String(top);
      // What AWS or this plugin chose stays when the program does not say otherwise.
      const left = kind === "delete" && rest.length === 0 && (type.chosen ?? []).includes(key);
      return !left && !ignoreChanges.includes(key);
    },
  );
  const replaces = (key: string) => type.replaces.includes(key);
  const replaced = found.some(({ path }) => replaces(String(path[0])));
  const detailed = Object.fromEntries(
    found.map(({ path, kind }): [string, DiffKind] => [
      formatPath(path),
      replaces(String(path[0])) ? `${kind}-replace` : kind,
    ]),
  );
  // Two of one name cannot be at one time; with a chosen name the new one gets a name of its own.
  const name = type.name?.key;
  const sameName = name !== undefined && equal(oldInputs[name], news[name]) && news[autonamed] === undefined;
  return { changed: found.length > 0, detailed, deleteBeforeReplace: replaced && sameName };
}

/** The inputs as AWS has them now: what means the same stays as the program wrote it. */
export function refreshInputs(type: ResourceType, inputs: PropertyMap, live: PropertyMap): PropertyMap {
  const [before, now] = [comparable(type, inputs), comparable(type, live)];
  const refreshed = { ...inputs };
  for (const key of Object.keys(type.inputs)) {
    if (equal(before[key], now[key]) || (type.untold ?? []).includes(key)) continue;
    if (inputs[key] === undefined && (type.chosen ?? []).includes(key)) continue;
    if (live[key] === undefined) delete refreshed[key];
    else refreshed[key] = live[key];
  }
  return refreshed;
}

/** The program that would have made what AWS has. */
export function importedInputs(type: ResourceType, live: PropertyMap): PropertyMap {
  const [plain, now] = [comparable(type, {}), comparable(type, live)];
  return Object.fromEntries(
    Object.entries(live).filter(([key]) => type.inputs[key] !== undefined && !equal(plain[key], now[key])),
  );
}
