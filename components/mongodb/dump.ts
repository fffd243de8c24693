/**
 * The files of a copy, in the layout of mongodump, so that mongorestore reads them too: for each collection `dump/<database>/<name>.bson`,
 * its documents one after the other, and `<name>.metadata.json`, its options and indexes.
 */
import { BSON, type CollectionInfo, type Document, type MongoClient, UUID } from "mongodb";
import { BadCopy, fileName } from "../shared/core/backup";
import { command } from "./client";
import { reservedDatabases } from "./layout";

const { EJSON } = BSON;

export interface Metadata {
  options: Document;
  indexes: Document[];
  /** Of the collection with the documents; hexadecimal. A view has none. */
  uuid?: string;
  collectionName: string;
  type: "collection" | "timeseries" | "view";
}

export interface Collection {
  database: string;
  metadata: Metadata;
}

/** The collection with the documents: that of a time series is a view of it, and a view has none. */
export function storedName({ collectionName, type }: Metadata): string | undefined {
  if (type === "view") return undefined;
  return type === "timeseries" ? `system.buckets.${collectionName}` : collectionName;
}

export function fullName({ database, metadata }: Collection): string {
  return `${database}.${metadata.collectionName}`;
}

/** Of the system's own collections only the functions of `system.js` are data of the user. */
function isCopied(name: string): boolean {
  return !name.startsWith("system.") || name === "system.js";
}

export async function userDatabases(client: MongoClient): Promise<string[]> {
  const { databases } = await command(client, { listDatabases: 1, nameOnly: true });
  const names = (databases as { name: string }[]).map(({ name }) => name);
  return names.filter((name) => !reservedDatabases.some((each) => each === name)).sort();
}

/** All that is copied, by name. */
export async function readCatalog(client: MongoClient): Promise<Collection[]> {
  const collections: Collection[] = [];
  for (const database of await userDatabases(client)) {
    const db = client.db(database);
    const read = async (raw: Promise<unknown[]>) => (await raw).map((each) => decode(each as Uint8Array, database));
    const infos = (await read(db.listCollections({}, { raw: true }).toArray())) as CollectionInfo[];
    const uuids = new Map(infos.map(({ name, info }) => [name, info?.uuid]));
    for (const { name, type, options } of infos.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (!isCopied(name)) continue;
      const metadata: Metadata = {
        options: options ?? {},
        indexes: type === "view" ? [] : await read(db.collection(name).listIndexes({ raw: true }).toArray()),
        collectionName: name,
        type: type as Metadata["type"],
      };
      const uuid = uuids.get(storedName(metadata) ?? "");
      collections.push({ database, metadata: uuid === undefined ? metadata : { ...metadata, uuid: hex(uuid) } });
    }
  }
  return collections;
}

const hex = (uuid: unknown): string => Buffer.from((uuid as UUID).buffer).toString("hex");

export const toUuid = (text: string): UUID => new UUID(Buffer.from(text, "hex"));

/** Objects of JavaScript order fields whose names are numbers: a compound index could become another one. */
function decode(raw: Uint8Array, database: string): Document {
  const document = fromText(toText(BSON.deserialize(raw, { promoteValues: false, bsonRegExp: true })));
  if (Buffer.from(BSON.serialize(document)).equals(raw)) return document;
  throw new Error(
    `${database}: the options or an index of ${JSON.stringify(document["name"])} cannot be written as mongodump does, because ` +
      "names of fields are numbers; name these fields otherwise",
  );
}

/** Canonical extended JSON keeps the types. */
export const toText = (document: unknown): string => EJSON.stringify(document, { relaxed: false });
export const fromText = (text: string): Document => EJSON.parse(text, { relaxed: false }) as Document;

const root = "dump";
const metadataEnding = ".metadata.json";

export function metadataFile({ database, metadata }: Collection): string {
  return `${root}/${fileName(database)}/${fileName(metadata.collectionName)}${metadataEnding}`;
}

/** undefined: a view has no documents. */
export function documentsFile({ database, metadata }: Collection): string | undefined {
  const stored = storedName(metadata);
  return stored === undefined ? undefined : `${root}/${fileName(database)}/${fileName(stored)}.bson`;
}

