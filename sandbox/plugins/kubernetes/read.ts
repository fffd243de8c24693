import { type Context, InitializationError, type ReadRequest, type ReadResult, secretPaths } from "../server/provider";
import { equal, isMap, type PropertyMap, type Value } from "../server/values";
import { fieldManager, stateOf } from "./apply";
import { notReady } from "./await";
import { objectSecrets } from "./check";
import { getObject, pathOf, UnknownKindError } from "./client";
import { apiVersionOf, type KubernetesObject, kindOf, map, without } from "./object";
import { isUnreachable, type Session } from "./session";

export async function read(session: Session, request: ReadRequest, context: Context): Promise<ReadResult | undefined> {
  const { urn, id, inputs, state, type } = request;
  const [, module = "", typeKind = ""] = type.split(":");
  const apiVersion = apiVersionOf(inputs.value) || apiVersionOf(state.value) || module.replace(/^core\//, "");
  const kind = kindOf(inputs.value) || kindOf(state.value) || typeKind;
  const [name = "", namespace] = id.split("/").reverse();
  let live: KubernetesObject | undefined;
  try {
    const client = await session.client();
    live = await getObject(client, await pathOf(client, apiVersion, kind, namespace, name));
    if (live === undefined) return undefined;
    const manager = fieldManager(urn, inputs.value, state.value);
    const refreshing = Object.keys(inputs.value).length > 0 && Object.keys(state.value).length > 0;
    const newInputs = {
      value: refreshing ? refreshInputs(inputs.value, state.value, live) : importedInputs(live),
      secrets: secretPaths(inputs.secrets, objectSecrets(live)),
    };
    const newState = stateOf(live, { value: newInputs.value, secrets: inputs.secrets }, manager, state.value);
    const reason = refreshing ? await notReady(client, live) : undefined;
    if (reason !== undefined) throw new InitializationError(id, newState, newInputs, [reason]);
    return { id, inputs: newInputs, state: newState };
  } catch (error) {
    if (error instanceof UnknownKindError) return undefined;
    if (!isUnreachable(error)) throw error;
    if (session.configuration.deleteUnreachable) {
      context.log("warning", `${messageOf(error)}; removed from the state`, { urn });
      return undefined;
    }
    if (session.configuration.skipUpdateUnreachable) {
      context.log("warning", `${messageOf(error)}; kept as it was`, { urn });
      return { id, inputs, state };
    }
    throw new Error(
      `${messageOf(error)}; if the cluster is gone, set deleteUnreachable on the provider to drop its objects`,
      { cause: error },
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * The inputs as the cluster has them now. Only what the program set is looked at, and a value counts as changed when
 * the live object differs from the recorded one: the server writes "1000m" as "1", which is no drift.
 */
export function refreshInputs(inputs: PropertyMap, recorded: PropertyMap, live: KubernetesObject): PropertyMap {
  const { stringData, ...rest } = inputs;
  const refreshed = refreshValue(rest, recorded, live) as PropertyMap;
  if (isMap(stringData))
    refreshed["stringData"] = refreshStringData(stringData, map(recorded, "data"), map(live, "data"));
  return refreshed;
}

function refreshValue(input: Value, recorded: Value | undefined, live: Value | undefined): Value | undefined {
  if (equal(recorded, live)) return input;
  if (live === undefined) return undefined;
  if (isMap(input) && isMap(live)) {
    const before = isMap(recorded) ? recorded : {};
    return Object.fromEntries(
      Object.entries(input)
        .map(([key, item]) => [key, refreshValue(item, before[key], live[key])] as const)
        .filter((entry): entry is readonly [string, Value] => entry[1] !== undefined),
    );
  }
  if (Array.isArray(input) && Array.isArray(live)) {
    return refreshList(input, Array.isArray(recorded) ? recorded : [], live);
  }
  return live;
}

/** Named elements (containers, volumes, ports) are one by one ours; other lists are ours as a whole. */
function refreshList(input: Value[], recorded: Value[], live: Value[]): Value[] {
  const named = (item: Value): item is PropertyMap => isMap(item) && typeof item["name"] === "string";
  if (input.length > 0 && input.every(named) && live.every(named)) {
    return input.flatMap((item) => {
      const sameName = (other: Value) => named(other) && other["name"] === item["name"];
      const value = refreshValue(item, recorded.find(sameName), live.find(sameName));
      return value === undefined ? [] : [value];
    });
  }
  if (input.length !== live.length) return live;
  return input.map((item, index) => refreshValue(item, recorded[index], live[index]) ?? null);
}

/** The server keeps stringData as base64 under data and never shows it again. */
function refreshStringData(stringData: PropertyMap, recorded: PropertyMap, live: PropertyMap): PropertyMap {
  return Object.fromEntries(
    Object.entries(stringData).flatMap(([key, value]): [string, Value][] => {
      if (equal(recorded[key], live[key])) return [[key, value]];
      const now = live[key];
      return typeof now === "string" ? [[key, Buffer.from(now, "base64").toString()]] : [];
    }),
  );
}

/** The program that would have made an object: all that the server did not write by itself. */
export function importedInputs(live: KubernetesObject): PropertyMap {
  const object = without(live, "status");
  const metadata = { ...map(live, "metadata") };
  for (const key of ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation", "selfLink"]) {
    delete metadata[key];
  }
  const annotations = { ...map(metadata, "annotations") };
  delete annotations["kubectl.kubernetes.io/last-applied-configuration"];
  delete annotations["deployment.kubernetes.io/revision"];
  if (Object.keys(annotations).length > 0) metadata["annotations"] = annotations;
  else delete metadata["annotations"];
  return { ...object, metadata };
}
