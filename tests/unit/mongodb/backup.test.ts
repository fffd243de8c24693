import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { BSON, type Document, Int32, Long, type MongoClient, Timestamp, UUID } from "mongodb";
import { afterEach, describe, expect, it } from "vitest";
import { resolveMongodb } from "../../../components/mongodb";
import { copyFrom, decideSource, whyNotEmpty, whyOtherNumber } from "../../../components/mongodb/backup";
import {
  batchesOf,
  type Collection,
  documentsFile,
  metadataFile,
  readCatalog,
  whyChanged,
  whyNotCopied,
  whyOther,
} from "../../../components/mongodb/dump";
import { loadCopy } from "../../../components/mongodb/load";
import { backupInputs } from "../../../components/mongodb/manifest";
import type { SetStatus } from "../../../components/mongodb/membership";
import { BadCopy, type Manifest } from "../../../components/shared/core/backup";

const host = (ordinal: number): string => `mongodb-${ordinal}.mongodb-peers.cells.svc:27017`;

function member(ordinal: number, stateStr: string, seconds = 100, health = 1): SetStatus["members"][number] {
  return { name: host(ordinal), health, stateStr, optimeDate: new Date(seconds * 1000) };
}

const configOf = (...votes: number[]) => ({
  members: votes.map((each, ordinal) => ({ _id: ordinal, host: host(ordinal), votes: each, priority: each })),
});

describe("the member that is copied", () => {
  const primary = member(0, "PRIMARY");

  it.each<[string, SetStatus["members"], number[], number]>([
    ["a secondary", [primary, member(1, "SECONDARY"), member(2, "SECONDARY", 99)], [1, 1, 1], 1],
    ["the one that has seen most", [primary, member(1, "SECONDARY", 98), member(2, "SECONDARY")], [1, 1, 1], 2],
    ["not one that is filled", [primary, member(1, "STARTUP2", 200), member(2, "SECONDARY")], [1, 1, 1], 2],
    ["not one without a vote", [primary, member(1, "SECONDARY"), member(2, "SECONDARY", 99)], [1, 0, 1], 2],
    ["not one that is away", [primary, member(1, "SECONDARY", 100, 0), member(2, "SECONDARY", 99)], [1, 1, 1], 2],
  ])("is %s", (_, members, votes, chosen) => {
    expect(decideSource({ members }, configOf(...votes))).toEqual({ kind: "copy", host: host(chosen) });
  });

  it.each<[SetStatus["members"], string]>([
    [
      [primary, member(1, "RECOVERING")],
      `no secondary has all data and a vote: ${host(0)} is PRIMARY, ${host(1)} is REC`,
    ],
    [[primary, member(1, "SECONDARY", 39)], `${host(1)} is 61 s behind the primary`],
  ])("is none when no secondary is whole", (members, reason) => {
    expect(decideSource({ members }, configOf(1, 1, 1))).toMatchObject({
      kind: "refuse",
      reason: expect.stringContaining(reason) as string,
    });
  });
});

function collection(changes: Partial<Collection["metadata"]> = {}, database = "cells"): Collection {
  const metadata = { options: {}, indexes: [], collectionName: "logs", type: "collection" as const };
  return { database, metadata: { ...metadata, ...changes } };
}

describe("the files of a copy", () => {
  it.each([
    [collection(), "dump/cells/logs"],
    [collection({ collectionName: "a b/ü%'(*)~!" }), "dump/cells/a%20b%2F%C3%BC%25%27%28%2A%29%7E%21"],
    [collection({}, "my db"), "dump/my%20db/logs"],
  ])("have the names that mongodump gives them", (each, path) => {
    expect(metadataFile(each)).toBe(`${path}.metadata.json`);
    expect(documentsFile(each)).toBe(`${path}.bson`);
  });

  it("have the documents of a time series under the name of its buckets, and none of a view", () => {
    expect(documentsFile(collection({ type: "timeseries" }))).toBe("dump/cells/system.buckets.logs.bson");
    expect(documentsFile(collection({ type: "view" }))).toBeUndefined();
  });

  it("have names that a file system takes, and that differ", () => {
    const [one = "", other = ""] = ["a", "b"].map((end) =>
      metadataFile(collection({ collectionName: `${"日本語".repeat(20)}${end}` })),
    );
    expect(one.split("/")[2]?.length).toBe(238 + ".metadata.json".length);
    expect(one).toMatch(/%24[\w-]{27}\.metadata\.json$/);
    expect(one).not.toBe(other);
  });
});

