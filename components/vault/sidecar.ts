/** The agent beside one member: looks at it and, while it has no data, at the others; does what `membership.ts` decides. */
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server as HttpServer } from "node:http";
import { join } from "node:path";
import { absent, readNote, removeNote, writeNote } from "../shared/agent/files";
import { readMarker } from "../shared/agent/guard";
import { askAgent, http } from "../shared/agent/http";
import { core, decoded, encoded, type KubernetesApi, ownerReference, type Secret } from "../shared/agent/kubernetes";
import { readTrust } from "../shared/agent/logins";
import type { Pod } from "../shared/agent/main";
import type { Sidecar } from "../shared/agent/sidecar";
import { log } from "../shared/core/log";
import { agentLabels, memberNames, namesOf } from "../shared/core/names";
import { waitFor } from "../shared/core/wait";
import { type VaultClient, VaultError, vaultClient } from "./client";
import { keysName, memberUrl, paths, ports, rootName, type VaultSettings } from "./layout";
import {
  type Action,
  decide,
  type Identity,
  isForgotten,
  isHalfMade,
  isReady,
  type Observed,
  type Other,
  type Server,
  status,
} from "./membership";
import { findServers, identifyServer, signalServer } from "./processes";
import { type GivenNote, giveShares } from "./unseal";
import { digestOf, putDataAside } from "./volume";

