/**
 * Copies of a service in an object store: their names, which of them are good, and which may go. Pure.
 *
 *   <prefix>/<namespace>/<name>/<id>/data/...        the copy: one file, or several
 *   <prefix>/<namespace>/<name>/<id>/manifest.json   written last: what has no manifest is no copy
 *   <prefix>/<namespace>/<name>/<id>/proof.json      what the last restore of it has shown
 */
import { createHash } from "node:crypto";
import type { ServiceKind } from "./names";
import type { EnsembleSettings } from "./settings";

/** No secrets: the keys are in a Secret that the pods mount, or AWS gives them to the pods. */
export interface StoreSettings {
  url: string;
  region: string;
  bucket: string;
  /** Empty, or without a slash at both ends. */
  prefix: string;
  /** Name of the Secret with the keys; undefined: the pods have a role of AWS. */
  credentials?: string | undefined;
}

/** What the commands of backups are told in SETTINGS. */
export interface BackupSettings extends EnsembleSettings {
  keep: number;
  store: StoreSettings;
  /** Of a restore alone. */
  restore?: RestoreSettings;
}

export interface RestoreSettings {
  /** `latest`, an id, or a time. */
  copy: string;
  /** Whose copy it is. */
  from: { namespace: string; name: string };
  /** Of the servers that get the data. */
  version: string;
}

export const backupPaths = {
  /** The Secret with the keys of the store. */
  credentials: "/etc/backup/store",
  /** Of a proof: what was downloaded, and the data of the throw-away server. */
  work: "/backup",
  /** In that folder: the files of the copy. */
  copy: "copy",
} as const;

/** Keys of the Secret. The object store of this project writes the same ones; `ca.crt` may be missing. */
export const storeKeys = { accessKeyId: "accessKeyId", secretAccessKey: "secretAccessKey", ca: "ca.crt" } as const;

/** Where the copy stands in the history of the service, in its own words. */
export type Position = Record<string, string | number>;

export interface CopiedFile {
  name: string;
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
}

/** What a list of copies shows. */
export interface Summary {
  service: ServiceKind;
  name: string;
  namespace: string;
  /** Of the server. */
  version: string;
  position: Position;
  /** Of one and the same history: a service that was made anew, or that is another one, has another. */
  lineage: string;
  /** When the copy began, ISO 8601. */
  time: string;
  /** Of all files. */
  bytes: number;
  /** How long the copy took. */
  seconds: number;
}

export interface Manifest extends Summary {
  files: CopiedFile[];
}

/** Thousands of files may belong to a copy. */
export function summaryOf(manifest: Manifest): Summary {
  const { service, name, namespace, version, position, lineage, time, bytes, seconds } = manifest;
  return { service, name, namespace, version, position, lineage, time, bytes, seconds };
}

export interface Proof {
  ok: boolean;
  /** Of the manifest that was proven, hexadecimal. */
  sha256: string;
  /** When it ended, ISO 8601. */
  time: string;
  /** What the restored server said, or what is wrong with the copy. */
  detail: string;
  /** How long download, restore and comparison took. */
  seconds: number;
}

/** A verdict on the data of a copy. What else goes wrong in a proof says nothing of the copy. */
export class BadCopy extends Error {}

/** What is known of one id without having read the data. */
export interface Listed {
  id: string;
  manifest: Summary | undefined;
  /** Why this is no copy that the service could be restored from. */
  flaw: string | undefined;
  /** Of what the manifest says. */
  proof: Proof | undefined;
}

export const objectNames = { data: "data/", manifest: "manifest.json", proof: "proof.json" } as const;

/** What all keys of a service begin with. */
export function folderOf({ prefix }: StoreSettings, namespace: string, name: string): string {
  return `${prefix === "" ? "" : `${prefix}/`}${namespace}/${name}/`;
}

/** Such as 20260131T021300Z: the order of the ids is that of time. */
export function copyId(began: Date): string {
  return began.toISOString().replace(/\.\d+|[-:]/g, "");
}

export const isCopyId = (text: string): boolean => /^\d{8}T\d{6}Z$/.test(text);

/** undefined: it is not whole. */
export function parseManifest(text: string): Manifest | undefined {
  const manifest = parseObject(text) as Partial<Manifest> | undefined;
  const words = ["service", "name", "namespace", "version", "lineage", "time"] as const;
  const isWhole =
    manifest !== undefined &&
    words.every((key) => typeof manifest[key] === "string") &&
    typeof manifest.bytes === "number" &&
    typeof manifest.seconds === "number" &&
    Array.isArray(manifest.files) &&
    manifest.files.every(isCopiedFile) &&
    Object.values(manifest.position ?? {}).some((value) => typeof value === "number");
  return isWhole ? (manifest as Manifest) : undefined;
}

