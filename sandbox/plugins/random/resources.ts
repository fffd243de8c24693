import { createHash, randomUUID } from "node:crypto";
import { isMap, type Path, type PropertyMap, type Value } from "../server/values";
import { below, type Source, seededSource, shuffle, systemSource } from "./number";
import { impossible, randomText, type TextRules } from "./text";
import { adjectives, adverbs, animals } from "./words";

/** One kind of random value. */
export interface RandomKind {
  defaults: PropertyMap;
  /** Outputs that are secret whatever the inputs are. */
  secrets: string[];
  /** What is wrong with the inputs. */
  validate?: (inputs: PropertyMap) => string | undefined;
  make: (inputs: PropertyMap, source: Source) => { id: string; outputs: PropertyMap };
  /** The outputs for the id that `pulumi import` was given; undefined when it tells too little. */
  recover: (id: string) => PropertyMap | undefined;
}

const textDefaults: PropertyMap = {
  lower: true,
  upper: true,
  numeric: true,
  special: true,
  minLower: 0,
  minUpper: 0,
  minNumeric: 0,
  minSpecial: 0,
};

const randomString: RandomKind = {
  defaults: textDefaults,
  secrets: [],
  validate: (inputs) => impossible(textRules(inputs)),
  make: (inputs, source) => {
    const result = randomText(textRules(inputs), source);
    return { id: result, outputs: { result, number: textRules(inputs).numeric, numeric: textRules(inputs).numeric } };
  },
  recover: (id) => ({ ...textDefaults, number: true, length: id.length, result: id }),
};

const randomPassword: RandomKind = {
  ...randomString,
  secrets: ["result", "bcryptHash"],
  // The password must not become an id, which nothing hides.
  make: (inputs, source) => ({ ...randomString.make(inputs, source), id: "none" }),
};

const randomId: RandomKind = {
  defaults: {},
  secrets: [],
  validate: ({ byteLength }) => wholeNumber("byteLength", byteLength, 1),
  make: ({ byteLength, prefix }, source) => {
    const bytes = source(Number(byteLength));
    return { id: bytes.toString("base64url"), outputs: idForms(bytes, typeof prefix === "string" ? prefix : "") };
  },
  recover: (id) => {
    const [encoded = "", prefix = ""] = id.split(",").reverse();
    const bytes = Buffer.from(encoded, "base64url");
    return { byteLength: bytes.length, ...(prefix === "" ? {} : { prefix }), ...idForms(bytes, prefix) };
  },
};

function idForms(bytes: Buffer, prefix: string): PropertyMap {
  const hex = bytes.toString("hex");
  return {
    hex: prefix + hex,
    dec: prefix + BigInt(`0x${hex || "0"}`).toString(),
    b64Std: prefix + bytes.toString("base64"),
    b64Url: prefix + bytes.toString("base64url"),
  };
}

const randomBytes: RandomKind = {
  defaults: {},
  secrets: ["base64", "hex"],
  validate: ({ length }) => wholeNumber("length", length, 1),
  make: ({ length }, source) => {
    const bytes = source(Number(length));
    return { id: "none", outputs: { base64: bytes.toString("base64"), hex: bytes.toString("hex") } };
  },
  recover: (id) => {
    const bytes = Buffer.from(id, "base64");
    return { length: bytes.length, base64: id, hex: bytes.toString("hex") };
  },
};

const randomPet: RandomKind = {
  defaults: { length: 2, separator: "-" },
  secrets: [],
  validate: ({ length }) => wholeNumber("length", length, 1),
  make: ({ length, separator, prefix }, source) => {
    const words = petWords(Number(length), source);
    const id = [...(typeof prefix === "string" ? [prefix] : []), ...words].join(
      typeof separator === "string" ? separator : "-",
    );
    return { id, outputs: {} };
  },
  recover: () => ({}),
};

function petWords(length: number, source: Source): string[] {
  const pick = (words: string[]) => words[below(words.length, source)] ?? "";
  const lists = [
    ...Array.from({ length: Math.max(0, length - 2) }, () => adverbs),
    ...(length > 1 ? [adjectives] : []),
  ];
  return [...lists, animals].map(pick);
}

