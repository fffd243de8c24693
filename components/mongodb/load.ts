/** Fills a server from the files of a copy: the throw-away server of a proof, and the primary of a new set. */
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Db, MongoClient } from "mongodb";
import { DocumentSequence } from "mongodb/lib/cmap/commands.js";
import { BadCopy, backupPaths, type Manifest } from "../shared/core/backup";
import { messageOf } from "../shared/core/errors";
import {
  batchesOf,
  type Collection,
  documentsFile,
  type errorCodes,
  fullName,
  isError,
  readMetadata,
  storedName,
} from "./dump";

export interface Loaded {
  collections: number;
  documents: number;
}

const writeConcern = { w: "majority" };

/** What an interrupted run has made is dropped first. Nothing else is. */
export async function loadCopy(client: MongoClient, manifest: Manifest, work: string): Promise<Loaded> {
  const { collections, files } = await readCopy(manifest, work);
  let documents = 0;
  for (const collection of collections) {
    const db = client.db(collection.database);
    try {
      await makeEmpty(db, collection);
      const stored = storedName(collection.metadata);
      let written = 0;
      for await (const batch of batchesIn(work, files, documentsFile(collection))) {
        await insert(db, stored ?? "", batch);
        written += batch.length;
      }
      const held = stored === undefined ? written : Number((await db.command({ count: stored }))["n"]);
      if (held !== written)
        throw new Error(`${written} documents were written, and it has ${held}; nobody else may write`);
      documents += written;
      await createIndexes(db, collection);
    } catch (error) {
      if (error instanceof BadCopy) throw error;
      const reason = `${fullName(collection)}: ${messageOf(error)}`;
      throw isError(error, "duplicateKey") ? new BadCopy(reason) : new Error(reason, { cause: error });
    }
  }
  return { collections: collections.length, documents };
}

async function* batchesIn(work: string, files: Set<string>, file = ""): AsyncGenerator<Buffer[]> {
  // A view has none, nor has a capped collection that could not be read.
  if (!files.has(file)) return;
  const opened = await open(join(work, backupPaths.copy, file));
  // New memory for each document of 16 MiB would be freed too late.
  let memory = Buffer.alloc(0);
  try {
    yield* batchesOf(file, async (offset, bytes) => {
      if (memory.length < bytes) memory = Buffer.allocUnsafe(bytes);
      const { bytesRead } = await opened.read(memory, 0, bytes, offset);
      return memory.subarray(0, bytesRead);
    });
  } finally {
    await opened.close();
  }
}

/** What the files of a copy say. */
export async function readCopy({ files }: Pick<Manifest, "files">, work: string) {
  const names = files.map(({ name }) => name);
  const read = (file: string) => readFile(join(work, backupPaths.copy, file), "utf8");
  return { collections: await readMetadata(names, read), files: new Set(names) };
}

async function makeEmpty(db: Db, { metadata: { collectionName: name, options } }: Collection): Promise<void> {
  const unless = async (known: keyof typeof errorCodes, done: Promise<unknown>) =>
    done.catch((error: unknown) => {
      if (!isError(error, known)) throw error;
    });
  if (name.startsWith("system.")) {
    // Such a collection cannot be dropped.
    await db.command({ delete: name, deletes: [{ q: {}, limit: 0 }], writeConcern });
    await unless("namespaceExists", db.command({ create: name, writeConcern }));
    return;
  }
  await unless("namespaceNotFound", db.command({ drop: name, writeConcern }));
  await db.command({ create: name, ...options, writeConcern });
}

/** As they are in the file: an object of JavaScript would change the order of some fields, and some types. */
async function insert(db: Db, name: string, batch: Buffer[]): Promise<void> {
  const documents = new DocumentSequence("documents");
  for (const each of batch) documents.push({}, each);
  // Documents from before a validator need not satisfy it.
  const answer = await db.command({ insert: name, bypassDocumentValidation: true, writeConcern, documents });
  const [failed] = (answer["writeErrors"] ?? []) as { code: number; errmsg: string }[];
  if (failed !== undefined) throw Object.assign(new Error(failed.errmsg), { code: failed.code });
}

async function createIndexes(db: Db, { metadata: { collectionName, indexes } }: Collection): Promise<void> {
  // The server makes these with the collection.
  const wanted = indexes.filter(({ name, clustered }) => name !== "_id_" && clustered !== true);
  if (wanted.length > 0) await db.command({ createIndexes: collectionName, indexes: wanted, writeConcern });
}