const encoded = (...documents: Document[]): Buffer => Buffer.concat(documents.map((each) => BSON.serialize(each)));

async function batches(file: Buffer): Promise<Document[][]> {
  const found: Document[][] = [];
  const read = async (offset: number, bytes: number) => file.subarray(offset, offset + bytes);
  for await (const batch of batchesOf("logs.bson", read)) found.push(batch.map((each) => BSON.deserialize(each)));
  return found;
}

describe("the documents of a file", () => {
  const text = (bytes: number) => ({ text: "x".repeat(bytes) });

  it("are read in batches that memory and a command take", async () => {
    expect(await batches(encoded({ a: 1 }, { a: 2 }))).toEqual([[{ a: 1 }, { a: 2 }]]);
    const large = Array.from({ length: 5 }, () => text(900_000));
    expect((await batches(encoded(...large))).map(({ length }) => length)).toEqual([2, 2, 1]);
    const small = Buffer.concat(Array.from({ length: 50_001 }, () => encoded({})));
    expect((await batches(small)).map(({ length }) => length)).toEqual([50_000, 1]);
    expect(await batches(Buffer.alloc(0))).toEqual([]);
  });

  it("may be larger than a batch", async () => {
    const largest = text(16 * 2 ** 20 - 30);
    expect((await batches(encoded({ a: 1 }, largest, { a: 2 }))).map(({ length }) => length)).toEqual([1, 1, 1]);
  });

  it.each([
    ["ends within one", encoded({ a: 1 }, { a: 2 }).subarray(0, -1), "at byte 12"],
    ["ends within a length", Buffer.concat([encoded({ a: 1 }), Buffer.from([1, 0])]), "at byte 12"],
    ["has something else", Buffer.from("something else"), "at byte 0"],
    ["has a length that none has", Buffer.from([4, 0, 0, 0, 0]), "at byte 0"],
  ])("are none when the file %s", async (_, file, where) => {
    await expect(batches(file)).rejects.toThrow(new BadCopy(`logs.bson has no whole document ${where}`));
  });
});

/** Answers commands as `answer` says, and remembers them. */
function fakeClient(
  databases: Record<string, { infos: Document[]; indexes?: Document[]; documents?: Buffer[] }>,
  answer: (command: Document) => Document | undefined = () => undefined,
) {
  const commands: Document[] = [];
  const cursor = (documents: Uint8Array[]) => {
    const left = documents;
    return {
      toArray: async () => documents,
      setBatchSize: () => cursor(documents),
      hasNext: async () => left.length > 0,
      readBufferedDocuments: () => left.splice(0, left.length),
      close: async () => undefined,
    };
  };
  let written = 0;
  const command = async (document: Document) => {
    if ("count" in document) return { ok: 1, n: written, ...(answer(document) ?? {}) };
    commands.push(document);
    written += (document["documents"] as { documents: unknown[] } | undefined)?.documents.length ?? 0;
    return { ok: 1, ...(answer(document) ?? {}) };
  };
  const db = (name: string) => ({
    command,
    listCollections: (_: object, { nameOnly }: { nameOnly?: boolean }) => {
      const infos = databases[name]?.infos ?? [];
      return nameOnly === true ? { toArray: async () => infos } : cursor(infos.map((each) => BSON.serialize(each)));
    },
    collection: () => ({
      listIndexes: () => cursor((databases[name]?.indexes ?? []).map((each) => BSON.serialize(each))),
    }),
    runCursorCommand: (document: Document) => {
      commands.push(document);
      return cursor([...(databases[name]?.documents ?? [])]);
    },
  });
  const admin = async (document: Document) => {
    const known: Document = document["listDatabases"] === undefined ? {} : { databases: names };
    return { ...known, ...(await command(document)) };
  };
  const names = ["admin", "config", "local", ...Object.keys(databases)].map((name) => ({ name }));
  const client = { db: (name: string) => (name === "admin" ? { ...db(name), command: admin } : db(name)) };
  return { client: client as unknown as MongoClient, commands };
}

const uuid = new UUID("00112233-4455-6677-8899-aabbccddeeff");
const info = (name: string, changes: Document = {}) => ({
  name,
  type: "collection",
  options: {},
  info: { uuid },
  ...changes,
});
const idIndex = { v: 2, key: { _id: 1 }, name: "_id_" };

