/**
 * What must run in the cluster for etcd, beside what all services have in common:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do
 *   member       the init container of each member: decides how its server starts
 *   setup        a Job after the members are ready: marker, users, authentication
 *   maintenance  a Deployment: promotes learners, frees space, defragments
 */
import { readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { commonCommands } from "../shared/agent/commands";
import { absent } from "../shared/agent/files";
import { keepMarker, ownersOfKept, readMarker, setupManager } from "../shared/agent/guard";
import { core, encoded, impatient, inClusterApi, type KubernetesApi, type Secret } from "../shared/agent/kubernetes";
import { takeTurn } from "../shared/agent/lease";
import { readCredentials, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { ensembleCollector, exposition } from "../shared/agent/metrics";
import { servePages } from "../shared/agent/pages";
import type { Condition, Examine } from "../shared/agent/roll";
import { waitForStart } from "../shared/agent/start";
import { messageOf } from "../shared/core/errors";
import { log, newsOf } from "../shared/core/log";
import type { Sample } from "../shared/core/metrics";
import { agentLabels, alternateName, majority, memberNames, serviceHost } from "../shared/core/names";
import { agentPorts, type EnsembleSettings, type SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Alarm, type EtcdClient, everyKey, refusedPassword } from "./client";
import { applicationRole, applicationRolePrefix, clientUrl, keptName, paths, peerUrl } from "./layout";
import {
  decideHousekeeping,
  isHousekeepingDue,
  type MaintenanceSettings,
  type MemberStatus,
  outlived,
  whyBehind,
  whyNotHealthy,
} from "./maintenance";
import { type Action, decide, type Identity, initialCluster } from "./member";
import { askStatuses, foreignPassword, keptPasswords, type Members, membersOf, memberTurn } from "./members";
import { alarmSamples, maintenanceMetrics, successGauge } from "./metrics";

/** Until the next pass, which begins a minute after this one did. */
const promotionDeadlineSeconds = 45;
/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;

/** Each removal waits until the voters that are left are connected. */
const releaseSeconds = 120;

export const commands: Commands = {
  ...commonCommands({ volume: paths.volume, start: startMember, setup, examine: examineMembers, release, prepareTls }),
  maintenance: async () => keepMaintained(readSettings<MaintenanceSettings>(), readPod()),
};

// --- preflight

/** One after the other: etcd refuses what would leave too few voters. The server of a removed member ends by itself. */
async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const staying = membersOf(settings, namespace);
  const urls = leaving.map((member) => peerUrl(settings, namespace, member));
  await waitFor(
    `the cluster without ${leaving.join(" and ")}`,
    async () => {
      const { members, unreachable } = await staying.ask();
      const [first] = members;
      if (first === undefined) return { waiting: unreachable.join("; ") };
      const client = await staying.client(first.name);
      const list = await client.memberList();
      const gone = list.members.find(({ peerUrls }) => peerUrls.some((url) => urls.includes(url)));
      if (gone === undefined) return { done: true };
      if (first.status.leader === gone.id) {
        log(`${gone.name} gives the leadership to ${first.name}`);
        await (await staying.client(gone.name)).moveLeader(first.status.memberId);
      }
      log(`removing ${gone.name}`);
      await client.memberRemove(gone.id);
      return { waiting: `whether ${staying.names.join(", ")} are whole` };
    },
    { deadlineSeconds: releaseSeconds, onError: "wait" },
  );
}

/** The data name the members by their peer URLs, which a restart does not change: with both schemes they find each other either way. */
async function prepareTls(living: EnsembleSettings, wanted: EnsembleSettings, namespace: string): Promise<void> {
  await keepPeerUrls(await membersOf(living, namespace).first(), (member) =>
    [living, wanted].map((settings) => peerUrl(settings, namespace, member)),
  );
}

/** One after the other: each change is one of the cluster. Changes only what differs. */
export async function keepPeerUrls(
  client: Pick<EtcdClient, "memberList" | "memberUpdate">,
  urlsOf: (member: string) => string[],
): Promise<void> {
  for (const { id, name, peerUrls } of (await client.memberList()).members) {
    const wanted = urlsOf(name);
    // One that never started has no name yet.
    if (name === "" || [...peerUrls].sort().join() === [...wanted].sort().join()) continue;
    log(`the peer URLs of ${name} are to be ${wanted.join(", ")}`);
    await client.memberUpdate(id, wanted);
  }
}

// --- member

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const { name, members, tls } = settings;
  const { namespace } = pod;
  const urlOf = (member: string): string => peerUrl(settings, namespace, member);
  const self: Identity = { name: pod.name, peerUrl: urlOf(pod.name), members, tls };
  let client: EtcdClient | undefined;
  const choose = async (): Promise<Action> => {
    const data = await observeData();
    // A member with data needs neither the marker nor the others, so it restarts even while the API server is away.
    if (data === "present") return decide({ data, marker: undefined, cluster: { unreachable: "not asked" } }, self);
    const marker = await readMarker(name, namespace, api);
    const majority = await askMajority(settings, pod);
    client = majority.client;
    return decide({ data, marker, cluster: majority }, self);
  };
  const act = async (action: Action): Promise<void> => {
    if (action.kind !== "join") return;
    // First remove, then add: the other order would need a majority of a larger cluster.
    if (action.remove !== undefined) await client?.memberRemove(action.remove);
    await client?.memberAddLearner(self.peerUrl);
  };
  const { joins } = await waitForStart(self.name, choose, { act, intervalSeconds: 1 });
  const everybody = memberNames(name, members).map((member) => ({ name: member, peerUrls: [urlOf(member)] }));
  const start = {
    state: joins === undefined ? "new" : "existing",
    cluster: initialCluster(joins ?? everybody, self.name),
  };
  const base = JSON.parse(await readFile(join(paths.base, paths.baseFile), "utf8")) as Record<string, unknown>;
  await writeFile(paths.config, JSON.stringify(memberConfig(base, settings, pod, start), null, 2));
}

