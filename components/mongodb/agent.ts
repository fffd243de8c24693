/**
 * What must run in the cluster for MongoDB:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do, and
 *                makes the set forget members that are to leave
 *   member       the init container of each member: writes the files of its server, takes the vote of an empty member away, and
 *                adds a new one to the set
 *   sidecar      beside the server: forms the set, keeps the administrator, the certificates and the vote, answers probes
 *   roll         a Job after the StatefulSet: replaces members whose pods are not what it wants, as all services do it
 *   setup        a Job after the members are ready: users, write concern, marker
 *   certificates a Job and a CronJob, shared by all services
 */
import { readdir } from "node:fs/promises";
import type { Document, MongoClient } from "mongodb";
import { certificatesCommand } from "../shared/agent/certificates";
import { absent } from "../shared/agent/files";
import { askMarker, keepMarker, preflightCommand, setupCommand } from "../shared/agent/guard";
import { askAgent } from "../shared/agent/http";
import { impatient, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readLogin, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { rollCommand } from "../shared/agent/roll";
import { runSidecar } from "../shared/agent/sidecar";
import { memberCommand } from "../shared/agent/volume";
import { log } from "../shared/core/log";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { type Attempt, waitFor } from "../shared/core/wait";
import { command, type Endpoint, readCommittedConfig, readCompatibility, readConfig, withClient } from "./client";
import { CannotLower, compatibilityToSet, releases, startContradiction } from "./compatibility";
import { databaseOf, type MongodbSetupSettings, paths, ports } from "./layout";
import { decideStart } from "./member";
import { identity, nextRelease } from "./membership";
import { askVote, createSidecar, joinSet, resolvesToSelf, setVotes, writeServerFiles } from "./sidecar";

/** How long a member waits for what may pass before its container ends and is started again with a back-off. */
const memberDeadlineSeconds = 300;
/** The members are ready when the setup starts; what remains is an election, or a Secret on its way to the members. */
const administratorDeadlineSeconds = 240;
const usersDeadlineSeconds = 60;
const commandSeconds = 30;
/** Each removal waits until a majority has the new configuration; between two of them may be an election. */
const releaseSeconds = 120;

export const commands: Commands = {
  preflight: () =>
    preflightCommand({
      judge: async ({ version, ...settings }, namespace) => {
        const current = await livingCompatibility(settings, namespace);
        return current && startContradiction(current, version);
      },
      release,
    }),
  member: () => memberCommand(paths.data, startMember),
  sidecar: async () => {
    const self = { settings: readSettings<EnsembleSettings>(), pod: readPod() };
    return runSidecar(createSidecar(self, () => askMarker(self.settings, self.pod.namespace, inClusterApi(impatient))));
  },
  roll: () => rollCommand(),
  setup: () => setupCommand(setup),
  certificates: certificatesCommand,
};

// --- preflight

/** As the agents beside the servers see it: they say it among their metrics. undefined: none answers. */
async function livingCompatibility(settings: EnsembleSettings, namespace: string): Promise<string | undefined> {
  for (const member of memberNames(settings.name, settings.members)) {
    const { body } = await askAgent(settings, namespace, member, "/metrics").catch(() => ({ body: "" }));
    const [, release] = /^cells_services_mongodb_feature_compatibility_version (\d+)$/m.exec(body) ?? [];
    if (release !== undefined) return `${release}.0`;
  }
  return undefined;
}

/** Until its pod ends, the server of a removed member serves no client, and its agent refuses to bring it back by itself. */
async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const members = [...memberNames(settings.name, settings.members), ...leaving];
  const hosts = leaving.map((member) => `${memberHost(settings.name, namespace, member)}:${ports.client}`);
  await waitFor(
    `a replica set of ${settings.members} members`,
    () =>
      atPrimary(members, settings, namespace, async (client, host) => {
        const step = nextRelease(await readCommittedConfig(client), host, hosts);
        if (step === undefined) return { done: true };
        if (step.kind === "stepDown") {
          log(`${host} is to leave, and gives the lead to a member that stays`);
          // It is not elected again before the release has ended.
          await command(client, { replSetStepDown: releaseSeconds });
          return { waiting: "whether a member that stays is elected" };
        }
        log(`removing ${step.host}`);
        await command(client, { replSetReconfig: step.config, maxTimeMS: commandSeconds * 1000 });
        return { waiting: "whether a majority has the configuration" };
      }),
    { deadlineSeconds: releaseSeconds },
  );
}

