/**
 * What only MongoDB knows of its backups. A copy has the documents of all databases at one time of the cluster, as a secondary has them:
 * the server answers each question as of this time, however much is written meanwhile. `dump.ts` has the layout of the files.
 */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Db, Document, MongoClient, Timestamp, UUID } from "mongodb";
import { type BackupService, fromThrowAway, type WriteFile } from "../shared/agent/backup";
import { BadCopy, type Manifest } from "../shared/core/backup";
import { type Refuse, refuse } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { administratorAuth, atPrimary, command, type Endpoint, endpointOf, readConfig, withClient } from "./client";
import {
  documentsFile,
  fullName,
  isError,
  metadataFile,
  readCatalog,
  storedName,
  toText,
  toUuid,
  userDatabases,
  whyChanged,
  whyNotCopied,
  whyOther,
} from "./dump";
import { ports, proofData } from "./layout";
import { type Loaded, loadCopy, readCopy } from "./load";
import { identity, memberOf, type SetConfig, type SetStatus } from "./membership";

const connectMilliseconds = 30_000;
/** Of one batch of documents. */
const readMilliseconds = 300_000;
/** As long as the Job may take: an index of a large collection. */
const loadMilliseconds = 21_600_000;

/** Nothing is written in a quiet set for ten seconds; a member that catches up is minutes behind. */
const lagSeconds = 60;

/** The secondary that has seen most: the primary has enough to do. */
export function decideSource(
  { members }: SetStatus,
  config: Pick<SetConfig, "members">,
): { kind: "copy"; host: string } | Refuse {
  const voters = new Set(config.members.filter(({ votes }) => votes > 0).map(({ host }) => host));
  const time = ({ optimeDate }: SetStatus["members"][number]): number => optimeDate?.getTime() ?? 0;
  const whole = members.filter(
    ({ name = "", health, stateStr }) => health === 1 && stateStr === "SECONDARY" && voters.has(name),
  );
  const [first] = whole.sort((a, b) => time(b) - time(a));
  if (first?.name === undefined) {
    const states = members.map(({ name, stateStr }) => `${name} is ${stateStr}`);
    return refuse(`no secondary has all data and a vote: ${states.join(", ")}`);
  }
  const newest = members.filter(({ stateStr }) => stateStr === "PRIMARY").map(time);
  const behind = (Math.max(...newest) - time(first)) / 1000;
  return behind > lagSeconds
    ? refuse(`${first.name} is ${behind} s behind the primary, and the other secondaries are no better`)
    : { kind: "copy", host: first.name };
}

export const service: BackupService = {
  async copy(settings, namespace, write) {
    const { source, lineage } = await findAtPrimary(settings, namespace, async (client) => {
      const config = await readConfig(client);
      const status = (await command(client, { replSetGetStatus: 1 })) as SetStatus;
      return { source: decideSource(status, config), lineage: identity(config) };
    });
    if (source.kind === "refuse") throw new Error(source.reason);
    const from = memberOf(source.host);
    const endpoint = await administrator(settings, namespace, from);
    const copied = await withClient({ ...endpoint, answerMilliseconds: readMilliseconds }, (client) =>
      copyFrom(client, write),
    );
    return { ...copied, lineage, from };
  },
  async prepare(work) {
    await mkdir(join(work, proofData), { recursive: true });
  },
  async prove(manifest, work) {
    const endpoint: Endpoint = {
      host: "127.0.0.1",
      port: ports.client,
      tls: "off",
      auth: undefined,
      timeoutMilliseconds: connectMilliseconds,
    };
    return proveAt(endpoint, manifest, work);
  },
  async whyNotEmpty(settings, namespace) {
    return findAtPrimary(settings, namespace, whyNotEmpty);
  },
  async load(manifest, work, settings, namespace) {
    const primary = await findAtPrimary(settings, namespace, async (_, host) => memberOf(host));
    const endpoint = await administrator(settings, namespace, primary);
    const loaded = await withClient({ ...endpoint, answerMilliseconds: loadMilliseconds }, (client) =>
      loadCopy(client, manifest, work),
    );
    return inWords(loaded);
  },
};