/** What mongodump allows, of the 255 bytes of a file system. */
const longestFileName = 238;

/** Of any name, as mongodump makes it: percent-encoded. A longer one is cut, and ends with its hash. */
export function fileName(name: string): string {
  const escape = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  const encoded = encodeURIComponent(name).replace(/[!'()*~]/g, escape);
  if (encoded.length <= longestFileName) return encoded;
  return `${encoded.slice(0, 208)}%24${createHash("sha1").update(name).digest("base64url")}`;
}

/** A name leads nowhere but below the folder of the copy. */
function isCopiedFile({ name = "", bytes, sha256 }: Partial<CopiedFile>): boolean {
  const isName = /^[\w.%@+=-]+(\/[\w.%@+=-]+)*$/.test(name) && !/(^|\/)\.\.?(\/|$)/.test(name);
  return isName && typeof bytes === "number" && typeof sha256 === "string";
}

export function parseProof(text: string): Proof | undefined {
  const proof = parseObject(text) as Partial<Proof> | undefined;
  const isWhole = typeof proof?.ok === "boolean" && typeof proof.time === "string" && typeof proof.sha256 === "string";
  return isWhole ? (proof as Proof) : undefined;
}

function parseObject(text: string): object | undefined {
  try {
    const value = JSON.parse(text) as unknown;
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Why this is no copy that the service could be restored from. `objects`: all that is stored under the id. */
export function flawOf(
  manifest: Manifest | undefined,
  objects: { name: string; bytes: number }[],
  owner: { service: string; name: string; namespace: string },
): string | undefined {
  if (manifest === undefined) return "it has no manifest: it was interrupted";
  const named = ({ service, name, namespace }: typeof owner): string => `${service} ${name} in ${namespace}`;
  if (named(manifest) !== named(owner)) return `it is of ${named(manifest)}, not of ${named(owner)}`;
  const sizes = new Map(objects.map(({ name, bytes }) => [name, bytes]));
  for (const { name, bytes } of manifest.files) {
    const stored = sizes.get(`${objectNames.data}${name}`);
    if (stored === undefined) return `its file ${name} is gone`;
    if (stored !== bytes) return `its file ${name} has ${stored} bytes, and its manifest says ${bytes}`;
  }
  return undefined;
}

const isGood = ({ flaw, proof }: Listed): boolean => flaw === undefined && proof?.ok !== false;

/**
 * What may go: all copies that are older than the newest `keep` good ones, but never the last one that was proven. A copy that failed its
 * proof takes no place of a good one. With fewer than `keep` good copies nothing goes. Copies of another history than that of the newest
 * are for a person to delete: they may be all that is left of a service that was lost. `stored`: the newest first.
 */
export function outdated(stored: Listed[], keep: number): Listed[] {
  const lineage = stored.find(isGood)?.manifest?.lineage;
  const history = stored.filter(({ manifest }) => manifest !== undefined && manifest.lineage === lineage);
  const good = history.filter(isGood);
  const oldestKept = good[keep - 1];
  const proven = good.find(({ proof }) => proof?.ok === true);
  if (oldestKept === undefined) return [];
  return history.filter((each) => each.id < oldestKept.id && each !== proven);
}

/** The newest copy is one, as far as it was looked at, and the newest verdict of a proof is no failure. `listed`: the newest first. */
export function isInOrder(listed: Listed[]): boolean {
  const newest = listed.find(({ manifest }) => manifest !== undefined);
  const judged = listed.find(({ proof }) => proof !== undefined);
  return newest !== undefined && newest.flaw === undefined && judged?.proof?.ok !== false;
}

/**
 * Which copy a restore takes: `latest` is the newest good one, a time the newest good one that began no later, an id that very one.
 * `listed`: the newest first.
 */
export function chooseCopy(listed: Listed[], wanted: string): Listed | undefined {
  if (isCopyId(wanted)) return listed.find(({ id }) => id === wanted);
  const latest = wanted.replace(/[-:]/g, "");
  return listed.find((each) => isGood(each) && (wanted === latestCopy || each.id <= latest));
}

export const latestCopy = "latest";
/** `latest`, the id of a copy, or a time in UTC. */
export const wantedCopy = /^(latest|\d{8}T\d{6}Z|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$/;
