/**
 * Copies of a service in an object store: their names, which of them are good, and which may go. Pure.
 *
 *   <prefix>/<namespace>/<name>/<id>/data            the copy
 *   <prefix>/<namespace>/<name>/<id>/manifest.json   written last: what has no manifest is no copy
 *   <prefix>/<namespace>/<name>/<id>/proof.json      what the last restore of it has shown
 */
import type { ServiceKind } from "./names";
import type { EnsembleSettings } from "./settings";

/** No secrets: the keys are in a Secret that the pods mount. */
export interface StoreSettings {
  url: string;
  region: string;
  bucket: string;
  /** Empty, or without a slash at both ends. */
  prefix: string;
  /** Name of the Secret with the keys. */
  credentials: string;
}

/** What the commands of backups are told in SETTINGS. */
export interface BackupSettings extends EnsembleSettings {
  keep: number;
  store: StoreSettings;
}

export const backupPaths = {
  /** The Secret with the keys of the store. */
  credentials: "/etc/backup/store",
  /** Of a proof: what was downloaded, and the data of the throw-away server. */
  work: "/backup",
  copyFile: "copy",
} as const;

/** Keys of the Secret. The object store of this project writes the same ones; `ca.crt` may be missing. */
export const storeKeys = { accessKeyId: "accessKeyId", secretAccessKey: "secretAccessKey", ca: "ca.crt" } as const;

/** Where the copy stands in the history of the service, in its own words. */
export type Position = Record<string, string | number>;

export interface Manifest {
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
  bytes: number;
  /** Hexadecimal. */
  sha256: string;
  /** How long the copy took. */
  seconds: number;
}

export interface Proof {
  ok: boolean;
  /** Of the manifest that was proven. */
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

/** All that is stored under one id. */
export interface Stored {
  id: string;
  /** Names of the objects, such as `data`. */
  objects: string[];
  /** Of `data`; undefined when it is missing. */
  bytes: number | undefined;
  manifest: Manifest | undefined;
  /** Of what the manifest says. */
  proof: Proof | undefined;
}

export const objectNames = { data: "data", manifest: "manifest.json", proof: "proof.json" } as const;

/** What all keys of a service begin with. */
export function folderOf({ prefix }: StoreSettings, namespace: string, name: string): string {
  return `${prefix === "" ? "" : `${prefix}/`}${namespace}/${name}/`;
}

/** Such as 20260131T021300Z: the order of the ids is that of time. */
export function copyId(began: Date): string {
  return began.toISOString().replace(/\.\d+|[-:]/g, "");
}

/** Objects by id, the newest first. Keys that are not of this form are somebody else's. */
export function groupById(folder: string, objects: { key: string; bytes: number }[]) {
  const found = new Map<string, { key: string; name: string; bytes: number }[]>();
  for (const { key, bytes } of objects) {
    const [, id, name] = /^(\d{8}T\d{6}Z)\/([^/]+)$/.exec(key.slice(folder.length)) ?? [];
    if (!key.startsWith(folder) || id === undefined || name === undefined) continue;
    found.set(id, [...(found.get(id) ?? []), { key, name, bytes }]);
  }
  return [...found].sort(([a], [b]) => b.localeCompare(a));
}

/** undefined: it is not whole. */
export function parseManifest(text: string): Manifest | undefined {
  const manifest = parseObject(text) as Partial<Manifest> | undefined;
  const words = ["service", "name", "namespace", "version", "lineage", "time", "sha256"] as const;
  const isWhole =
    manifest !== undefined &&
    words.every((key) => typeof manifest[key] === "string") &&
    typeof manifest.bytes === "number" &&
    typeof manifest.seconds === "number" &&
    Object.values(manifest.position ?? {}).some((value) => typeof value === "number");
  return isWhole ? (manifest as Manifest) : undefined;
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

/** Why this is no copy that the service could be restored from, without having read it. */
export function whyNoCopy(
  { manifest, bytes }: Pick<Stored, "manifest" | "bytes">,
  { service, name }: Pick<BackupSettings, "service" | "name">,
  namespace: string,
): string | undefined {
  if (manifest === undefined) return "it has no manifest: it was interrupted";
  if (bytes === undefined) return "its data is gone";
  const given = `${manifest.service} ${manifest.name} in ${manifest.namespace}`;
  const wanted = `${service} ${name} in ${namespace}`;
  if (given !== wanted) return `it is of ${given}, not of ${wanted}`;
  return bytes === manifest.bytes ? undefined : `it has ${bytes} bytes, and its manifest says ${manifest.bytes}`;
}

/**
 * What may go: all copies that are older than the newest `keep` good ones, but never the last one that was proven. A copy that failed its
 * proof takes no place of a good one. With fewer than `keep` good copies nothing goes. Copies of another history than that of the newest
 * are for a person to delete: they may be all that is left of a service that was lost.
 */
export function outdated(
  stored: Stored[],
  settings: Pick<BackupSettings, "service" | "name" | "keep">,
  namespace: string,
): Stored[] {
  const isGood = (each: Stored): boolean =>
    whyNoCopy(each, settings, namespace) === undefined && each.proof?.ok !== false;
  const sorted = stored.filter(isGood).sort((a, b) => b.id.localeCompare(a.id));
  const isOfNewest = ({ manifest }: Stored): boolean =>
    manifest !== undefined && manifest.lineage === sorted[0]?.manifest?.lineage;
  const good = sorted.filter(isOfNewest);
  const oldestKept = good[settings.keep - 1];
  const proven = good.find(({ proof }) => proof?.ok === true);
  if (oldestKept === undefined) return [];
  return stored.filter((each) => each.id < oldestKept.id && each !== proven && isOfNewest(each));
}

/** The newest copy is one, as far as it was looked at, and the newest verdict of a proof is no failure. `stored`: the newest first. */
export function isInOrder(
  stored: Stored[],
  settings: Pick<BackupSettings, "service" | "name">,
  namespace: string,
): boolean {
  const newest = stored.find(({ manifest }) => manifest !== undefined);
  const judged = stored.find(({ proof }) => proof !== undefined);
  return newest !== undefined && whyNoCopy(newest, settings, namespace) === undefined && judged?.proof?.ok !== false;
}
