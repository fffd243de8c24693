/** What is stored is a copy only with its manifest, and retention takes old ones only. */
import { describe, expect, it } from "vitest";
import {
  chooseCopy,
  copyId,
  flawOf,
  folderOf,
  isInOrder,
  type Listed,
  type Manifest,
  outdated,
  parseManifest,
  parseProof,
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
  seconds: 1.5,
  files: [
    { name: "first.db", bytes: 40, sha256: "ab" },
    { name: "more/second.db", bytes: 60, sha256: "cd" },
  ],
};
const proof = (ok: boolean) => ({ ok, sha256: "cd", time: manifest.time, detail: "", seconds: 1 });

/** A copy of this day of January. */
function stored(day: number, changes: Partial<Listed> = {}): Listed {
  const id = copyId(new Date(Date.UTC(2026, 0, day, 2, 13)));
  return { id, manifest, flaw: undefined, proof: undefined, ...changes };
}

const interrupted = { manifest: undefined, flaw: "it was interrupted" };
const damaged = { flaw: "its file first.db is gone" };
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
    JSON.stringify({ ...manifest, files: undefined }),
    JSON.stringify({ ...manifest, files: [{ name: "first.db", bytes: 40 }] }),
    ...["../../etcd/x", "/x", "a/../b", "a//b", "", ".."].map((name) =>
      JSON.stringify({ ...manifest, files: [{ name, bytes: 40, sha256: "ab" }] }),
    ),
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
  const owner = { service: "etcd", name: "etcd", namespace: "cells" };
  const [first, second] = [
    { name: "data/first.db", bytes: 40 },
    { name: "data/more/second.db", bytes: 60 },
  ];

  it.each<[string, string | undefined, Partial<Manifest> | undefined, { name: string; bytes: number }[]]>([
    ["whole", undefined, {}, [first, second]],
    ["interrupted", "it has no manifest: it was interrupted", undefined, [first]],
    ["without a file", "its file more/second.db is gone", {}, [first]],
    ["cut", "its file first.db has 39 bytes, and its manifest says 40", {}, [{ ...first, bytes: 39 }, second]],
    ["of another name", "it is of etcd other in cells, not of etcd etcd in cells", { name: "other" }, [first, second]],
    ["of another namespace", "it is of etcd etcd in b, not of etcd etcd in cells", { namespace: "b" }, [first, second]],
    [
      "of another service",
      "it is of vault etcd in cells, not of etcd etcd in cells",
      { service: "vault" },
      [first, second],
    ],
  ])("may be %s: %s", (_, flaw, changes, objects) => {
    expect(flawOf(changes && { ...manifest, ...changes }, objects, owner)).toBe(flaw);
  });
});

describe("the copy that is restored", () => {
  const all = [stored(4, interrupted), stored(3, { proof: proof(false) }), stored(2), stored(1)];
  it.each([
    ["latest", 2],
    ["20260101T021300Z", 1],
    ["20260103T021300Z", 3],
    ["20260109T021300Z", undefined],
    ["2026-01-02T02:13:00Z", 2],
    ["2026-01-02T02:12:59Z", 1],
    ["2026-01-04T00:00:00Z", 2],
    ["2025-12-31T00:00:00Z", undefined],
  ])("of %j is that of day %j", (wanted, day) => {
    expect(chooseCopy(all, wanted)?.id).toBe(day === undefined ? undefined : `2026010${day}T021300Z`);
  });
});

describe("backups", () => {
  const [good, bad] = [{ proof: proof(true) }, { proof: proof(false) }];

  it.each<[boolean, string, Listed[]]>([
    [false, "without any copy", []],
    [false, "with an interrupted copy only", [stored(1, interrupted)]],
    [true, "with a copy that awaits its proof", [stored(1)]],
    [true, "while the next copy is made", [stored(2, interrupted), stored(1)]],
    [false, "when the newest copy is damaged", [stored(2, damaged), stored(1, good)]],
    [true, "when a newer copy than the bad one was proven", [stored(3), stored(2, good), stored(1, bad)]],
    [false, "when the newest proof failed", [stored(3), stored(2, bad), stored(1, good)]],
  ])("are in order is %s %s", (expected, _, all) => {
    expect(isInOrder(all)).toBe(expected);
  });
});

describe("retention", () => {
  const goes = (...all: Listed[]) => outdated(all, 2).map(({ id }) => Number(id.slice(6, 8)));

  it.each<[string, Listed[], number[]]>([
    ["keeps all when there are not more", [stored(2), stored(1)], []],
    ["lets the oldest go", [stored(3), stored(2), stored(1)], [1]],
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
    ["lets go one whose data is gone", [stored(3), stored(2), stored(1, damaged)], [1]],
    ["keeps those of another history", [stored(4), stored(3), stored(2, other), stored(1, other)], []],
    ["does not count those of another history", [stored(4), stored(3, other), stored(2), stored(1)], [1]],
    ["keeps everything while too few are good", [stored(3, damaged), stored(2, interrupted), stored(1)], []],
  ])("%s", (_, all, gone) => {
    expect(goes(...all)).toEqual(gone);
  });
});
