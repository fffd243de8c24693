/**
 * What must run in the cluster for NATS:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do, and
 *                releases the servers that are to leave
 *   member       the init container of each member: decides whether its server may start
 *   roll         a Job after the StatefulSet: replaces members whose pods are not what it wants, as all services do it
 *   setup        a Job after the members are ready: marker, and proof that all users can log in everywhere
 *   reconcile    a Deployment: keeps the replicas of all streams, and makes servers read renewed certificates
 *   certificates a Job and a CronJob, shared by all services
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { certificatesCommand } from "../shared/agent/certificates";
import { absent } from "../shared/agent/files";
import { keepMarker, preflightCommand, readMarker, setupCommand } from "../shared/agent/guard";
import { http } from "../shared/agent/http";
import type { KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readLogin, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { type Examine, examineEach, rollCommand } from "../shared/agent/roll";
import { memberCommand } from "../shared/agent/volume";
import { log } from "../shared/core/log";
import { memberHost, memberNames, serviceHost } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Endpoint, jetStreamStates, open } from "./client";
import { type Health, whyNotFormed, whyNotHealthy } from "./formation";
import {
  inAccount,
  metaFolder,
  paths,
  ports,
  reconcilerInbox,
  releaseSeconds,
  systemAccount,
  usersTag,
  wantedReplicas,
} from "./layout";
import { type Answer, clusterName, decide, type Identity } from "./member";
import { reconcile } from "./reconciler";
import { type Group, type JetStreamPage, nextRelease, type ReleaseStep, toHeldStreams } from "./release";
import { type RenewalOptions, tellToRead } from "./renewal";

/** How long a member waits for what may pass before its container ends and is started again with a back-off. */
const memberDeadlineSeconds = 300;
/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;
export const commands: Commands = {
  preflight: () => preflightCommand({ examine: examineMembers, release }),
  member: () => memberCommand(paths.data, startMember),
  roll: () => rollCommand(examineMembers),
  setup: () => setupCommand(setup),
  reconcile: async () => keepReconciled(readSettings<EnsembleSettings>(), readPod().namespace),
  certificates: certificatesCommand,
};

// --- preflight

async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const [first = ""] = memberNames(settings.name, settings.members);
  const host = memberHost(settings.name, namespace, first);
  const refused = await waitFor<string>(
    `the cluster without ${leaving.join(" and ")}`,
    async () => {
      const { admin } = await readUsers();
      const connection = await open(await firstAccepted(settings, host, admin));
      try {
        const step = await releaseOne(connection, settings, namespace);
        if (step.kind === "refuse") return { done: step.reason };
        return step.kind === "done" ? { done: "" } : { waiting: describeStep(step) };
      } finally {
        await connection.close();
      }
    },
    { deadlineSeconds: releaseSeconds, intervalSeconds: 2, onError: "wait" },
  );
  if (refused !== "") throw new Error(refused);
}

/** Takes the next step, if there is one, and returns it. */
async function releaseOne(
  connection: NatsConnection,
  settings: EnsembleSettings,
  namespace: string,
): Promise<ReleaseStep> {
  const staying = memberNames(settings.name, settings.members);
  const step = nextRelease(await observeGroup(settings, namespace, staying), staying);
  if (step.kind === "step-down") {
    await command(connection, "META.LEADER.STEPDOWN", { placement: { preferred: step.to } });
  } else if (step.kind === "move") {
    for (const { account, name } of step.streams) {
      await command(connection, `ACCOUNT.STREAM.MOVE.${account}.${name}`, { server: step.server });
    }
  } else if (step.kind === "remove") {
    await command(connection, "SERVER.REMOVE", { peer: step.server, peer_id: step.peer });
  }
  return step;
}

function describeStep(step: Exclude<ReleaseStep, { kind: "done" }>): string {
  switch (step.kind) {
    case "step-down":
      return `${step.from} gives the lead of the meta group to ${step.to}`;
    case "move":
      return `${step.streams.map(({ account, name }) => `${account} > ${name}`).join(", ")} leave ${step.server}`;
    case "remove":
      return `${step.server} is removed from the meta group`;
    case "wait":
    case "refuse":
      return step.reason;
  }
}

/** The meta leader answers these, to users of the system account. */
async function command(connection: NatsConnection, subject: string, request: object): Promise<void> {
  const answer = await connection.request(`$JS.API.${subject}`, JSON.stringify(request), { timeout: 10_000 });
  const { error } = answer.json<{ error?: { description: string } }>();
  if (error !== undefined) throw new Error(`${subject}: ${error.description}`);
}

