/**
 * What must run in the cluster for the backups of every service:
 *
 *   backup   a CronJob: streams one copy into the store, writes its manifest, lets old copies go
 *   fetch    the first init container of a proof: downloads the newest copy and compares its checksum
 *   prove    a proof, when the throw-away server has the copy: compares what the server says with the manifest
 *   list     a Job that `make backups` starts: prints all copies as JSON
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type BackupSettings,
  BadCopy,
  backupPaths,
  copyId,
  folderOf,
  groupById,
  type Manifest,
  objectNames,
  outdated,
  type Position,
  type Proof,
  parseManifest,
  parseProof,
  type Stored,
  whyNoCopy,
} from "../core/backup";
import { messageOf } from "../core/errors";
import { log } from "../core/log";
import { namesOf } from "../core/names";
import { waitFor } from "../core/wait";
import { inClusterApi } from "./kubernetes";
import { takeTurn } from "./lease";
import { type Commands, readPod, readSettings } from "./main";
import { openStore, type Store } from "./store";

/** What only one service knows. */
export interface BackupService {
  /** Streams one consistent copy into `write`, which ends when the store has it. */
  copy(
    settings: BackupSettings,
    namespace: string,
    write: (parts: AsyncIterable<Buffer>) => Promise<void>,
  ): Promise<{ version: string; lineage: string; position: Position; from: string }>;
  /** Before the throw-away server starts: what it needs beside the copy, in the folder `work`. */
  prepare(work: string): Promise<void>;
  /** Throws `BadCopy` when the throw-away server does not hold what the manifest says; returns in words what it holds. */
  prove(manifest: Manifest, work: string): Promise<string>;
}

/** A copy that is under way when the next one should begin. */
const turnSeconds = 600;

export function backupCommands(service: BackupService): Commands {
  const place = async () => {
    const settings = readSettings<BackupSettings>();
    const { namespace } = readPod();
    return { settings, namespace, store: await openStore(settings.store) };
  };
  return {
    backup: async () => {
      const at = await place();
      const { name } = at.settings;
      const turn = { lease: namesOf(name).backup, among: `the backups of ${name}`, does: "makes a copy" };
      const endTurn = await takeTurn(turn, readPod().name, at.namespace, inClusterApi(), turnSeconds);
      try {
        await makeCopy(at, service);
      } finally {
        await endTurn();
      }
    },
    fetch: async () => {
      await fetchCopy(await place(), service);
    },
    prove: async () => proveCopy(await place(), service),
    list: async () => {
      process.stdout.write(`${JSON.stringify(await readStored(await place()))}\n`);
    },
  };
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
  const groups = groupById(folder, await store.list(folder));
  const began = await timeAfter(groups[0]?.[0] ?? "", now);
  for (const [, objects] of groups) {
    if (objects.some(({ name }) => name === objectNames.manifest)) continue;
    for (const { key } of objects) await store.remove(key).catch((error: unknown) => log(messageOf(error)));
  }
  const id = copyId(began);
  const data = keyAt(place, id, objectNames.data);
  let uploaded = false;
  const sum = createHash("sha256");
  let bytes = 0;
  const upload = async (parts: AsyncIterable<Buffer>): Promise<void> => {
    const seen = passing(parts, (part) => {
      sum.update(part);
      bytes += part.length;
    });
    await store.upload(data, seen);
    uploaded = true;
  };
  const copied = await service.copy(settings, namespace, upload).catch(async (error: unknown) => {
    if (uploaded) await store.remove(data).catch((other: unknown) => log(messageOf(other)));
    throw error;
  });
  const { version, lineage, position, from } = copied;
  const manifest: Manifest = {
    service: settings.service,
    name: settings.name,
    namespace,
    version,
    position,
    lineage,
    time: began.toISOString(),
    bytes,
    sha256: sum.digest("hex"),
    seconds: secondsSince(began),
  };
  await store.put(keyAt(place, id, objectNames.manifest), JSON.stringify(manifest, null, 2));
  log(`copied ${bytes} bytes from ${from} in ${manifest.seconds} s: ${id}, ${positionText(position)}`);
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
  const { settings, namespace, store } = place;
  const old = outdated(await readStored(place), settings, namespace).filter(({ id }) => id !== own);
  for (const { id, objects } of old) {
    const last = (name: string): number => (name === objectNames.manifest ? 1 : 0);
    try {
      for (const name of [...objects].sort((a, b) => last(a) - last(b))) await store.remove(keyAt(place, id, name));
    } catch (error) {
      log(`the old copy ${id} stays: ${messageOf(error)}`);
    }
  }
}

