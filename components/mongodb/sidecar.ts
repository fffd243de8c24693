/** The agent beside a server: observes, and does what `membership.ts` decides. */
import { createHash } from "node:crypto";
import { lookup } from "node:dns/promises";
import { readFile, rename, writeFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { type MongoClient, MongoNetworkError, MongoServerError } from "mongodb";
import { absent } from "../shared/agent/files";
import { readCredentials, readTrust } from "../shared/agent/logins";
import type { Pod } from "../shared/agent/main";
import type { Sidecar } from "../shared/agent/sidecar";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { within } from "../shared/core/wait";
import {
  command,
  direct,
  type Endpoint,
  memberAuth,
  readCommittedConfig,
  readCompatibility,
  readConfig,
  readStoredConfig,
  toServer,
  withClient,
} from "./client";
import { paths, ports } from "./layout";
import type { Vote } from "./member";
import {
  type Action,
  decide,
  describe,
  gauges,
  identity,
  initialConfig,
  type Observed,
  type Server,
  type SetConfig,
  type SetStatus,
  votesOf,
  withMember,
  withVotes,
} from "./membership";

export interface Self {
  settings: EnsembleSettings;
  pod: Pod;
}

/** An answer of a server on the same node takes milliseconds; two of these make an observation too old. */
const timeoutMilliseconds = 1_500;
/** Elections and votes wait for other members. */
const actSeconds = 30;

/** The files that the server reads, from Secrets whose files have other rights or another form. Returns their digest. */
export async function writeServerFiles({ settings }: Pick<Self, "settings">): Promise<string> {
  const key = await readFile(join(paths.key, "key"), "utf8");
  const files: Record<string, string> = { [paths.keyFile]: key };
  if (settings.tls !== "off") {
    files[paths.serverPem] = await pem(paths.serverTls);
    files[paths.peerPem] = await pem(paths.peerTls);
    files[paths.authorities] = await readFile(join(paths.trust, "ca.crt"), "utf8");
  }
  for (const [file, content] of Object.entries(files)) {
    if ((await readFile(file, "utf8").catch(absent)) === content) continue;
    // Whole or not at all: the server may start at this moment. It refuses a key that others may read.
    await writeFile(`${file}.new`, content, { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
  return createHash("sha256").update(JSON.stringify(files)).digest("hex");
}

/** Certificate and key in one file, as the server wants them. */
async function pem(folder: string): Promise<string> {
  const files = ["tls.crt", "tls.key"].map((file) => readFile(join(folder, file), "utf8"));
  return (await Promise.all(files)).join("\n");
}

async function memberEndpoint({ settings, pod }: Self, member: string): Promise<Endpoint> {
  const ca = await readTrust(settings.tls, paths.trust);
  return {
    host: memberHost(settings.name, pod.namespace, member),
    port: ports.client,
    tls: ca === undefined ? "off" : { ca },
    auth: memberAuth(await readFile(join(paths.key, "key"), "utf8")),
    timeoutMilliseconds,
  };
}

/**
 * Whatever its certificate says: one that has expired is why the server must be reached, to make it read the next. In the
 * network of the pod nobody else listens on this port, and SCRAM proves the server to the client too.
 */
async function ownEndpoint({ settings }: Self): Promise<Endpoint> {
  return {
    host: "127.0.0.1",
    port: ports.client,
    tls: settings.tls === "off" ? "off" : "unverified",
    auth: memberAuth(await readFile(join(paths.key, "key"), "utf8")),
    timeoutMilliseconds,
  };
}

/** Whether the name under which the set knows this member leads to this pod. */
export async function resolvesToSelf({ settings, pod }: Self): Promise<boolean> {
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address));
  const host = memberHost(settings.name, pod.namespace, pod.name);
  const asked = within(lookup(host, { all: true }), timeoutMilliseconds / 1000, `the address of ${host}`);
  const known = await asked.catch(() => []);
  return known.some(({ address }) => own.includes(address));
}

function setHost({ settings, pod }: Self, member: string): string {
  return `${memberHost(settings.name, pod.namespace, member)}:${ports.client}`;
}

/** What the server says without being asked for a password, which one without users cannot check. */
async function askServer(self: Self, member: string): Promise<Server> {
  try {
    const endpoint = { ...(await memberEndpoint(self, member)), auth: undefined };
    return await withClient(endpoint, async (client) => toServer(await command(client, { hello: 1 }), memberOf));
  } catch (error) {
    return { state: "away", reason: (error as Error).message };
  }
}

function memberOf(host: string): string {
  return host.split(".")[0] ?? host;
}

/** How the set counts this member, by the word of its primary. */
export async function askVote(self: Self): Promise<Vote> {
  const reasons: string[] = [];
  for (const member of otherMembers(self)) {
    try {
      return await withClient(await memberEndpoint(self, member), async (client): Promise<Vote> => {
        const hello = await command(client, { hello: 1 });
        if (hello["isWritablePrimary"] !== true) throw new Error("is not the primary");
        const config = await readCommittedConfig(client);
        const votes = votesOf({ host: setHost(self, self.pod.name), config });
        return votes === undefined ? { state: "stranger", set: identity(config) } : { state: "member", votes };
      });
    } catch (error) {
      reasons.push(`${member}: ${(error as Error).message}`);
    }
  }
  return { state: "unknown", reason: reasons.join("; ") };
}

export function setVotes(self: Self, votes: 0 | 1): Promise<void> {
  return reconfigure(self, (config, host) => withVotes(config, host, votes));
}

export function joinSet(self: Self): Promise<void> {
  return reconfigure(self, withMember);
}

/**
 * At the primary, which waits until a majority has the new configuration. When another member changes it at the same time, the
 * primary refuses the second one, whose version is no longer the next.
 */
async function reconfigure(self: Self, change: (config: SetConfig, host: string) => SetConfig): Promise<void> {
  for (const member of otherMembers(self)) {
    const endpoint = { ...(await memberEndpoint(self, member)), timeoutMilliseconds: actSeconds * 1000 };
    const done = await withClient(endpoint, async (client) => {
      if ((await command(client, { hello: 1 }))["isWritablePrimary"] !== true) return false;
      const config = change(await readConfig(client), setHost(self, self.pod.name));
      await command(client, { replSetReconfig: config, maxTimeMS: actSeconds * 1000 });
      return true;
    }).catch((error: unknown) => {
      log(`${member}: ${(error as Error).message}`);
      return false;
    });
    if (done) return;
  }
  throw new Error("no primary has changed the configuration of the set");
}

function otherMembers({ settings, pod }: Self): string[] {
  return memberNames(settings.name, settings.members).filter((member) => member !== pod.name);
}

export function createSidecar(self: Self, askMarker: () => Promise<MarkerAnswer>): Sidecar<Observed, Action> {
  const { settings, pod } = self;
  const members = memberNames(settings.name, settings.members);
  let open: MongoClient | undefined;
  /** Of the files that the server has read for certain: a former agent may have died before it made the server read them. */
  let loaded: string | undefined;
  let failed: { certificate: string; reason: string; at: number } | undefined;
  /** Only while this server is the primary: another one may give the administrator another password. */
  let verifiedPassword: string | undefined;

  /** A client whose first connection has failed never connects again. */
  const forget = async (): Promise<void> => {
    const client = open;
    open = undefined;
    await client?.close();
  };

  const askAdministrator = async (): Promise<Observed["administrator"]> => {
    const { username, password } = await readCredentials(paths.admin);
    if (password === verifiedPassword) return "usable";
    const endpoint = { ...(await ownEndpoint(self)), auth: { username, password, source: "admin" } };
    try {
      await withClient(endpoint, (client) => command(client, { ping: 1 }));
    } catch (error) {
      if (!/authentication failed/i.test((error as Error).message)) throw error;
      return "unusable";
    }
    verifiedPassword = password;
    return "usable";
  };

  const observe = async (): Promise<Observed> => {
    const file = await writeServerFiles(self);
    if (settings.tls === "off") loaded = file;
    open ??= direct(await ownEndpoint(self));
    const client = open;
    const server = await command(client, { hello: 1 }).then(
      (hello) => toServer(hello, memberOf),
      async (error: unknown): Promise<Server> => {
        await forget();
        return { state: "away", reason: (error as Error).message };
      },
    );
    const answers = server.state !== "away";
    const unconfigured = server.state === "unconfigured";
    const primary = server.state === "configured" && server.role === "primary";
    if (!primary) verifiedPassword = undefined;
    const ask = async (member: string): Promise<Server> => {
      if (member === pod.name) return server;
      return unconfigured ? askServer(self, member) : { state: "away", reason: "not asked" };
    };
    const asked = members.map(async (member) => [member, await ask(member)] as const);
    const servers = Object.fromEntries(await Promise.all(asked));
    const { lost, metrics } = answers ? await askStatus(client) : { lost: false, metrics: {} };
    const alone = unconfigured || (server.state === "configured" && server.primary === undefined);
    return {
      self: pod.name,
      host: setHost(self, pod.name),
      config: answers ? await readStoredConfig(client) : undefined,
      lost,
      resolves: lost && (await resolvesToSelf(self)),
      servers,
      marker: alone ? await askMarker() : undefined,
      administrator: primary ? await askAdministrator() : undefined,
      certificate: {
        file,
        loaded,
        failed:
          failed?.certificate === file
            ? { reason: failed.reason, secondsAgo: (performance.now() - failed.at) / 1000 }
            : undefined,
      },
      metrics,
    };
  };

  const act = async (action: Action): Promise<void> => {
    log(`${action.kind}: ${action.reason}`);
    const endpoint = { ...(await ownEndpoint(self)), timeoutMilliseconds: actSeconds * 1000 };
    switch (action.kind) {
      case "initiate": {
        const config = initialConfig(
          settings.name,
          members.map((member) => setHost(self, member)),
        );
        await withClient(endpoint, (client) => command(client, { replSetInitiate: config }));
        return;
      }
      case "restart":
        await withClient(endpoint, (client) => command(client, { shutdown: 1, force: true })).catch(
          (error: unknown) => {
            // It goes without an answer.
            if (!(error instanceof MongoNetworkError)) throw error;
          },
        );
        return;
      case "administrator":
        await withClient(endpoint, async (client) => keepAdministrator(client, await readCredentials(paths.admin)));
        return;
      case "vote":
        return setVotes(self, 1);
      case "reload":
        try {
          await withClient(endpoint, (client) => command(client, { rotateCertificates: 1 }));
          // The files may have changed since: then they are read once more.
          loaded = action.certificate;
          failed = undefined;
        } catch (error) {
          failed = { certificate: action.certificate, reason: (error as Error).message, at: performance.now() };
          throw error;
        }
    }
  };

  return { service: "mongodb", observe, decide: (observed) => wanted(decide(observed)), status: describe, act };
}

async function askStatus(client: MongoClient): Promise<Pick<Observed, "lost" | "metrics">> {
  return command(client, { replSetGetStatus: 1 }).then(
    async (status) => {
      // A member that gets its first copy does not know it yet.
      const compatibility = await readCompatibility(client).then(
        (version) => ({ feature_compatibility_version: Number(version) }),
        () => ({}),
      );
      return { lost: false, metrics: { ...gauges(status as SetStatus), ...compatibility } };
    },
    // While it starts it has another error.
    (error: unknown) => ({
      lost: error instanceof MongoServerError && error.codeName === "InvalidReplicaSetConfig",
      metrics: {},
    }),
  );
}

function wanted(decision: ReturnType<typeof decide>): Action | undefined {
  switch (decision.kind) {
    case "none":
    case "wait":
    case "refuse":
      return undefined;
    default:
      return decision;
  }
}

/** Makes the user, or gives it the password of the Secret. */
async function keepAdministrator(client: MongoClient, { username, password }: Credentials) {
  const durable = { w: "majority", wtimeout: actSeconds * 1000 };
  const known = (await command(client, { usersInfo: username }))["users"] as unknown[];
  await (known.length === 0
    ? command(client, { createUser: username, pwd: password, roles: ["root"], writeConcern: durable })
    : command(client, { updateUser: username, pwd: password, writeConcern: durable }));
}