/** The configuration of one member: what all have in common, and its own names. */
export function memberConfig(
  base: Record<string, unknown>,
  settings: EnsembleSettings,
  pod: Pod,
  start: { state: string; cluster: string },
): Record<string, unknown> {
  const config: Record<string, unknown> = {
    ...base,
    name: pod.name,
    // Only the own name: with the name of the Service among them, clients would mistake the Service for a member.
    "advertise-client-urls": clientUrl(settings, pod.namespace, pod.name),
    "initial-advertise-peer-urls": peerUrl(settings, pod.namespace, pod.name),
    "initial-cluster": start.cluster,
    "initial-cluster-state": start.state,
  };
  if (settings.tls !== "off") {
    config["peer-transport-security"] = {
      ...(base["peer-transport-security"] as object),
      // An issuer outside may sign for others too: only certificates of this cluster carry this name.
      "allowed-hostname": [serviceHost(settings.name, pod.namespace)],
    };
  }
  return config;
}

async function observeData(): Promise<"present" | "partial" | "empty"> {
  const wal = await readdir(join(paths.data, "member", "wal")).catch(absent);
  if (wal?.some((file) => file.endsWith(".wal"))) return "present";
  const database = await stat(join(paths.data, "member", "snap", "db")).catch(absent);
  return database === undefined ? "empty" : "partial";
}

/** The member list, which the first other member that answers has read from a majority. */
async function askMajority(settings: EnsembleSettings, pod: Pod) {
  const reasons: string[] = [];
  const members = membersOf(settings, pod.namespace);
  for (const member of members.names.filter((name) => name !== pod.name)) {
    const client = await members.client(member);
    try {
      return { client, ...(await client.memberList()) };
    } catch (error) {
      reasons.push(`${member}: ${messageOf(error)}`);
    }
  }
  return { client: undefined, unreachable: reasons.join("; ") };
}

// --- setup

