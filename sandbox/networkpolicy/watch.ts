import { type KubeConfig, Watch } from "@kubernetes/client-node";
import type { Metadata } from "./objects";

/** How long a broken watch waits before it connects again; the rules stay as they are meanwhile. */
const reconnectMilliseconds = 500;

interface Event {
  metadata: Metadata & { annotations?: Record<string, string> };
}

export interface Collection<T> {
  /** What the API server had when it was last heard; undefined until the first complete answer. */
  items(): T[] | undefined;
  stop(): void;
}

/**
 * Keeps all objects of a kind up to date, for ever. Every connection starts with the complete state (a streaming list),
 * so nothing that happened while there was no connection is missed, and a deletion is seen as an absence.
 */
export function collect<T extends { metadata: Metadata }>(
  config: KubeConfig,
  path: string,
  lean: (object: T) => T,
  changed: () => void,
  say: (line: string) => void,
): Collection<T> {
  let current: Map<string, T> | undefined;
  let stopped = false;
  let connection: AbortController | undefined;
  let timer: NodeJS.Timeout | undefined;
  let complaint = "";

  const connect = async (): Promise<void> => {
    const next = new Map<string, T>();
    let complete = false;
    const parameters = {
      sendInitialEvents: true,
      resourceVersionMatch: "NotOlderThan",
      allowWatchBookmarks: true,
    };
    const receive = (phase: string, object: T & Event): void => {
      if (phase === "ERROR") return; // The server closes the connection after it.
      if (phase === "BOOKMARK") {
        if (complete || object.metadata.annotations?.["k8s.io/initial-events-end"] !== "true") return;
        complete = true;
        complaint = "";
        current = next;
        changed();
        return;
      }
      const key = `${object.metadata.namespace ?? ""}/${object.metadata.name}`;
      if (phase === "DELETED") next.delete(key);
      else next.set(key, lean(object));
      if (complete) changed();
    };
    const ended = (error: unknown): void => {
      if (stopped) return;
      const reason = error instanceof Error ? error.message : "";
      const quiet = error instanceof Error && error.name === "TimeoutError";
      if (reason !== "" && !quiet && reason !== complaint) {
        complaint = reason;
        say(`watch of ${path} broke: ${reason}; connecting again until it works`);
      }
      timer = setTimeout(() => void connect(), reconnectMilliseconds);
    };
    try {
      connection = await new Watch(config).watch(path, parameters, receive, ended);
    } catch (error) {
      ended(error);
    }
  };
  void connect();
  return {
    items: () => (current === undefined ? undefined : [...current.values()]),
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      connection?.abort();
    },
  };
}
