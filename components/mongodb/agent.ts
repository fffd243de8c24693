/** The commands for MongoDB, see `shared/agent/commands.ts`. */
import { readdir, readFile } from "node:fs/promises";
import { type CollectionInfo, type Document, Double, type MongoClient } from "mongodb";
import { commonCommands } from "../shared/agent/commands";
import { absent } from "../shared/agent/files";
import { askMarker, keepMarker } from "../shared/agent/guard";
import { askAgent } from "../shared/agent/http";
import type { KubernetesApi } from "../shared/agent/kubernetes";
import { readUsers, verifyLogins } from "../shared/agent/logins";
import type { Commands, Ensemble, Pod } from "../shared/agent/main";
import { sidecarCommand, waitForStart } from "../shared/agent/start";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { type Attempt, waitFor } from "../shared/core/wait";
import {
  administratorAuth,
  atPrimary,
  command,
  endpointOf,
  readCommittedConfig,
  readCompatibility,
  readConfig,
  withClient,
} from "./client";
import { compatibilityToSet, releases, startContradiction } from "./compatibility";
import { databaseOf, type MongodbSetupSettings, paths, setHost } from "./layout";
import { decideStart } from "./member";
import { identity, nextRelease, setSettings, withSettings } from "./membership";
import { processorContradiction } from "./processor";
import { askVote, createSidecar, joinSet, selfOf, setVotes, writeServerFiles } from "./sidecar";

/** The members are ready when the setup starts; what remains is an election, or a Secret on its way to the members. */
const administratorDeadlineSeconds = 240;
const usersDeadlineSeconds = 60;
/** Of all members together. */
const oplogDeadlineSeconds = 120;
const commandMilliseconds = 30_000;
/** Each removal waits until a majority has the new configuration; between two of them may be an election. */
const releaseSeconds = 120;

export const commands: Commands = {
  ...commonCommands({
    volume: paths.data,
    start: startMember,
    setup,
    judge: async ({ version, ...settings }, namespace) => {
      const current = await livingCompatibility(settings, namespace);
      return current && startContradiction(current, version);
    },
    release,
    sidecar: () => sidecarCommand(createSidecar),
  }),
};

/** The featureCompatibilityVersion among the metrics of the first agent that answers. undefined: none answers. */
async function livingCompatibility(settings: EnsembleSettings, namespace: string): Promise<string | undefined> {
  for (const member of memberNames(settings.name, settings.members)) {
    const { body } = await askAgent(settings, namespace, member, "/metrics").catch(() => ({ body: "" }));
    const [, release] = /^cells_services_mongodb_feature_compatibility_version (\d+)$/m.exec(body) ?? [];
    if (release !== undefined) return `${release}.0`;
  }
  return undefined;
}

/** A removed member serves no client until its pod ends, and its agent refuses to bring it back. */
async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const ensemble = { ...settings, namespace };
  const members = [...memberNames(settings.name, settings.members), ...leaving];
  const hosts = leaving.map((member) => setHost(settings.name, namespace, member));
  await waitFor(
    `a replica set of ${settings.members} members`,
    () =>
      attemptAtPrimary(members, ensemble, async (client, host) => {
        const step = nextRelease(await readCommittedConfig(client), host, hosts);
        if (step === undefined) return { done: true };
        if (step.kind === "stepDown") {
          log(`${host} is to leave, and steps down for a member that stays`);
          // For so long it is not elected again: until the release has ended.
          await command(client, { replSetStepDown: releaseSeconds });
          return { waiting: "whether a member that stays is elected" };
        }
        log(`removing ${step.host}`);
        await command(client, { replSetReconfig: step.config, maxTimeMS: commandMilliseconds });
        return { waiting: "whether a majority has the configuration" };
      }),
    { deadlineSeconds: releaseSeconds },
  );
}

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const self = selfOf(settings, pod);
  const node = process.env["NODE_NAME"] ?? "";
  const cpuinfo = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const contradiction = processorContradiction(cpuinfo, process.arch, { member: pod.name, node });
  if (contradiction !== undefined) throw new Error(contradiction);
  await writeServerFiles(settings);
  const decide = async () => {
    const files = (await readdir(paths.data).catch(absent)) ?? [];
    const data = files.includes("WiredTiger") ? "present" : "empty";
    // A member with data needs neither the marker nor the others, so it restarts even while the API server is away.
    const marker = data === "present" ? { reason: "not asked" } : await askMarker(settings, pod.namespace, api);
    const vote = "formed" in marker && marker.formed ? await askVote(self) : undefined;
    return decideStart({ data, marker, vote }, pod.name);
  };
  const act = async ({ kind }: Awaited<ReturnType<typeof decide>>): Promise<void> => {
    if (kind !== "wait") await (kind === "join" ? joinSet(self) : setVotes(self, 0));
  };
  await waitForStart(pod.name, decide, { act, intervalSeconds: 1 });
}

