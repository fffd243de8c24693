/**
 * What must run in the cluster for MySQL:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do
 *   member       the first init container of each member: writes what its server reads
 *   adopt        the init container after mysqld has made a data directory: puts it into its place
 *   sidecar      beside each server: forms, joins and fills, says who may be written to, hands over
 *   roll         a Job after the StatefulSet: replaces members whose pods are not what it wants, as all services do it
 *   setup        a Job after the members are ready: databases, users, marker
 *   certificates a Job and a CronJob, shared by all services
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Connection } from "mysql2/promise";
import { certificatesCommand } from "../shared/agent/certificates";
import { absent } from "../shared/agent/files";
import { askMarker, keepMarker, preflightCommand, readMarker, setupCommand, watchMarker } from "../shared/agent/guard";
import { impatient, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readTrust, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { rollCommand } from "../shared/agent/roll";
import { runSidecar } from "../shared/agent/sidecar";
import { memberCommand } from "../shared/agent/volume";
import { log } from "../shared/core/log";
import { memberHost, memberNames, ordinalOf } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Endpoint, open, readServer, rows } from "./client";
import { initializeConfig, initStatements, memberConfig } from "./configuration";
import { internalUsername, paths, ports, reservedConnections } from "./layout";
import { decideAdopt, decideMember } from "./member";
import { clusterOf, isPrimary, isReady, onlineHosts, type Server } from "./membership";
import { createSidecar, release } from "./sidecar";
import {
  applicationStatements,
  keepPasswords,
  lockStatement,
  madeBySetup,
  type PasswordPlaces,
  passwordStatement,
  shareOf,
} from "./users";

/** How long a member waits for what may pass before its container ends and is started again with a back-off. */
const memberDeadlineSeconds = 300;
/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;
const answerMilliseconds = 2_000;
/** One hand-over, and what the new primary has yet to execute. */
const releaseSeconds = 120;
/** A change of users waits for transactions that are under way. */
const changeMilliseconds = 60_000;

export const commands: Commands = {
  preflight: () => preflightCommand({ release: releaseMembers }),
  member: () => memberCommand(paths.volume, prepareMember),
  adopt: async () => adopt(),
  sidecar: async () => {
    const settings = readSettings<EnsembleSettings>();
    const pod = readPod();
    return runSidecar(
      createSidecar(
        settings,
        pod,
        watchMarker(() => askMarker(settings, pod.namespace, inClusterApi(impatient))),
      ),
    );
  },
  roll: () => rollCommand(),
  setup: () => setupCommand(setup),
  certificates: certificatesCommand,
};

// --- preflight

/**
 * The leaving members stop together, and could pass the role of the primary to each other. They stay in the group until then: each
 * leaves it as its server stops, and those that stay are a majority of 5 even when none of the others says goodbye.
 */
function releaseMembers(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  return waitFor(
    `a primary among the ${settings.members} members that stay`,
    async () => {
      const waiting = await release(leaving, settings, namespace);
      return waiting === undefined ? { done: undefined } : { waiting };
    },
    { deadlineSeconds: releaseSeconds, onError: "wait" },
  );
}

// --- member

/** Writes into memory only, and on the volume only beside what is there. */
async function prepareMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const decision = await waitFor(
    `a safe way to start ${pod.name}`,
    async () => {
      const data = (await stat(paths.data).catch(absent)) === undefined ? "empty" : "present";
      // Empty when the disk was full as it was written.
      const kept = (await readFile(paths.group, "utf8").catch(absent))?.trim() || undefined;
      const action = decideMember(
        {
          data,
          kept,
          // With data neither the marker nor the others matter, and a member restarts even while the API server is away.
          marker:
            data === "present" && kept !== undefined ? undefined : await readMarker(settings.name, pod.namespace, api),
          configured: (await readFile(join(paths.config, paths.groupKey), "utf8")).trim(),
        },
        { name: pod.name, tls: settings.tls },
      );
      log(`decision: ${action.kind}: ${action.reason}`);
      return action.kind === "start" ? { done: action } : { waiting: action.reason };
    },
    { deadlineSeconds: memberDeadlineSeconds, intervalSeconds: 5 },
  );
  // Never used: it gets its name when it is complete.
  await rm(paths.initializing, { recursive: true, force: true });
  await rm(paths.temporary, { recursive: true, force: true });
  await mkdir(paths.temporary, { mode: 0o700 });
  await writeFile(`${paths.group}.new`, `${decision.group}\n`);
  await rename(`${paths.group}.new`, paths.group);

  const host = memberHost(settings.name, pod.namespace, pod.name);
  const common = await readFile(join(paths.config, paths.configFile), "utf8");
  const passwords = {
    admin: await readFile(join(paths.admin, "password"), "utf8"),
    internal: await readFile(join(paths.internal, "password"), "utf8"),
  };
  const secret = { mode: 0o600 };
  const member = { ordinal: ordinalOf(pod.name), host, group: decision.group };
  await writeFile(paths.server, memberConfig(common, member), secret);
  await writeFile(paths.initialize, initializeConfig(decision.data), secret);
  await writeFile(paths.init, initStatements(passwords, settings.tls), secret);
}

async function adopt(): Promise<void> {
  const exists = async (directory: string): Promise<boolean> => (await stat(directory).catch(absent)) !== undefined;
  const action = decideAdopt({ made: await exists(paths.initializing), data: await exists(paths.data) });
  if (action.kind === "refuse") throw new Error(action.reason);
  if (action.kind === "rename") await rename(paths.initializing, paths.data);
  log(action.kind === "rename" ? "a new data directory is in its place" : "the volume has data");
}

