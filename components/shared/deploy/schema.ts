/**
 * From a zod schema to sentences: every mistake in a value at once, each with its key, the value given, what is accepted and
 * what to change.
 */
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";

export type Path = readonly PropertyKey[];

export interface Problem {
  path: Path;
  /** What follows the key in a sentence. */
  message: string;
  unknownKey: boolean;
}

/** Adds a mistake at a path below the value that is checked. */
export type AddProblem = (path: Path, message: string) => void;

/** A value without its wrong parts, which are reported already. Defaults are filled in, so a part that is missing was wrong. */
export type Sound<T> = T extends readonly (infer Element)[]
  ? (Sound<Element> | undefined)[]
  : T extends pulumi.Output<unknown> | Promise<unknown> | string | number | boolean | undefined
    ? T
    : { [Key in keyof T]?: Sound<T[Key]> | undefined };

/** The value with all defaults, or undefined and what is wrong with it. */
export function parsed<Output>(
  schema: z.ZodType<Output>,
  given: unknown,
  unknownKey = "is not an argument",
): { value: Output | undefined; problems: Problem[] } {
  // A schema parses a few values only: to compile code for it would take longer.
  const result = schema.safeParse(given, { error: inWords, jitless: true });
  const issues = flat(result.error?.issues ?? []);
  const problems = issues.flatMap((issue): Problem[] => {
    const later = pathOfOutput(given, issue.path);
    if (later !== undefined) return [{ path: later, message: notPlain, unknownKey: false }];
    if (issue.code !== "unrecognized_keys") return [{ path: issue.path, message: issue.message, unknownKey: false }];
    return issue.keys.map((key) => ({
      path: [...issue.path, key],
      // For unknown keys the message lists the known keys, see `inWords`.
      message: `${unknownKey}; ${advice(key, issue.message.split(" "))}`,
      unknownKey: true,
    }));
  });
  const sentences = problems.map(sentence);
  return {
    value: result.data,
    problems: problems.filter((_, index) => sentences.indexOf(sentences[index] ?? "") === index),
  };
}

export function sentence({ path, message }: Pick<Problem, "path" | "message">): string {
  return `${pathText(path)} ${message}`;
}

/** A check that also runs when parts of the value are wrong; it gets the other parts. */
export function together<T>(check: (value: Sound<T>, problem: AddProblem) => void): z.core.$ZodCheck<T> {
  return always((value, issues, problem) => {
    const wrong = issues.filter(({ code }) => code !== "unrecognized_keys").map(({ path }) => path ?? []);
    const sound = without(value, wrong);
    if (isObject(sound)) check(sound as Sound<T>, problem);
  });
}

/** A check of a list that also runs when elements of the list are wrong. */
export function ofList<T>(check: (list: T[], problem: AddProblem) => void): z.core.$ZodCheck<T[]> {
  return always((value, _, problem) => {
    if (Array.isArray(value)) check(value as T[], problem);
  });
}

/** A check that runs when the type is right. `judge` returns the mistake in words, or undefined. */
export function rule<T>(judge: (value: T) => string | undefined): z.core.CheckFn<T> {
  return ({ value, issues }) => {
    const message = judge(value);
    if (message !== undefined) issues.push({ code: "custom", message, input: value });
  };
}

function always<T>(
  check: (value: unknown, issues: z.core.$ZodRawIssue[], problem: AddProblem) => void,
): z.core.$ZodCheck<T> {
  const result = z.check<T>(({ value, issues }) => {
    check(value, [...issues], (path, message) => {
      issues.push({ code: "custom", path: [...path], message, input: value });
    });
  });
  result._zod.def.when = () => true;
  return result;
}

/** The messages of a schema for a value that is missing or wrong. */
export function says(accepted: string, advice: string): { error: z.core.$ZodErrorMap } {
  return {
    error: ({ input }) =>
      input === undefined ? `is missing; ${advice}` : `must be ${accepted}, got ${shown(input)}; ${advice}`,
  };
}

export function text(pattern: RegExp, accepted: string, advice: string) {
  return z.string(says(accepted, advice)).regex(pattern, says(accepted, advice));
}

/** `to` may be Infinity. */
export function wholeNumber(from: number, to: number, advice: string, accepted?: string) {
  const words = accepted ?? `a whole number from ${from} ${to === Number.POSITIVE_INFINITY ? "up" : `to ${to}`}`;
  const isWithin = (value: number): boolean => Number.isInteger(value) && value >= from && value <= to;
  return z.number(says(words, advice)).refine(isWithin, says(words, advice));
}

/** A text that may be an output: it decides on the value of a field only, not on which resources exist. */
export function laterText(advice: string) {
  const isText = (value: unknown): boolean => (typeof value === "string" && value !== "") || isLater(value);
  return z.custom<pulumi.Input<string>>(isText, {
    error: ({ input }) => (input === "" ? `is missing; ${advice}` : says("a text", advice).error({ input } as never)),
  });
}

export const httpUrl = "an http or https URL";
export const isHttpUrl = (text: string): boolean =>
  URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol);

/** Of an http or https URL. */
export function portOf(url: string): number {
  const { port, protocol } = new URL(url);
  return Number(port || (protocol === "http:" ? 80 : 443));
}

