/**
 * What only etcd knows of its backups. A copy is a snapshot of one member, in the file format that `etcdutl snapshot restore` reads. What
 * can be asked of a running server is asked at one revision, before the copy: all that the copy has up to this revision is the same, however
 * much is written meanwhile.
 */
import { createHash, createHmac, randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BackupService, fromThrowAway } from "../shared/agent/backup";
import { beginningOf, openHttp } from "../shared/agent/http";
import { inClusterApi } from "../shared/agent/kubernetes";
import { takeTurn } from "../shared/agent/lease";
import { readPod } from "../shared/agent/main";
import { BadCopy, type Manifest } from "../shared/core/backup";
import { type Refuse, refuse } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { majority } from "../shared/core/names";
import { type Alarm, type EtcdClient, etcdClient, everyKey, parse } from "./client";
import { adminUsername, proofFiles, proofUrl, snapshotFile } from "./layout";
import { type MemberStatus, whyBehind, whyNotHealthy } from "./maintenance";
import { membersOf, memberTurn } from "./members";

/** Without any part of a snapshot: longer than the store may take for one of its own, with all attempts. */
const silenceSeconds = 300;
/** A defragmentation of the member comes to its end, or its Lease does. */
const defragmentedSeconds = 240;
/** A comparison reads all keys: 8 GiB at 50 MB/s. */
const compareSeconds = 180;

/** A follower: the leader has enough to do. The one that has seen most. */
export function decideSource(
  members: MemberStatus[],
  expected: number,
  alarms: Alarm[],
): { kind: "copy"; member: string } | Refuse {
  if (members.length < majority(expected)) return refuse(`${members.length} of ${expected} members answer`);
  if (alarms.some(({ alarm }) => alarm === "CORRUPT")) {
    return refuse("etcd reports that data is corrupt, and a copy of it would be too; see what its maintenance says");
  }
  const voters = members.filter(({ status }) => !status.learner);
  const unhealthy = whyNotHealthy(voters, voters.length);
  if (unhealthy !== undefined) return refuse(unhealthy);
  const [first] = voters
    .filter(({ status }) => status.leader !== status.memberId)
    .sort((a, b) => Number(b.status.revision) - Number(a.status.revision));
  if (first === undefined) return refuse("no follower answers");
  const behind = whyBehind(first, voters);
  return behind === undefined ? { kind: "copy", member: first.name } : refuse(`${first.name}: ${behind}`);
}

/** What a server says of its data at one revision. */
interface Contents {
  keys: number;
  /** Of the names, the revisions and the versions of all keys, sha256. That of their values is in the checksum of the copy. */
  hash: string;
}

/** What a member loads for a page: also the values, which it does not send. Little, since its log may leave few of its 256 MiB. */
const pageBytes = 2 * 2 ** 20;

/** Few questions, since etcd counts all keys for each. */
const mostKeys = 10_000;

/** How many keys a page has. `bytes`: of all `count` keys, with their history. */
export function pageKeys(count: number, bytes: number): number {
  return Math.max(1, Math.min(mostKeys, Math.floor((pageBytes * count) / Math.max(1, bytes))));
}

interface KeyValue {
  key?: string;
  value?: string;
  create_revision?: string;
  mod_revision?: string;
  version?: string;
}

interface Page {
  count?: string;
  kvs?: KeyValue[];
  more?: boolean;
}

interface Reading {
  revision: number;
  /** Of all keys with their history. */
  bytes: number;
  /** At most, of a page. */
  keys: number;
}

/** All keys at one revision, with their values when they are wanted, in pages. */
async function* pagesAt(
  client: Pick<EtcdClient, "call">,
  { revision, bytes, keys }: Reading,
  wanted: { keys_only?: true },
): AsyncGenerator<KeyValue[]> {
  let from = everyKey.key;
  const ask = (question: object) => {
    const range = { key: from, range_end: everyKey.rangeEnd, revision: `${revision}`, serializable: true };
    return client.call<Page>("kv/range", { ...range, ...question }, compareSeconds);
  };
  const { count = "0" } = await ask({ count_only: true });
  const limit = Math.min(keys, pageKeys(Number(count), bytes));
  for (;;) {
    const { kvs = [], more = false } = await ask({ limit, ...wanted });
    yield kvs;
    const last = kvs.at(-1)?.key;
    if (!more || last === undefined) return;
    from = Buffer.concat([Buffer.from(last, "base64"), Buffer.alloc(1)]).toString("base64");
  }
}

/**
 * Etcd's own hash would not do: it depends on what was compacted, and a server that has compacted answers with the hash of another
 * compaction than one that was restored.
 */
