/**
 * What only Vault knows of its backups. A copy is a snapshot of the raft storage, as `vault operator raft snapshot save` writes it. All
 * values in it are encrypted: what opens the seal opens the copy, and nothing else does.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { isDeepStrictEqual } from "node:util";
import { createGunzip } from "node:zlib";
import { type BackupService, fromThrowAway, type WriteFile } from "../shared/agent/backup";
import { readTrust } from "../shared/agent/logins";
import { BadCopy, backupPaths, type Manifest } from "../shared/core/backup";
import { type Refuse, refuse } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { beginAnew } from "../shared/core/marker";
import { majority, memberNames, namesOf, serviceHost } from "../shared/core/names";
import { waitFor } from "../shared/core/wait";
import { observeServer, type Server, type VaultClient, VaultError, vaultClient } from "./client";
import { memberUrl, paths, ports, proofFiles, proofUrl } from "./layout";
import { describeServer, isOpen } from "./membership";
import { backupRole, loginSeconds, policyText, readerPolicy, restoreRole, setupRole, subjectOf } from "./policies";
import { login, readLogin } from "./setup";
import { mountedKeys, serveKeys } from "./sidecar";
import { giveShares } from "./unseal";

/** Without any part of a snapshot. Before the first one Vault reads all data for its size: 4 GiB at 50 MB/s. */
const silenceSeconds = 90;
/** With awskms the server ends, and is started again, until it can use the key. */
const startSeconds = 300;
/** The server unpacks the snapshot, writes all of it anew and reads it: 4 GiB at 20 MB/s. */
const restoreSeconds = 600;

// --- copy

/** Standbys give no snapshot: they redirect to the active member. */
export function decideSource(
  servers: [string, Server][],
  expected: number,
): { kind: "copy"; member: string; clusterId: string; version: string } | Refuse {
  const up = servers.flatMap(([member, server]) => (server.state === "up" ? [{ member, ...server }] : []));
  const open = up.filter(isOpen);
  if (open.length < majority(expected)) {
    const seen = up.map((server) => `${server.member} ${describeServer(server)}`);
    return refuse([`${open.length} of ${expected} members are unsealed`, ...seen].join("; "));
  }
  const active = open.filter(({ standby }) => !standby);
  const [first, ...others] = active;
  if (first === undefined) return refuse("no member is active");
  if (others.length > 0) return refuse(`${active.map(({ member }) => member).join(" and ")} are active`);
  const { member, clusterId, version } = first;
  if (clusterId === undefined) return refuse(`${member} does not know its cluster yet`);
  return { kind: "copy", member, clusterId, version };
}

/** What no client of Vault changes, so that it can be compared. */
interface Contents {
  mounts: number;
  logins: number;
  policies: number;
  /** Of the paths, kinds and ids of all mounts and logins, and the names of all policies: sha256. */
  hash: string;
}

export async function contentsOf(client: Pick<VaultClient, "list" | "read">): Promise<Contents> {
  const table = async (path: string) => {
    const entries = Object.entries((await client.read<Record<string, { type: string; uuid: string }>>(path)) ?? {});
    return entries.map(([mount, { type, uuid }]) => `${path} ${mount} ${type} ${uuid}`).sort();
  };
  const [mounts, logins] = [await table("sys/mounts"), await table("sys/auth")];
  const policies = (await client.list("sys/policies/acl")).sort();
  const hash = createHash("sha256")
    .update([...mounts, ...logins, ...policies].join("\n"))
    .digest("hex");
  return { mounts: mounts.length, logins: logins.length, policies: policies.length, hash };
}

/**
 * By way of a file: while Vault gives a snapshot, a member that should hand over keeps others waiting for it, and itself answers nobody. So
 * that time must not depend on the store.
 */
export async function copyFrom(client: CopiedClient, file: string, write: WriteFile) {
  const [index, contents] = [await client.appliedIndex(), await contentsOf(client)];
  await pipeline(whole(await client.snapshot(silenceSeconds)), createWriteStream(file));
  const { hash } = await contentsOf(client);
  await client.revokeSelf();
  if (hash !== contents.hash) throw new Error("mounts, logins or policies were changed during the copy");
  await write(proofFiles.snapshot, createReadStream(file));
  return { index, ...contents };
}

type CopiedClient = Pick<VaultClient, "appliedIndex" | "list" | "read" | "revokeSelf" | "snapshot">;

/**
 * Passes a snapshot on, and throws at its end when it is not whole: Vault has no other way to say that it broke off, and ends its answer as
 * usual. The checksums in it are of what is packed.
 */