/** `read`: the text of a file. */
export async function readMetadata(files: string[], read: (file: string) => Promise<string>): Promise<Collection[]> {
  const collections: Collection[] = [];
  for (const file of files.filter((name) => name.endsWith(metadataEnding))) {
    const [, folder = ""] = file.split("/");
    collections.push({ database: decodeURIComponent(folder), metadata: fromText(await read(file)) as Metadata });
  }
  return collections;
}

/** A command takes 100,000 documents and 48 MB. */
const batchBytes = 2 * 2 ** 20;
const batchDocuments = 50_000;
/** A document has 16 MiB, and a bucket of a time series a little more. */
const largestDocument = 17 * 2 ** 20;
const smallestDocument = 5;

/** `read`: so many bytes at an offset, fewer at the end. */
export type ReadAt = (offset: number, bytes: number) => Promise<Buffer>;

/** The documents of a file, so many as one command inserts. */
export async function* batchesOf(file: string, read: ReadAt): AsyncGenerator<Buffer[]> {
  let offset = 0;
  for (;;) {
    let part = await read(offset, batchBytes);
    if (part.length === 0) return;
    const first = part.length < 4 ? 0 : part.readInt32LE(0);
    if (first > part.length && first <= largestDocument) part = await read(offset, first);
    const batch: Buffer[] = [];
    let end = 0;
    while (batch.length < batchDocuments && end + 4 <= part.length) {
      const bytes = part.readInt32LE(end);
      if (bytes < smallestDocument || end + bytes > part.length) break;
      batch.push(part.subarray(end, end + bytes));
      end += bytes;
    }
    if (batch.length === 0) throw new BadCopy(`${file} has no whole document at byte ${offset}`);
    yield batch;
    offset += end;
  }
}

/** Why what was restored is not what was copied. A newer server may add options and indexes of its own. */
export function whyOther(restored: Collection | undefined, copied: Collection): string | undefined {
  if (restored === undefined) return `${fullName(copied)} is missing`;
  const { options, indexes, type } = restored.metadata;
  if (type !== copied.metadata.type) return `${fullName(copied)} is a ${type}, and was a ${copied.metadata.type}`;
  if (!holds(options, copied.metadata.options)) return `${fullName(copied)} has other options`;
  for (const index of copied.metadata.indexes) {
    const found = indexes.find(({ name }) => name === index["name"]);
    if (found === undefined) return `${fullName(copied)} lacks the index ${index["name"]}`;
    if (!holds(found, index)) return `${fullName(copied)} has another index ${index["name"]}`;
  }
  return undefined;
}

/** Each field has the same value, or an object with the same fields in the same order among others. */
function holds(document: Document, fields: Document): boolean {
  return Object.entries(fields).every(([name, value]) => {
    const given = document[name] as unknown;
    const among = isPlain(given) && isPlain(value) ? Object.entries(given).filter(([key]) => key in value) : undefined;
    return toText(among === undefined ? given : Object.fromEntries(among)) === toText(value);
  });
}

function isPlain(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !("_bsontype" in value);
}

/** What was changed while a copy was made. */
export function whyChanged(before: Collection[], after: Collection[]): string | undefined {
  const texts = new Map(after.map((each) => [fullName(each), toText(each)]));
  const changed = before.find((each) => texts.get(fullName(each)) !== toText(each));
  const known = new Set(before.map(fullName));
  const other = changed ?? after.find((each) => !known.has(fullName(each)));
  if (other === undefined) return undefined;
  return `${fullName(other)} was made, dropped, renamed or given other options or indexes during the copy`;
}

/** Of the server. */
export const errorCodes = {
  namespaceNotFound: 26,
  namespaceExists: 48,
  snapshotTooOld: 239,
  snapshotUnavailable: 246,
  duplicateKey: 11_000,
} as const;

export const isError = (error: unknown, name: keyof typeof errorCodes): boolean =>
  (error as { code?: unknown }).code === errorCodes[name];

/** What the server means with an error while a copy is made. */
export function whyNotCopied(error: unknown): string | undefined {
  if (isError(error, "snapshotTooOld")) return "the copy took longer than the member keeps its history";
  if (isError(error, "snapshotUnavailable")) return "it was made, renamed or given other indexes during the copy";
  return isError(error, "namespaceNotFound") ? "it was dropped during the copy" : undefined;
}