describe("what is copied", () => {
  it("is all that users have made, with options, indexes and their types", async () => {
    const infos = [
      info("b", { options: { capped: true, size: Long.fromNumber(4096) } }),
      info("system.js"),
      info("system.buckets.a"),
      info("system.views"),
      { name: "a", type: "timeseries", options: {}, info: {} },
      { name: "v", type: "view", options: { viewOn: "b", pipeline: [] }, info: {} },
    ];
    const { client } = fakeClient({ cells: { infos, indexes: [idIndex] } });
    const found = await readCatalog(client);
    expect(
      found.map(({ metadata: { collectionName, type, uuid: id, indexes } }) => [
        collectionName,
        type,
        id,
        indexes.length,
      ]),
    ).toEqual([
      ["a", "timeseries", "00112233445566778899aabbccddeeff", 1],
      ["b", "collection", "00112233445566778899aabbccddeeff", 1],
      ["system.js", "collection", "00112233445566778899aabbccddeeff", 1],
      ["v", "view", undefined, 0],
    ]);
    expect(found[1]?.metadata.options["size"]).toEqual(Long.fromNumber(4096));
  });

  it("is not an index that JavaScript would turn into another one", async () => {
    const raw = Buffer.from(BSON.serialize({ name: "odd", key: { b: 1, c: 1 } }));
    raw[raw.lastIndexOf("c")] = "1".charCodeAt(0);
    const { client } = fakeClient({ cells: { infos: [info("logs")] } });
    const db = client.db("cells") as unknown as { collection: unknown };
    db.collection = () => ({ listIndexes: () => ({ toArray: async () => [raw] }) });
    Object.assign(client, {
      db: (name: string) => (name === "cells" ? db : fakeClient({ cells: { infos: [] } }).client.db(name)),
    });
    await expect(readCatalog(client)).rejects.toThrow(
      /cells: the options or an index of "odd" cannot be written .* numbers/,
    );
  });
});

describe("a copy", () => {
  const time = new Timestamp({ t: 1000, i: 7 });
  const answers = (command: Document): Document | undefined => {
    if (command["buildInfo"] !== undefined) return { version: "6.0.27" };
    if (command["ping"] !== undefined) return { operationTime: time };
    return command["find"] === "system.version" ? { cursor: { atClusterTime: time } } : { avgObjSize: 100 };
  };
  const copied = async (client: MongoClient) => {
    const files: Record<string, Buffer> = {};
    const result = await copyFrom(client, async (name, parts) => {
      const all: Buffer[] = [];
      for await (const part of parts) all.push(part);
      files[name] = Buffer.concat(all);
    });
    return { ...result, files };
  };
  const windows = (commands: Document[]) =>
    commands.flatMap((each) =>
      each["setParameter"] === 1 ? [each["minSnapshotHistoryWindowInSeconds"] as number] : [],
    );

  it("has the bytes of all documents at one time, which the server keeps until the end", async () => {
    const documents = [encoded({ a: 1 }), encoded({ a: 2 })];
    const { client, commands } = fakeClient(
      { cells: { infos: [info("logs")], indexes: [idIndex], documents } },
      answers,
    );
    const { version, position, files } = await copied(client);
    expect({ version, position }).toEqual({
      version: "6.0.27",
      position: { seconds: 1000, increment: 7, collections: 1, documents: 2 },
    });
    expect(files["dump/cells/logs.bson"]).toEqual(encoded({ a: 1 }, { a: 2 }));
    expect(JSON.parse(String(files["dump/cells/logs.metadata.json"]))).toEqual({
      options: {},
      indexes: [{ v: { $numberInt: "2" }, key: { _id: { $numberInt: "1" } }, name: "_id_" }],
      collectionName: "logs",
      type: "collection",
      uuid: "00112233445566778899aabbccddeeff",
    });
    expect(commands).toContainEqual(
      expect.objectContaining({ find: uuid, readConcern: { level: "snapshot", atClusterTime: time } }),
    );
    expect(windows(commands)).toEqual([3900, 300]);
  });

  it("ends with an error when its collections are others at its end, and the server forgets", async () => {
    const infos = [info("logs")];
    const { client, commands } = fakeClient({ cells: { infos } }, (command) => {
      if (command["collStats"] !== undefined) infos.push(info("new"));
      return answers(command);
    });
    await expect(copied(client)).rejects.toThrow("cells.new was made, dropped, renamed");
    expect(windows(commands)).toEqual([3900, 300]);
  });

  it("says that a capped collection has no documents in it, when the release cannot read them", async () => {
    const capped = { infos: [info("ring", { options: { capped: true } })] };
    const { client } = fakeClient({ cells: capped }, (command) => {
      if (command["limit"] === 1 && command["find"] !== "system.version")
        throw Object.assign(new Error(), { code: 246 });
      return answers(command);
    });
    const { position, files } = await copied(client);
    expect(position).toMatchObject({ collections: 1, documents: 0, withoutDocuments: 1 });
    expect(Object.keys(files)).toEqual(["dump/cells/ring.metadata.json"]);
  });

  it.each([
    [239, "the copy took longer than the member keeps its history"],
    [246, "it was made, renamed or given other indexes during the copy"],
    [26, "it was dropped during the copy"],
    [6, undefined],
  ])("explains the error %d of the server", (code, reason) => {
    expect(whyNotCopied({ code })).toBe(reason);
  });

  it.each([
    [[collection()], [collection()], undefined],
    [[collection()], [], "cells.logs was made"],
    [[], [collection()], "cells.logs was made"],
    [[collection({ uuid: "aa" })], [collection({ uuid: "bb" })], "cells.logs was made"],
    [[collection()], [collection({ indexes: [idIndex] })], "cells.logs was made"],
  ])("sees what was changed meanwhile", (before, after, reason) => {
    const found = whyChanged(before, after);
    if (reason === undefined) expect(found).toBeUndefined();
    else expect(found).toContain(reason);
  });
});