/** Throws when a server that should answer does not. */
async function observeGroup(settings: EnsembleSettings, namespace: string, staying: string[]): Promise<Group> {
  const ask = async (member: string): Promise<JetStreamPage> => {
    const host = memberHost(settings.name, namespace, member);
    const url = `http://${host}:${ports.metrics}/jsz?streams=true&config=true`;
    return JSON.parse((await http({ url, timeoutSeconds: 10 })).body) as JetStreamPage;
  };
  const pages = new Map<string, JetStreamPage>();
  for (const member of staying) pages.set(member, await ask(member));
  const named = pages.get(staying[0] ?? "")?.meta_cluster?.leader ?? "";
  if (named !== "" && !pages.has(named)) pages.set(named, await ask(named));
  // Only a server that leads, and knows it, lists all peers.
  const { leader = "", replicas: peers = [] } = pages.get(named)?.meta_cluster ?? {};
  if (leader !== named) throw new Error(`${named} no longer leads the meta group`);
  for (const { name, offline } of peers) if (offline !== true && !pages.has(name)) pages.set(name, await ask(name));
  const conditions = [...(await examineServers(staying, settings, namespace))];
  const troubles = conditions.flatMap(([member, { whole, detail }]) => (whole ? [] : [`${member}: ${detail}`]));
  return { leader, peers, streams: toHeldStreams(pages), troubles };
}

// --- member

async function startMember(settings: EnsembleSettings, pod: Pod, api: KubernetesApi): Promise<void> {
  const self: Identity = {
    name: pod.name,
    clusterId: clusterName(settings.name, pod.namespace),
    members: settings.members,
    tls: settings.tls,
  };
  await waitFor(
    `a safe way to start ${self.name}`,
    async () => {
      const data = await observeData();
      // With data neither the marker nor the others matter, and a member restarts even while the API server is away.
      const marker = data === "present" ? undefined : await readMarker(settings.name, pod.namespace, api);
      const others = marker === undefined ? [] : await askOthers(settings, pod);
      const action = decide({ data, marker, others }, self);
      log(`decision: ${action.kind}: ${action.reason}`);
      return action.kind === "start" ? { done: true } : { waiting: action.reason };
    },
    { deadlineSeconds: memberDeadlineSeconds, intervalSeconds: 5 },
  );
}

async function observeData(): Promise<"present" | "empty"> {
  // A server that met nobody leaves files too, but neither a snapshot nor a log with anything in it.
  const snapshots = await readdir(join(metaFolder, "snapshots")).catch(absent);
  if (snapshots !== undefined && snapshots.length > 0) return "present";
  for (const file of (await readdir(join(metaFolder, "msgs")).catch(absent)) ?? []) {
    if (file.endsWith(".blk") && (await stat(join(metaFolder, "msgs", file))).size > 0) return "present";
  }
  return "empty";
}

interface Raft {
  SYS?: { _meta_?: { pindex?: number } };
}

/** The monitoring port tells how far the log of the group goes; one that is on its way out tells nothing. */
async function askOthers(settings: EnsembleSettings, pod: Pod): Promise<Answer[]> {
  const others = memberNames(settings.name, settings.members).filter((member) => member !== pod.name);
  return Promise.all(
    others.map(async (member): Promise<Answer> => {
      try {
        const url = `http://${memberHost(settings.name, pod.namespace, member)}:${ports.metrics}/raftz`;
        const { status, body } = await http({ url, timeoutSeconds: 5 });
        if (status !== 200) return { member, hasData: false, reason: `status ${status}` };
        const index = (JSON.parse(body) as Raft).SYS?._meta_?.pindex ?? 0;
        return index > 0 ? { member, hasData: true } : { member, hasData: false, reason: "it has no data itself" };
      } catch (error) {
        return { member, hasData: false, reason: (error as Error).message };
      }
    }),
  );
}

// --- setup