/** Every step reads before it writes. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const members = membersOf(settings, namespace);
  const clusterId = await waitForFormation(members);
  // The marker before the first user: from here on an empty volume is a lost one.
  await keepMarker(settings, namespace, api, clusterId);
  const client = await members.first();
  // After a switch of TLS each member has an `http` and an `https` peer URL.
  await keepPeerUrls(client, (member) => [peerUrl(settings, namespace, member)]);
  const { applications } = await readUsers();
  const admin = await readCredentials(paths.admin);
  // The new password is stored before etcd accepts it, and the former ones stay until the change has succeeded.
  await keepPasswords(settings, namespace, api, [admin.password, ...(await keptPasswords())]);
  await keepUsers(client, admin, applications);
  await keepPasswords(settings, namespace, api, [admin.password]);
  const logins = Object.values(applications).flat();
  await verifyLogins(members.names, async (member) => verifyUsers(await members.client(member), logins), 30);
}

async function keepPasswords(
  settings: EnsembleSettings,
  namespace: string,
  api: KubernetesApi,
  passwords: string[],
): Promise<void> {
  const name = keptName(settings.name);
  const ownerReferences = await ownersOfKept(settings, namespace, api);
  const metadata = { name, labels: agentLabels(settings), ownerReferences };
  const data = encoded({ [paths.keptFile]: JSON.stringify([...new Set(passwords)]) });
  const object: Secret = { apiVersion: "v1", kind: "Secret", metadata, data };
  await api.apply(core(namespace, "secrets", name), object, setupManager);
}

function waitForFormation({ names: expected, ask, first }: Members): Promise<string> {
  return waitFor(
    `${expected.length} members with one leader`,
    async () => {
      const { members, unreachable } = await ask();
      const reason = whyNotHealthy(members, expected.length);
      if (reason !== undefined) return { waiting: [reason, ...unreachable].join("; ") };
      const list = await (await first()).memberList();
      const names = list.members.map(({ name }) => name).sort();
      if (names.join() !== expected.join()) {
        return { waiting: `the member list is ${names.join(", ")}, expected ${expected.join(", ")}` };
      }
      return { done: list.clusterId };
    },
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2 },
  );
}

/** Users, roles and authentication as they should be; changes only what differs. */
export async function keepUsers(
  client: EtcdClient,
  admin: Credentials,
  applications: Record<string, Credentials[]>,
): Promise<void> {
  const enabled = await client.authEnabled();
  const users = await client.userList().catch((error: Error) => {
    throw error.message.includes(refusedPassword) ? new Error(foreignPassword) : error;
  });
  const roles = await client.roleList();
  const keepUser = async (login: Credentials, role: string): Promise<void> => {
    const { username } = login;
    if (!users.includes(username)) {
      log(`adding the user ${username}`);
      await client.userAdd(login);
    } else if (!enabled || !(await client.authenticates(login))) {
      log(`setting the password of the user ${username}`);
      await client.userChangePassword(login);
    }
    if (!(await client.userRoles(username)).includes(role)) await client.userGrantRole(username, role);
  };
  await keepUser(admin, adminRole);
  for (const [application, logins] of Object.entries(applications)) {
    const role = applicationRole(application);
    if (!roles.includes(role)) {
      log(`adding the role ${role}`);
      await client.roleAdd(role);
    }
    const permissions = await client.rolePermissions(role);
    if (!permissions.some((each) => isDeepStrictEqual(each, everyKey))) await client.roleGrant(role, everyKey);
    for (const login of logins) await keepUser(login, role);
  }

  // Users that no application has any more. Users that somebody else made are left alone.
  const wanted = [admin, ...Object.values(applications).flat()].map(({ username }) => username);
  for (const user of users.filter((each) => !wanted.includes(each))) {
    const own = (await client.userRoles(user))
      .filter(isOfApplication)
      .map((role) => role.slice(applicationRolePrefix.length));
    if (!own.flatMap((application) => [application, alternateName(application)]).includes(user)) continue;
    log(`removing the user ${user}, which no application has any more`);
    await client.userDelete(user);
  }
  const wantedRoles = Object.keys(applications).map(applicationRole);
  for (const role of roles.filter((each) => isOfApplication(each) && !wantedRoles.includes(each))) {
    await client.roleDelete(role);
  }

  if (!enabled) {
    const roleOf: Record<string, string> = { [admin.username]: adminRole };
    for (const [application, logins] of Object.entries(applications)) {
      for (const { username } of logins) roleOf[username] = applicationRole(application);
    }
    await refuseStrangers(client, roleOf, [adminRole, ...wantedRoles]);
    log("enabling authentication");
    await client.authEnable();
  }
}

/**
 * Whoever reached etcd while it asked for no password may have made a user. Authentication would let that user in for good, and nobody
 * would look for it. `roleOf`: the role of each user that the setup wants. Others that it made before are gone by now.
 */
async function refuseStrangers(
  client: EtcdClient,
  roleOf: Record<string, string>,
  wantedRoles: string[],
): Promise<void> {
  const strangers: string[] = [];
  for (const user of await client.userList()) {
    const roles = await client.userRoles(user);
    const others = roles.filter((role) => role !== roleOf[user]).map((role) => JSON.stringify(role));
    if (others.length > 0) strangers.push(`the user ${JSON.stringify(user)} with ${others.join(" and ")}`);
    // A setup that was killed leaves such a user of its own too, when the application is removed before the next run.
    if (roles.length === 0) log(`the user ${JSON.stringify(user)} has no role, may use no key, and is left alone`);
  }
  const foreign = (await client.roleList()).filter((role) => !wantedRoles.includes(role));
  strangers.push(...foreign.map((role) => `the role ${JSON.stringify(role)}`));
  if (strangers.length === 0) return;
  throw new Error(
    `somebody else made users or roles while etcd asked for no password: ${strangers.join(", ")}; authentication was not ` +
      "enabled; delete them with etcdctl, or delete the volume claims when their data is not needed, and run pulumi up again",
  );
}