describe("a restored collection", () => {
  const index = { v: 2, key: { a: 1, b: -1 }, name: "a_b", unique: true };
  const copied = collection({ indexes: [index], options: { timeseries: { timeField: "t" } } });

  it("may have options and indexes of a newer server besides", () => {
    const options = { timeseries: { bucketMaxSpanSeconds: 3600, timeField: "t" }, more: 1 };
    const indexes = [{ name: "other" }, { ...index, more: 1 }];
    expect(whyOther(collection({ indexes, options, uuid: "aa" }), copied)).toBeUndefined();
  });

  it.each<[Collection | undefined, string]>([
    [undefined, "cells.logs is missing"],
    [collection({ type: "view" }), "cells.logs is a view, and was a collection"],
    [collection({ indexes: [index] }), "cells.logs has other options"],
    [collection({ options: copied.metadata.options }), "cells.logs lacks the index a_b"],
    ...[{ key: { b: -1, a: 1 } }, { key: { a: 1 } }, { unique: undefined }].map((change): [Collection, string] => [
      collection({ options: copied.metadata.options, indexes: [{ ...index, ...change }] }),
      "cells.logs has another index a_b",
    ]),
  ])("is not the copied one", (restored, reason) => {
    expect(whyOther(restored, copied)).toBe(reason);
  });

  it("is counted", () => {
    const position = { collections: 1, documents: 2 };
    expect(whyOtherNumber({ collections: 1, documents: 2 }, { position })).toBeUndefined();
    expect(whyOtherNumber({ collections: 1, documents: 1 }, { position })).toBe(
      "it has 1 documents, and its manifest says 2",
    );
  });
});

