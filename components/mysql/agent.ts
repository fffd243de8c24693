/** The commands for MySQL, see `shared/agent/commands.ts`. `adopt` runs after mysqld has made a data directory. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { Connection } from "mysql2/promise";
import { commonCommands } from "../shared/agent/commands";
import { absent } from "../shared/agent/files";
import { keepMarker, readMarker, watchMarker } from "../shared/agent/guard";
import type { KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readUsers, verifyLogins } from "../shared/agent/logins";
import type { Commands, Ensemble, Pod } from "../shared/agent/main";
import { sidecarCommand, waitForStart } from "../shared/agent/start";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { memberHost, memberNames, ordinalOf } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { internalCredentials, openMember, readServer, rows, withConnection } from "./client";
import { initializeConfig, initStatements, memberConfig } from "./configuration";
import { paths, reservedConnections } from "./layout";
import { decideAdopt, decideMember } from "./member";
import { clusterOf, isPrimary, isReady, onlineHosts, type Server } from "./membership";
import { createSidecar, exists, release } from "./sidecar";
import {
  differs,
  isTimeZone,
  mayBeTimeZone,
  readStatement,
  type Table,
  timeZoneTables,
  writeStatements,
} from "./timezones";
import {
  applicationStatements,
  keepPasswords,
  lockStatement,
  madeBySetup,
  type PasswordPlaces,
  passwordStatement,
  shareOf,
} from "./users";

/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;
const answerMilliseconds = 2_000;
/** A change of users waits for transactions that are under way. */
const changeMilliseconds = 60_000;
/** 30,000 rows in one transaction, about 1 MiB: two seconds on a machine that was overloaded, with writes included. */
const timeZonesDeadlineSeconds = 120;
/** tzdata of the image of the agent, whose version is pinned: the server's own image has it, but no program may read it there. */
const timeZoneFiles = "/usr/share/zoneinfo";

export const commands: Commands = {
  ...commonCommands({
    volume: paths.volume,
    start: prepareMember,
    setup,
    release,
    sidecar: () => sidecarCommand((settings, pod, ask) => createSidecar(settings, pod, watchMarker(ask))),
  }),
  adopt,
};

/** Writes into memory, and on the volume only beside the data directory. */
async function prepareMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const { group, data } = await waitForStart(pod.name, async () => {
    const found = (await exists(paths.data)) ? "present" : "empty";
    // An empty file was written while the disk was full.
    const kept = (await readFile(paths.group, "utf8").catch(absent))?.trim() || undefined;
    // A member with data needs neither the marker nor the others, so it restarts even while the API server is away.
    const complete = found === "present" && kept !== undefined;
    const marker = complete ? undefined : await readMarker(settings.name, pod.namespace, api);
    const configured = (await readFile(join(paths.config, paths.groupKey), "utf8")).trim();
    return decideMember({ data: found, kept, marker, configured }, { name: pod.name, tls: settings.tls });
  });
  // A directory of this name was never used: mysqld makes it, and `adopt` renames it when it is complete.
  await rm(paths.initializing, { recursive: true, force: true });
  await rm(paths.temporary, { recursive: true, force: true });
  await mkdir(paths.temporary, { mode: 0o700 });
  await writeFile(`${paths.group}.new`, `${group}\n`);
  await rename(`${paths.group}.new`, paths.group);

  const common = await readFile(join(paths.config, paths.configFile), "utf8");
  const passwords = {
    admin: (await readCredentials(paths.admin)).password,
    internal: (await internalCredentials()).password,
  };
  const secret = { mode: 0o600 };
  const host = memberHost(settings.name, pod.namespace, pod.name);
  await writeFile(paths.server, memberConfig(common, { ordinal: ordinalOf(pod.name), host, group }), secret);
  await writeFile(paths.initialize, initializeConfig(data), secret);
  await writeFile(paths.init, initStatements(passwords, settings.tls), secret);
}

async function adopt(): Promise<void> {
  const action = decideAdopt({ made: await exists(paths.initializing), data: await exists(paths.data) });
  if (action.kind === "refuse") throw new Error(action.reason);
  if (action.kind === "rename") await rename(paths.initializing, paths.data);
  log(action.kind === "rename" ? "a new data directory is in its place" : "the volume has data");
}

