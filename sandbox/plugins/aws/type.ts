import type { PropertyMap } from "../server/values";
import type { Aws } from "./configuration";
import type { Shape } from "./inputs";

/** One type of resource: what a program says about it, and what is asked of AWS for it. */
export interface ResourceType {
  inputs: Record<string, Shape>;
  required: string[];
  /** Inputs whose change makes a new resource: those of the official plugin. */
  replaces: string[];
  /** What leaving an input out means, where it is not false or empty. */
  defaults?: PropertyMap;
  /** Inputs that AWS, or this plugin, chooses when the program leaves them out. */
  chosen?: string[];
  /** Inputs that AWS does not keep or tell. */
  untold?: string[];
  /** Outputs that AWS tells when it makes the resource and never again, since they are secret. */
  toldOnce?: string[];
  /** The input that is a name, and the name when the program gives none. */
  name?: { key: string; make: (logicalName: string, digits: string) => string };
  /** Outputs besides the inputs; with the input that they follow, where they can change. */
  outputs: Record<string, string | undefined>;
  /** The inputs in one form, where AWS takes several for the same. */
  normal?: (inputs: PropertyMap) => PropertyMap;
  create: (aws: Aws, inputs: PropertyMap) => Promise<Made>;
  /** What is left to do once the resource exists; it is in the state when this fails. */
  complete?: (aws: Aws, id: string, inputs: PropertyMap) => Promise<void>;
  /** Inputs and outputs; undefined when the resource is gone. The former state is empty when it is imported. */
  read: (aws: Aws, id: string, before: PropertyMap) => Promise<PropertyMap | undefined>;
  update: (
    aws: Aws,
    id: string,
    inputs: PropertyMap,
    changed: (key: string) => boolean,
    before: PropertyMap,
  ) => Promise<void>;
  delete: (aws: Aws, id: string, state: PropertyMap) => Promise<void>;
}

/** The id, with what AWS tells once where it does. */
export type Made = string | { id: string; toldOnce: PropertyMap };

/** What is asked for, or undefined when AWS answers with one of these errors: it is not there. */
export async function unlessMissing<T>(names: string[], ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Error && names.includes(error.name)) return undefined;
    throw error;
  }
}

/** Text of an input; empty when there is none. */
export function text(inputs: PropertyMap, key: string): string {
  const value = inputs[key];
  return typeof value === "string" ? value : "";
}

export function flag(inputs: PropertyMap, key: string): boolean {
  return inputs[key] === true;
}

export function fields(inputs: PropertyMap, key: string): PropertyMap {
  const value = inputs[key];
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** `{ [key]: value }`, or nothing where there is nothing to say. */
export function optional<T>(key: string, value: T | undefined): Record<string, T> {
  return value === undefined || value === "" ? {} : { [key]: value };
}

export interface TagPair {
  Key: string;
  Value: string;
}

export function tagPairs(tags: PropertyMap): TagPair[] {
  return Object.keys(tags).map((Key) => ({ Key, Value: text(tags, Key) }));
}

/** Tags as inputs and as the outputs that go with them, without those that AWS itself sets. */
export function tagProperties(tags: [key: string | undefined, value: string | undefined][]): PropertyMap {
  const own = Object.fromEntries(
    tags.flatMap(([key, value]) => (key && !key.startsWith("aws:") ? [[key, value ?? ""]] : [])),
  );
  return { tags: own, tagsAll: own };
}

/** Takes away the tags that are no longer wanted, and sets the others. */
export async function changeTags(
  before: PropertyMap,
  after: PropertyMap,
  calls: { untag: (keys: string[]) => Promise<unknown>; tag: (tags: TagPair[]) => Promise<unknown> },
): Promise<void> {
  const wanted = fields(after, "tags");
  const gone = Object.keys(fields(before, "tags")).filter((key) => !(key in wanted));
  if (gone.length > 0) await calls.untag(gone);
  if (Object.keys(wanted).length > 0) await calls.tag(tagPairs(wanted));
}