export function laterUrl(advice: string) {
  return laterText(advice).refine(
    (value) => typeof value !== "string" || value === "" || isHttpUrl(value),
    says(httpUrl, 'use one like "https://s3.example.com"'),
  );
}

/** A reference to an image, by tag, by digest or by both. */
export function imageText() {
  const advice = 'use one like "registry.example.com/redis:8.0.6", with or without "@sha256:" and 64 hex digits';
  // Without a text: that is another mistake.
  const isReference = (value: string): boolean => value === "" || /^[^\s@]+(@sha256:[0-9a-f]{64})?$/.test(value);
  return laterText("give a full image reference").refine(
    (value) => typeof value !== "string" || isReference(value),
    says("a full image reference", advice),
  );
}

const isLater = (value: unknown): boolean => pulumi.Output.isInstance(value) || value instanceof Promise;
const notPlain = "must be a plain value, got an Output; it decides what is created";

function pathOfOutput(given: unknown, path: Path): Path | undefined {
  const prefixes = [...path.keys(), path.length].map((length) => path.slice(0, length));
  return prefixes.find((each) => isLater(valueAt(given, each)));
}

/** When an object is given for a union: the mistakes in the object instead of the one of the union. */
function flat(issues: z.core.$ZodIssue[]): z.core.$ZodIssue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union") return [issue];
    const inside = issue.errors.find((each) =>
      each.every(({ path, code }) => path.length > 0 || code === "unrecognized_keys" || code === "custom"),
    );
    return inside === undefined
      ? [issue]
      : flat(inside.map((each) => ({ ...each, path: [...issue.path, ...each.path] })));
  });
}

const typeNames: Record<string, [accepted: string, advice: string]> = {
  string: ["a text", "give a text"],
  number: ["a number", "give a number"],
  boolean: ["true or false", "use one of these"],
  array: ["a list", "give a list"],
  object: ["an object", "give one"],
  record: ["an object", "give one"],
};

/** The messages for schemas without messages of their own. */
const inWords: z.core.$ZodErrorMap = (issue) => {
  if (issue.code === "unrecognized_keys") return keysOf(issue.inst).join(" ");
  const [accepted, advice] = acceptedBy(issue);
  const discriminator = issue.code === "invalid_union" ? issue["discriminator"] : undefined;
  const given = valueAt(issue.input, typeof discriminator === "string" ? [discriminator] : []);
  return given === undefined
    ? `is missing; it must be ${accepted}`
    : `must be ${accepted}, got ${shown(given)}; ${advice}`;
};

const keysOf = (type: unknown): string[] => (type instanceof z.ZodObject ? Object.keys(type.shape) : []);

function acceptedBy(issue: z.core.$ZodRawIssue): [accepted: string, advice: string] {
  if (issue.code === "invalid_value") return [choice(issue.values), "use one of these"];
  if (issue.code === "invalid_union") return [choice((issue.options ?? []) as unknown[]), "use one of these"];
  if (issue.code === "too_small") {
    const isList = issue.origin === "array";
    return isList ? ["a list that is not empty", "give at least one"] : ["a text that is not empty", "give one"];
  }
  if (issue.code === "invalid_type") {
    const [accepted, advice] = typeNames[issue.expected] ?? [`a ${issue.expected}`, "give one"];
    const known = keysOf(issue.inst);
    return [known.length === 0 ? accepted : `${accepted} with ${known.join(", ")}`, advice];
  }
  return ["another value", "see the documentation"];
}

function choice(values: readonly unknown[]): string {
  const quoted = values.map((each) => JSON.stringify(each));
  return [quoted.slice(0, -1).join(", "), quoted.at(-1) ?? ""].filter((each) => each !== "").join(" or ");
}

export function shown(value: unknown): string {
  return value === undefined ? "nothing" : (JSON.stringify(value) ?? typeof value);
}

export function advice(word: string, known: readonly string[]): string {
  const near = nearest(word, known);
  return near === undefined ? `use one of ${known.join(", ")}` : `did you mean ${near}`;
}

export function pathText(path: Path): string {
  return path
    .map((each, index) => (typeof each === "number" ? `[${each}]` : `${index === 0 ? "" : "."}${String(each)}`))
    .join("");
}

const isObject = (value: unknown): value is Record<PropertyKey, unknown> => typeof value === "object" && value !== null;

export function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((each, key) => (isObject(each) ? each[key] : undefined), value);
}

/** A copy without the values at the paths. In a list undefined remains, so that the other elements keep their places. */
export function without(value: unknown, paths: Path[]): unknown {
  if (paths.some(({ length }) => length === 0)) return undefined;
  if (paths.length === 0 || !isObject(value)) return value;
  const below = (key: PropertyKey): unknown => {
    const rests = paths.filter(([first]) => first === key).map(([, ...rest]) => rest);
    return without(value[key], rests);
  };
  if (Array.isArray(value)) return value.map((_, index) => below(index));
  const entries = Object.keys(value).map((key) => [key, below(key)] as const);
  return Object.fromEntries(entries.filter(([, each]) => each !== undefined));
}

/** The known word within two edits, if any. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  return known
    .map((each) => ({ each, distance: editDistance(word.toLowerCase(), each.toLowerCase()) }))
    .filter(({ distance }) => distance <= 2)
    .sort((a, b) => a.distance - b.distance)[0]?.each;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
