/** The order of the steps of a copy and of a proof, with a store in memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type BackupService,
  fetchCopy,
  makeCopy,
  newestCopy,
  type Place,
  proveCopy,
  readStored,
} from "../../../components/shared/agent/backup";
import { BadCopy } from "../../../components/shared/core/backup";
import { content, memoryStore, placeOf, service } from "../../support/backups";

const folder = mkdtempSync(join(tmpdir(), "backups-"));
afterAll(() => rmSync(folder, { recursive: true }));

const night = (day: number) => new Date(Date.UTC(2026, 0, day, 2, 13));

describe("a copy", () => {
  it("gives up what was interrupted, and writes its manifest last", async () => {
    const { store, said } = memoryStore();
    const place = placeOf(store);
    expect(await makeCopy(place, service, () => night(1))).toBe("20260101T021300Z");
    expect(said).toEqual(["abort", "put data", "put manifest.json"]);
    expect(await readStored(place)).toMatchObject([
      {
        manifest: {
          name: "etcd",
          namespace: "cells",
          version: "3.6.16",
          position: { revision: 7 },
          bytes: content.length,
        },
        flaw: undefined,
      },
    ]);
  });

  it.each(["the service", "the store"])("has no manifest when %s failed", async (who) => {
    const broken = async () => Promise.reject(new Error("no space"));
    const { store, said } = memoryStore(who === "the store" ? { upload: broken } : {});
    await expect(
      makeCopy(placeOf(store), who === "the store" ? service : { ...service, copy: broken }),
    ).rejects.toThrow("no space");
    expect(said).toEqual(["abort"]);
  });

  it("asks nothing of the service when the store refuses the keys", async () => {
    const { store } = memoryStore({ abortUploads: async () => Promise.reject(new Error("AccessDenied")) });
    let asked = false;
    const watched = { ...service, copy: async () => Promise.reject(new Error(String((asked = true)))) };
    await expect(makeCopy(placeOf(store), watched)).rejects.toThrow("AccessDenied");
    expect(asked).toBe(false);
  });

  it("lets old ones go, the manifest last", async () => {
    const { store, said, objects } = memoryStore();
    const place = placeOf(store, 1);
    await makeCopy(place, service, () => night(1));
    said.length = 0;
    await makeCopy(place, service, () => night(2));
    expect(said.slice(3)).toEqual(["remove data", "remove manifest.json"]);
    expect([...objects.keys()].every((key) => key.includes("20260102"))).toBe(true);
  });

  it("is none when it breaks off after its upload", async () => {
    const { store, said } = memoryStore();
    const compacted: BackupService = {
      ...service,
      copy: async (...given) => {
        await service.copy(...given);
        throw new Error("compacted");
      },
    };
    await expect(makeCopy(placeOf(store), compacted)).rejects.toThrow("compacted");
    expect(said).not.toContain("put manifest.json");
  });

  it("removes what a run that was killed has left", async () => {
    const { store, objects } = memoryStore();
    objects.set("cells/etcd/20260101T021300Z/data", content);
    await makeCopy(placeOf(store), service, () => night(2));
    expect([...objects.keys()].every((key) => key.includes("20260102"))).toBe(true);
  });

  it("is newer than the newest one, also within the same second", async () => {
    const place = placeOf(memoryStore().store);
    await makeCopy(place, service, () => night(1));
    const times = [night(1), new Date(night(1).getTime() + 1000)];
    expect(await makeCopy(place, service, () => times.shift() ?? night(2))).toBe("20260101T021301Z");
  });

  it("does not delete itself, whatever came meanwhile", async () => {
    const place = placeOf(memoryStore().store, 1);
    const slow: BackupService = {
      ...service,
      copy: async (...given) => {
        await makeCopy(place, service, () => night(3));
        return service.copy(...given);
      },
    };
    const id = await makeCopy(place, slow, () => night(2));
    expect((await readStored(place)).map((each) => each.id)).toContain(id);
  });

  it("is good when old ones cannot be listed", async () => {
    const { store } = memoryStore();
    let lists = 0;
    const place = placeOf({
      ...store,
      folders: async (folderName) => (++lists > 1 ? Promise.reject(new Error("no answer")) : store.folders(folderName)),
    });
    expect(await makeCopy(place, service, () => night(1))).toBe("20260101T021300Z");
    expect(lists).toBe(2);
  });

  it("is good when the store keeps an old one", async () => {
    const { store } = memoryStore({ remove: async () => Promise.reject(new Error("AccessDenied: locked")) });
    const place = placeOf(store, 1);
    for (const day of [1, 2]) await makeCopy(place, service, () => night(day));
    expect(await readStored(place)).toHaveLength(2);
  });
});

const fetchNewest = async (place: Place) => fetchCopy(place, service, await newestCopy(place), folder);

describe("a proof", () => {
  const copied = async () => {
    const memory = memoryStore();
    const place = placeOf(memory.store);
    const id = await makeCopy(place, service, () => night(1));
    const damage = (change: (data: Buffer) => Buffer) => {
      const key = `cells/etcd/${id}/data/more/data`;
      memory.objects.set(key, change(memory.objects.get(key) ?? Buffer.alloc(0)));
    };
    const proofOf = async () => (await readStored(place))[0]?.proof;
    return { place, id, objects: memory.objects, damage, proofOf };
  };

  it("is written beside the copy", async () => {
    const { place, proofOf } = await copied();
    await fetchNewest(place);
    expect(await proofOf()).toBeUndefined();
    await proveCopy(place, service, folder);
    expect(await proofOf()).toMatchObject({ ok: true, detail: "as the manifest says" });
  });

  it.each<[string, (data: Buffer) => Buffer, string]>([
    [
      "damaged",
      (data) => Buffer.from(data.map((byte, at) => (at === 3 ? byte ^ 1 : byte))),
      "the sha256 of its file more/data is",
    ],
    ["truncated", (data) => data.subarray(1), "bytes, and its manifest says"],
  ])("of a %s copy fails, and says so beside the copy", async (_, change, reason) => {
    const { place, damage, proofOf } = await copied();
    damage(change);
    await expect(fetchNewest(place)).rejects.toThrow(reason);
    const proof = await proofOf();
    expect(proof?.ok).toBe(false);
    expect(proof?.detail).toContain(reason);
  });

  it("fails with the words of the service, and replaces an earlier one", async () => {
    const { place, proofOf } = await copied();
    await fetchNewest(place);
    await proveCopy(place, service, folder);
    const refusing = { ...service, prove: async () => Promise.reject(new BadCopy("3 keys are missing")) };
    await expect(proveCopy(place, refusing, folder)).rejects.toThrow(/is not proven: 3 keys are missing/);
    expect(await proofOf()).toMatchObject({ ok: false, detail: "3 keys are missing" });
  });

  it("that could not be made says nothing of the copy, and an earlier one stays", async () => {
    const { place, proofOf } = await copied();
    await fetchNewest(place);
    await proveCopy(place, service, folder);
    const away = { ...service, prove: async () => Promise.reject(new Error("the restored server did not come")) };
    await expect(proveCopy(place, away, folder)).rejects.toThrow(/^the restored server did not come$/);
    expect(await proofOf()).toMatchObject({ ok: true });
  });

  it("counts for the manifest that it proved only", async () => {
    const { place, id, objects, proofOf } = await copied();
    await fetchNewest(place);
    await proveCopy(place, service, folder);
    expect(await proofOf()).toBeDefined();
    const key = `cells/etcd/${id}/manifest.json`;
    objects.set(key, Buffer.from(String(objects.get(key)).replace(/"sha256": "../, '"sha256": "00')));
    expect(await proofOf()).toBeUndefined();
  });

  it("is none of a manifest that has changed since it was downloaded", async () => {
    const { place, id, objects, proofOf } = await copied();
    await fetchNewest(place);
    const key = `cells/etcd/${id}/manifest.json`;
    objects.set(key, Buffer.from(String(objects.get(key)).replace('"revision": 7', '"revision": 8')));
    await proveCopy(place, service, folder);
    expect(await proofOf()).toBeUndefined();
  });

  it("reads no further than the newest copy", async () => {
    const { store } = memoryStore();
    const read: string[] = [];
    const place = placeOf({
      ...store,
      text: async (key) => {
        read.push(key);
        return store.text(key);
      },
    });
    for (const day of [1, 2]) await makeCopy(place, service, () => night(day));
    read.length = 0;
    await fetchNewest(place);
    expect(read).toEqual(["cells/etcd/20260102T021300Z/manifest.json"]);
  });

  it("notes nothing about the copy when the store could not be read", async () => {
    const { place, proofOf } = await copied();
    const away = { ...place, store: { ...place.store, read: async () => Promise.reject(new Error("no answer")) } };
    await expect(fetchNewest(away)).rejects.toThrow("no answer");
    expect(await proofOf()).toBeUndefined();
  });

  it("needs a copy", async () => {
    await expect(fetchNewest(placeOf(memoryStore().store))).rejects.toThrow("there is no copy of etcd in cells yet");
  });
});
