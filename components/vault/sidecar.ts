/** The agent beside one member: observes it and, while it has no data, the others; does what `membership.ts` decides. */

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server as HttpServer } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { absent, readNote, removeNote, writeNote } from "../shared/agent/files";
import { ownersOfKept, readMarker } from "../shared/agent/guard";
import { askAgent, http } from "../shared/agent/http";
import { core, decoded, encoded, inClusterEndpoint, type KubernetesApi, type Secret } from "../shared/agent/kubernetes";
import { readTrust } from "../shared/agent/logins";
import type { Pod } from "../shared/agent/main";
import type { Sidecar } from "../shared/agent/sidecar";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { agentLabels, memberNames, namesOf } from "../shared/core/names";
import { waitFor } from "../shared/core/wait";
import { observeServer, type VaultClient, VaultError, vaultClient } from "./client";
import { keysName, memberUrl, paths, ports, rootName, scheme, type VaultSettings } from "./layout";
import {
  type Action,
  canElect,
  type Identity,
  isCutOff,
  isForgotten,
  isHalfMade,
  isReady,
  isServing,
  judge,
  type Observed,
  type Other,
  status,
  steadySeconds,
} from "./membership";
import { vaultMetrics } from "./metrics";
import { findServers, identifyServer, signalServer } from "./processes";
import { giveShares } from "./unseal";
import { digestOf, putDataAside } from "./volume";

/** Two in a row must fit into the time after which an observation counts as old. */
const answerSeconds = 2;
/** A busy API server must not be asked every second, and what is asked for changes only when a person changes it. */
const apiSeconds = 5;
/** A server that has not stopped then hangs. What it has acknowledged is on the disks of a majority. */
const stopSeconds = 15;

/** Field manager of the Secrets with keys. */
const manager = "cells-services-initialisation";
const ownerManager = "cells-services-owner";

export interface Kept {
  attempt: string;
  shares: string[];
}