/** Every step reads before it writes. */
async function setup(settings: MongodbSetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const ensemble = { ...settings, namespace };
  const { applications } = await readUsers();
  const members = memberNames(settings.name, settings.members);
  await waitFor(
    "the administrator on the primary",
    () =>
      attemptAtPrimary(members, ensemble, async (client) => {
        await keepWriteConcern(client);
        await keepSettings(client);
        // From here on an empty volume is a lost one. Before the marker no application has a user.
        await keepMarker(settings, namespace, api, identity(await readConfig(client)));
        await keepUsers(client, applications);
        await keepCompatibility(client, settings.featureCompatibilityVersion);
        return { done: true };
      }),
    { deadlineSeconds: administratorDeadlineSeconds, intervalSeconds: 2 },
  );
  await verifyLogins(
    members,
    async (member) => {
      for (const [application, logins] of Object.entries(applications)) {
        const source = databaseOf(application);
        for (const login of logins) {
          const endpoint = await endpointOf(ensemble, member, { ...login, source }, commandMilliseconds);
          await withClient(endpoint, (client) => client.db(source).command({ ping: 1 }));
        }
      }
    },
    // The members receive the users by replication.
    usersDeadlineSeconds,
  );
  const megabytes = settings.oplogMegabytes;
  if (megabytes === undefined) return;
  await waitFor(
    `oplogs of ${megabytes} MiB`,
    async () => {
      for (const member of members) {
        await keepOplog(ensemble, member, megabytes).catch((error: unknown) => {
          throw new Error(`${member}: ${messageOf(error)}`);
        });
      }
      return { done: undefined };
    },
    { deadlineSeconds: oplogDeadlineSeconds, intervalSeconds: 3, onError: "wait" },
  );
}

/** Each member has an oplog of its own. The size in its configuration counts only when the oplog is made. */
async function keepOplog(ensemble: Ensemble, member: string, megabytes: number): Promise<void> {
  const endpoint = await endpointOf(ensemble, member, await administratorAuth(), commandMilliseconds);
  await withClient(endpoint, async (client) => {
    const [oplog] = await client.db("local").listCollections<CollectionInfo>({ name: "oplog.rs" }).toArray();
    if (oplog?.options?.["size"] === megabytes * 2 ** 20) return;
    // Any other type of number is refused by some releases.
    await command(client, { replSetResizeOplog: 1, size: new Double(megabytes) });
    log(`the oplog of ${member} may have ${megabytes} MiB`);
  });
}

async function keepSettings(client: MongoClient): Promise<void> {
  const config = withSettings(await readConfig(client));
  if (config === undefined) return;
  await command(client, { replSetReconfig: config, maxTimeMS: commandMilliseconds });
  log(`the set has ${JSON.stringify(setSettings)}`);
}

/** Written down, because the implicit default depends on the members of the set. */
async function keepWriteConcern(client: MongoClient): Promise<void> {
  const wanted = { defaultWriteConcern: { w: "majority", wtimeout: 0 }, defaultReadConcern: { level: "local" } };
  const { defaultWriteConcernSource: source, defaultWriteConcern: known } = (await command(client, {
    getDefaultRWConcern: 1,
  })) as { defaultWriteConcernSource?: string; defaultWriteConcern?: { w?: unknown } };
  if (source === "global" && known?.w === "majority") return;
  await command(client, { setDefaultRWConcern: 1, ...wanted, writeConcern: { w: "majority" } });
  log("writes are acknowledged by a majority unless a client says otherwise");
}

/** The last step of an upgrade: all members run the wanted version by now. */
async function keepCompatibility(client: MongoClient, wanted: string | undefined): Promise<void> {
  const current = await readCompatibility(client);
  const version = compatibilityToSet(current, wanted);
  if (version === undefined) return;
  // Servers of release 7.0 and later require `confirm`, and earlier ones refuse it.
  const confirm = releases.indexOf(version) >= releases.indexOf("7.0") ? { confirm: true } : {};
  await command(client, { setFeatureCompatibilityVersion: version, ...confirm, writeConcern: { w: "majority" } });
  log(`featureCompatibilityVersion is ${version}, it was ${current}`);
}

interface User {
  user: string;
  db: string;
  customData?: { managedBy?: string };
}

const managedBy = "cells-services";

/** Makes the users in the database of each application. Removes the users of former applications; their data stays. */
async function keepUsers(client: MongoClient, applications: Record<string, Credentials[]>): Promise<void> {
  const durable = { w: "majority", wtimeout: commandMilliseconds };
  const { users } = (await command(client, { usersInfo: { forAllDBs: true } })) as unknown as { users: User[] };
  const wanted = Object.entries(applications).flatMap(([application, logins]) =>
    logins.map((login) => ({ ...login, database: databaseOf(application) })),
  );
  for (const { username, password, database } of wanted) {
    const exists = users.some(({ user, db }) => user === username && db === database);
    const given: Document = {
      [exists ? "updateUser" : "createUser"]: username,
      pwd: password,
      // Its own database only: reads and writes, indexes, collections.
      roles: ["readWrite", "dbAdmin"].map((role) => ({ role, db: database })),
      customData: { managedBy },
      mechanisms: ["SCRAM-SHA-256"],
      writeConcern: durable,
    };
    await client.db(database).command(given);
    log(`${exists ? "keeping" : "adding"} the user ${username} of the database ${database}`);
  }
  const former = users.filter(
    ({ user, db, customData }) =>
      customData?.managedBy === managedBy &&
      !wanted.some(({ username, database }) => username === user && database === db),
  );
  for (const { user, db } of former) {
    log(`removing the user ${user}, which no application has any more; the database ${db} stays`);
    await client.db(db).command({ dropUser: user, writeConcern: durable });
  }
}

/** As the administrator. Everything that fails there may pass, except what `CannotLower` says. */
async function attemptAtPrimary<T>(
  members: string[],
  ensemble: Ensemble,
  attempt: (client: MongoClient, host: string) => Promise<Attempt<T>>,
): Promise<Attempt<T>> {
  const toEndpoint = async (member: string) =>
    endpointOf(ensemble, member, await administratorAuth(), commandMilliseconds);
  const outcome = await atPrimary(members, toEndpoint, attempt);
  return "done" in outcome ? outcome.done : outcome;
}
