/** What a restore refuses, what it notes in the marker, and how it goes on after an interruption. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { type BackupService, makeCopy, type Place, readFetched } from "../../../components/shared/agent/backup";
import type { ConfigMap, KubernetesApi } from "../../../components/shared/agent/kubernetes";
import { fetchRestored, refuseWhileRestoring, restoreCopy } from "../../../components/shared/agent/restore";
import { BadCopy, type RestoreSettings } from "../../../components/shared/core/backup";
import { memoryStore, placeOf, service } from "../../support/backups";

const folder = mkdtempSync(join(tmpdir(), "restore-"));
afterAll(() => rmSync(folder, { recursive: true }));

const night = (day: number) => new Date(Date.UTC(2026, 0, day, 2, 13));
const [first, second] = ["20260101T021300Z", "20260102T021300Z"];
const wanted: RestoreSettings = { copy: "latest", from: { namespace: "cells", name: "etcd" }, version: "3.6.16" };
const data = { clusterId: "new", members: "3", tls: "on", bootstrappedAt: "2026-01-03T00:00:00Z" };

let annotations: Record<string, string>;
let api: Pick<KubernetesApi, "get" | "apply">;
let place: Place;
let said: string[];
let holds: string | undefined;
let failing: boolean;

const loading: BackupService = {
  ...service,
  whyNotEmpty: async () => holds,
  load: async () => {
    said.push("load");
    if (failing) throw new Error("killed");
    return "3 keys";
  },
};
const fetch = (changes: Partial<RestoreSettings> = {}) =>
  fetchRestored(place, { ...wanted, ...changes }, loading, api as KubernetesApi, folder);
const restore = () => restoreCopy(place, wanted, loading, api as KubernetesApi, folder);

beforeEach(async () => {
  annotations = {};
  said = [];
  holds = undefined;
  failing = false;
  api = {
    get: async <T>() => ({ metadata: { uid: "7", annotations }, data }) as ConfigMap as T,
    apply: async (_, { metadata }) => {
      said.push("note");
      annotations = { ...annotations, ...metadata?.annotations };
    },
  };
  place = placeOf(memoryStore().store);
  for (const day of [1, 2]) await makeCopy(place, service, () => night(day));
});

describe("a restore", () => {
  it("says in the marker from which copy before it writes, and when it has ended", async () => {
    await fetch();
    expect(annotations).toEqual({});
    await restore();
    expect(said).toEqual(["note", "load", "note"]);
    expect(annotations["cells-services/restore"]).toBe(`${second} of etcd in cells`);
    expect(annotations["cells-services/restored-at"]).toMatch(/^20/);
  });

  it("takes the copy that it is told", async () => {
    await fetch({ copy: first });
    expect((await readFetched(folder)).id).toBe(first);
  });

  it.each<[string, Partial<RestoreSettings>, string]>([
    ["a copy that is not there", { copy: "20250101T000000Z" }, `there are ${second}, ${first}`],
    ["a component without copies", { from: { namespace: "cells", name: "other" } }, "there is none"],
    ["a copy of a newer version", { version: "3.5.32" }, "is of version 3.6.16, got version 3.5.32"],
  ])("refuses %s", async (_, changes, reason) => {
    await expect(fetch(changes)).rejects.toThrow(reason);
  });

  it("refuses an ensemble that has data, before the download and again before it writes", async () => {
    holds = "it has 3 keys";
    await expect(fetch()).rejects.toThrow("etcd is not new: it has 3 keys");
    holds = undefined;
    await fetch();
    holds = "it has 1 keys";
    await expect(restore()).rejects.toThrow("nothing was changed");
    expect(said).toEqual([]);
  });

  it("that was interrupted goes on with its copy, although the ensemble has data and a newer copy", async () => {
    failing = true;
    await fetch();
    await expect(restore()).rejects.toThrow("killed");
    await makeCopy(place, service, () => night(3));
    [failing, holds] = [false, "it has 2 keys"];
    await fetch();
    expect((await readFetched(folder)).id).toBe(second);
    await restore();
    expect(annotations["cells-services/restored-at"]).toMatch(/^20/);
  });

  it("that was interrupted does not become one of another copy", async () => {
    failing = true;
    await fetch();
    await expect(restore()).rejects.toThrow("killed");
    await expect(fetch({ copy: first })).rejects.toThrow(
      `a restore of ${second} of etcd in cells was interrupted, got ${first} of etcd in cells`,
    );
    await expect(fetch({ copy: "20250101T000000Z" })).rejects.toThrow("was interrupted, got 20250101T000000Z");
    annotations = { "cells-services/restore": `${first} of etcd in cells` };
    await expect(restore()).rejects.toThrow(`a restore of ${first} of etcd in cells was interrupted, got ${second}`);
    expect(said).toEqual(["note", "load"]);
  });

  it("lets no copy be made of a part", async () => {
    await refuseWhileRestoring(place, api as KubernetesApi);
    failing = true;
    await fetch();
    await expect(restore()).rejects.toThrow("killed");
    await expect(refuseWhileRestoring(place, api as KubernetesApi)).rejects.toThrow("etcd has only a part of");
  });

  it("gives no verdict on a copy: the newest one stays the latest", async () => {
    const { store } = place;
    place = { ...place, settings: { ...place.settings, restore: wanted } };
    await fetch();
    const bad = { ...loading, prove: async () => Promise.reject(new BadCopy("it is broken")) };
    await expect(restoreCopy(place, wanted, bad, api as KubernetesApi, folder)).rejects.toThrow("it is broken");
    expect((await store.list("")).filter(({ key }) => key.endsWith("proof.json"))).toEqual([]);
  });

  it("that was interrupted is refused without its copy", async () => {
    annotations = { "cells-services/restore": "20250101T000000Z of etcd in cells" };
    await expect(fetch()).rejects.toThrow(
      "a restore of 20250101T000000Z of etcd in cells was interrupted, and this copy is not",
    );
  });

  it("that has ended is refused", async () => {
    await fetch();
    await restore();
    await expect(fetch()).rejects.toThrow(
      /^etcd was restored from 20260102T021300Z of etcd in cells at 20.*remove it$/,
    );
  });
});
