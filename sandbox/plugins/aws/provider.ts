import { changes } from "../server/changes";
import { InitializationError, type Provider, secretPaths } from "../server/provider";
import { equal, type Properties, type PropertyMap, unknown, type Value } from "../server/values";
import { comparable, difference, importedInputs, refreshInputs } from "./compare";
import { type Aws, connect, readConfiguration, refuseConfiguration } from "./configuration";
import { checkInputs } from "./inputs";
import type { ResourceType } from "./type";
import { typeOf, types, unknownType } from "./types";

/** The stand-in for the official `aws` plugin: what the services keep in AWS, in an emulator of it. */
export function awsProvider(version: string): Provider {
  let aws: Aws = connect(readConfiguration({}));
  return {
    name: "aws",
    version,
    checkConfig: async (news) => refuseConfiguration(news.value),
    diffConfig: async (olds, news) => {
      const found = changes(olds, news).map(({ path, kind }) => [String(path[0]), kind] as const);
      return { changed: found.length > 0, detailed: Object.fromEntries(found), deleteBeforeReplace: false };
    },
    configure: async (config) => {
      aws = connect(readConfiguration(config));
    },
    check: async ({ type: token, name, olds, news, randomSeed }) => {
      const type = types[token];
      if (type === undefined) return { inputs: news, failures: [{ property: "", reason: unknownType(token) }] };
      const named = { logicalName: name, seed: randomSeed };
      const { inputs, failures } = checkInputs(token, type, news.value, olds?.value, named);
      return { inputs: { value: inputs, secrets: news.secrets }, failures };
    },
    diff: async ({ type, oldInputs, news, ignoreChanges }) =>
      difference(typeOf(type), oldInputs.value, news.value, ignoreChanges),
    create: async ({ type: token, name, inputs, preview }) => {
      const type = typeOf(token);
      if (preview) return { id: "", state: stateOf(type, previewed(type, inputs.value), inputs) };
      const given = { ...type.defaults, ...inputs.value };
      const made = await asked(`creating ${token} ${name}`, () => type.create(aws, given));
      const { id, toldOnce } = typeof made === "string" ? { id: made, toldOnce: {} } : made;
      const before = { ...inputs.value, ...toldOnce };
      try {
        await asked(`completing ${token} ${id}`, async () => type.complete?.(aws, id, given));
        return { id, state: await present(aws, token, id, inputs, before) };
      } catch (error) {
        // What AWS told once must be in the state even now.
        const reasons = [error instanceof Error ? error.message : String(error)];
        throw new InitializationError(id, stateOf(type, before, inputs, before), undefined, reasons);
      }
    },
    read: async ({ type: token, id, inputs, state }) => {
      const type = typeOf(token);
      const live = await asked(`reading ${token} ${id}`, () => type.read(aws, id, state.value));
      if (live === undefined) return undefined;
      const refreshing = Object.keys(inputs.value).length > 0;
      const value = refreshing ? refreshInputs(type, inputs.value, live) : importedInputs(type, live);
      const refreshed = { value, secrets: inputs.secrets };
      const { value: now, secrets } = stateOf(type, live, refreshed, state.value);
      return { id, inputs: refreshed, state: { value: now, secrets: secretPaths(secrets, state.secrets) } };
    },
    update: async ({ type: token, id, oldInputs, oldState, inputs, preview }) => {
      const type = typeOf(token);
      if (preview) {
        const changed = changedFrom(type, oldInputs.value, inputs.value);
        return stateOf(type, previewed(type, inputs.value, oldState.value, changed), inputs, oldState.value);
      }
      // From what AWS has, not from what it once had: so that an interrupted change is taken up where it ended.
      const { value: before } = await present(aws, token, id, inputs, oldState.value);
      const given = { ...type.defaults, ...inputs.value };
      const changed = changedFrom(type, before, given);
      await asked(`updating ${token} ${id}`, () => type.update(aws, id, given, changed, before));
      return present(aws, token, id, inputs, oldState.value);
    },
    delete: async ({ type: token, id, state }) => {
      await asked(`deleting ${token} ${id}`, () => typeOf(token).delete(aws, id, state.value));
    },
  };
}

function changedFrom(type: ResourceType, old: PropertyMap, news: PropertyMap): (key: string) => boolean {
  const [before, after] = [comparable(type, old), comparable(type, news)];
  return (key) => !equal(before[key], after[key]);
}

/** What AWS has of something that must be there. */
async function present(
  aws: Aws,
  token: string,
  id: string,
  inputs: Properties,
  before: PropertyMap,
): Promise<Properties> {
  const type = typeOf(token);
  const live = await asked(`reading ${token} ${id}`, () => type.read(aws, id, before));
  if (live === undefined) throw new Error(`${token} ${id} is not in AWS; refresh the stack`);
  return stateOf(type, live, inputs, before);
}

/** What AWS has, with what it does not tell from the inputs and what it told once from the former state. */
export function stateOf(
  { untold = [], toldOnce = [] }: ResourceType,
  live: PropertyMap,
  inputs: Properties,
  before: PropertyMap = {},
): Properties {
  return {
    value: { ...live, ...picked(untold, inputs.value), ...picked(toldOnce, before) },
    secrets: secretPaths(
      inputs.secrets,
      toldOnce.map((key) => [key]),
    ),
  };
}

function picked(keys: string[], from: PropertyMap): PropertyMap {
  return Object.fromEntries(Object.entries(from).filter(([key]) => keys.includes(key)));
}

/** The outputs as far as they are known before anything is asked of AWS. */
export function previewed(
  type: ResourceType,
  inputs: PropertyMap,
  before?: PropertyMap,
  changed: (key: string) => boolean = () => true,
): PropertyMap {
  const given = picked(Object.keys(type.inputs), inputs);
  const made = Object.entries(type.outputs).map(([key, follows]): [string, Value] => {
    const kept = follows !== undefined && changed(follows) ? undefined : before?.[key];
    return [key, kept ?? unknown];
  });
  // What was never told, as of something imported, an update does not bring.
  const once = before === undefined ? (type.toldOnce ?? []).map((key): [string, Value] => [key, unknown]) : [];
  const chosen = (type.chosen ?? []).map((key): [string, Value] => [key, before?.[key] ?? unknown]);
  return { ...type.defaults, ...Object.fromEntries([...made, ...once, ...chosen]), ...given };
}

/** Says what was asked when AWS refuses, and who when nobody answers. */
async function asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw new Error(`${what}: ${explain(error)}`, { cause: error });
  }
}

export function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  const message = error.message || (typeof code === "string" ? code : error.name);
  if (/ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ETIMEDOUT/.test(`${message} ${String(code)}`)) {
    return `AWS does not answer: ${message}`;
  }
  return error.name === "Error" || message.includes(error.name) ? message : `${error.name}: ${message}`;
}