describe("the load of a copy", () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  function copyOf(files: Record<string, string | Buffer>): { manifest: Manifest; work: string } {
    const work = mkdtempSync(join(tmpdir(), "mongodb-"));
    folders.push(work);
    const listed = Object.entries(files).map(([name, content]) => {
      const path = join(work, "copy", name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
      const sha256 = createHash("sha256").update(content).digest("hex");
      return { name, bytes: content.length, sha256 };
    });
    return { manifest: { files: listed } as unknown as Manifest, work };
  }
  const text = (metadata: Partial<Collection["metadata"]>) =>
    BSON.EJSON.stringify(collection(metadata).metadata, { relaxed: false });
  const index = { v: 2, key: { a: 1 }, name: "a_1" };

  it("drops what an interrupted run made, and writes the documents as they are in the file", async () => {
    const indexes = [idIndex, { v: 2, key: { _id: 1 }, name: "mine", clustered: true }, index];
    const documents = encoded({ _id: 1, b: 1 });
    const { manifest, work } = copyOf({
      "dump/cells/logs.metadata.json": text({ indexes, options: { validator: { a: 1 } } }),
      "dump/cells/logs.bson": documents,
    });
    const { client, commands } = fakeClient({});
    expect(await loadCopy(client, manifest, work)).toEqual({ collections: 1, documents: 1 });
    expect(commands.map((each) => Object.keys(each)[0])).toEqual(["drop", "create", "insert", "createIndexes"]);
    const [, create, insert, built] = commands;
    expect(create).toMatchObject({ create: "logs", validator: { a: new Int32(1) } });
    const { toBin } = insert?.["documents"] as { toBin: () => Uint8Array };
    expect(Buffer.from(toBin.call(insert?.["documents"])).subarray(-documents.length)).toEqual(documents);
    expect(insert).toMatchObject({ bypassDocumentValidation: true });
    expect((built?.["indexes"] as Document[]).map(({ name }) => name as string)).toEqual(["a_1"]);
    expect(commands.map(({ writeConcern }) => writeConcern as object)).toEqual(Array(4).fill({ w: "majority" }));
  });

  it("fails where somebody else writes", async () => {
    const files = { "dump/cells/logs.metadata.json": text({}), "dump/cells/logs.bson": encoded({ _id: 1 }) };
    const { manifest, work } = copyOf(files);
    const { client } = fakeClient({}, (command) => ("count" in command ? { n: 2 } : undefined));
    await expect(loadCopy(client, manifest, work)).rejects.toThrow("1 documents were written, and it has 2");
  });

  it("makes a view, and the indexes of a collection whose documents are not in the copy", async () => {
    const { manifest, work } = copyOf({
      "dump/cells/ring.metadata.json": text({ collectionName: "ring", indexes: [index] }),
      "dump/cells/view.metadata.json": text({ collectionName: "view", type: "view", options: { viewOn: "ring" } }),
    });
    const { client, commands } = fakeClient({});
    expect(await loadCopy(client, manifest, work)).toEqual({ collections: 2, documents: 0 });
    expect(commands.map((each) => Object.entries(each)[0]?.join(" "))).toEqual([
      "drop ring",
      "create ring",
      "createIndexes ring",
      "drop view",
      "create view",
    ]);
  });

  it("goes on where there is nothing to drop, and empties what cannot be dropped", async () => {
    const { manifest, work } = copyOf({
      "dump/cells/logs.metadata.json": text({}),
      "dump/cells/system.js.metadata.json": text({ collectionName: "system.js" }),
    });
    const { client, commands } = fakeClient({}, (command) => {
      if (command["drop"] !== undefined) throw Object.assign(new Error("ns not found"), { code: 26 });
      if (command["create"] === "system.js") throw Object.assign(new Error("exists"), { code: 48 });
      return undefined;
    });
    await loadCopy(client, manifest, work);
    expect(commands.map((each) => Object.keys(each)[0])).toEqual(["drop", "create", "delete", "create"]);
  });

  it.each([
    ["a second document with the same id", { writeErrors: [{ code: 11000, errmsg: "duplicate" }] }, true],
    ["an error of the server", { writeErrors: [{ code: 14031, errmsg: "disk full" }] }, false],
  ])("says whether the copy is to blame for %s", async (_, answer, isBad) => {
    const { manifest, work } = copyOf({
      "dump/cells/logs.metadata.json": text({}),
      "dump/cells/logs.bson": encoded({ _id: 1 }),
    });
    const { client } = fakeClient({}, (command) => (command["insert"] === undefined ? undefined : answer));
    const error: unknown = await loadCopy(client, manifest, work).catch((thrown: unknown) => thrown);
    expect(error instanceof BadCopy).toBe(isBad);
    expect(String(error)).toContain(`cells.logs: ${answer.writeErrors[0]?.errmsg}`);
  });
});

describe("a new set", () => {
  it.each([
    [{}, undefined],
    [{ cells: { infos: [] } }, undefined],
    [{ cells: { infos: [{ name: "logs" }] } }, "its database cells has logs"],
  ])("is empty when its databases are", async (databases, reason) => {
    expect(await whyNotEmpty(fakeClient(databases).client)).toBe(reason);
  });
});

describe("the throw-away server of a proof", () => {
  it("listens in its pod only, and keeps documents that have expired", () => {
    const ensemble = resolveMongodb("mongodb", { namespace: "cells" });
    const { proof } = backupInputs(ensemble, { content: "", checksum: "" });
    const [server, ...others] = proof.servers;
    expect(others).toEqual([]);
    expect(server?.command).toEqual(["/usr/bin/mongod", "--dbpath=/backup/data", "--bind_ip=127.0.0.1"]);
    expect(server?.args).toContain("--setParameter=ttlMonitorEnabled=false");
    expect(proof.bytes).toBe(4 * ensemble.storage.bytes);
    expect(proof.login).toBeUndefined();
  });
});