/** Every step may be repeated. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const ensemble = { ...settings, namespace };
  const { admin, applications } = await readUsers();
  const primary = await waitFor(
    "databases and users",
    async () => {
      const { member, server } = await findPrimary(ensemble);
      await withConnection(openAsAdministrator(ensemble, member), async (connection) => {
        for (const logins of [admin, [await internalCredentials()]]) {
          await keepPasswords(logins, passwordsOn(ensemble, member, connection));
        }
      });
      await prepareApplications(ensemble, Object.values(applications), member);
      return { done: server };
    },
    // When the primary changes in between, all is done again.
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
  const users = [...admin, await internalCredentials(), ...Object.values(applications).flat()];
  const online = onlineHosts(primary);
  await verifyLogins(
    // A member that is away receives the users when it comes back.
    memberNames(settings.name, settings.members).filter((member) =>
      online.includes(memberHost(settings.name, namespace, member)),
    ),
    async (member) => {
      for (const user of users) {
        if (!(await canLogIn(ensemble, member, user))) throw new Error(`${user.username} is refused`);
      }
    },
    60,
  );
  const marked = await readMarker(settings.name, namespace, api);
  // From here on an empty volume is a lost one.
  await keepMarker(settings, namespace, api, clusterOf(primary, marked?.clusterId));
  await keepTimeZones(ensemble);
}

/** Writes only when the primary has other rows than the files, such as none, or those of older files. */
async function keepTimeZones(ensemble: Ensemble): Promise<void> {
  // Users and passwords do not wait for an image with other files. `make check` says what is missing.
  const tables = await readTimeZones(timeZoneFiles)
    .then(timeZoneTables)
    .catch((error: unknown) => log(`time zones stay as they are: ${messageOf(error)}`));
  if (!tables) return;
  const admin = await readCredentials(paths.admin);
  await waitFor(
    "time zones",
    async () => {
      const { member } = await findPrimary(ensemble);
      await withConnection(openMember(ensemble, member, admin), async (connection) => {
        if (!(await anyDiffers(connection, tables))) return;
        for (const statement of writeStatements(tables)) await rows(connection, statement, changeMilliseconds);
        const written = tables.map(({ name, rows }) => `${rows.length} of ${name}`);
        log(`time zones have new rows: ${written.join(", ")}`);
      });
      return { done: undefined };
    },
    { deadlineSeconds: timeZonesDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

async function anyDiffers(connection: Connection, tables: Table[]): Promise<boolean> {
  for (const table of tables) {
    if (differs(table, await rows(connection, readStatement(table), changeMilliseconds))) return true;
  }
  return false;
}

async function readTimeZones(folder: string): Promise<Map<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter(mayBeTimeZone);
  const read = names.map(async (name): Promise<[string, Buffer]> => [name, await readFile(join(folder, name))]);
  const files = (await Promise.all(read)).filter(([, file]) => isTimeZone(file));
  if (files.length === 0) throw new Error(`${folder} has no time zones`);
  return new Map(files);
}

/** Throws, with what each member says, when none is the primary. */
async function findPrimary(ensemble: Ensemble): Promise<{ member: string; server: Server }> {
  const reasons: string[] = [];
  for (const member of memberNames(ensemble.name, ensemble.members)) {
    try {
      const server = await withConnection(openAsAdministrator(ensemble, member), (connection) =>
        readServer((sql) => rows(connection, sql, answerMilliseconds)),
      );
      if (isPrimary(server)) return { member, server };
      if (!isReady(server)) reasons.push(`${member} is not in the group`);
    } catch (error) {
      reasons.push(`${member}: ${messageOf(error)}`);
    }
  }
  throw new Error(`no member is the primary${reasons.length > 0 ? ` (${reasons.join("; ")})` : ""}`);
}

/** As the internal user while the server has another password of the administrator. */
async function openAsAdministrator(ensemble: Ensemble, member: string): Promise<Connection> {
  return openMember(ensemble, member, await readCredentials(paths.admin)).catch((error: unknown) => {
    if (!isRefused(error)) throw error;
    return openMember(ensemble, member);
  });
}

/** The passwords that `member`, the primary, accepts. The other members receive each change by replication. */
function passwordsOn(ensemble: Ensemble, member: string, connection: Connection): PasswordPlaces {
  return {
    accepts: (login) => canLogIn(ensemble, member, login),
    give: async (login) => {
      await rows(connection, passwordStatement(login), changeMilliseconds);
      log(`${login.username} has a new password; the former one works beside it`);
    },
  };
}

async function prepareApplications(ensemble: Ensemble, applications: Credentials[][], member: string): Promise<void> {
  // Only the administrator has all rights that it grants. By now the server accepts its password.
  const admin = await readCredentials(paths.admin);
  await withConnection(openMember(ensemble, member, admin), async (connection) => {
    const [limits] = await rows<{ connections: string }>(connection, "SELECT @@GLOBAL.max_connections AS connections");
    const share = shareOf(Number(limits?.connections) - reservedConnections, applications.length);
    for (const application of applications) {
      for (const statement of application.slice(0, 1).flatMap((login) => applicationStatements(login, share))) {
        await rows(connection, statement, changeMilliseconds);
      }
      await keepPasswords(application, passwordsOn(ensemble, member, connection));
    }
    for (const { username } of await rows<{ username: string }>(connection, madeBySetup)) {
      if (ensemble.applications.includes(username)) continue;
      await rows(connection, lockStatement(username), changeMilliseconds);
      log(`${username} is no application any more: its user is locked, its data stays`);
    }
  });
}

/** false: refused. Throws when the server does not answer. */
async function canLogIn(ensemble: Ensemble, member: string, credentials: Credentials): Promise<boolean> {
  try {
    (await openMember(ensemble, member, credentials)).destroy();
    return true;
  } catch (error) {
    if (isRefused(error)) return false;
    throw error;
  }
}

function isRefused(error: unknown): boolean {
  return (error as { code?: string }).code === "ER_ACCESS_DENIED_ERROR";
}