export async function contentsAt(client: Pick<EtcdClient, "call">, revision: number, bytes: number): Promise<Contents> {
  const sum = createHash("sha256");
  let keys = 0;
  for await (const page of pagesAt(client, { revision, bytes, keys: mostKeys }, { keys_only: true })) {
    for (const { key, create_revision, mod_revision, version } of page) {
      sum.update(`${key} ${create_revision} ${mod_revision} ${version}\n`);
    }
    keys += page.length;
  }
  return { keys, hash: sum.digest("hex") };
}

/** Why the restored data is not what was copied. */
export function whyDifferent(
  { position }: Pick<Manifest, "position">,
  restored: Contents & { revision: number },
): string | undefined {
  const { revision = 0, keys = 0, hash } = position;
  if (restored.revision < Number(revision)) {
    return `the restored data ends at revision ${restored.revision}, and its manifest says ${revision}`;
  }
  if (restored.keys !== keys) {
    return `at revision ${revision} the restored data has ${restored.keys} keys, and its manifest says ${keys}`;
  }
  return restored.hash === hash
    ? undefined
    : `at revision ${revision} the restored data has other keys or versions than its manifest says`;
}

/** The parts of a snapshot in the stream of the JSON gateway: one message on each line, with a part in base64. */
export async function* partsOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest = "";
  for await (const chunk of unbroken(stream)) {
    const lines = `${rest}${chunk.toString("latin1")}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield partOf(line);
  }
  if (rest.trim() !== "") yield partOf(rest);
}

async function* unbroken(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* stream;
  } catch (error) {
    throw new Error(`the snapshot of etcd broke off: ${messageOf(error)}`, { cause: error });
  }
}

function partOf(line: string): Buffer {
  let message: { result?: { blob?: string }; error?: { message?: string } };
  try {
    message = JSON.parse(line) as typeof message;
  } catch {
    throw new Error("the snapshot of etcd broke off");
  }
  if (message.error !== undefined) throw new Error(`etcd ended the snapshot: ${message.error.message ?? "no reason"}`);
  return Buffer.from(message.result?.blob ?? "", "base64");
}

const checksumBytes = 32;

/** The last bytes of a snapshot are the sha256 of all before: throws at the end of one that is not whole. */
export async function* whole(parts: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const sum = createHash("sha256");
  let last: Buffer = Buffer.alloc(0);
  for await (const part of parts) {
    yield part;
    const known = Buffer.concat([last, part]);
    const end = Math.max(0, known.length - checksumBytes);
    sum.update(known.subarray(0, end));
    last = known.subarray(end);
  }
  if (!sum.digest().equals(last)) throw new Error("the snapshot of etcd is not whole: it ended before its checksum");
}

/**
 * The copy has the passwords of its time. The throw-away server is started with this key, and takes each token that is signed with it.
 * `revision`: of the users. Requests for keys want the very one, and the question for it takes any that is not older.
 */
export function signToken(key: Buffer, revision: number, now: Date): string {
  const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { username: adminUsername, revision, exp: Math.floor(now.getTime() / 1000) + 3600 };
  const content = `${encoded({ alg: "HS256", typ: "JWT" })}.${encoded(claims)}`;
  return `${content}.${createHmac("sha256", key).update(content).digest("base64url")}`;
}

export const service: BackupService = {
  async copy(settings, namespace, write) {
    const all = membersOf(settings, namespace);
    const { members, unreachable } = await all.ask();
    const [asked] = members;
    const alarms = asked === undefined ? [] : await (await all.client(asked.name)).alarms();
    const source = decideSource(members, settings.members, alarms);
    if (source.kind === "refuse") throw new Error([source.reason, ...unreachable].join("; "));
    const client = await all.client(source.member);
    const turn = memberTurn(settings.name, source.member);
    const reserve = () => takeTurn(turn, readPod().name, namespace, inClusterApi(), defragmentedSeconds);
    const writeSnapshot = (parts: AsyncIterable<Buffer>) => write(snapshotFile, parts);
    return { from: source.member, ...(await copyReserved(client, writeSnapshot, reserve)) };
  },
  async prepare(work) {
    await writeFile(join(work, proofFiles.key), randomBytes(32), { mode: 0o440 });
  },
  async prove(manifest, work) {
    return proveAt(proofUrl, await readFile(join(work, proofFiles.key)), manifest);
  },
  async whyNotEmpty(settings, namespace) {
    const keys = await keysOf(await membersOf(settings, namespace).first());
    return keys === 0 ? undefined : `it has ${keys} keys`;
  },
  async load({ position }, work, settings, namespace) {
    const restored = await openRestored(proofUrl, await readFile(join(work, proofFiles.key)));
    return loadKeys(restored, Number(position["revision"]), await membersOf(settings, namespace).first());
  },
};

async function keysOf(client: Pick<EtcdClient, "call">): Promise<number> {
  const all = { key: everyKey.key, range_end: everyKey.rangeEnd, count_only: true };
  return Number((await client.call<Page>("kv/range", all)).count ?? 0);
}

/** What etcd takes in one transaction, `--max-txn-ops`. */
const putsAtOnce = 128;
/** Below `--max-request-bytes`, 1.5 MiB with the frame of each key. One larger value goes alone. */
const bytesAtOnce = 2 ** 20;

/** The same keys and values. Their revisions and versions are new, and no key belongs to a lease. */
export async function loadKeys(
  source: Pick<EtcdClient, "call" | "status">,
  revision: number,
  target: Pick<EtcdClient, "call" | "status">,
): Promise<string> {
  const [copied, held] = [createHash("sha256"), createHash("sha256")];
  const { dbSizeInUse: bytes } = await source.status();
  let keys = 0;
  for await (const page of pagesAt(source, { revision, bytes, keys: putsAtOnce }, {})) {
    for (const { key, value = "" } of page) copied.update(`${key} ${value}\n`);
    for (const puts of batches(page)) {
      await target.call("kv/txn", { success: puts.map(({ key, value = "" }) => ({ request_put: { key, value } })) });
      keys += puts.length;
    }
  }
  const now = await target.status();
  const reading = { revision: Number(now.revision), bytes: now.dbSizeInUse, keys: putsAtOnce };
  for await (const page of pagesAt(target, reading, {})) {
    for (const { key, value = "" } of page) held.update(`${key} ${value}\n`);
  }
  if (copied.digest("hex") !== held.digest("hex")) {
    throw new Error(`the members hold other keys or values than the ${keys} of the copy; nobody else may write`);
  }
  return `${keys} keys of revision ${revision}`;
}

export function batches(page: KeyValue[]): KeyValue[][] {
  const found: KeyValue[][] = [];
  let bytes = bytesAtOnce;
  for (const each of page) {
    const size = ((each.key?.length ?? 0) + (each.value?.length ?? 0)) * 0.75;
    bytes += size;
    if (bytes > bytesAtOnce) {
      found.push([]);
      bytes = size;
    }
    found.at(-1)?.push(each);
  }
  return found;
}

/** Nobody defragments the member until the copy has ended. */
export async function copyReserved(
  client: CopiedClient,
  write: (parts: AsyncIterable<Buffer>) => Promise<void>,
  reserve: () => Promise<() => Promise<void>>,
) {
  const release = await reserve();
  try {
    return await copyFrom(client, write);
  } finally {
    await release();
  }
}

type CopiedClient = Pick<EtcdClient, "call" | "requestOf" | "status">;
const snapshot = "maintenance/snapshot";
const refusalBytes = 64 * 2 ** 10;

async function copyFrom(client: CopiedClient, write: (parts: AsyncIterable<Buffer>) => Promise<void>) {
  const { version, clusterId, revision: current, dbSizeInUse } = await client.status();
  const revision = Number(current);
  const contents = await contentsAt(client, revision, dbSizeInUse);
  const response = await openHttp(client.requestOf(snapshot, {}, silenceSeconds));
  if (response.statusCode !== 200) {
    parse(snapshot, { status: response.statusCode ?? 0, body: await beginningOf(response, refusalBytes) });
  }
  await write(whole(partsOf(response)));
  // Of a copy that was compacted beyond this revision, nobody could compare what it had there.
  await client.call("kv/range", { key: everyKey.key, revision: `${revision}`, serializable: true });
  return { version, lineage: clusterId, position: { revision, ...contents } };
}

async function openRestored(url: string, key: Buffer): Promise<EtcdClient> {
  const open = (usersRevision: number): EtcdClient =>
    etcdClient({ url, ca: undefined, credentials: [], token: signToken(key, usersRevision, new Date()) });
  const { authRevision = "0" } = await fromThrowAway(() =>
    open(Number.MAX_SAFE_INTEGER).call<{ authRevision?: string }>("auth/status", {}),
  );
  return open(Number(authRevision));
}

export async function proveAt(url: string, key: Buffer, manifest: Manifest): Promise<string> {
  const client = await openRestored(url, key);
  const { revision, dbSizeInUse } = await client.status();
  const at = Number(manifest.position["revision"]);
  const restored = { revision: Number(revision), ...(await contentsAt(client, at, dbSizeInUse)) };
  const reason = whyDifferent(manifest, restored);
  if (reason !== undefined) throw new BadCopy(reason);
  return `restored to revision ${revision}; at ${at} it has the ${restored.keys} keys and the hash of the manifest`;
}
