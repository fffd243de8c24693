import { randomBytes, randomInt } from "node:crypto";
import { changes } from "../server/changes";
import type { Difference, DiffKind, Provider } from "../server/provider";
import { formatPath, type PropertyMap } from "../server/values";

/** One kind of random value: what a program may ask for, and how the value is made. */
interface Kind {
  inputs: readonly string[];
  /** Outputs that are secret. */
  secrets: readonly string[];
  /** The length that is asked for. */
  length: "length" | "byteLength";
  make(length: number): { id: string; outputs: PropertyMap };
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

const kinds: Record<string, Kind> = {
  "random:index/randomPassword:RandomPassword": {
    inputs: ["length", "special", "keepers"],
    secrets: ["result", "bcryptHash"],
    length: "length",
    make: (length) => {
      const result = Array.from({ length }, () => letters[randomInt(letters.length)]).join("");
      // The password must not become an id, which nothing hides.
      return { id: "none", outputs: { result } };
    },
  },
  "random:index/randomId:RandomId": {
    inputs: ["byteLength", "keepers"],
    secrets: [],
    length: "byteLength",
    make: (length) => {
      const bytes = randomBytes(length);
      return { id: bytes.toString("base64url"), outputs: { hex: bytes.toString("hex") } };
    },
  },
};

/**
 * The stand-in for the official `random` plugin, with what the components use of it. A value is made once; any change of its
 * inputs makes a new one.
 */
export function randomProvider(version: string): Provider {
  return {
    name: "random",
    version,
    configure: async () => undefined,
    check: async ({ type, news }) => {
      const inputs = { value: withoutNulls(news.value), secrets: news.secrets };
      return { inputs, failures: refusals(type, inputs.value).map((reason) => ({ property: "", reason })) };
    },
    diff: async ({ oldInputs, news, ignoreChanges }) =>
      difference(withoutNulls(oldInputs.value), news.value, ignoreChanges),
    create: async ({ type, inputs, preview }) => {
      const kind = kinds[type];
      if (kind === undefined) throw new Error(unknownKind(type));
      // A preview must not show a value that the update will not have.
      if (preview) return { id: "", state: inputs };
      const { id, outputs } = kind.make(Number(inputs.value[kind.length]));
      const secrets = [...inputs.secrets, ...kind.secrets.map((name) => [name])];
      return { id, state: { value: { ...inputs.value, ...outputs }, secrets } };
    },
    // The value is nowhere but in the state.
    read: async ({ id, inputs, state }) => ({ id, inputs, state }),
    update: async ({ oldState }) => oldState,
    delete: async () => undefined,
  };
}

function refusals(type: string, inputs: PropertyMap): string[] {
  const kind = kinds[type];
  if (kind === undefined) return [unknownKind(type)];
  const length = inputs[kind.length];
  const isLength = typeof length === "number" && Number.isSafeInteger(length) && length >= 1;
  return [
    ...Object.keys(inputs)
      .filter((key) => !kind.inputs.includes(key))
      .map((key) => `${key} is not part of the stand-in for random, which takes ${kind.inputs.join(", ")}`),
    ...(isLength ? [] : [`${kind.length} must be a whole number of at least 1, got ${JSON.stringify(length)}`]),
    ...(kind.length === "length" && inputs["special"] !== false
      ? [`special must be false in the stand-in for random, got ${JSON.stringify(inputs["special"])}`]
      : []),
  ];
}

function unknownKind(type: string): string {
  return `${type} is not part of the stand-in for random, which has ${Object.keys(kinds).join(", ")}`;
}

function withoutNulls(value: PropertyMap): PropertyMap {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null));
}

export function difference(before: PropertyMap, after: PropertyMap, ignoreChanges: string[] = []): Difference {
  const found = changes(before, after).filter(({ path }) => !ignoreChanges.includes(String(path[0])));
  const detailed = Object.fromEntries(
    found.map(({ path, kind }): [string, DiffKind] => [formatPath(path), `${kind}-replace`]),
  );
  return { changed: found.length > 0, detailed, deleteBeforeReplace: false };
}