async function administrator(settings: EnsembleSettings, namespace: string, member: string): Promise<Endpoint> {
  return endpointOf({ ...settings, namespace }, member, await administratorAuth(), connectMilliseconds);
}

async function findAtPrimary<T>(
  settings: EnsembleSettings,
  namespace: string,
  find: (client: MongoClient, host: string) => Promise<T>,
): Promise<T> {
  const members = memberNames(settings.name, settings.members);
  const outcome = await atPrimary(members, (member) => administrator(settings, namespace, member), find);
  if ("done" in outcome) return outcome.done;
  throw new Error(`no primary answers: ${outcome.waiting}`);
}

// --- copy

/**
 * A server keeps what a document was for 300 s. This one keeps it for as long as the Job may take, in its cache and then in a file: so much
 * more space as is written meanwhile.
 */
const history = { parameter: "minSnapshotHistoryWindowInSeconds", default: 300, copy: 3900 };

export async function copyFrom(client: MongoClient, write: WriteFile) {
  const { version } = await command(client, { buildInfo: 1 });
  await command(client, { setParameter: 1, [history.parameter]: history.copy });
  try {
    return { version: version as string, position: await copySnapshot(client, write) };
  } finally {
    await command(client, { setParameter: 1, [history.parameter]: history.default }).catch((error: unknown) =>
      log(`the member keeps a history of ${history.copy} s until it restarts or is copied again: ${messageOf(error)}`),
    );
  }
}

async function copySnapshot(client: MongoClient, write: WriteFile) {
  const collections = await readCatalog(client);
  const atClusterTime = await timeAfter(client);
  const readConcern = { level: "snapshot", atClusterTime };
  let documents = 0;
  let emptied = 0;
  for (const collection of collections) {
    const { database, metadata } = collection;
    await write(metadataFile(collection), [Buffer.from(toText(metadata))]);
    const file = documentsFile(collection);
    if (file === undefined || metadata.uuid === undefined) continue;
    const db = client.db(database);
    // Another collection may have its name by now.
    const find = { find: toUuid(metadata.uuid), readConcern };
    const batchSize = await documentsAtOnce(db, storedName(metadata) ?? "");
    try {
      if (metadata.options["capped"] === true && !(await isReadable(db, find))) {
        log(
          `of the capped collection ${fullName(collection)} no documents are copied: this release cannot read them as of one time`,
        );
        emptied += 1;
        continue;
      }
      await write(
        file,
        readDocuments(db, find, batchSize, (count) => {
          documents += count;
        }),
      );
    } catch (error) {
      throw new Error([fullName(collection), whyNotCopied(error), messageOf(error)].filter(Boolean).join(": "), {
        cause: error,
      });
    }
  }
  const changed = whyChanged(collections, await readCatalog(client));
  if (changed !== undefined) throw new Error(changed);
  return {
    seconds: atClusterTime.getHighBitsUnsigned(),
    increment: atClusterTime.getLowBitsUnsigned(),
    collections: collections.length,
    documents,
    ...(emptied === 0 ? {} : { withoutDocuments: emptied }),
  };
}

/** A time that a majority has, and not before what the member has done so far: what was read of it, indexes for example, is of no later time. */
async function timeAfter(client: MongoClient): Promise<Timestamp> {
  const { operationTime } = await command(client, { ping: 1 });
  const readConcern = { level: "snapshot", afterClusterTime: operationTime as Timestamp };
  const { cursor } = await command(client, { find: "system.version", limit: 1, readConcern });
  return (cursor as { atClusterTime: Timestamp }).atClusterTime;
}

/** Before release 8.0, capped collections have no history. */
async function isReadable(db: Db, find: Document): Promise<boolean> {
  return db.command({ ...find, limit: 1 }).then(
    () => true,
    (error: unknown) => {
      if (isError(error, "snapshotUnavailable")) return false;
      throw error;
    },
  );
}