/** All that is stored of this service, the newest first. */
export async function readStored(place: Place): Promise<Stored[]> {
  const stored: Stored[] = [];
  for await (const each of eachStored(place)) stored.push(each);
  return stored;
}

async function* eachStored(place: Place): AsyncGenerator<Stored> {
  const { store } = place;
  const folder = folderAt(place);
  for (const [id, objects] of groupById(folder, await store.list(folder))) {
    const find = (name: string) => objects.find((each) => each.name === name);
    const text = async (name: string): Promise<string> => {
      const found = find(name);
      return found === undefined ? "" : ((await store.text(found.key)) ?? "");
    };
    const manifest = parseManifest(await text(objectNames.manifest));
    const proof = parseProof(await text(objectNames.proof));
    yield {
      id,
      objects: objects.map(({ name }) => name),
      bytes: find(objectNames.data)?.bytes,
      manifest,
      proof: proof?.sha256 === manifest?.sha256 ? proof : undefined,
    };
  }
}

async function newestCopy(place: Place): Promise<(Stored & { manifest: Manifest }) | undefined> {
  for await (const each of eachStored(place)) {
    if (each.manifest !== undefined) return { ...each, manifest: each.manifest };
  }
  return undefined;
}

// --- proof

interface Copy {
  id: string;
  manifest: Manifest;
}

/** What `fetch` leaves for `prove`. */
interface Fetched extends Copy {
  began: string;
}
const fetchedFile = "fetched.json";

/** Downloads the newest copy to the folder `work`. A copy that is not what its manifest says fails its proof here. */
export async function fetchCopy(place: Place, service: BackupService, work: string = backupPaths.work) {
  const { settings, namespace } = place;
  const began = new Date();
  const newest = await newestCopy(place);
  if (newest === undefined) {
    throw new Error(`there is no copy of ${settings.name} in ${namespace} yet; make one, then prove it`);
  }
  const { id, manifest } = newest;
  const reason = whyNoCopy(newest, settings, namespace);
  const sha256 = reason === undefined ? await download(place, id, join(work, backupPaths.copyFile)) : "";
  await judged(place, newest, began, async () => {
    if (reason !== undefined) throw new BadCopy(reason);
    if (sha256 !== manifest.sha256)
      throw new BadCopy(`its sha256 is ${sha256}, and its manifest says ${manifest.sha256}`);
  });
  await service.prepare(work);
  const fetched: Fetched = { id, manifest, began: began.toISOString() };
  await writeFile(join(work, fetchedFile), JSON.stringify(fetched));
  log(`downloaded ${id}: ${manifest.bytes} bytes with the sha256 of its manifest`);
}

/** Returns the sha256 of what came. */
async function download(place: Place, id: string, file: string): Promise<string> {
  const sum = createHash("sha256");
  const parts = await place.store.read(keyAt(place, id, objectNames.data));
  await pipeline(Readable.from(passing(parts, (part) => sum.update(part))), createWriteStream(file));
  return sum.digest("hex");
}

export async function proveCopy(place: Place, service: BackupService, work: string = backupPaths.work): Promise<void> {
  const fetched = JSON.parse(await readFile(join(work, fetchedFile), "utf8")) as Fetched;
  const began = new Date(fetched.began);
  const detail = await judged(place, fetched, began, () => service.prove(fetched.manifest, work));
  await writeProof(place, fetched, began, { ok: true, detail });
  log(`proven: ${fetched.id}: ${detail}`);
}

/** Notes beside the copy why it is bad. */
async function judged<T>(place: Place, copy: Copy, began: Date, prove: () => Promise<T>): Promise<T> {
  try {
    return await prove();
  } catch (error) {
    if (!(error instanceof BadCopy)) throw error;
    await writeProof(place, copy, began, { ok: false, detail: error.message });
    throw new Error(`the copy ${copy.id} is not proven: ${error.message}`, { cause: error });
  }
}

async function writeProof(
  place: Place,
  { id, manifest: { sha256 } }: Copy,
  began: Date,
  verdict: Pick<Proof, "ok" | "detail">,
): Promise<void> {
  const proof: Proof = { ...verdict, sha256, time: new Date().toISOString(), seconds: secondsSince(began) };
  await place.store.put(keyAt(place, id, objectNames.proof), JSON.stringify(proof, null, 2));
}

async function* passing(
  parts: AsyncIterable<Buffer>,
  see: (part: Buffer) => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const part of parts) {
    see(part);
    yield part;
  }
}

const secondsSince = (began: Date): number => Math.round((Date.now() - began.getTime()) / 100) / 10;

const positionText = (position: Position): string =>
  Object.entries(position)
    .map(([key, value]) => `${key} ${value}`)
    .join(", ");
