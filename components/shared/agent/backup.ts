/** Makes, lists and proves copies, for the backups of every service: `jobs.ts` has the commands. */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type BackupSettings,
  BadCopy,
  backupPaths,
  type CopiedFile,
  copyId,
  flawOf,
  folderOf,
  isCopyId,
  type Listed,
  type Manifest,
  objectNames,
  outdated,
  type Position,
  type Proof,
  parseManifest,
  parseProof,
  summaryOf,
} from "../core/backup";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { waitFor } from "../core/wait";
import type { Store } from "./store";

/** Ends when the store has the file. Names are made of letters, digits and `_.%@+=-`, with slashes for folders. */
export type WriteFile = (name: string, parts: AsyncIterable<Buffer> | Iterable<Buffer>) => Promise<void>;

/** What only one service knows. */
export interface BackupService {
  /** Streams one consistent copy, file by file. */
  copy(
    settings: BackupSettings,
    namespace: string,
    write: WriteFile,
  ): Promise<{ version: string; lineage: string; position: Position; from: string }>;
  /** Before the throw-away server starts: what it needs beside the copy, in the folder `work`. */
  prepare?(work: string): Promise<void>;
  /** Throws `BadCopy` when the throw-away server does not hold what the manifest says; returns in words what it holds. */
  prove(manifest: Manifest, work: string, settings: BackupSettings): Promise<string>;
  /** In words what a new ensemble holds that its setup has not made: a restore would overwrite it. */
  whyNotEmpty(settings: BackupSettings, namespace: string): Promise<string | undefined>;
  /** Fills the ensemble from the copy that was proven in this pod, and begins anew where it was interrupted; returns in words what it holds. */
  load(manifest: Manifest, work: string, settings: BackupSettings, namespace: string): Promise<string>;
}

export interface Place {
  settings: BackupSettings;
  namespace: string;
  store: Store;
}

const folderAt = ({ settings, namespace }: Place): string => folderOf(settings.store, namespace, settings.name);

const keyAt = (place: Place, id: string, name: string): string => `${folderAt(place)}${id}/${name}`;

// --- copies

/** Returns the id. It may be killed at any point: what it leaves is no copy, and the next run removes it. */
export async function makeCopy(place: Place, service: BackupService, now = () => new Date()): Promise<string> {
  const { settings, namespace, store } = place;
  const folder = folderAt(place);
  // It also shows that the store takes the keys, before a member has any work.
  for (const key of await store.abortUploads(folder)) log(`gave up the upload of ${key}, which was interrupted`);
  const ids = await idsAt(place);
  const began = await timeAfter(ids[0] ?? "", now);
  for (const id of ids) {
    const objects = await store.list(keyAt(place, id, ""));
    if (objects.some(({ key }) => key === keyAt(place, id, objectNames.manifest))) continue;
    for (const { key } of objects) await store.remove(key).catch((error: unknown) => log(messageOf(error)));
  }
  const id = copyId(began);
  const files: CopiedFile[] = [];
  const write: WriteFile = async (name, parts) => {
    const sum = createHash("sha256");
    let bytes = 0;
    const seen = passing(parts, (part) => {
      sum.update(part);
      bytes += part.length;
    });
    await store.upload(keyAt(place, id, `${objectNames.data}${name}`), seen);
    files.push({ name, bytes, sha256: sum.digest("hex") });
  };
  const { from, ...copied } = await service.copy(settings, namespace, write);
  const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
  const manifest: Manifest = {
    service: settings.service,
    name: settings.name,
    namespace,
    ...copied,
    time: began.toISOString(),
    bytes,
    seconds: secondsSince(began),
    files,
  };
  await store.put(keyAt(place, id, objectNames.manifest), JSON.stringify(manifest, null, 2));
  log(`copied ${bytes} bytes from ${from} in ${manifest.seconds} s: ${id}, ${positionText(copied.position)}`);
  await letGo(place, id).catch((error: unknown) => log(`old copies stay: ${messageOf(error)}`));
  return id;
}

/** The order of the ids is that of the copies, also of two within a second. */
function timeAfter(newest: string, now: () => Date): Promise<Date> {
  return waitFor(
    `a time after the newest copy ${newest}`,
    async () => {
      const time = now();
      return copyId(time) > newest ? { done: time } : { waiting: `the clock of this node says ${copyId(time)}` };
    },
    { deadlineSeconds: 5, intervalSeconds: 0.2 },
  );
}

/**
 * The manifest goes last: until then a killed run is continued by the next one. A store that keeps versions, as one with object lock does,
 * only hides what is deleted. What the user of the store may not delete stays, and its manifest with it.
 */
async function letGo(place: Place, own: string): Promise<void> {
  const { settings, store } = place;
  const old = outdated(await readStored(place), settings.keep).filter(({ id }) => id !== own);
  for (const { id } of old) {
    const manifest = keyAt(place, id, objectNames.manifest);
    try {
      for (const { key } of await store.list(keyAt(place, id, ""))) if (key !== manifest) await store.remove(key);
      await store.remove(manifest);
    } catch (error) {
      log(`the old copy ${id} stays: ${messageOf(error)}`);
    }
  }
}

/** All that is stored of this service, the newest first. */
export async function readStored(place: Place): Promise<Listed[]> {
  const listed: Listed[] = [];
  for (const id of await idsAt(place)) listed.push((await readCopy(place, id)).listed);
  return listed;
}

/** The newest first. What others have put there is left out. */
async function idsAt(place: Place): Promise<string[]> {
  const folders = await place.store.folders(folderAt(place));
  return folders.filter(isCopyId).sort().reverse();
}

