/** A store in memory, and a service that copies a few bytes. */
import type { BackupService, Place } from "../../components/shared/agent/backup";
import type { Store } from "../../components/shared/agent/store";
import { ensembleSettings } from "./settings";

export const content = Buffer.from("the data of the service");

export function memoryStore(changes: Partial<Store> = {}): {
  store: Store;
  objects: Map<string, Buffer>;
  said: string[];
} {
  const objects = new Map<string, Buffer>();
  const said: string[] = [];
  const put = (key: string, value: Buffer): void => {
    said.push(`put ${key.split("/").at(-1)}`);
    objects.set(key, value);
  };
  const found = (key: string): Buffer => objects.get(key) ?? Buffer.alloc(0);
  const store: Store = {
    silence: async () => undefined,
    list: async (prefix) =>
      [...objects].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => ({ key, bytes: value.length })),
    folders: async (prefix) => [
      ...new Set(
        [...objects.keys()]
          .filter((key) => key.startsWith(prefix))
          .map((key) => key.slice(prefix.length).split("/")[0] ?? ""),
      ),
    ],
    text: async (key) => found(key).toString(),
    read: async function (key) {
      return (async function* () {
        yield found(key);
      })();
    },
    put: async (key, text) => put(key, Buffer.from(text)),
    async upload(key, parts) {
      const all: Buffer[] = [];
      for await (const part of parts) all.push(part);
      put(key, Buffer.concat(all));
    },
    abortUploads: async () => {
      said.push("abort");
      return [];
    },
    remove: async (key) => {
      said.push(`remove ${key.split("/").at(-1)}`);
      objects.delete(key);
    },
    ...changes,
  };
  return { store, objects, said };
}

export const service: BackupService = {
  async copy(_, __, write) {
    await write(
      "more/data",
      (async function* () {
        yield content.subarray(0, 5);
        yield content.subarray(5);
      })(),
    );
    return { version: "3.6.16", lineage: "77", position: { revision: 7 }, from: "etcd-1" };
  },
  prove: async () => "as the manifest says",
  whyNotEmpty: async () => undefined,
  load: async () => "all",
};

export const placeOf = (store: Store, keep = 2): Place => ({
  settings: {
    ...ensembleSettings,
    keep,
    store: { url: "https://s3", region: "r", bucket: "b", prefix: "", credentials: "keys" },
  },
  namespace: "cells",
  store,
});