const randomInteger: RandomKind = {
  defaults: {},
  secrets: [],
  validate: ({ min, max }) => {
    if (!Number.isSafeInteger(min)) return `min must be a whole number, got ${JSON.stringify(min)}`;
    if (!Number.isSafeInteger(max)) return `max must be a whole number, got ${JSON.stringify(max)}`;
    return Number(min) > Number(max)
      ? `min must not be above max, got ${JSON.stringify(min)} and ${JSON.stringify(max)}`
      : undefined;
  },
  make: ({ min, max }, source) => {
    const result = Number(min) + below(Number(max) - Number(min) + 1, source);
    return { id: String(result), outputs: { result } };
  },
  recover: (id) => {
    const [result, min, max, seed] = id.split(",");
    if (min === undefined || max === undefined) return undefined;
    return { result: Number(result), min: Number(min), max: Number(max), ...(seed === undefined ? {} : { seed }) };
  },
};

const randomUuid: RandomKind = {
  defaults: {},
  secrets: [],
  make: () => {
    const result = randomUUID();
    return { id: result, outputs: { result } };
  },
  recover: (id) => ({ result: id }),
};

const randomShuffle: RandomKind = {
  defaults: {},
  secrets: [],
  validate: ({ inputs }) => (Array.isArray(inputs) ? undefined : "inputs must be a list"),
  make: ({ inputs, resultCount }, source) => {
    const items = Array.isArray(inputs) ? inputs : [];
    const count = typeof resultCount === "number" ? resultCount : items.length;
    const results: Value[] = [];
    // More results than inputs start over with another order.
    while (results.length < count && items.length > 0) results.push(...shuffle(items, source));
    return { id: "-", outputs: { results: results.slice(0, count) } };
  },
  recover: () => undefined,
};

export const kinds: Record<string, RandomKind> = {
  RandomString: randomString,
  RandomPassword: randomPassword,
  RandomId: randomId,
  RandomBytes: randomBytes,
  RandomPet: randomPet,
  RandomInteger: randomInteger,
  RandomUuid: randomUuid,
  RandomUuid4: randomUuid,
  RandomShuffle: randomShuffle,
};

export function makeRandom(kind: RandomKind, inputs: PropertyMap): { id: string; outputs: PropertyMap } {
  const seed = inputs["seed"];
  const source =
    typeof seed === "string" ? seededSource(seed, (text) => createHash("sha256").update(text).digest()) : systemSource;
  const complete = { ...kind.defaults, ...inputs };
  const { id, outputs } = kind.make(complete, source);
  return { id, outputs: { ...complete, ...outputs } };
}

/** The places of the secrets in the outputs; a secret list stays secret shuffled. */
export function outputSecrets(kind: RandomKind, inputSecrets: Path[]): Path[] {
  const own = kind.secrets.map((name): Path => [name]);
  const list = inputSecrets.some((path) => path[0] === "inputs") ? [["results"]] : [];
  return [...inputSecrets, ...own, ...list];
}

export function textRules(inputs: PropertyMap): TextRules {
  const complete = { ...textDefaults, ...(isMap(inputs) ? inputs : {}) };
  const flag = (value: Value | undefined) => value !== false && value !== "false";
  const count = (value: Value | undefined) => Number(value ?? 0);
  return {
    length: count(complete["length"]),
    lower: flag(complete["lower"]),
    upper: flag(complete["upper"]),
    // `number` is the old name of `numeric`.
    numeric: flag(inputs["numeric"] ?? inputs["number"] ?? true),
    special: flag(complete["special"]),
    minLower: count(complete["minLower"]),
    minUpper: count(complete["minUpper"]),
    minNumeric: count(complete["minNumeric"]),
    minSpecial: count(complete["minSpecial"]),
    overrideSpecial: typeof complete["overrideSpecial"] === "string" ? complete["overrideSpecial"] : undefined,
  };
}

function wholeNumber(name: string, value: Value | undefined, least: number): string | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= least) return undefined;
  return `${name} must be a whole number of at least ${least}, got ${JSON.stringify(value)}`;
}