// --- member

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const self = { settings, pod };
  await writeServerFiles(self);
  await waitFor(
    `a safe way to start ${self.pod.name}`,
    async () => {
      const files = (await readdir(paths.data).catch(absent)) ?? [];
      // With data neither the marker nor the others matter, and a member restarts even while the API server is away.
      const data = files.includes("WiredTiger") ? "present" : "empty";
      const marker =
        data === "present" ? { reason: "not asked" } : await askMarker(self.settings, self.pod.namespace, api);
      const asked = data === "empty" && "formed" in marker && marker.formed;
      const vote = asked ? await askVote(self) : undefined;
      const action = decideStart({ resolves: await resolvesToSelf(self), data, marker, vote }, self.pod.name);
      log(`decision: ${action.kind}: ${action.reason}`);
      if (action.kind === "start") return { done: true };
      if (action.kind !== "wait") {
        const change = action.kind === "join" ? joinSet(self) : setVotes(self, 0);
        await change.catch((error: unknown) => log((error as Error).message));
      }
      return { waiting: action.reason };
    },
    { deadlineSeconds: memberDeadlineSeconds },
  );
}

// --- setup

/** Every step reads before it writes. */
async function setup(settings: MongodbSetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const { applications } = await readUsers();
  await waitFor(
    "the administrator on the primary",
    () =>
      atPrimary(memberNames(settings.name, settings.members), settings, namespace, async (client) => {
        await keepWriteConcern(client);
        const id = identity(await readConfig(client));
        // From here on an empty volume is a lost one; before it no application has a user.
        await keepMarker(settings, namespace, api, id);
        await keepUsers(client, applications);
        await keepCompatibility(client, settings.featureCompatibilityVersion);
        return { done: true };
      }),
    { deadlineSeconds: administratorDeadlineSeconds, intervalSeconds: 2 },
  );
  await verifyLogins(
    memberNames(settings.name, settings.members),
    async (member) => {
      for (const [application, logins] of Object.entries(applications)) {
        const source = databaseOf(application);
        for (const login of logins) {
          const endpoint = await endpointOf(settings, namespace, member, login, source);
          await withClient(endpoint, (client) => client.db(source).command({ ping: 1 }));
        }
      }
    },
    // Users reach the members one after the other.
    usersDeadlineSeconds,
  );
}

/** The implicit default depends on who is in the set; nobody should have to know. */
async function keepWriteConcern(client: MongoClient): Promise<void> {
  const wanted = { defaultWriteConcern: { w: "majority", wtimeout: 0 }, defaultReadConcern: { level: "local" } };
  const known = await command(client, { getDefaultRWConcern: 1 });
  const same =
    (known["defaultWriteConcernSource"] as string) === "global" && is(known["defaultWriteConcern"], "majority");
  if (same) return;
  await command(client, { setDefaultRWConcern: 1, ...wanted, writeConcern: { w: "majority" } });
  log("writes are acknowledged by a majority unless a client says otherwise");
}

/** The last step of an upgrade: all members run the release by now. */
async function keepCompatibility(client: MongoClient, wanted: string | undefined): Promise<void> {
  const current = await readCompatibility(client);
  const version = compatibilityToSet(current, wanted);
  if (version === undefined) return;
  // Servers of release 7.0 and later require `confirm`, and earlier ones refuse it.
  const confirm = releases.indexOf(version) >= releases.indexOf("7.0") ? { confirm: true } : {};
  await command(client, { setFeatureCompatibilityVersion: version, ...confirm, writeConcern: { w: "majority" } });
  log(`featureCompatibilityVersion is ${version}, it was ${current}`);
}

const is = (concern: unknown, w: string): boolean => (concern as { w?: unknown } | undefined)?.w === w;

interface User {
  user: string;
  db: string;
  customData?: { managedBy?: string };
}

const managedBy = "cells-services";

/** Users in the database of each application; users that no application has any more go, its data stays. */
async function keepUsers(client: MongoClient, applications: Record<string, Credentials[]>): Promise<void> {
  const durable = { w: "majority", wtimeout: commandSeconds * 1000 };
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

/** As the administrator, at whichever of `members` is the primary; `host` is its name in the set. What fails may pass. */
async function atPrimary<T>(
  members: string[],
  settings: EnsembleSettings,
  namespace: string,
  attempt: (client: MongoClient, host: string) => Promise<Attempt<T>>,
): Promise<Attempt<T>> {
  const reasons: string[] = [];
  for (const member of members) {
    try {
      const admin = await readCredentials(paths.admin);
      const endpoint = await endpointOf(settings, namespace, member, admin, "admin");
      const result = await withClient(endpoint, async (client) => {
        const hello = await command(client, { hello: 1 });
        return hello["isWritablePrimary"] === true ? attempt(client, hello["me"] as string) : undefined;
      });
      if (result !== undefined) return result;
      reasons.push(`${member}: not the primary`);
    } catch (error) {
      if (error instanceof CannotLower) throw error;
      reasons.push(`${member}: ${(error as Error).message}`);
    }
  }
  return { waiting: reasons.join("; ") };
}

async function endpointOf(
  settings: EnsembleSettings,
  namespace: string,
  member: string,
  user: Credentials,
  source: string,
): Promise<Endpoint> {
  const login = await readLogin(settings.tls, paths.trust, memberHost(settings.name, namespace, member), user);
  return {
    host: login.host,
    port: ports.client,
    tls: login.tls ?? "off",
    auth: { ...login.credentials, source },
    timeoutMilliseconds: commandSeconds * 1000,
  };
}
