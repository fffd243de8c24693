import { createHash } from "node:crypto";
import {
  type Context,
  type CreateRequest,
  InitializationError,
  secretPaths,
  type UpdateRequest,
} from "../server/provider";
import { containsUnknown, type Properties, type PropertyMap } from "../server/values";
import { awaitReady, NotReadyError } from "./await";
import { pause } from "./await/observe";
import { objectSecrets } from "./check";
import { ApiError, type Client, getObject, objectPath, UnknownKindError } from "./client";
import type { Configuration } from "./configuration";
import {
  annotated,
  annotation,
  apiVersionOf,
  type KubernetesObject,
  list,
  map,
  nameOf,
  namespaceOf,
  text,
  title,
  without,
} from "./object";
import type { Session } from "./session";

/** `namespace/name`, or the name alone for objects of the cluster. */
export function idOf(object: KubernetesObject): string {
  const namespace = namespaceOf(object);
  return namespace === undefined ? nameOf(object) : `${namespace}/${nameOf(object)}`;
}

/**
 * The field manager of a resource: what the object or the state says, else one of its own. It comes from the URN and
 * not from chance, so that a create that was interrupted before the state was written is recognised as ours.
 */
export function fieldManager(urn: string, inputs: PropertyMap, state: PropertyMap = {}): string {
  return (
    annotation(inputs, "pulumi.com/patchFieldManager") ??
    text(state, "__fieldManager") ??
    `pulumi-kubernetes-${createHash("sha256").update(urn).digest("hex").slice(0, 8)}`
  );
}

/** What is kept of a live object, with the secrets that its inputs have. */
export function stateOf(
  object: KubernetesObject,
  inputs: Properties,
  manager: string,
  oldState: PropertyMap = {},
): Properties {
  const metadata = without(map(object, "metadata"), "managedFields");
  const value = {
    ...object,
    metadata,
    __fieldManager: manager,
    __initialApiVersion: text(oldState, "__initialApiVersion") ?? apiVersionOf(inputs.value),
  };
  return { value, secrets: secretPaths(inputs.secrets, objectSecrets(value)) };
}

export async function create(
  session: Session,
  request: CreateRequest,
  context: Context,
): Promise<{ id: string; state: Properties }> {
  const { inputs, urn } = request;
  const object = inputs.value;
  const manager = fieldManager(urn, object);
  const id = idOf(object);
  if (request.preview) return { id, state: await previewCreate(session, request, manager, context) };
  const client = await session.client();
  const path = await whenKindIsKnown(() => objectPath(client, object), context.signal);
  const existing = await getObject(client, path);
  if (existing !== undefined && !session.configuration.upsertExistingObjects) refuseExisting(existing, object, manager);
  const applied = await apply(client, path, object, manager, session.configuration, false);
  return { id, state: await ready(client, applied, request, manager, context) };
}

/** An interrupted create is taken up for an hour; an object kept on purpose (`retainOnDelete`) is not ours any more. */
const interruptedMilliseconds = 60 * 60 * 1000;

export function refuseExisting(
  existing: KubernetesObject,
  object: KubernetesObject,
  manager: string,
  now = Date.now(),
): void {
  if (text(existing, "metadata", "deletionTimestamp") !== undefined) {
    throw new Error(`${title(object)} already exists and is being deleted; try again when it is gone`);
  }
  const ours = managers(existing).includes(manager);
  const age = now - Date.parse(text(existing, "metadata", "creationTimestamp") ?? "");
  if (ours && age < interruptedMilliseconds) return;
  throw new Error(
    `${title(object)} already exists; import it (\`pulumi import\` or the option import), give the new one another ` +
      "name, or set upsertExistingObjects on the provider to take it over",
  );
}

function managers(object: KubernetesObject): string[] {
  return list(object, "metadata", "managedFields").map((entry) => text(entry, "manager") ?? "");
}

async function previewCreate(
  session: Session,
  request: CreateRequest,
  manager: string,
  context: Context,
): Promise<Properties> {
  const { inputs } = request;
  const object = inputs.value;
  const client = containsUnknown(object) ? undefined : await session.reachable(context);
  if (client === undefined) return inputs;
  try {
    const path = await objectPath(client, object);
    const existing = await getObject(client, path);
    if (existing === undefined)
      return stateOf(await apply(client, path, object, manager, session.configuration, true), inputs, manager);
    // The old object of a replacement still stands during a preview; somebody else's object is worth a word.
    const foreign = managers(existing).every((name) => !name.startsWith("pulumi-kubernetes"));
    if (foreign && !session.configuration.upsertExistingObjects) {
      context.log("warning", `${title(object)} already exists in the cluster; its creation will fail`, {
        urn: request.urn,
      });
    }
    return inputs;
  } catch (error) {
    if (isNotThereYet(error)) return inputs;
    throw error;
  }
}

