/** What a stand-in says about the resources that it has, and what the engine asks about all of them alike. Pure. */
import { isDeepStrictEqual } from "node:util";

export type Value = null | boolean | number | string | Value[] | PropertyMap;
export interface PropertyMap {
  [key: string]: Value;
}

/** A resource that was just made. */
export interface Made {
  id: string;
  /** Outputs besides the inputs. They never change. */
  outputs?: PropertyMap;
}

/** One type of resource, with what is asked of the service behind it. */
export interface ResourceType<Service> {
  /** The inputs that it takes, as places: `rules[].id`. */
  inputs: string[];
  /** Inputs whose change makes a new resource, as with the official plugin. */
  replaces: string[];
  create: (service: Service, inputs: PropertyMap) => Promise<Made>;
  /** The inputs as the service has them; undefined when the resource is gone. Without it, the state is all there is. */
  read?: (service: Service, id: string, inputs: PropertyMap) => Promise<Live | undefined>;
  update?: (service: Service, id: string, inputs: PropertyMap) => Promise<unknown>;
  delete?: (service: Service, id: string, inputs: PropertyMap) => Promise<unknown>;
}

/** Of an input that has a key here, undefined says that the service has none. */
export type Live = Record<string, Value | undefined>;

export interface StandIn<Service> {
  /** Of the official plugin. */
  name: string;
  /** The settings of the Provider that it takes. */
  settings: string[];
  connect: (settings: PropertyMap) => Service;
  types: Record<string, ResourceType<Service>>;
}

/** How the engine writes a value that is not known during a preview. */
export const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

export function isMap(value: unknown): value is PropertyMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The text of an input; empty where there is none. */
export function text(inputs: PropertyMap, key: string): string {
  const value = inputs[key];
  return typeof value === "string" ? value : "";
}

/** The type of that name, or the reason why there is none. */
export function typeOf<Service>({ name, types }: StandIn<Service>, token: string): ResourceType<Service> {
  const type = types[token];
  if (type !== undefined) return type;
  const known = Object.keys(types).join(", ");
  throw new Error(`${token} is not part of the stand-in for ${name}; it has ${known}; use the official plugin`);
}

/** Why the stand-in does not take these inputs: one sentence for each that it does not know. */
export function refusals(name: string, what: string, accepted: string[], inputs: PropertyMap): string[] {
  const isAccepted = (place: string, value: Value): boolean =>
    accepted.some((each) => each === place || (value === unknown && /^[.[]/.test(each.slice(place.length))));
  return leaves(inputs, "")
    .filter(([place, value]) => !isAccepted(place, value))
    .map(
      ([place]) =>
        `${what} has no input ${JSON.stringify(place)} in the stand-in for ${name}; it has ${accepted.join(", ")}; use the official plugin`,
    );
}

function leaves(value: Value, place: string): [place: string, value: Value][] {
  if (Array.isArray(value)) return value.flatMap((item) => leaves(item, `${place}[]`));
  if (!isMap(value)) return [[place, value]];
  return Object.entries(value).flatMap(([key, item]) => leaves(item, place === "" ? key : `${place}.${key}`));
}

/** Inputs whose change makes a new resource. */
export function replacements({ replaces }: { replaces: string[] }, before: PropertyMap, after: PropertyMap): string[] {
  return replaces.filter((key) => !isDeepStrictEqual(before[key], after[key]));
}

/** The inputs as the service has them; what means the same stays as the program wrote it. */
export function refreshed(inputs: PropertyMap, live: Live): PropertyMap {
  const entries = Object.entries(inputs).flatMap(([key, wanted]): [string, Value][] => {
    const now = live[key];
    if (!(key in live) || has(now, wanted)) return [[key, wanted]];
    return now === undefined ? [] : [[key, now]];
  });
  return Object.fromEntries(entries);
}

/** A service adds values of its own, leaves out what says nothing, and writes a JSON document in its own way. */
function has(live: Value | undefined, wanted: Value): boolean {
  if (Array.isArray(wanted)) {
    return (
      Array.isArray(live) && live.length === wanted.length && wanted.every((item, index) => has(live[index], item))
    );
  }
  if (isMap(wanted)) {
    return Object.entries(wanted).every(([key, item]) => has(isMap(live) ? live[key] : undefined, item));
  }
  if (typeof wanted === "string" && wanted.startsWith("{") && typeof live === "string" && live.startsWith("{")) {
    return isDeepStrictEqual(JSON.parse(live), JSON.parse(wanted));
  }
  return live === wanted || (live === undefined && (wanted === "" || wanted === false));
}