export function createSidecar(settings: VaultSettings, pod: Pod, api: KubernetesApi): Sidecar<Observed, Action> {
  const members = memberNames(settings.name, settings.members);
  const keys = keysName(settings.name, settings.seal.type);
  const self: Identity = { name: pod.name, members, seal: settings.seal.type, keysName: keys };
  const others = members.filter((member) => member !== pod.name);
  const tls = settings.tls !== "off";
  const [waiting, fullMember, opening, cutOff, led] = [stopwatch(), stopwatch(), stopwatch(), stopwatch(), stopwatch()];
  /** Another member that was active when this one was cut off. */
  let lastActive: string | undefined;
  let restarts = 0;
  /** Digest of the certificate that the server was told to read last. */
  let loaded: string | undefined;

  const clientOf = async (member: string): Promise<VaultClient> => {
    const ca = await readTrust(settings.tls, paths.trust);
    const own = member === pod.name;
    return vaultClient({
      // The agent reaches its own server also while the name of the member does not resolve yet.
      url: own ? `${scheme(settings.tls)}://127.0.0.1:${ports.client}` : memberUrl(settings, pod.namespace, member),
      ca,
      unverified: own,
      timeoutSeconds: answerSeconds,
    });
  };
  const agentSays = (member: string, path: string): Promise<boolean> =>
    askAgent(settings, pod.namespace, member, path, answerSeconds).then(
      ({ status: code }) => code === 200,
      () => false,
    );
  const otherOf = async (member: string): Promise<[string, Other]> => {
    const [server, primary, ready] = await Promise.all([
      observeServer(clientOf(member)),
      agentSays(member, "/primary"),
      agentSays(member, "/ready"),
    ]);
    return [member, { server, primary, ready }];
  };

  // --- the Kubernetes API

  const secretKeys = async (): Promise<Kept | undefined> =>
    toKept((await api.get<Secret>(core(pod.namespace, "secrets", keys)))?.data);
  const attemptOf = (kept: Kept | undefined) => (kept === undefined ? "absent" : { attempt: kept.attempt });
  // The mounted copy is readable while the API server is away, but up to a minute old: it serves for unsealing only.
  const askKeys = throttled(async () => attemptOf((await mountedKeys()) ?? (await secretKeys())));
  const askStored = throttled(async () => attemptOf(await secretKeys()));
  const askMarker = throttled(async () => (await readMarker(settings.name, pod.namespace, api)) ?? "absent");

  // --- actions

  const initialise = async (): Promise<void> => {
    // Read again: the observation may be seconds old. A create that fails when the Secret exists would be better, but Kubernetes
    // cannot limit the right to create to one name.
    const known = await secretKeys();
    if (known !== undefined) throw new Error(`the Secret ${keys} exists, and its keys are never overwritten`);
    const attempt = randomUUID();
    await writeNote(paths.forming, attempt);
    const answer = await (await clientOf(pod.name)).init(initBody(settings));
    log("initialised a new cluster");
    await store(rootName(settings.name), encoded({ attempt, token: answer.rootToken }));
    // Last: once the keys are stored, the initialisation counts.
    await store(keys, toData(settings, attempt, answer.keys));
    askKeys.forget();
    askStored.forget();
    await commit();
    await keepOwners();
  };
  const store = (name: string, data: Record<string, string>): Promise<void> => {
    const metadata = { name, labels: agentLabels(settings) };
    const secret: Secret = { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata, data };
    return api.apply(core(pod.namespace, "secrets", name), secret, manager);
  };
  const commit = async (): Promise<void> => {
    await removeNote(paths.forming);
    log("the keys of the cluster are stored");
  };
  /** The Secrets with keys are deleted with the component exactly when the data is. */
  const keepOwners = async (): Promise<void> => {
    if (pod.name !== members[0]) return;
    const owners = await ownersOfKept(settings, pod.namespace, api, namesOf(settings.name).server);
    for (const name of [rootName(settings.name), keys]) {
      const path = core(pod.namespace, "secrets", name);
      const uid = (await api.get<Secret>(path))?.metadata?.uid;
      // With its uid, a Secret that was removed in between is not made again without keys.
      if (uid === undefined) continue;
      const metadata = { name, uid, ownerReferences: owners };
      await api.apply(path, { apiVersion: "v1", kind: "Secret", metadata }, ownerManager);
    }
  };
  void keepOwners().catch((error: Error) => log(`the owner of the keys is not up to date: ${error.message}`));

  const discard = async (reason: string): Promise<void> => {
    const aside = await putDataAside(Date.now());
    log(`put the data aside as ${aside} and starting the server without: ${reason}`);
    // What the server still writes goes into the files that were put aside. Its successor, without data, may be running by now.
    await stopServer();
    await removeNote(paths.forming);
  };
  const restart = (reason: string): Promise<void> => {
    log(`restarting the server: ${reason}`);
    return stopServer();
  };
  const unseal = async (): Promise<void> => {
    const mounted = await mountedKeys();
    try {
      if (mounted !== undefined) return await unsealWith(mounted);
    } catch (error) {
      if (!(error instanceof VaultError) || isHalfMade(error) || isForgotten(error)) throw error;
      log(`the mounted key shares do not fit: ${error.message}`);
    }
    const stored = await secretKeys();
    if (stored === undefined) throw new Error(`the Secret ${keys} with the key shares is missing`);
    await unsealWith(stored);
  };
  const unsealWith = async ({ shares }: Kept): Promise<void> => {
    const hasServed = (await readNote(paths.joined)) !== undefined;
    const joining = hasServed ? undefined : { server: await identifyServer(), note: paths.given };
    const opened = await giveShares(await clientOf(pod.name), shares, joining);
    log(opened === "open" ? "unsealed" : "the key shares were given, and the server is at work");
  };
  const joinLeader = async (leader: string): Promise<void> => {
    const ca = await readTrust(settings.tls, paths.trust);
    log(`joining ${leader}`);
    await (await clientOf(pod.name)).join({ url: memberUrl(settings, pod.namespace, leader), ca });
  };
  /** A member that has never served begins again when the server cannot finish what it has begun. */
  const orBeginAgain = (action: Promise<void>): Promise<void> =>
    action.catch(async (error: Error) => {
      if ((await readNote(paths.joined)) !== undefined) throw error;
      if (isHalfMade(error)) return discard("the server was stopped while it began, and does not finish");
      if (isForgotten(error)) return restart("the leader does not expect its answer any more");
      throw error;
    });
  const certificateDigest = () => digestOf(join(paths.serverTls, "tls.crt"));
  const reload = async (): Promise<void> => {
    const digest = await certificateDigest();
    if ((await signalServer("SIGHUP")).length > 0) loaded = digest;
  };

  return {
    service: "vault",
    metrics: vaultMetrics,
    files: { certificate: `${paths.serverTls}/tls.crt`, volume: paths.volume },
    async observe() {
      const [server, forming, joined, given] = await Promise.all([
        observeServer(clientOf(pod.name)),
        readNote(paths.forming),
        readNote(paths.joined),
        readNote(paths.given),
      ]);
      const up = server.state === "up";
      const empty = up && !server.initialised && forming === undefined;
      const sealed = up && server.initialised && server.sealed;
      const volume = { forming, joined };
      const readySeconds = fullMember(isReady({ server, volume })) ?? 0;
      // The server is open, so a person who seals it later expects it to be unsealed again.
      if (up && !server.sealed && given !== undefined) await removeNote(paths.given);
      const openingSeconds = opening(sealed && given !== undefined && given === (await identifyServer()));
      const isAlone = isCutOff(server, readySeconds);
      if (readySeconds >= steadySeconds) restarts = 0;
      const [sealState, known, marker, looks, servers, digest] = await Promise.all([
        sealed ? clientOf(pod.name).then((client) => client.sealStatus()) : undefined,
        forming !== undefined || empty
          ? askStored()
          : sealed && settings.seal.type === "shamir"
            ? askKeys()
            : ("unknown" as const),
        empty ? askMarker() : ("unknown" as const),
        Promise.all(empty ? others.map(otherOf) : []),
        Promise.all(isAlone ? others.map((member) => observeServer(clientOf(member))) : []),
        tls ? certificateDigest() : undefined,
      ]);
      const active = others[servers.findIndex((each) => each.state === "up" && isServing(each) && !each.standby)];
      const ledSeconds = led(active !== undefined && active === lastActive) ?? 0;
      lastActive = active;
      return {
        server,
        foreignSeal: sealState?.migration ?? false,
        volume,
        marker,
        keys: known,
        others: Object.fromEntries(looks),
        waitingSeconds: waiting(looks.some(([, { primary }]) => primary)) ?? 0,
        readySeconds,
        openingSeconds,
        cutOffSeconds: cutOff(isAlone && canElect(servers) && ledSeconds < steadySeconds) ?? 0,
        restarts,
        certificates: digest !== undefined && digest !== loaded ? "changed" : "same",
      };
    },
    status: (observed) => status(observed, self),
    decide: (observed) => judge(observed, self).action,
    async act(action) {
      switch (action.kind) {
        case "initialise":
          return orBeginAgain(initialise());
        case "commit":
          return commit();
        case "discard":
          return discard(action.reason);
        case "join":
          return orBeginAgain(joinLeader(action.leader));
        case "unseal":
          return orBeginAgain(unseal());
        case "restart":
          restarts += 1;
          return restart(action.reason);
        case "record":
          return writeNote(paths.joined, action.clusterId);
        case "reload":
          return reload();
      }
    },
  };
}

