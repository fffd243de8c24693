/** The agent beside a server: observes, and does what `membership.ts` decides. */

import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { MongoClient } from "mongodb";
import { absent } from "../shared/agent/files";
import { readCredentials } from "../shared/agent/logins";
import type { Ensemble, Pod } from "../shared/agent/main";
import type { Sidecar } from "../shared/agent/sidecar";
import { actionOf } from "../shared/core/decision";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import {
  administratorAuth,
  atPrimary,
  command,
  direct,
  type Endpoint,
  endpointOf,
  memberAuth,
  readCommittedConfig,
  readCompatibility,
  readConfig,
  readStoredConfig,
  toServer,
  withClient,
} from "./client";
import { paths, ports, setHost } from "./layout";
import type { Vote } from "./member";
import {
  type Action,
  decide,
  describe,
  gauges,
  identity,
  initialConfig,
  loadGauges,
  memberOf,
  type Observed,
  type Server,
  type ServerStatus,
  type SetConfig,
  type SetStatus,
  votesOf,
  withMember,
  withVotes,
} from "./membership";
import { type Gauges, mongodbMetrics } from "./metrics";

interface Self extends Ensemble {
  member: string;
  /** As the set knows this member. */
  host: string;
}

export function selfOf(settings: EnsembleSettings, { name: member, namespace }: Pod): Self {
  return { ...settings, namespace, member, host: setHost(settings.name, namespace, member) };
}

/** A server on the same node answers in milliseconds; two of these time-outs make an observation too old. */
const timeoutMilliseconds = 1_500;
/** As often as a scrape: what no decision needs. The answer takes some milliseconds of the server. */
const loadSeconds = 15;
/** Elections and votes wait for other members. */
const actMilliseconds = 30_000;

/** Mounted Secrets have other permissions and another form than the server needs. Returns the digest of the files. */
export async function writeServerFiles({ tls }: Pick<EnsembleSettings, "tls">): Promise<string> {
  const files: Record<string, string> = { [paths.keyFile]: await readFile(join(paths.key, "key"), "utf8") };
  if (tls !== "off") {
    files[paths.serverPem] = await pem(paths.serverTls);
    files[paths.peerPem] = await pem(paths.peerTls);
    files[paths.authorities] = await readFile(join(paths.trust, "ca.crt"), "utf8");
  }
  for (const [file, content] of Object.entries(files)) {
    if ((await readFile(file, "utf8").catch(absent)) === content) continue;
    // Atomically, because the server may start at this moment. The server refuses a key that others can read.
    await writeFile(`${file}.new`, content, { mode: 0o600 });
    await rename(`${file}.new`, file);
  }
  return createHash("sha256").update(JSON.stringify(files)).digest("hex");
}

async function pem(folder: string): Promise<string> {
  const files = ["tls.crt", "tls.key"].map((file) => readFile(join(folder, file), "utf8"));
  return (await Promise.all(files)).join("\n");
}

/**
 * Accepts an expired certificate: the server must be reached to read the next one. No other process listens on this
 * port in the pod, and SCRAM authenticates the server too.
 */
async function ownEndpoint(self: Self): Promise<Endpoint> {
  const tls = self.tls === "off" ? "off" : "unverified";
  return { host: "127.0.0.1", port: ports.client, tls, auth: await memberAuth(), timeoutMilliseconds };
}

/** Asks without a password, which a server without users cannot check. */
async function askServer(self: Self, member: string): Promise<Server> {
  try {
    const endpoint = await endpointOf(self, member, undefined, timeoutMilliseconds);
    return await withClient(endpoint, async (client) => toServer(await command(client, { hello: 1 }), memberOf));
  } catch (error) {
    return { state: "away", reason: messageOf(error) };
  }
}

/** Does something at the primary, as a member, when the primary is another member. */
function atOtherPrimary<T>(self: Self, milliseconds: number, use: (client: MongoClient) => Promise<T>) {
  const others = memberNames(self.name, self.members).filter((member) => member !== self.member);
  const toEndpoint = async (member: string) => endpointOf(self, member, await memberAuth(), milliseconds);
  return atPrimary(others, toEndpoint, use);
}

export async function askVote(self: Self): Promise<Vote> {
  const outcome = await atOtherPrimary(self, timeoutMilliseconds, async (client): Promise<Vote> => {
    const config = await readCommittedConfig(client);
    const votes = votesOf({ host: self.host, config });
    return votes === undefined ? { state: "stranger", set: identity(config) } : { state: "member", votes };
  });
  return "done" in outcome ? outcome.done : { state: "unknown", reason: outcome.waiting };
}

export function setVotes(self: Self, votes: 0 | 1): Promise<void> {
  return reconfigure(self, (config, host) => withVotes(config, host, votes));
}

export function joinSet(self: Self): Promise<void> {
  return reconfigure(self, withMember);
}

/** Ends when a majority has the configuration. Of two changes at once the primary refuses one, by its version. */
async function reconfigure(self: Self, change: (config: SetConfig, host: string) => SetConfig): Promise<void> {
  const outcome = await atOtherPrimary(self, actMilliseconds, async (client) => {
    const config = change(await readConfig(client), self.host);
    await command(client, { replSetReconfig: config, maxTimeMS: actMilliseconds });
  });
  if ("waiting" in outcome) throw new Error(`no primary has changed the configuration of the set: ${outcome.waiting}`);
}