/** The definition or the namespace of an object may be made earlier in the same run. */
function isNotThereYet(error: unknown): boolean {
  return error instanceof UnknownKindError || (error instanceof ApiError && error.code === 404);
}

export async function update(session: Session, request: UpdateRequest, context: Context): Promise<Properties> {
  const { inputs, urn } = request;
  const object = inputs.value;
  const manager = fieldManager(urn, object, request.oldState.value);
  if (request.preview) {
    const client = containsUnknown(object) ? undefined : await session.reachable(context);
    if (client === undefined) return inputs;
    try {
      const path = await objectPath(client, object);
      const applied = await apply(client, path, object, manager, session.configuration, true);
      return stateOf(applied, inputs, manager, request.oldState.value);
    } catch (error) {
      if (isNotThereYet(error)) return inputs;
      throw error;
    }
  }
  const client = await session.client();
  const path = await objectPath(client, object);
  const applied = await apply(client, path, object, manager, session.configuration, false);
  return ready(client, applied, request, manager, context, request.oldState.value);
}

async function ready(
  client: Client,
  applied: KubernetesObject,
  request: CreateRequest,
  manager: string,
  context: Context,
  oldState: PropertyMap = {},
): Promise<Properties> {
  const { inputs, urn } = request;
  try {
    const object = await awaitReady(client, applied, {
      timeoutSeconds: request.timeoutSeconds,
      signal: context.signal,
      status: (message) => context.log("info", message, { urn, status: true }),
    });
    return stateOf(object, inputs, manager, oldState);
  } catch (error) {
    // The object is there: losing it from the state because the wait went wrong would lose track of it.
    const reasons =
      error instanceof NotReadyError ? error.reasons : [error instanceof Error ? error.message : String(error)];
    const live = await objectPath(client, applied)
      .then((path) => getObject(client, path))
      .catch(() => undefined);
    throw new InitializationError(idOf(applied), stateOf(live ?? applied, inputs, manager, oldState), inputs, reasons);
  }
}

async function apply(
  client: Client,
  path: string,
  object: KubernetesObject,
  manager: string,
  configuration: Configuration,
  dryRun: boolean,
): Promise<KubernetesObject> {
  const force = configuration.enablePatchForce || annotated(object, "pulumi.com/patchForce");
  try {
    return await client.request("PATCH", path, {
      query: { fieldManager: manager, force, dryRun: dryRun ? "All" : undefined },
      body: object,
      contentType: "application/apply-patch+yaml",
    });
  } catch (error) {
    if (error instanceof ApiError && error.code === 409)
      throw new Error(conflictMessage(object, error), { cause: error });
    if (error instanceof ApiError && error.code !== 404) {
      throw new Error(`${title(object)} was refused by the API server: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Which fields belong to whom, and what can be done, in one sentence. */
export function conflictMessage(object: KubernetesObject, error: Pick<ApiError, "status" | "message">): string {
  const causes = list(error.status, "details", "causes").filter(
    (cause) => text(cause, "reason") === "FieldManagerConflict",
  );
  if (causes.length === 0) return `${title(object)} was refused by the API server: ${error.message}`;
  const fields = new Map<string, string[]>();
  for (const cause of causes) {
    const owner = /conflict with "([^"]*)"/.exec(text(cause, "message") ?? "")?.[1] ?? "another manager";
    fields.set(owner, [...(fields.get(owner) ?? []), text(cause, "field") ?? "a field"]);
  }
  const owned = [...fields].map(([owner, paths]) => `${paths.join(", ")} (managed by "${owner}")`).join(" and ");
  return (
    `${title(object)} has fields that another field manager set: ${owned}; leave them out of the program, ` +
    'or take them over with the annotation "pulumi.com/patchForce": "true"'
  );
}

/** A definition that was just made takes a moment to be served. */
async function whenKindIsKnown<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  const attempts = 10;
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof UnknownKindError) || attempt === attempts) throw error;
      await pause(1000, signal);
    }
  }
}