/** It always exists. */
const adminRole = "root";

const isOfApplication = (role: string): boolean => role.startsWith(applicationRolePrefix);

/** Reads back what has been set up. */
async function verifyUsers(client: EtcdClient, users: Credentials[]): Promise<void> {
  if (!(await client.authEnabled())) throw new Error("authentication is not enabled");
  for (const login of users) {
    if (!(await client.authenticates(login))) throw new Error(`the user ${login.username} is not accepted`);
  }
}

// --- maintenance

/** Each minute, so that a member whose volume was lost is a voter again about a minute after it has all data. */
const passSeconds = 60;
/** Longer than the defragmentations of five members take: the pass hangs, and only a new process ends it. */
const hungSeconds = 1800;

async function keepMaintained(settings: MaintenanceSettings, pod: Pod): Promise<never> {
  const { namespace } = pod;
  let began = performance.now();
  let housekept = Number.NEGATIVE_INFINITY;
  let succeeded: Sample[] = [];
  let alarmed: Sample[] = [];
  const certificate = join(paths.serverTls, "tls.crt");
  const ofEnsemble = ensembleCollector({ name: settings.name, namespace }, certificate, inClusterApi(impatient));
  await servePages(agentPorts.http, {
    "/live": () => ({ ok: performance.now() - began < hungSeconds * 1000, text: "running" }),
    // It serves metrics whatever it sees.
    "/ready": () => ({ ok: true, text: "serving" }),
    "/metrics": async () => {
      const samples = [...succeeded, ...alarmed, ...(await ofEnsemble())];
      return { ok: true, text: await exposition(maintenanceMetrics, samples) };
    },
  });
  const report = newsOf("maintenance failed");
  for (;;) {
    began = performance.now();
    try {
      const all = membersOf(settings, namespace);
      alarmed = alarmSamples(await (await voterClient(all)).alarms());
      const { client, alarms } = await lookAfter(all);
      alarmed = alarmSamples(alarms);
      if (isHousekeepingDue(alarms, (performance.now() - housekept) / 60_000)) {
        await housekeep(all, client, alarms, settings, pod);
        // What fails is tried again in the next pass, and until then this one has not succeeded.
        housekept = performance.now();
      }
      succeeded = [{ name: `etcd_${successGauge}`, value: Date.now() / 1000 }];
      report(undefined);
    } catch (error) {
      report(error);
    }
    await delay(Math.max(0, began + passSeconds * 1000 - performance.now()));
  }
}

/** Promotes learners, and withdraws the alarms of members that are gone. Returns those that are left. */
async function lookAfter(all: Members): Promise<{ client: EtcdClient; alarms: Alarm[] }> {
  const { client, ids } = await promoteLearners(all);
  const raised = await client.alarms();
  const withdrawn = outlived(raised, ids);
  for (const alarm of withdrawn) {
    await client.disarm(alarm);
    log(`withdrew the alarm ${alarm.alarm} of ${alarm.memberId}, which is no member any more`);
  }
  return { client, alarms: raised.filter((alarm) => !withdrawn.includes(alarm)) };
}

async function housekeep(
  all: Members,
  client: EtcdClient,
  alarms: Alarm[],
  settings: MaintenanceSettings,
  { name: holder, namespace }: Pod,
): Promise<void> {
  const { members, unreachable } = await all.ask();
  const housekeeping = decideHousekeeping(members, settings.members, alarms);
  if ("reason" in housekeeping) throw new Error([housekeeping.reason, ...unreachable].join("; "));
  const { defragment: chosen, full } = housekeeping;
  const reserve: Reserve = (member) =>
    settings.copied === true
      ? takeTurn(memberTurn(settings.name, member), holder, namespace, inClusterApi(), copySeconds)
      : Promise.resolve(async () => undefined);
  if (full.length > 0) return freeSpace(all, client, { members, chosen, full }, reserve);
  for (const member of chosen) await defragment(all, member, settings.members, reserve);
}

/** Nobody copies the member until the returned function is called. */
type Reserve = (member: string) => Promise<() => Promise<void>>;
/** A copy takes longer, and its member is left out. A Lease of a copy that was killed has ended by then. */
const copySeconds = 40;

