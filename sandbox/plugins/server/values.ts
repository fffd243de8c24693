import { Struct } from "google-protobuf/google/protobuf/struct_pb";

/** Anything a Pulumi property can hold once secrets are unwrapped. */
export type Value = null | boolean | number | string | Value[] | PropertyMap;
export interface PropertyMap {
  [key: string]: Value;
}
export type Path = (string | number)[];

/** A property bag with the places of its secrets; the engine wants them back in the same places. */
export interface Properties {
  value: PropertyMap;
  secrets: Path[];
}

/** How the engine writes a value that is not known during a preview. */
export const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

// Every special value carries this key; its value tells which kind it is.
const signatureKey = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";

export function isMap(value: Value | undefined): value is PropertyMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function decode(struct: Struct | undefined): Properties {
  const secrets: Path[] = [];
  const value = unwrap(struct?.toJavaScript() ?? {}, [], secrets);
  return { value: isMap(value) ? value : {}, secrets };
}

function unwrap(value: Value, path: Path, secrets: Path[]): Value {
  if (Array.isArray(value)) return value.map((item, index) => unwrap(item, [...path, index], secrets));
  if (!isMap(value)) return value;
  if (value[signatureKey] === secretSignature) {
    secrets.push(path);
    return unwrap(value["value"] ?? null, path, secrets);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unwrap(item, [...path, key], secrets)]));
}

export function encode(properties: Properties): Struct {
  return Struct.fromJavaScript(wrap(properties.value, properties.secrets) as PropertyMap);
}

/** Wraps what lies at the given paths; paths that lead nowhere are passed over. */
export function wrap(value: Value, secrets: Path[]): Value {
  if (secrets.some((path) => path.length === 0)) {
    return { [signatureKey]: secretSignature, value };
  }
  if (Array.isArray(value)) return value.map((item, index) => wrap(item, below(secrets, index)));
  if (!isMap(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, wrap(item, below(secrets, key))]));
}

function below(secrets: Path[], key: string | number): Path[] {
  return secrets.filter((path) => path[0] === key).map((path) => path.slice(1));
}

export function containsUnknown(value: Value | undefined): boolean {
  if (value === unknown) return true;
  if (Array.isArray(value)) return value.some(containsUnknown);
  return isMap(value) && Object.values(value).some(containsUnknown);
}

export function equal(left: Value | undefined, right: Value | undefined): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, index) => equal(item, right[index]));
  }
  if (!isMap(left) || !isMap(right)) return false;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...keys].every((key) => equal(left[key], right[key]));
}

/** A property path as the engine prints it: `metadata.labels["a.b/c"]`, `spec.ports[0].port`. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => {
      if (typeof step === "number") return `[${step}]`;
      if (/^[A-Za-z_$][\w$-]*$/.test(step)) return index === 0 ? step : `.${step}`;
      return `[${JSON.stringify(step)}]`;
    })
    .join("");
}
