import { createHash, randomBytes } from "node:crypto";
import type { Failure } from "../server/provider";
import { containsUnknown, formatPath, isMap, type Path, type PropertyMap, unknown, type Value } from "../server/values";
import { autonamed } from "./compare";
import type { ResourceType } from "./type";

/** What an input may look like. A policy is a JSON document, given as text or as the object that it is. */
export type Shape =
  | "text"
  | "flag"
  | "number"
  | "policy"
  | "tags"
  | { list: Shape }
  | { fields: Record<string, Shape>; required: string[] };

/** Completes what the program gave: policies as text, a name. */
export function checkInputs(
  token: string,
  type: ResourceType,
  news: PropertyMap,
  olds: PropertyMap | undefined,
  named: { logicalName: string; seed: Buffer },
): { inputs: PropertyMap; failures: Failure[] } {
  const inputs = withoutNulls(news) as PropertyMap;
  delete inputs[autonamed];
  const failures = fieldFailures(token, { fields: type.inputs, required: type.required }, inputs, []);
  for (const [key, shape] of Object.entries(type.inputs)) {
    const value = inputs[key];
    if (shape === "policy" && isMap(value)) inputs[key] = containsUnknown(value) ? unknown : JSON.stringify(value);
  }
  const { name } = type;
  if (name !== undefined && (inputs[name.key] ?? "") === "") {
    const before = olds?.[autonamed];
    const kept = Array.isArray(before) && before.includes(name.key) ? olds?.[name.key] : undefined;
    inputs[name.key] = kept ?? name.make(named.logicalName, digits(named.seed));
    inputs[autonamed] = [name.key];
  }
  return { inputs, failures };
}

/** Seven hexadecimal digits as the official plugin has them; the same for the same seed. */
function digits(seed: Buffer): string {
  const source = seed.length > 0 ? createHash("sha256").update(seed).digest() : randomBytes(4);
  return source.toString("hex").slice(0, 7);
}

function fieldFailures(
  token: string,
  { fields, required }: { fields: Record<string, Shape>; required: string[] },
  value: PropertyMap,
  path: Path,
): Failure[] {
  const place = path.length === 0 ? token : `${token} ${formatPath(path)}`;
  const failures = required
    .filter((key) => value[key] === undefined)
    .map((key) => ({ property: formatPath([...path, key]), reason: `${place} needs ${key}` }));
  for (const [key, item] of Object.entries(value)) {
    const shape = fields[key];
    if (shape !== undefined) failures.push(...shapeFailures(token, shape, item, [...path, key]));
    else {
      failures.push({
        property: formatPath([...path, key]),
        reason:
          `${place} has no input ${JSON.stringify(key)} in the stand-in for aws; ` +
          `it has ${Object.keys(fields).join(", ")}; the rest needs the official plugin`,
      });
    }
  }
  return failures;
}

function shapeFailures(token: string, shape: Shape, value: Value, path: Path): Failure[] {
  if (value === unknown) return [];
  const wrong = (wanted: string): Failure[] => {
    const property = formatPath(path);
    return [{ property, reason: `${token} ${property} must be ${wanted}, got ${JSON.stringify(value)}` }];
  };
  switch (shape) {
    case "text":
      return typeof value === "string" ? [] : wrong("text");
    case "flag":
      return typeof value === "boolean" ? [] : wrong("true or false");
    case "number":
      return typeof value === "number" ? [] : wrong("a number");
    case "policy":
      return isMap(value) || isJson(value) ? [] : wrong("a JSON document");
    case "tags":
      return isMap(value) && Object.values(value).every((item) => typeof item === "string")
        ? []
        : wrong("an object of texts");
    default:
  }
  if ("list" in shape) {
    if (!Array.isArray(value)) return wrong("a list");
    return value.flatMap((item, index) => shapeFailures(token, shape.list, item, [...path, index]));
  }
  return isMap(value) ? fieldFailures(token, shape, value, path) : wrong("an object");
}

function isJson(value: Value): boolean {
  if (typeof value !== "string") return false;
  try {
    JSON.parse(value);
    return true;
  } catch {
    return false;
  }
}

function withoutNulls(value: Value): Value {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== null)
      .map(([key, item]) => [key, withoutNulls(item)]),
  );
}