export async function* whole(parts: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const unpacked = createGunzip();
  const checked = check(unpacked);
  // It may fail while the store takes a part, and is awaited later.
  checked.catch(() => undefined);
  const broken = (error: unknown) =>
    new Error(`the snapshot of vault is not whole: ${messageOf(error)}`, { cause: error });
  try {
    for await (const part of parts) {
      yield part;
      if (!unpacked.write(part)) await Promise.race([once(unpacked, "drain"), checked]);
    }
    unpacked.end();
    await checked;
  } catch (error) {
    throw broken(error);
  } finally {
    unpacked.destroy();
  }
}

const sums = "SHA256SUMS";
/** The last one has the checksums too, encrypted: Vault refuses a snapshot without them, unless forced. */
const archived = ["meta.json", "state.bin", sums, `${sums}.sealed`];

/** Of an archive as `tar` writes it. */
async function check(stream: AsyncIterable<Buffer>): Promise<void> {
  const take = takeFrom(stream);
  const found = new Map<string, string>();
  let expected = "";
  for (;;) {
    const header = await buffer(take(tarBlock));
    const text = (from: number, to: number) => header.toString("latin1", from, to).replace(/\0.*$/s, "");
    const name = text(0, 100);
    if (name === "") break;
    const bytes = Number.parseInt(text(124, 136), 8);
    if (!archived.includes(name) || Number.isNaN(bytes)) throw new Error("it is no snapshot");
    const sum = createHash("sha256");
    for await (const part of take(bytes)) {
      sum.update(part);
      if (name === sums) expected += part.toString("latin1");
    }
    await buffer(take((tarBlock - (bytes % tarBlock)) % tarBlock));
    found.set(name, sum.digest("hex"));
  }
  // To its end, where the packing has a checksum of its own.
  for await (const part of stream) void part;
  const missing = archived.filter((each) => !found.has(each));
  if (missing.length > 0) throw new Error(`it has no ${missing.join(", ")}`);
  for (const name of archived.slice(0, 2)) {
    if (!expected.split("\n").includes(`${found.get(name)}  ${name}`))
      throw new Error(`the checksum of ${name} differs`);
  }
}

const tarBlock = 512;

function takeFrom(stream: AsyncIterable<Buffer>): (bytes: number) => AsyncGenerator<Buffer> {
  const parts = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  return async function* take(bytes) {
    for (let missing = bytes; missing > 0; ) {
      if (rest.length === 0) {
        const next = await parts.next();
        if (next.done === true) throw new Error("it ended early");
        rest = next.value;
      }
      const part = rest.subarray(0, missing);
      rest = rest.subarray(part.length);
      missing -= part.length;
      yield part;
    }
  };
}

// --- proof

/** Of a server that stores in the folder of the proof, and that only its own pod reaches. Its seal comes by the environment. */
export function proofConfig(work: string): object {
  return {
    storage: { raft: { path: join(work, proofFiles.data), node_id: "proof", performance_multiplier: "1" } },
    listener: [
      { tcp: { address: new URL(proofUrl).host, cluster_address: `127.0.0.1:${ports.peer}`, tls_disable: true } },
    ],
    api_addr: proofUrl,
    cluster_addr: `https://127.0.0.1:${ports.peer}`,
    disable_mlock: true,
  };
}

/**
 * A token of Kubernetes, as the copied role wants it. The restored data asks 127.0.0.1 for the keys of Kubernetes, and in this pod finds
 * that of the occasion.
 */
export function signLogin(
  key: KeyObject,
  account: keyof ReturnType<typeof namesOf>,
  { name, namespace }: Pick<Manifest, "name" | "namespace">,
  now: Date,
): string {
  const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const seconds = Math.floor(now.getTime() / 1000);
  const claims = {
    sub: subjectOf(namespace, namesOf(name)[account]),
    aud: [serviceHost(name, namespace)],
    iat: seconds,
    exp: seconds + 600,
  };
  const content = `${encoded({ alg: "RS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${content}.${sign("sha256", Buffer.from(content), key).toString("base64url")}`;
}

interface Restored {
  clusterId: string | undefined;
  index: number;
  contents: Contents;
}

/** Why the restored data is not what was copied. */
export function whyDifferent(
  { position, lineage }: Pick<Manifest, "lineage" | "position">,
  { clusterId, index, contents }: Restored,
): string | undefined {
  const { index: copied, hash, ...counts } = position;
  if (clusterId !== lineage)
    return `the restored data is of the cluster ${clusterId}, and its manifest says ${lineage}`;
  if (index < Number(copied)) return `the restored data ends at index ${index}, and its manifest says ${copied}`;
  for (const [what, wanted] of Object.entries(counts)) {
    const found = contents[what as keyof Contents];
    if (found !== wanted) return `the restored data has ${found} ${what}, and its manifest says ${wanted}`;
  }
  return contents.hash === hash
    ? undefined
    : "the restored data has other mounts, logins or policies than its manifest says";
}