export interface Copy {
  listed: Listed;
  manifest: Manifest | undefined;
  /** Of the manifest as it is stored. */
  sha256: string;
}

/** One copy after the other: all files of all copies would be too much to hold. */
export async function readCopy(place: Place, id: string): Promise<Copy> {
  const { settings, namespace, store } = place;
  const folder = keyAt(place, id, "");
  const objects = (await store.list(folder)).map(({ key, bytes }) => ({ name: key.slice(folder.length), bytes }));
  const text = async (name: string): Promise<string> =>
    objects.some((each) => each.name === name) ? ((await store.text(`${folder}${name}`)) ?? "") : "";
  const manifestText = await text(objectNames.manifest);
  const manifest = parseManifest(manifestText);
  const sha256 = sha256Of(manifestText);
  const proof = parseProof(await text(objectNames.proof));
  const listed: Listed = {
    id,
    manifest: manifest && summaryOf(manifest),
    flaw: flawOf(manifest, objects, { service: settings.service, name: settings.name, namespace }),
    proof: proof?.sha256 === sha256 ? proof : undefined,
  };
  return { listed, manifest, sha256 };
}

/** Looks at no more of them than it must. */
export async function newestCopy(place: Place): Promise<Copy | undefined> {
  for (const id of await idsAt(place)) {
    const copy = await readCopy(place, id);
    if (copy.manifest !== undefined) return copy;
  }
  return undefined;
}

// --- proof

/** Until a server has recovered the copy: etcd reads a database of 8 GiB first. */
const startSeconds = 600;

/** What a throw-away server of this pod answers, as soon as it does. */
export function fromThrowAway<T>(ask: () => Promise<T>): Promise<T> {
  return waitFor("the throw-away server", async () => ({ done: await ask() }), {
    deadlineSeconds: startSeconds,
    onError: "wait",
  });
}

/** What `fetch` leaves for `prove`. */
interface Fetched {
  id: string;
  manifest: Manifest;
  /** Of the manifest as it was stored then. */
  sha256: string;
  began: string;
}
const fetchedFile = "fetched.json";

/** Downloads a copy to the folder `work`. A copy that is not what its manifest says fails its proof here. */
export async function fetchCopy(
  place: Place,
  service: BackupService,
  copy: Copy | undefined,
  work: string = backupPaths.work,
): Promise<void> {
  const { settings, namespace } = place;
  if (copy?.manifest === undefined) {
    throw new Error(`there is no copy of ${settings.name} in ${namespace} yet; make one, then prove it`);
  }
  const { manifest, sha256 } = copy;
  const { id, flaw } = copy.listed;
  const fetched: Fetched = { id, manifest, sha256, began: new Date().toISOString() };
  await judged(place, fetched, async () => {
    if (flaw !== undefined) throw new BadCopy(flaw);
    for (const file of manifest.files) await download(place, id, file, join(work, backupPaths.copy, file.name));
  });
  await service.prepare?.(work);
  await writeFile(join(work, fetchedFile), JSON.stringify(fetched));
  log(`downloaded ${id}: ${manifest.bytes} bytes, with the checksums of its manifest`);
}

async function download(place: Place, id: string, { name, sha256 }: CopiedFile, path: string): Promise<void> {
  const sum = createHash("sha256");
  const parts = await place.store.read(keyAt(place, id, `${objectNames.data}${name}`));
  await mkdir(dirname(path), { recursive: true });
  await pipeline(Readable.from(passing(parts, (part) => sum.update(part))), createWriteStream(path));
  const found = sum.digest("hex");
  if (found !== sha256)
    throw new BadCopy(`the sha256 of its file ${name} is ${found}, and its manifest says ${sha256}`);
}

/** What was downloaded into this folder. */
export const readFetched = async (work: string): Promise<Fetched> =>
  JSON.parse(await readFile(join(work, fetchedFile), "utf8")) as Fetched;

export async function proveCopy(place: Place, service: BackupService, work: string = backupPaths.work): Promise<void> {
  const fetched = await readFetched(work);
  const detail = await judged(place, fetched, () => service.prove(fetched.manifest, work, place.settings));
  await writeProof(place, fetched, { ok: true, detail });
  log(`proven: ${fetched.id}: ${detail}`);
}

/** Notes beside the copy why it is bad. */
async function judged<T>(place: Place, copy: Fetched, prove: () => Promise<T>): Promise<T> {
  try {
    return await prove();
  } catch (error) {
    if (!(error instanceof BadCopy)) throw error;
    await writeProof(place, copy, { ok: false, detail: error.message });
    throw new Error(`the copy ${copy.id} is not proven: ${error.message}`, { cause: error });
  }
}

/**
 * A restore writes none: what fails there may be to blame on the new ensemble, and `latest` must not become an older copy without a word.
 */
async function writeProof(
  place: Place,
  { id, sha256, began }: Fetched,
  verdict: Pick<Proof, "ok" | "detail">,
): Promise<void> {
  if (place.settings.restore !== undefined) return;
  const seconds = secondsSince(new Date(began));
  const proof: Proof = { ...verdict, sha256, time: new Date().toISOString(), seconds };
  await place.store.put(keyAt(place, id, objectNames.proof), JSON.stringify(proof, null, 2));
}

async function* passing(
  parts: AsyncIterable<Buffer> | Iterable<Buffer>,
  see: (part: Buffer) => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const part of parts) {
    see(part);
    yield part;
  }
}

const sha256Of = (text: string): string => createHash("sha256").update(text).digest("hex");

const secondsSince = (began: Date): number => Math.round((Date.now() - began.getTime()) / 100) / 10;

const positionText = (position: Position): string =>
  Object.entries(position)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");