/** etcd allows writes again as soon as a majority has space, whatever becomes of the other members. */
export async function freeSpace(
  all: Pick<Members, "names" | "ask" | "client">,
  client: Pick<EtcdClient, "compact" | "disarm">,
  { members, chosen, full }: { members: MemberStatus[]; chosen: string[]; full: Alarm[] },
  reserve: Reserve,
): Promise<void> {
  log("the space quota is used up: compacting, defragmenting, then allowing writes again");
  await client.compact(members[0]?.status.revision ?? "0").catch((error: Error) => {
    // Compacted by etcd itself in the meantime.
    if (!error.message.includes("compacted")) throw error;
  });
  const failed: string[] = [];
  for (const member of chosen) {
    await defragment(all, member, members.length, reserve)
      .then((done) => {
        if (!done) failed.push(`${member} is being copied`);
      })
      .catch((error: Error) => {
        failed.push(`${member}: ${error.message}`);
      });
  }
  if (chosen.length - failed.length >= majority(all.names.length)) {
    for (const alarm of full) await client.disarm(alarm);
  }
  if (failed.length > 0) throw new Error(failed.join("; "));
}

/** Promotes each learner as soon as the leader finds it in sync. Returns a client, and the ids of all members. */
function promoteLearners(all: Members): Promise<{ client: EtcdClient; ids: string[] }> {
  return waitFor(
    "learners to become voters",
    async () => {
      const client = await voterClient(all);
      const { members } = await client.memberList();
      const learner = members.find((member) => member.learner);
      if (learner === undefined) return { done: { client, ids: members.map(({ id }) => id) } };
      if (learner.name === "") return { waiting: `${learner.peerUrls.join()} has not started yet` };
      await client.memberPromote(learner.id);
      log(`promoted ${learner.name} to a voter`);
      return { waiting: "whether there is another learner" };
    },
    { deadlineSeconds: promotionDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

/**
 * Of the first voter that has a leader; further members are not asked, since each login costs a comparison of passwords. Not
 * through the Service: with the alarm CORRUPT no member is ready.
 */
async function voterClient(all: Members): Promise<EtcdClient> {
  const reasons: string[] = [];
  for (const name of all.names) {
    const client = await all.client(name);
    const { members, unreachable } = await askStatuses([name], async () => client);
    if (members.some(({ status }) => !status.learner && status.leader !== "0")) return client;
    reasons.push(...unreachable);
  }
  throw new Error(["no voter has a leader", ...reasons].join("; "));
}

/** Only while all are well of whom an answer is expected. false: the member is being copied. */
export async function defragment(
  all: Pick<Members, "ask" | "client">,
  member: string,
  expected: number,
  reserve: Reserve,
): Promise<boolean> {
  const release = await reserve(member).catch((error: unknown) => log(`left out ${member}: ${messageOf(error)}`));
  if (release === undefined) return false;
  try {
    await defragmentReserved(all, member, expected);
  } finally {
    await release();
  }
  return true;
}

async function defragmentReserved(
  all: Pick<Members, "ask" | "client">,
  member: string,
  expected: number,
): Promise<void> {
  const before = await all.ask();
  const reason = whyNotHealthy(before.members, expected);
  if (reason !== undefined) throw new Error(`stopped before the defragmentation of ${member}: ${reason}`);
  const client = await all.client(member);
  await client.defragment();
  const size = before.members.find(({ name }) => name === member)?.status.dbSize ?? 0;
  log(`defragmented ${member}: ${size} bytes before, ${(await client.status()).dbSize} bytes after`);
}

// --- roll

async function examineMembers(...[pods, settings, namespace]: Parameters<Examine>): ReturnType<Examine> {
  const names = [...pods.keys()];
  const { members, unreachable } = await askStatuses(names, membersOf(settings, namespace).client);
  return conditionsOf(names, members, unreachable);
}

export function conditionsOf(names: string[], members: MemberStatus[], unreachable: string[]): Map<string, Condition> {
  const trouble = whyNotHealthy(members, members.length);
  return new Map(
    names.map((name): [string, Condition] => {
      const member = members.find((each) => each.name === name);
      if (member === undefined) {
        const reason = unreachable.find((each) => each.startsWith(`${name}: `)) ?? "it does not answer";
        return [name, { whole: false, leads: false, detail: reason.replace(`${name}: `, "") }];
      }
      const { status } = member;
      const detail = trouble ?? whyBehind(member, members) ?? "";
      return [name, { whole: detail === "", leads: status.leader === status.memberId, detail }];
    }),
  );
}