/**
 * The body of the initialisation. One Secret would hold all shares of a key, so one share is made. Vault always makes recovery keys;
 * with `recovery: "none"` they are not stored.
 */
export function initBody({ seal }: VaultSettings): object {
  if (seal.type === "shamir") return { secret_shares: 1, secret_threshold: 1 };
  if (seal.recovery === "none") return { recovery_shares: 1, recovery_threshold: 1 };
  const { pgpKeys, threshold } = seal.recovery;
  return { recovery_shares: pgpKeys.length, recovery_threshold: threshold, recovery_pgp_keys: pgpKeys };
}

/** Recovery keys are stored as encrypted for their owners only, because they can make a root token. */
export function toData({ seal }: VaultSettings, attempt: string, keys: string[]): Record<string, string> {
  if (seal.type === "shamir") return encoded({ attempt, shares: JSON.stringify(keys) });
  if (seal.recovery === "none") return encoded({ attempt });
  return encoded({ attempt, threshold: String(seal.recovery.threshold), encrypted: JSON.stringify(keys) });
}

export function toKept(data: Record<string, string> | undefined): Kept | undefined {
  if (data === undefined) return undefined;
  const { attempt = "", shares } = decoded(data);
  return { attempt, shares: shares ? (JSON.parse(shares) as string[]) : [] };
}