/** `shares`: of the ensemble that was copied, with shamir. */
export async function proveAt(url: string, manifest: Manifest, work: string, shares: string[] = []): Promise<string> {
  const client = vaultClient({ url, timeoutSeconds: 30 });
  const { type } = await fromThrowAway(() => client.sealStatus());
  const isShamir = type === "shamir";
  if (isShamir && shares.length === 0) throw new Error("the Secret with the key shares that open the copy is missing");
  const { rootToken, former } = await initialise(client, isShamir);
  const file = createReadStream(join(work, backupPaths.copy, proofFiles.snapshot));
  await vaultClient({ url, token: rootToken }).restore(file, restoreSeconds);
  const clusterId = await waitFor(
    "the data of the copy",
    async () => {
      const server = await client.health();
      if (server.sealed && isShamir) await open(client, shares);
      else if (server.sealed) return { waiting: "the key service has not opened it" };
      else if (!server.standby && server.clusterId !== former) return { done: server.clusterId };
      return { waiting: `the server ${describeServer(server)}` };
    },
    { deadlineSeconds: restoreSeconds, onError: (error) => (error instanceof WrongShares ? "fail" : "wait") },
  );
  const copied = await loginAt(url, backupRole, "backup", manifest);
  const restored = { clusterId, index: await client.appliedIndex(), contents: await contentsOf(copied) };
  const reason = whyDifferent(manifest, restored);
  if (reason !== undefined) throw new BadCopy(reason);
  const { mounts, logins, policies } = restored.contents;
  return (
    `opened by the seal of the ensemble (${type}): cluster ${clusterId} to index ${restored.index}, with the ` +
    `${mounts} mounts, ${logins} logins and ${policies} policies of the manifest`
  );
}

/** With keys of the occasion; with awskms this also shows that the pod may use the key. */
async function initialise(client: VaultClient, isShamir: boolean) {
  const { keys, rootToken } = await client.init(
    isShamir ? { secret_shares: 1, secret_threshold: 1 } : { recovery_shares: 1, recovery_threshold: 1 },
  );
  if (isShamir) await open(client, keys);
  const former = await waitFor(
    "the throw-away server to be active",
    async () => {
      const server = await client.health();
      const { standby, clusterId } = server;
      return standby || clusterId === undefined ? { waiting: describeServer(server) } : { done: clusterId };
    },
    { deadlineSeconds: startSeconds },
  );
  return { rootToken, former };
}

/** They may be of another initialisation, or mistyped by a person: no verdict on the copy. */
class WrongShares extends Error {}

async function open(client: VaultClient, shares: string[]): Promise<void> {
  try {
    await giveShares(client, shares, undefined);
  } catch (error) {
    if (!(error instanceof VaultError && error.status === 400)) throw error;
    throw new WrongShares(`the key shares do not open the copy: ${error.message}`, { cause: error });
  }
}

/** In the restored data, with a role that it has. */
async function loginAt(
  url: string,
  role: string,
  account: Parameters<typeof signLogin>[1],
  manifest: Manifest,
): Promise<VaultClient> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const keys = JSON.stringify({ keys: [publicKey.export({ format: "jwk" })] });
  const served = serveKeys(async () => keys);
  try {
    const token = await vaultClient({ url }).login(role, signLogin(privateKey, account, manifest, new Date()));
    return vaultClient({ url, token });
  } finally {
    served.close();
  }
}

// --- restore

type Login<T> = () => Promise<T>;

/** Logs in again in time: a login ends after 15 minutes. */
export function lasting<T>(login: Login<T>, now: () => number = () => performance.now()): Login<T> {
  let client: Promise<T> | undefined;
  let since = 0;
  return () => {
    if (client === undefined || now() - since > loginSeconds * 500) [client, since] = [login(), now()];
    return client;
  };
}

/** Mounts of the key-value engine, version 2; the paths of others that people have made are in `others`. */
export function keyMounts(mounts: Awaited<ReturnType<VaultClient["mounts"]>>): { mounts: string[]; others: string[] } {
  const known = Object.entries(mounts).filter(([, { type }]) => !["cubbyhole", "identity", "system"].includes(type));
  const isKeys = ([path, { type, version }]: (typeof known)[number]) =>
    type === "kv" && version === "2" && !path.includes("/");
  const paths = (entries: typeof known) => entries.map(([path]) => path);
  return { mounts: paths(known.filter(isKeys)), others: paths(known.filter((each) => !isKeys(each))) };
}

/** The path of each key below a mount, as it stands in a URL. */
async function* keysIn(login: Login<Pick<VaultClient, "list">>, mount: string, folder = ""): AsyncGenerator<string> {
  for (const name of await (await login()).list(`${mount}/metadata${folder}`)) {
    const path = `${folder}/${encodeURIComponent(name.replace(/\/$/, ""))}`;
    if (name.endsWith("/")) yield* keysIn(login, mount, path);
    else yield path;
  }
}