// --- setup

/** Every step may be repeated. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const { admin, applications } = await readUsers();
  const primary = await waitFor(
    "databases and users",
    () =>
      onPrimary(settings, namespace, async (primary, server) => {
        for (const user of [admin, [await internalCredentials()]]) {
          await keepPasswords(user, passwordsOn(settings, namespace, primary));
        }
        await prepareApplications(settings, namespace, Object.values(applications), primary);
        return { done: server };
      }),
    // When the primary changes in between, all is done again.
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
  const users = [...admin, await internalCredentials(), ...Object.values(applications).flat()];
  const online = onlineHosts(primary);
  await verifyLogins(
    // A member that is away gets the users when it comes back.
    memberNames(settings.name, settings.members).filter((member) =>
      online.includes(memberHost(settings.name, namespace, member)),
    ),
    async (member) => {
      for (const user of users) {
        if (!(await canLogIn(settings, namespace, member, user))) throw new Error(`${user.username} is refused`);
      }
    },
    60,
  );
  const marked = await readMarker(settings.name, namespace, api);
  // From here on an empty volume is a lost one.
  await keepMarker(settings, namespace, api, clusterOf(primary, marked?.clusterId));
}

interface Primary {
  member: string;
  connection: Connection;
}

/** Waits for a whole group too: a member that is away would get the users later, but a first formation has no such member. */
async function onPrimary<T>(
  settings: EnsembleSettings,
  namespace: string,
  act: (primary: Primary, server: Server) => Promise<T>,
): Promise<T> {
  const opened: Connection[] = [];
  try {
    const seen: string[] = [];
    let primary: (Primary & { server: Server }) | undefined;
    for (const member of memberNames(settings.name, settings.members)) {
      try {
        const connection = await openAsAdministrator(settings, namespace, member);
        opened.push(connection);
        const server = await readServer((sql) => rows(connection, sql, answerMilliseconds));
        if (!isReady(server)) seen.push(`${member} is not in the group`);
        if (isPrimary(server)) primary = { member, connection, server };
      } catch (error) {
        seen.push(`${member}: ${(error as Error).message}`);
      }
    }
    if (primary === undefined)
      throw new Error(`no member is the primary${seen.length > 0 ? ` (${seen.join("; ")})` : ""}`);
    return await act(primary, primary.server);
  } finally {
    for (const connection of opened) connection.destroy();
  }
}

/** After a changed password one of the two still works. */
async function openAsAdministrator(settings: EnsembleSettings, namespace: string, member: string): Promise<Connection> {
  const endpoint = await endpointOf(settings, namespace, member);
  const admin = await readCredentials(paths.admin);
  try {
    return await open({ ...endpoint, credentials: admin });
  } catch (error) {
    if (!isRefused(error)) throw error;
    return open({ ...endpoint, credentials: await internalCredentials() });
  }
}

/** As one server sees the passwords of users; what it is given reaches all members. */
function passwordsOn(settings: EnsembleSettings, namespace: string, { member, connection }: Primary): PasswordPlaces {
  return {
    accepts: (login) => canLogIn(settings, namespace, member, login),
    give: async (login) => {
      await rows(connection, passwordStatement(login), changeMilliseconds);
      log(`${login.username} has a new password; the former one works beside it`);
    },
  };
}

async function prepareApplications(
  settings: EnsembleSettings,
  namespace: string,
  applications: Credentials[][],
  { member, connection: found }: Primary,
): Promise<void> {
  // Who gives rights must have them all: with a new password the administrator is let in by now.
  const admin = await readCredentials(paths.admin);
  const connection = await open({ ...(await endpointOf(settings, namespace, member)), credentials: admin });
  try {
    const [limits] = await rows<{ connections: string }>(found, "SELECT @@GLOBAL.max_connections AS connections");
    const share = shareOf(Number(limits?.connections) - reservedConnections, applications.length);
    for (const application of applications) {
      for (const statement of application.slice(0, 1).flatMap((login) => applicationStatements(login, share))) {
        await rows(connection, statement, changeMilliseconds);
      }
      await keepPasswords(application, passwordsOn(settings, namespace, { member, connection }));
    }
    for (const { username } of await rows<{ username: string }>(connection, madeBySetup)) {
      if (settings.applications.includes(username)) continue;
      await rows(connection, lockStatement(username), changeMilliseconds);
      log(`${username} is no application any more: its user is locked, its data stays`);
    }
  } finally {
    connection.destroy();
  }
}

/** false: refused. Throws when there is no answer. */
async function canLogIn(
  settings: EnsembleSettings,
  namespace: string,
  member: string,
  credentials: Credentials,
): Promise<boolean> {
  try {
    const connection = await open({ ...(await endpointOf(settings, namespace, member)), credentials });
    connection.destroy();
    return true;
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}

function isRefused(error: unknown): boolean {
  return (error as { code?: string }).code === "ER_ACCESS_DENIED_ERROR";
}

async function endpointOf(settings: EnsembleSettings, namespace: string, member: string): Promise<Endpoint> {
  const ca = await readTrust(settings.tls, paths.trust);
  const host = memberHost(settings.name, namespace, member);
  return { host, port: ports.client, ...(ca === undefined ? {} : { tls: { ca } }) };
}

async function internalCredentials(): Promise<Credentials> {
  return { username: internalUsername, password: await readFile(join(paths.internal, "password"), "utf8") };
}