/** Every step reads before it writes. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  await waitForFormation(settings, namespace);
  // From here on an empty volume is a lost one.
  await keepMarker(settings, namespace, api, clusterName(settings.name, namespace));
  const { admin, applications } = await readUsers();
  await verifyLogins(
    memberNames(settings.name, settings.members),
    async (member) => {
      const host = memberHost(settings.name, namespace, member);
      await keepUsersRead(settings, host, admin);
      for (const login of [...admin, ...Object.values(applications).flat()]) {
        await (await open(await endpoint(settings, host, login))).close();
      }
    },
    // The kubelet brings a changed Secret to the members within two minutes.
    180,
  );
}

/** Throws until the server has read the users of the Secret. */
async function keepUsersRead(settings: EnsembleSettings, host: string, admin: Credentials[]): Promise<void> {
  const file = await readFile(join(paths.config, paths.usersFile), "utf8");
  const { body } = await http({ url: `http://${host}:${ports.metrics}/varz`, timeoutSeconds: 5 });
  const { server_id: server, tags = [] } = JSON.parse(body) as { server_id: string; tags?: string[] };
  const read = tags.find((tag) => tag.startsWith(usersTag));
  if (read !== undefined && file.includes(read)) return;
  throw new Error(`its users are old; ${await tellToRead(server, await firstAccepted(settings, host, admin))}`);
}

/** The server may know only the former administrator. */
async function firstAccepted(settings: EnsembleSettings, host: string, users: Credentials[]): Promise<Endpoint> {
  let error: unknown;
  for (const login of users) {
    const each = await endpoint(settings, host, login);
    try {
      await (await open(each)).close();
      return each;
    } catch (reason) {
      error = reason;
    }
  }
  throw error;
}

async function waitForFormation(settings: EnsembleSettings, namespace: string): Promise<void> {
  const members = memberNames(settings.name, settings.members);
  await waitFor(
    `${settings.members} members with one leader`,
    async () => {
      const { admin } = await readUsers();
      const connection = await open(await firstAccepted(settings, serviceHost(settings.name, namespace), admin));
      try {
        const states = await jetStreamStates(connection, settings.members, 3_000);
        const reason = whyNotFormed(states, members);
        return reason === undefined ? { done: true } : { waiting: reason };
      } finally {
        await connection.close();
      }
    },
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

// --- roll

interface JetStream {
  meta_cluster?: { leader?: string };
}

/** The server looks at itself, at the meta group, and at each of its streams and consumers. */
const examineMembers: Examine = (pods, settings, namespace) => examineServers([...pods.keys()], settings, namespace);

const examineServers = (members: string[], settings: EnsembleSettings, namespace: string) =>
  examineEach(members, async (member) => {
    const ask = (path: string) =>
      http({
        url: `http://${memberHost(settings.name, namespace, member)}:${ports.metrics}/${path}`,
        timeoutSeconds: 5,
      });
    const [health, state] = await Promise.all([ask("healthz?details=true"), ask("jsz")]);
    const leads = (JSON.parse(state.body) as JetStream).meta_cluster?.leader === member;
    const reason = whyNotHealthy(JSON.parse(health.body) as Health);
    return { whole: reason === undefined, leads, detail: reason ?? "" };
  });

// --- reconcile

async function keepReconciled(settings: EnsembleSettings, namespace: string): Promise<void> {
  const { username, password } = await readCredentials(paths.reconciler);
  await reconcile({
    host: serviceHost(settings.name, namespace),
    port: ports.client,
    caFile: settings.tls === "off" ? undefined : join(paths.trust, "ca.crt"),
    accounts: settings.applications.map((application) => ({
      account: application,
      credentials: { username: inAccount(username, application), password },
    })),
    replicas: wantedReplicas(settings.members),
    certificates: renewalOf(settings, namespace, { username: inAccount(username, systemAccount), password }),
    probePort: ports.reconciler,
  });
}

/** With a user that may do nothing else. */
function renewalOf(settings: EnsembleSettings, namespace: string, credentials: Credentials): RenewalOptions {
  const members = settings.tls === "off" ? [] : memberNames(settings.name, settings.members);
  const monitoring = members.map((member) => {
    return [member, `http://${memberHost(settings.name, namespace, member)}:${ports.metrics}/varz`] as const;
  });
  return {
    members: Object.fromEntries(monitoring),
    files: { client: join(paths.serverTls, "tls.crt"), peer: join(paths.peerTls, "tls.crt") },
    endpoint: async () => ({
      host: serviceHost(settings.name, namespace),
      port: ports.client,
      tls: { ca: await readFile(join(paths.trust, "ca.crt"), "utf8") },
      credentials,
      name: "cells-services-renewal",
      inboxPrefix: reconcilerInbox,
    }),
  };
}

// --- members

async function endpoint(settings: EnsembleSettings, host: string, credentials: Credentials): Promise<Endpoint> {
  const login = await readLogin(settings.tls, paths.trust, host, credentials);
  return { ...login, port: ports.client, name: "cells-services-setup" };
}