/** Two in a row must fit into the time after which an observation counts as old. */
const answerSeconds = 2;
/** A busy API server must not be asked every second; what is asked for changes by hands only. */
const apiSeconds = 5;
const stopSeconds = 60;

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
  let waitingSince: number | undefined;
  let readySince: number | undefined;
  let openingSince: number | undefined;
  /** The certificate that the server has read for certain. */
  let loaded: string | undefined;

  const clientOf = async (member: string): Promise<VaultClient> => {
    const ca = await readTrust(settings.tls, paths.trust);
    const own = member === pod.name;
    return vaultClient({
      // A name that does not resolve yet must not keep a member from its own server.
      url: own ? `${tls ? "https" : "http"}://127.0.0.1:${ports.client}` : memberUrl(settings, pod.namespace, member),
      ca,
      ...(own && tls ? { unverified: true } : {}),
      timeoutSeconds: answerSeconds,
    });
  };
  const serverOf = async (member: string): Promise<Server> => {
    try {
      return { state: "up", ...(await (await clientOf(member)).health()) };
    } catch (error) {
      return { state: "away", reason: (error as Error).message };
    }
  };
  const agentSays = (member: string, path: string): Promise<boolean> =>
    askAgent(settings, pod.namespace, member, path, answerSeconds).then(
      ({ status: code }) => code === 200,
      () => false,
    );
  const otherOf = async (member: string): Promise<[string, Other]> => {
    const [server, primary, ready] = await Promise.all([
      serverOf(member),
      agentSays(member, "/primary"),
      agentSays(member, "/ready"),
    ]);
    return [member, { server, primary, ready }];
  };

  // --- the Kubernetes API

  const secretKeys = async (): Promise<Kept | undefined> =>
    toKept((await api.get<Secret>(core(pod.namespace, "secrets", keys)))?.data);
  const attemptOf = (kept: Kept | undefined): Observed["keys"] =>
    kept === undefined ? "absent" : { attempt: kept.attempt };
  // The mounted copy is there while the API server is away, but comes up to a minute late: good for unsealing alone.
  const askKeys = throttled<Observed["keys"]>("unknown", async () =>
    attemptOf((await mountedKeys()) ?? (await secretKeys())),
  );
  const askStored = throttled<Observed["keys"]>("unknown", async () => attemptOf(await secretKeys()));
  const askMarker = throttled<Observed["marker"]>(
    "unknown",
    async () => (await readMarker(settings.name, pod.namespace, api)) ?? "absent",
  );

  // --- actions

  const initialise = async (): Promise<void> => {
    // Asked once more: what was observed may be seconds old. A create that fails when the Secret exists would be better, but
    // Kubernetes cannot limit it to one name.
    if ((await secretKeys()) !== undefined)
      throw new Error(`the Secret ${keys} exists, and its keys are never overwritten`);
    const attempt = randomUUID();
    await writeNote(paths.forming, attempt);
    const answer = await (await clientOf(pod.name)).init(initBody(settings));
    log("initialised a new cluster");
    await store(rootName(settings.name), encoded({ attempt, token: answer.rootToken }));
    // Last: from here on the initialisation counts.
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
  /** Keys must outlive the component exactly when the data does. */
  const keepOwners = async (): Promise<void> => {
    if (pod.name !== members[0]) return;
    const owners =
      settings.deletion === "keep" ? [] : [await ownerReference(api, pod.namespace, namesOf(settings.name).server)];
    for (const name of [rootName(settings.name), keys]) {
      const path = core(pod.namespace, "secrets", name);
      const uid = (await api.get<Secret>(path))?.metadata?.uid;
      // With its uid, a Secret that was removed in between is not made again without keys.
      if (uid === undefined) continue;
      const metadata = { name, uid, ownerReferences: owners };
      await api.apply(path, { apiVersion: "v1", kind: "Secret", metadata }, ownerManager);
    }
  };
  void keepOwners().catch((error: unknown) =>
    log(`the owner of the keys is not up to date: ${(error as Error).message}`),
  );

  const discard = async (reason: string): Promise<void> => {
    const aside = await putDataAside(Date.now());
    log(`put the data aside as ${aside} and starting the server without: ${reason}`);
    // What it still writes goes to the files put aside. Another one may be running by then, without data.
    await stopServer();
    await removeNote(paths.forming);
  };
  const restart = async (reason: string): Promise<void> => {
    log(`restarting the server: ${reason}`);
    await stopServer();
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
    const joining = hasServed ? undefined : { server: await identifyServer(), note: givenNote };
    const opened = await giveShares(await clientOf(pod.name), shares, joining);
    log(opened === "open" ? "unsealed" : "the key shares were given, and the server is at work");
  };
  const joinLeader = async (leader: string): Promise<void> => {
    const ca = await readTrust(settings.tls, paths.trust);
    log(`joining ${leader}`);
    await (await clientOf(pod.name)).join({ url: memberUrl(settings, pod.namespace, leader), ca });
  };
  /** What was begun and never came to serve must not keep the member from beginning again. */
  const orBeginAgain = async (action: Promise<void>): Promise<void> => {
    try {
      await action;
    } catch (error) {
      if ((await readNote(paths.joined)) !== undefined) throw error;
      if (isHalfMade(error as Error)) return discard("the server was stopped while it began, and does not finish");
      if (isForgotten(error as Error)) return restart("the leader does not expect its answer any more");
      throw error;
    }
  };
  const reload = async (digest: string | undefined): Promise<void> => {
    if ((await signalServer("SIGHUP")).length > 0) loaded = digest;
  };

  return {
    service: "vault",
    async observe() {
      const [server, forming, joined, given] = await Promise.all([
        serverOf(pod.name),
        readNote(paths.forming),
        readNote(paths.joined),
        readNote(paths.given),
      ]);
      const up = server.state === "up";
      const empty = up && !server.initialised && forming === undefined;
      const sealed = up && server.initialised && server.sealed;
      const now = performance.now();
      readySince = isReady({ server, volume: { forming, joined } }) ? (readySince ?? now) : undefined;
      // Opened once and for all; whoever seals it later may expect it to be opened again.
      if (up && !server.sealed && given !== undefined) await givenNote.remove();
      const opening = sealed && given !== undefined && given === (await identifyServer());
      openingSince = opening ? (openingSince ?? now) : undefined;
      const [sealState, known, marker, looks, digest] = await Promise.all([
        sealed ? clientOf(pod.name).then((client) => client.sealStatus()) : undefined,
        forming !== undefined || empty
          ? askStored()
          : sealed && settings.seal.type === "shamir"
            ? askKeys()
            : ("unknown" as const),
        empty ? askMarker() : ("unknown" as const),
        Promise.all(empty ? others.map(otherOf) : []),
        tls ? digestOf(join(paths.serverTls, "tls.crt")) : undefined,
      ]);
      const couldJoin = looks.some(([, { primary }]) => primary);
      waitingSince = couldJoin ? (waitingSince ?? now) : undefined;
      return {
        server,
        foreignSeal: sealState?.migration ?? false,
        volume: { forming, joined },
        marker,
        keys: known,
        others: Object.fromEntries(looks),
        waitingSeconds: waitingSince === undefined ? 0 : (now - waitingSince) / 1000,
        readySeconds: readySince === undefined ? 0 : (now - readySince) / 1000,
        openingSeconds: openingSince === undefined ? undefined : (now - openingSince) / 1000,
        certificates: digest !== undefined && digest !== loaded ? "changed" : "same",
      };
    },
    status: (observed) => status(observed, self),
    decide: (observed) => decide(observed, self),
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
          return restart("it was given the key shares and did not open");
        case "record":
          return writeNote(paths.joined, action.clusterId);
        case "reload":
          return reload(await digestOf(join(paths.serverTls, "tls.crt")));
      }
    },
  };
}