/** Each value has 1 MiB at most. */
const atOnce = 8;

/** Writes the newest version of each key, and only where there is none. */
export async function loadKeys(
  source: Login<Pick<VaultClient, "list" | "mounts" | "read">>,
  target: Login<Pick<VaultClient, "list" | "mounts" | "read" | "write">>,
): Promise<string> {
  const { mounts, others } = keyMounts(await (await source()).mounts());
  const there = keyMounts(await (await target()).mounts()).mounts;
  const missing = mounts.filter((mount) => !there.includes(mount));
  if (missing.length > 0) throw new Error(`the copy has the mounts ${missing.join(", ")}; add them to mounts`);
  let [written, deleted] = [0, 0];
  const load = async (mount: string, key: string) => {
    const path = `${mount}/data${key}`;
    const found = await (await source()).read<{ data: object | null }>(path);
    if (!found?.data) deleted += 1;
    else {
      await writeNew(await target(), path, found.data);
      written += 1;
    }
  };
  for (const mount of mounts) {
    let batch: Promise<void>[] = [];
    for await (const key of keysIn(source, mount)) {
      batch.push(load(mount, key));
      if (batch.length < atOnce) continue;
      await Promise.all(batch);
      batch = [];
    }
    await Promise.all(batch);
  }
  const held = await countKeys(target);
  if (held < written) throw new Error(`${written} keys were written, and it has ${held}`);
  const without = others.length === 0 ? "" : `; not the mounts ${others.join(", ")}, which are of another kind`;
  return `the newest version of ${written} keys in ${mounts.join(", ")}, ${deleted} deleted ones left out${without}`;
}

/** A run that was interrupted may have written it already. What somebody else has written is not overwritten. */
async function writeNew(client: Pick<VaultClient, "read" | "write">, path: string, data: object): Promise<void> {
  try {
    await client.write(path, { data, options: { cas: 0 } });
  } catch (error) {
    if (!/check-and-set parameter did not match/.test(messageOf(error))) throw error;
    const found = await client.read<{ data: object | null }>(path);
    if (isDeepStrictEqual(found?.data, data)) return;
    throw new Error(`${path} was written by somebody else during the restore; keep clients away, and ${beginAnew}`, {
      cause: error,
    });
  }
}

async function countKeys(login: Login<Pick<VaultClient, "list" | "mounts">>): Promise<number> {
  let keys = 0;
  for (const mount of keyMounts(await (await login()).mounts()).mounts) {
    for await (const key of keysIn(login, mount)) if (key !== "") keys += 1;
  }
  return keys;
}

/** May read everything, in the throw-away server alone: the setup of the copy may give itself any right. */
async function readerOf(url: string, manifest: Manifest): Promise<VaultClient> {
  const setup = await loginAt(url, setupRole, "setup", manifest);
  await setup.write(`sys/policies/acl/${backupRole}`, { policy: policyText(readerPolicy) });
  return loginAt(url, backupRole, "backup", manifest);
}

export const service: BackupService = {
  async copy(settings, namespace, write) {
    const jwt = await readLogin();
    const ca = await readTrust(settings.tls, paths.trust);
    const clientOf = (member: string, token?: string) =>
      vaultClient({ url: memberUrl(settings, namespace, member), ca, token });
    const observe = async (member: string): Promise<[string, Server]> => [
      member,
      await observeServer(Promise.resolve(clientOf(member))),
    ];
    const servers = await Promise.all(memberNames(settings.name, settings.members).map(observe));
    const source = decideSource(servers, settings.members);
    if (source.kind === "refuse") throw new Error(source.reason);
    const { member, clusterId, version } = source;
    const client = clientOf(member, await clientOf(member).login(backupRole, jwt));
    const position = await copyFrom(client, join(backupPaths.work, proofFiles.snapshot), write);
    return { from: member, version, lineage: clusterId, position };
  },
  async prepare(work) {
    for (const folder of [proofFiles.data, proofFiles.temporary]) await mkdir(join(work, folder));
    await writeFile(join(work, proofFiles.config), JSON.stringify(proofConfig(work)));
  },
  async prove(manifest, work, { restore }) {
    const keys = await mountedKeys(restore === undefined ? paths.unseal : paths.formerUnseal);
    return proveAt(proofUrl, manifest, work, keys?.shares);
  },
  async whyNotEmpty(settings, namespace) {
    const keys = await countKeys(lasting(() => login({ settings, namespace }, restoreRole)));
    return keys === 0 ? undefined : `it has ${keys} keys`;
  },
  load(manifest, _, settings, namespace) {
    return loadKeys(
      lasting(() => readerOf(proofUrl, manifest)),
      lasting(() => login({ settings, namespace }, restoreRole)),
    );
  },
};
