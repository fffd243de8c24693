import { changes } from "../server/changes";
import type { Difference, DiffKind, Provider } from "../server/provider";
import { containsUnknown, formatPath, type Properties, type PropertyMap } from "../server/values";
import { kinds, makeRandom, outputSecrets, type RandomKind } from "./resources";

/** The stand-in for the official `random` plugin. A value is made once; any change of its inputs makes a new one. */
export function randomProvider(version: string): Provider {
  return {
    name: "random",
    version,
    configure: async () => undefined,
    check: async ({ type, news }) => {
      const kind = kinds[kindName(type)];
      const inputs = { value: withoutNulls(news.value), secrets: news.secrets };
      const reason = kind === undefined ? unknownKind(type) : validated(kind, inputs.value);
      return { inputs, failures: reason === undefined ? [] : [{ property: "", reason }] };
    },
    diff: async ({ oldInputs, news, ignoreChanges }) => {
      return difference(withoutNulls(oldInputs.value), news.value, ignoreChanges);
    },
    create: async ({ type, inputs, preview }) => {
      const kind = kindOf(type);
      // A preview must not show a value that the update will not have.
      if (preview) return { id: "", state: { value: { ...kind.defaults, ...inputs.value }, secrets: inputs.secrets } };
      const { id, outputs } = makeRandom(kind, inputs.value);
      return { id, state: { value: outputs, secrets: outputSecrets(kind, inputs.secrets) } };
    },
    read: async ({ type, id, inputs, state }) => {
      const kind = kindOf(type);
      if (Object.keys(state.value).length > 0) return { id, inputs, state: marked(kind, state, inputs) };
      const outputs = kind.recover(id);
      if (outputs === undefined) return undefined;
      const made = new Set(["result", "results", "hex", "dec", "b64Std", "b64Url", "base64", "number", "bcryptHash"]);
      const given = Object.fromEntries(Object.entries(outputs).filter(([key]) => !made.has(key)));
      const secretId = kindName(type) === "RandomPassword" || kindName(type) === "RandomBytes";
      return {
        id: secretId ? "none" : id,
        inputs: { value: given, secrets: [] },
        state: { value: outputs, secrets: outputSecrets(kind, []) },
      };
    },
    update: async ({ oldState }) => oldState,
    delete: async () => undefined,
  };
}

function kindName(type: string): string {
  return type.split(":")[2] ?? "";
}

function kindOf(type: string): RandomKind {
  const kind = kinds[kindName(type)];
  if (kind === undefined) throw new Error(unknownKind(type));
  return kind;
}

function unknownKind(type: string): string {
  return `${type} is not part of the stand-in for random; it has ${Object.keys(kinds).join(", ")}`;
}

function validated(kind: RandomKind, inputs: PropertyMap): string | undefined {
  return containsUnknown(inputs) ? undefined : kind.validate?.({ ...kind.defaults, ...inputs });
}

function withoutNulls(value: PropertyMap): PropertyMap {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null));
}

function marked(kind: RandomKind, state: Properties, inputs: Properties): Properties {
  return { value: state.value, secrets: outputSecrets(kind, [...state.secrets, ...inputs.secrets]) };
}

export function difference(before: PropertyMap, after: PropertyMap, ignoreChanges: string[] = []): Difference {
  const found = changes(before, after).filter(({ path }) => !ignoreChanges.includes(String(path[0])));
  const detailed = Object.fromEntries(
    found.map(({ path, kind }): [string, DiffKind] => [formatPath(path), `${kind}-replace`]),
  );
  return { changed: found.length > 0, detailed, deleteBeforeReplace: false };
}
