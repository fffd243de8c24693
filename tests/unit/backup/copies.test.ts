/** What is stored is a copy only with its manifest, and retention takes old ones only. */
import { describe, expect, it } from "vitest";
import {
  copyId,
  folderOf,
  groupById,
  isInOrder,
  type Manifest,
  outdated,
  parseManifest,
  parseProof,
  type Stored,
  whyNoCopy,
} from "../../../components/shared/core/backup";

const manifest: Manifest = {
  service: "etcd",
  name: "etcd",
  namespace: "cells",
  version: "3.6.16",
  position: { revision: 7, keys: 3, hash: "ab" },
  lineage: "77",
  time: "2026-01-02T02:13:00.000Z",
  bytes: 100,
  sha256: "cd",
  seconds: 1.5,
};
const settings = { service: "etcd", name: "etcd", keep: 2 } as const;
const proof = (ok: boolean) => ({ ok, sha256: "cd", time: manifest.time, detail: "", seconds: 1 });

/** A copy of this day of January. */
function stored(day: number, changes: Partial<Stored> = {}): Stored {
  const id = copyId(new Date(Date.UTC(2026, 0, day, 2, 13)));
  return { id, objects: ["data", "manifest.json"], bytes: 100, manifest, proof: undefined, ...changes };
}

const interrupted = { manifest: undefined };
const damaged = { bytes: 50 };
const other = { manifest: { ...manifest, lineage: "78" } };

describe("an id", () => {
  it("is the time at which the copy began, and sorts by it", () => {
    expect(copyId(new Date("2026-01-31T02:13:05.789Z"))).toBe("20260131T021305Z");
  });
});

describe("the folder of a service", () => {
  const store = { url: "", region: "", bucket: "", credentials: "keys" };
  it("begins with the prefix, if there is one", () => {
    expect(folderOf({ ...store, prefix: "one/cluster" }, "cells", "etcd")).toBe("one/cluster/cells/etcd/");
    expect(folderOf({ ...store, prefix: "" }, "cells", "etcd")).toBe("cells/etcd/");
  });

  it("holds objects by id, the newest first, and what others put there is left out", () => {
    const object = (key: string) => ({ key, bytes: 1 });
    const groups = groupById("cells/etcd/", [
      object("cells/etcd/20260101T021300Z/data"),
      object("cells/etcd/20260102T021300Z/data"),
      object("cells/etcd/20260102T021300Z/manifest.json"),
      object("cells/etcd/20260102T021300Z/deep/data"),
      object("cells/etcd/notes.txt"),
      object("cells/etcd-other/20260103T021300Z/data"),
    ]);
    expect(groups.map(([id, objects]) => [id, objects.map(({ name }) => name)])).toEqual([
      ["20260102T021300Z", ["data", "manifest.json"]],
      ["20260101T021300Z", ["data"]],
    ]);
  });
});

describe("a manifest", () => {
  it("is read back", () => {
    expect(parseManifest(JSON.stringify(manifest))).toEqual(manifest);
  });

  it.each([
    "",
    "{",
    "null",
    "[]",
    JSON.stringify({ ...manifest, sha256: undefined }),
    JSON.stringify({ ...manifest, lineage: undefined }),
    JSON.stringify({ ...manifest, position: null }),
    JSON.stringify({ ...manifest, position: {} }),
  ])("%j is none", (text) => {
    expect(parseManifest(text)).toBeUndefined();
  });

  it("of a proof says whether it was one", () => {
    expect(parseProof(JSON.stringify(proof(true)))).toEqual(proof(true));
    expect(parseProof("{}")).toBeUndefined();
  });
});

describe("what is stored", () => {
  it.each<[Partial<Stored>, string | undefined]>([
    [{}, undefined],
    [{ manifest: undefined }, "it has no manifest: it was interrupted"],
    [{ bytes: undefined }, "its data is gone"],
    [{ bytes: 99 }, "it has 99 bytes, and its manifest says 100"],
    [{ manifest: { ...manifest, name: "other" } }, "it is of etcd other in cells, not of etcd etcd in cells"],
    [{ manifest: { ...manifest, namespace: "b" } }, "it is of etcd etcd in b, not of etcd etcd in cells"],
    [{ manifest: { ...manifest, service: "vault" } }, "it is of vault etcd in cells, not of etcd etcd in cells"],
  ])("%j: %s", (changes, reason) => {
    expect(whyNoCopy(stored(1, changes), settings, "cells")).toBe(reason);
  });
});

describe("backups", () => {
  const [good, bad] = [{ proof: proof(true) }, { proof: proof(false) }];

  it.each<[boolean, string, Stored[]]>([
    [false, "without any copy", []],
    [false, "with an interrupted copy only", [stored(1, interrupted)]],
    [true, "with a copy that awaits its proof", [stored(1)]],
    [true, "while the next copy is made", [stored(2, interrupted), stored(1)]],
    [false, "when the newest copy is damaged", [stored(2, damaged), stored(1, good)]],
    [true, "when a newer copy than the bad one was proven", [stored(3), stored(2, good), stored(1, bad)]],
    [false, "when the newest proof failed", [stored(3), stored(2, bad), stored(1, good)]],
  ])("are in order is %s %s", (expected, _, all) => {
    expect(isInOrder(all, settings, "cells")).toBe(expected);
  });
});

describe("retention", () => {
  const goes = (...all: Stored[]) => outdated(all, settings, "cells").map(({ id }) => Number(id.slice(6, 8)));

  it.each<[string, Stored[], number[]]>([
    ["keeps all when there are not more", [stored(2), stored(1)], []],
    ["lets the oldest go", [stored(3), stored(2), stored(1)], [1]],
    ["does not depend on the order", [stored(1), stored(3), stored(2)], [1]],
    ["keeps the last proven one", [stored(4), stored(3), stored(2), stored(1, { proof: proof(true) })], [2]],
    [
      "keeps no second proven one",
      [stored(4, { proof: proof(true) }), stored(3), stored(2), stored(1, { proof: proof(true) })],
      [2, 1],
    ],
    ["does not count one that failed its proof", [stored(3, { proof: proof(false) }), stored(2), stored(1)], []],
    ["does not count what is damaged", [stored(3, damaged), stored(2), stored(1)], []],
    [
      "does not count what was interrupted, nor lets it go while it is new",
      [stored(3, interrupted), stored(2), stored(1)],
      [],
    ],
    ["leaves what was interrupted to the next copy", [stored(3), stored(2), stored(1, interrupted)], []],
    ["lets go one whose data is gone", [stored(3), stored(2), stored(1, { bytes: undefined })], [1]],
    ["keeps those of another history", [stored(4), stored(3), stored(2, other), stored(1, other)], []],
    ["does not count those of another history", [stored(4), stored(3, other), stored(2), stored(1)], [1]],
    ["keeps everything while too few are good", [stored(3, damaged), stored(2, interrupted), stored(1)], []],
  ])("%s", (_, all, gone) => {
    expect(goes(...all)).toEqual(gone);
  });
});
