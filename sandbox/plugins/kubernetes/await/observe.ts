import type { PropertyMap } from "../../server/values";
import { isMap } from "../../server/values";
import { ApiError, abortReason, type Client, UnreachableError } from "../client";
import { type KubernetesObject, list, text } from "../object";

export interface Selection {
  /** Path of a collection. */
  path: string;
  fieldSelector?: string;
  labelSelector?: string;
}

/**
 * Follows collections by list and watch and asks `decide` after every change, until it answers. Broken connections are
 * taken up again; what ends the wait otherwise is the signal.
 */
export async function observe<T>(
  client: Client,
  selections: Selection[],
  decide: (sets: KubernetesObject[][]) => T | undefined,
  signal: AbortSignal,
): Promise<T> {
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  const sets: (KubernetesObject[] | undefined)[] = selections.map(() => undefined);
  try {
    return await new Promise<T>((resolve, reject) => {
      selections.forEach((selection, index) => {
        const changed = (objects: KubernetesObject[]): void => {
          sets[index] = objects;
          if (!sets.every((set) => set !== undefined)) return;
          const answer = decide(sets);
          if (answer !== undefined) resolve(answer);
        };
        follow(client, selection, changed, both).catch((error: unknown) => {
          reject(error instanceof Error ? error : new Error(String(error)));
        });
      });
    });
  } finally {
    stop.abort(new Error("no longer needed"));
  }
}

async function follow(
  client: Client,
  { path, ...query }: Selection,
  changed: (objects: KubernetesObject[]) => void,
  signal: AbortSignal,
): Promise<never> {
  for (;;) {
    try {
      const listed = await client.request("GET", path, { query, signal });
      const objects = new Map(
        list(listed, "items")
          .filter(isMap)
          .map((item) => [uid(item), item]),
      );
      changed([...objects.values()]);
      const resourceVersion = text(listed, "metadata", "resourceVersion");
      for await (const { type, object } of client.watch(path, { ...query, resourceVersion }, signal)) {
        if (type === "ERROR") break;
        if (type === "DELETED") objects.delete(uid(object));
        else if (type !== "BOOKMARK") objects.set(uid(object), object);
        changed([...objects.values()]);
      }
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      const passing =
        error instanceof UnreachableError || (error instanceof ApiError && (error.code === 410 || error.code >= 500));
      if (!passing) throw error;
    }
    // A watch that the server ends at once must not become a busy loop.
    await pause(500, signal);
  }
}

function uid(object: PropertyMap): string {
  return text(object, "metadata", "uid") ?? "";
}

/** A pause that an abort ends; only for taking up broken connections and retries. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(abortReason(signal));
    };
    if (signal.aborted) {
      reject(abortReason(signal));
      return;
    }
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