async function stopServer(): Promise<void> {
  const stopping = await signalServer("SIGTERM");
  const stopped = () =>
    waitFor(
      "the server to stop",
      async () => {
        const running = await findServers();
        return stopping.some((id) => running.includes(id)) ? { waiting: "it is still running" } : { done: true };
      },
      { deadlineSeconds: stopSeconds },
    );
  try {
    await stopped();
  } catch (error) {
    log(`${messageOf(error)}; it hangs, and is killed`);
    for (const id of stopping) process.kill(id, "SIGKILL");
    await stopped();
  }
}

/** From the optional volume with the Secret; undefined with awskms, and until the kubelet has seen the Secret. */
export async function mountedKeys(folder: string = paths.unseal): Promise<Kept | undefined> {
  const file = (key: string) => readFile(join(folder, key), "utf8").catch(absent);
  const [attempt, shares] = await Promise.all([file("attempt"), file("shares")]);
  return attempt && shares ? { attempt, shares: JSON.parse(shares) as string[] } : undefined;
}

/** Measures for how many seconds a condition has held; undefined while it does not hold. */
function stopwatch(): (holds: boolean) => number | undefined {
  let since: number | undefined;
  return (holds) => {
    since = holds ? (since ?? performance.now()) : undefined;
    return since === undefined ? undefined : (performance.now() - since) / 1000;
  };
}

/** Asks every few seconds at most and returns the last answer in between. Never waits long for an API server that is away. */
function throttled<T>(ask: () => Promise<T>): (() => Promise<T | "unknown">) & { forget(): void } {
  let last: T | "unknown" = "unknown";
  let asked = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | undefined;
  const keep = (answer: T | "unknown"): void => {
    [last, asked, asking] = [answer, performance.now(), undefined];
  };
  const get = async (): Promise<T | "unknown"> => {
    if (performance.now() - asked >= apiSeconds * 1000) asking ??= ask().then(keep, () => keep("unknown"));
    if (asking !== undefined) await Promise.race([asking, delay(500, undefined, { ref: false })]);
    return last;
  };
  const forget = (): void => {
    asked = Number.NEGATIVE_INFINITY;
  };
  return Object.assign(get, { forget });
}

/** Serves the keys with which Kubernetes signs tokens: they change without notice, and the server of this pod may not read them itself. */
export function serveKeys(fetchKeys: () => Promise<string>, port: number = ports.keys): HttpServer {
  return createServer((_, response) => {
    fetchKeys().then(
      (body) => response.writeHead(200, { "content-type": "application/json" }).end(body),
      (error: unknown) => {
        log(`the keys of Kubernetes could not be read: ${(error as Error).message}`);
        response.writeHead(502).end();
      },
    );
  }).listen(port, "127.0.0.1");
}

/** Every service account may read them. Not by `KubernetesApi`: the page refuses the content type that objects are asked for in. */
export async function kubernetesKeys(): Promise<string> {
  const { server, token, ca } = inClusterEndpoint();
  const { status: code, body } = await http({
    url: `${server}/openid/v1/jwks`,
    headers: { authorization: `Bearer ${(await token()).trim()}` },
    ca: await ca(),
    timeoutSeconds: 5,
  });
  if (code !== 200) throw new Error(`status ${code}`);
  return body;
}