/**
 * What the server is asked to make. All shares of a key would be in one Secret, so there is one. Vault insists on recovery keys:
 * those that the configuration does not ask for are forgotten.
 */
export function initBody({ seal }: VaultSettings): object {
  if (seal.type === "shamir") return { secret_shares: 1, secret_threshold: 1 };
  if (seal.recovery === "none") return { recovery_shares: 1, recovery_threshold: 1 };
  const { pgpKeys, threshold } = seal.recovery;
  return { recovery_shares: pgpKeys.length, recovery_threshold: threshold, recovery_pgp_keys: pgpKeys };
}

/** Recovery keys only as their owners can read them: with them one can make a root token. */
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

const givenNote: GivenNote = {
  read: () => readNote(paths.given),
  write: (server) => writeNote(paths.given, server),
  remove: () => removeNote(paths.given),
};

async function stopServer(): Promise<void> {
  const stopping = await signalServer("SIGTERM");
  await waitFor(
    "the server to stop",
    async () => {
      const running = await findServers();
      return stopping.some((id) => running.includes(id)) ? { waiting: "it is still running" } : { done: true };
    },
    { deadlineSeconds: stopSeconds },
  );
}

/** The optional volume with the Secret; not there with awskms, nor before kubelet has seen the Secret. */
async function mountedKeys(): Promise<Kept | undefined> {
  const file = (key: string) => readFile(join(paths.unseal, key), "utf8").catch(absent);
  const [attempt, shares] = await Promise.all([file("attempt"), file("shares")]);
  return attempt && shares ? { attempt, shares: JSON.parse(shares) as string[] } : undefined;
}

/** At most every few seconds, and with the last answer in between; never waits for an API server that is away. */
function throttled<T>(unknown: T, ask: () => Promise<T>): (() => Promise<T>) & { forget(): void } {
  let last: T = unknown;
  let asked = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | undefined;
  const get = async (): Promise<T> => {
    if (asking === undefined && performance.now() - asked >= apiSeconds * 1000) {
      asking = ask()
        .then(
          (answer) => {
            last = answer;
          },
          () => {
            last = unknown;
          },
        )
        .finally(() => {
          asked = performance.now();
          asking = undefined;
        });
    }
    if (asking !== undefined) await Promise.race([asking, new Promise((resolve) => setTimeout(resolve, 500).unref())]);
    return last;
  };
  return Object.assign(get, {
    forget: () => {
      asked = Number.NEGATIVE_INFINITY;
    },
  });
}

/**
 * Gives the server in this pod the keys with which Kubernetes signs tokens. They change without notice, and the server
 * itself has no right to ask for them.
 */
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

const tokenDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Every service account may read them. The page is of a type of its own, which the calls of objects do not accept. */
export async function kubernetesKeys(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const host = environment["KUBERNETES_SERVICE_HOST"] ?? "kubernetes.default.svc";
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  const [token, ca] = await Promise.all([
    readFile(join(tokenDirectory, "token"), "utf8"),
    readFile(join(tokenDirectory, "ca.crt"), "utf8"),
  ]);
  const { status: code, body } = await http({
    url: `https://${host.includes(":") ? `[${host}]` : host}:${port}/openid/v1/jwks`,
    headers: { authorization: `Bearer ${token.trim()}` },
    ca,
    timeoutSeconds: 5,
  });
  if (code !== 200) throw new Error(`status ${code}`);
  return body;
}