/** What the agent holds at a time, twice. A document has at most 16 MiB. */
const readBytes = 2 ** 20;

async function documentsAtOnce(db: Db, name: string): Promise<number> {
  const { avgObjSize = readBytes } = (await db.command({ collStats: name })) as { avgObjSize?: number };
  return Math.max(1, Math.floor(readBytes / Math.max(1, avgObjSize)));
}

/** As the server sends them, without decoding: JavaScript would change the order of some fields, and some types. */
async function* readDocuments(
  db: Db,
  find: { find: string | UUID },
  batchSize: number,
  count: (documents: number) => void,
): AsyncGenerator<Buffer> {
  const cursor = db.runCursorCommand({ ...find, batchSize }, { raw: true }).setBatchSize(batchSize);
  try {
    while (await cursor.hasNext()) {
      const documents = cursor.readBufferedDocuments() as unknown as Uint8Array[];
      count(documents.length);
      const [first] = documents;
      yield documents.length === 1 && first !== undefined
        ? Buffer.from(first.buffer, first.byteOffset, first.length)
        : Buffer.concat(documents);
    }
  } finally {
    await cursor.close();
  }
}

// --- restore

const inWords = ({ collections, documents }: Loaded): string =>
  `${collections} collections and views with ${documents} documents`;

export async function whyNotEmpty(client: MongoClient): Promise<string | undefined> {
  for (const database of await userDatabases(client)) {
    const [found] = await client.db(database).listCollections({}, { nameOnly: true }).toArray();
    if (found !== undefined) return `its database ${database} has ${found.name}`;
  }
  return undefined;
}

// --- proof

export async function proveAt(endpoint: Endpoint, manifest: Manifest, work: string): Promise<string> {
  await fromThrowAway(() => withClient(endpoint, (client) => command(client, { ping: 1 })));
  return withClient({ ...endpoint, answerMilliseconds: loadMilliseconds }, async (client) => {
    const loaded = await loadCopy(client, manifest, work);
    const reason = whyOtherNumber(loaded, manifest) ?? (await whyOtherData(client, manifest, work));
    if (reason !== undefined) throw new BadCopy(reason);
    return `restored ${inWords(loaded)}, as in the manifest and in the same order; all collections and indexes are valid`;
  });
}

export function whyOtherNumber(loaded: Loaded, { position }: Pick<Manifest, "position">): string | undefined {
  for (const key of ["collections", "documents"] as const) {
    if (loaded[key] !== position[key]) return `it has ${loaded[key]} ${key}, and its manifest says ${position[key]}`;
  }
  return undefined;
}

async function whyOtherData(client: MongoClient, manifest: Manifest, work: string): Promise<string | undefined> {
  const { collections } = await readCopy(manifest, work);
  const sums = new Map(manifest.files.map(({ name, sha256 }) => [name, sha256]));
  const restored = new Map((await readCatalog(client)).map((each) => [fullName(each), each]));
  for (const collection of collections) {
    const other = whyOther(restored.get(fullName(collection)), collection);
    if (other !== undefined) return `restored, ${other}`;
    const stored = storedName(collection.metadata);
    if (stored === undefined) continue;
    const db = client.db(collection.database);
    const { valid, errors } = (await db.command({ validate: stored })) as { valid: boolean; errors: string[] };
    if (!valid) return `restored, ${fullName(collection)} is not valid: ${errors.join("; ")}`;
    const sum = createHash("sha256");
    const batchSize = await documentsAtOnce(db, stored);
    for await (const part of readDocuments(db, { find: stored }, batchSize, () => undefined)) sum.update(part);
    const wanted = sums.get(documentsFile(collection) ?? "");
    if (wanted !== undefined && wanted !== sum.digest("hex")) {
      return `restored, ${fullName(collection)} has other documents than its file`;
    }
  }
  return undefined;
}