export function createSidecar(
  settings: EnsembleSettings,
  pod: Pod,
  askMarker: () => Promise<MarkerAnswer>,
): Sidecar<Observed, Action> {
  const self = selfOf(settings, pod);
  const members = memberNames(self.name, self.members);
  let open: MongoClient | undefined;
  /** Digest of the files that the server has read. Unknown at first: a former agent may have died before. */
  let loaded: string | undefined;
  let failed: { certificate: string; reason: string; at: number } | undefined;
  /** Forgotten when another server becomes the primary, which may change the password. */
  let verifiedPassword: string | undefined;
  let load = { at: Number.NEGATIVE_INFINITY, gauges: {} as Gauges };

  /** A client whose first connection has failed never connects again. */
  const forget = async (): Promise<void> => {
    const client = open;
    open = undefined;
    await client?.close();
  };

  const askLoad = async (client: MongoClient): Promise<Gauges> => {
    if (performance.now() - load.at >= loadSeconds * 1000) {
      load = { at: performance.now(), gauges: await readLoad(client) };
    }
    return load.gauges;
  };

  const askAdministrator = async (): Promise<Observed["administrator"]> => {
    const auth = await administratorAuth();
    if (auth.password === verifiedPassword) return "usable";
    const endpoint = { ...(await ownEndpoint(self)), auth };
    try {
      await withClient(endpoint, (client) => command(client, { ping: 1 }));
    } catch (error) {
      if (!/authentication failed/i.test(messageOf(error))) throw error;
      return "unusable";
    }
    verifiedPassword = auth.password;
    return "usable";
  };

  const observe = async (): Promise<Observed> => {
    const file = await writeServerFiles(self);
    if (self.tls === "off") loaded = file;
    open ??= direct(await ownEndpoint(self));
    const client = open;
    const server = await command(client, { hello: 1 }).then(
      (hello) => toServer(hello, memberOf),
      async (error: unknown): Promise<Server> => {
        await forget();
        return { state: "away", reason: messageOf(error) };
      },
    );
    const answers = server.state !== "away";
    const unconfigured = server.state === "unconfigured";
    const primary = server.state === "configured" && server.role === "primary";
    if (!primary) verifiedPassword = undefined;
    const ask = async (member: string): Promise<Server> => {
      if (member === self.member) return server;
      return unconfigured ? askServer(self, member) : { state: "away", reason: "not asked" };
    };
    const asked = members.map(async (member) => [member, await ask(member)] as const);
    const servers = Object.fromEntries(await Promise.all(asked));
    const metrics = answers ? { ...(await readGauges(client)), ...(await askLoad(client)) } : {};
    const alone = unconfigured || (server.state === "configured" && server.primary === undefined);
    return {
      self: self.member,
      host: self.host,
      config: answers ? await readStoredConfig(client) : undefined,
      servers,
      marker: alone ? await askMarker().catch((error: unknown) => ({ reason: messageOf(error) })) : undefined,
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
    const endpoint = { ...(await ownEndpoint(self)), timeoutMilliseconds: actMilliseconds };
    const onServer = (use: (client: MongoClient) => Promise<unknown>) => withClient(endpoint, use);
    switch (action.kind) {
      case "initiate": {
        const hosts = members.map((member) => setHost(self.name, self.namespace, member));
        await onServer((client) => command(client, { replSetInitiate: initialConfig(self.name, hosts) }));
        return;
      }
      case "administrator":
        await onServer(async (client) => keepAdministrator(client, await readCredentials(paths.admin)));
        return;
      case "vote":
        return setVotes(self, 1);
      case "reload":
        try {
          await onServer((client) => command(client, { rotateCertificates: 1 }));
          // When the files have changed since then, the server reads them once more.
          loaded = action.certificate;
          failed = undefined;
        } catch (error) {
          failed = { certificate: action.certificate, reason: messageOf(error), at: performance.now() };
          throw error;
        }
    }
  };

  return {
    service: "mongodb",
    metrics: mongodbMetrics,
    files: { certificate: `${paths.serverTls}/tls.crt`, volume: paths.data },
    observe,
    decide: (observed) => actionOf(decide(observed)),
    status: describe,
    act,
  };
}

/** None while the server has no state, as when it starts. */
async function readGauges(client: MongoClient): Promise<Gauges> {
  try {
    const status = (await command(client, { replSetGetStatus: 1 })) as SetStatus;
    // A member that receives its first copy does not know its compatibility version yet.
    const compatibility = await readCompatibility(client).catch(() => undefined);
    const version = compatibility === undefined ? {} : { feature_compatibility_version: Number(compatibility) };
    return { ...gauges(status), ...version };
  } catch {
    return {};
  }
}

/** Without the sections that are large. */
const loadOnly = { oplog: 1, metrics: 0, wiredTiger: 0, tcmalloc: 0, locks: 0, indexStats: 0 };

/** None while the server starts. */
async function readLoad(client: MongoClient): Promise<Gauges> {
  const read = async () => loadGauges((await command(client, { serverStatus: 1, ...loadOnly })) as ServerStatus);
  return read().catch(() => ({}));
}

async function keepAdministrator(client: MongoClient, { username, password }: Credentials): Promise<void> {
  const durable = { w: "majority", wtimeout: actMilliseconds };
  const known = (await command(client, { usersInfo: username }))["users"] as unknown[];
  await (known.length === 0
    ? command(client, { createUser: username, pwd: password, roles: ["root"], writeConcern: durable })
    : command(client, { updateUser: username, pwd: password, writeConcern: durable }));
}
