import type { Context, DeleteRequest } from "../server/provider";
import { timeoutSecondsOf } from "./await";
import { observe } from "./await/observe";
import { ApiError, type Client, getObject, pathOf, UnknownKindError } from "./client";
import {
  annotated,
  annotation,
  apiVersionOf,
  condition,
  type KubernetesObject,
  kindOf,
  list,
  text,
  title,
} from "./object";
import { isUnreachable, type Session } from "./session";

/** Deletes an object with what depends on it, and waits until it is gone. */
export async function remove(session: Session, request: DeleteRequest, context: Context): Promise<void> {
  const { urn, id } = request;
  const object = Object.keys(request.inputs.value).length > 0 ? request.inputs.value : request.state.value;
  const [name = "", namespace] = id.split("/").reverse();
  try {
    const client = await session.client();
    const apiVersion = apiVersionOf(object);
    const path = await pathOf(client, apiVersion, kindOf(object), namespace, name);
    try {
      await client.request("DELETE", path, { body: { propagationPolicy: propagationPolicy(object) } });
    } catch (error) {
      if (error instanceof ApiError && error.code === 404) return;
      // A namespace that is already going refuses a second delete.
      if (!(error instanceof ApiError && error.code === 409)) throw error;
    }
    if (annotated(object, "pulumi.com/skipAwait")) return;
    const collection = await pathOf(client, apiVersion, kindOf(object), namespace);
    await awaitGone(client, path, collection, name, object, request, context);
  } catch (error) {
    // Its definition is gone, and all objects of the kind with it.
    if (error instanceof UnknownKindError) return;
    if (isUnreachable(error) && session.configuration.deleteUnreachable) {
      context.log("warning", `${(error as Error).message}; removed from the state`, { urn });
      return;
    }
    throw error;
  }
}

export function propagationPolicy(object: KubernetesObject): "Foreground" | "Background" | "Orphan" {
  switch (annotation(object, "pulumi.com/deletionPropagationPolicy")?.toLowerCase()) {
    case "background":
      return "Background";
    case "orphan":
      return "Orphan";
    default:
      return "Foreground";
  }
}

async function awaitGone(
  client: Client,
  path: string,
  collection: string,
  name: string,
  object: KubernetesObject,
  request: DeleteRequest,
  context: Context,
): Promise<void> {
  const first = await getObject(client, path);
  if (first === undefined) return;
  const uid = text(first, "metadata", "uid");
  const timeoutSeconds = timeoutSecondsOf(object, request.timeoutSeconds);
  const deadline = AbortSignal.timeout(timeoutSeconds * 1000);
  let last: KubernetesObject = first;
  try {
    await observe(
      client,
      [{ path: collection, fieldSelector: `metadata.name=${name}` }],
      ([found = []]) => {
        // Another object of the same name is somebody else's.
        const same = found.find((candidate) => text(candidate, "metadata", "uid") === uid);
        if (same === undefined) return true;
        last = same;
        context.log("info", deletionProgress(same), { urn: request.urn, status: true });
        return undefined;
      },
      AbortSignal.any([context.signal, deadline]),
    );
  } catch (error) {
    if (!deadline.aborted) throw error;
    throw new Error(`${title(object)} was not gone within ${timeoutSeconds} s; last seen: ${deletionProgress(last)}`, {
      cause: error,
    });
  }
}

/** What holds an object back: its finalizers, and for a namespace what is left in it. */
export function deletionProgress(object: KubernetesObject): string {
  const finalizers = [...list(object, "metadata", "finalizers"), ...list(object, "spec", "finalizers")].filter(
    (finalizer) => typeof finalizer === "string",
  );
  const remaining = ["NamespaceContentRemaining", "NamespaceFinalizersRemaining", "NamespaceDeletionContentFailure"]
    .map((type) => condition(object, type))
    .filter((found) => text(found, "status") === "True")
    .map((found) => text(found, "message") ?? "");
  return [finalizers.length > 0 ? `deleting, held by ${finalizers.join(", ")}` : "deleting", ...remaining].join("; ");
}
