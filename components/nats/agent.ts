/**
 * What must run in the cluster for NATS, beside what all services have in common:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do, and
 *                releases the servers that are to leave
 *   member       the init container of each member: decides whether its server may start
 *   setup        a Job after the members are ready: marker, and proof that all users can log in everywhere
 *   reconcile    a Deployment: keeps the replicas of all streams, and makes servers read renewed certificates
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { NatsConnection } from "@nats-io/transport-node";
import { commonCommands } from "../shared/agent/commands";
import { absent } from "../shared/agent/files";
import { keepMarker, readMarker } from "../shared/agent/guard";
import { http } from "../shared/agent/http";
import { impatient, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { ensembleCollector } from "../shared/agent/metrics";
import { examineEach } from "../shared/agent/roll";
import { waitForStart } from "../shared/agent/start";
import { messageOf } from "../shared/core/errors";
import type { Sample } from "../shared/core/metrics";
import { memberHost, memberNames, serviceHost } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { askJetStream, jetStreamStates } from "./client";
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
import { type Answer, clusterName, decide } from "./member";
import { acceptedOf, administrator, endpointOf, logIn, withUser } from "./members";
import { memberSamples, observeMember } from "./metrics";
import { reconcile } from "./reconciler";
import { type Group, type JetStreamPage, nextRelease, type ReleaseStep, toHeldStreams } from "./release";
import { type RenewalOptions, tellToRead } from "./renewal";

/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;

export const commands: Commands = {
  ...commonCommands({
    volume: paths.data,
    start: startMember,
    setup,
    examine: (pods, settings, namespace) => examineServers([...pods.keys()], settings, namespace),
    release,
  }),
  reconcile: async () => keepReconciled(readSettings<EnsembleSettings>(), readPod().namespace),
};

// --- preflight

async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const staying = memberNames(settings.name, settings.members);
  const host = memberHost(settings.name, namespace, staying[0] ?? "");
  const refused = await waitFor<string>(
    `the cluster without ${leaving.join(" and ")}`,
    () =>
      withUser(settings, host, administrator, async (connection) => {
        const step = nextRelease(await observeGroup(settings, namespace, staying), staying);
        if (step.kind === "refuse") return { done: step.reason };
        return step.kind === "done" ? { done: "" } : { waiting: await takeStep(connection, step) };
      }),
    { deadlineSeconds: releaseSeconds, intervalSeconds: 2, onError: "wait" },
  );
  if (refused !== "") throw new Error(refused);
}

/** Returns what the next step waits for. The meta leader answers, to users of the system account only. */
async function takeStep(
  connection: NatsConnection,
  step: Exclude<ReleaseStep, { kind: "done" | "refuse" }>,
): Promise<string> {
  switch (step.kind) {
    case "step-down":
      await askJetStream(connection, "META.LEADER.STEPDOWN", { placement: { preferred: step.to } });
      return `${step.from} gives the lead of the meta group to ${step.to}`;
    case "move":
      for (const { account, name } of step.streams) {
        await askJetStream(connection, `ACCOUNT.STREAM.MOVE.${account}.${name}`, { server: step.server });
      }
      return `${step.streams.map(({ account, name }) => `${account} > ${name}`).join(", ")} leave ${step.server}`;
    case "remove":
      await askJetStream(connection, "SERVER.REMOVE", { peer: step.server, peer_id: step.peer });
      return `${step.server} is removed from the meta group`;
    case "wait":
      return step.reason;
  }
}

/** Throws when a server that should answer does not. */
async function observeGroup(settings: EnsembleSettings, namespace: string, staying: string[]): Promise<Group> {
  const ask = async (member: string): Promise<JetStreamPage> => {
    const { body } = await monitor(settings, namespace, member, "jsz?streams=true&config=true", 10);
    return JSON.parse(body) as JetStreamPage;
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
  const { members, tls } = settings;
  const clusterId = clusterName(settings.name, pod.namespace);
  await waitForStart(pod.name, async () => {
    const data = await observeData();
    // A member with data needs neither the marker nor the others, so it restarts even while the API server is away.
    const marker = data === "present" ? undefined : await readMarker(settings.name, pod.namespace, api);
    const others = marker === undefined ? [] : await askOthers(settings, pod);
    return decide({ data, marker, others }, { name: pod.name, clusterId, members, tls });
  });
}

async function observeData(): Promise<"present" | "empty"> {
  // A server that never met another one leaves files too, but neither a snapshot nor a log with content.
  const snapshots = await readdir(join(metaFolder, "snapshots")).catch(absent);
  if (snapshots !== undefined && snapshots.length > 0) return "present";
  for (const file of (await readdir(join(metaFolder, "msgs")).catch(absent)) ?? []) {
    if (file.endsWith(".blk") && (await stat(join(metaFolder, "msgs", file))).size > 0) return "present";
  }
  return "empty";
}

/** The monitoring port says how far the log of the meta group goes. A server that is stopping says nothing. */
async function askOthers(settings: EnsembleSettings, pod: Pod): Promise<Answer[]> {
  const ask = async (member: string): Promise<Answer> => {
    const { status, body } = await monitor(settings, pod.namespace, member, "raftz");
    if (status !== 200) return { member, hasData: false, reason: `status ${status}` };
    const index = (JSON.parse(body) as { SYS?: { _meta_?: { pindex?: number } } }).SYS?._meta_?.pindex ?? 0;
    return index > 0 ? { member, hasData: true } : { member, hasData: false, reason: "it has no data itself" };
  };
  const failed = (member: string, error: unknown): Answer => ({ member, hasData: false, reason: messageOf(error) });
  const others = memberNames(settings.name, settings.members).filter((member) => member !== pod.name);
  return Promise.all(others.map((member) => ask(member).catch((error: unknown) => failed(member, error))));
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
      await keepUsersRead(settings, namespace, member);
      for (const login of [...admin, ...Object.values(applications).flat()]) {
        await logIn(await endpointOf(settings, host, login));
      }
    },
    // The kubelet brings a changed Secret to the members within two minutes.
    180,
  );
}

/** Throws until the server has read the users of the Secret. */
async function keepUsersRead(settings: EnsembleSettings, namespace: string, member: string): Promise<void> {
  const file = await readFile(join(paths.config, paths.usersFile), "utf8");
  const { body } = await monitor(settings, namespace, member, "varz");
  const { server_id: server, tags = [] } = JSON.parse(body) as { server_id: string; tags?: string[] };
  const read = tags.find((tag) => tag.startsWith(usersTag));
  if (read !== undefined && file.includes(read)) return;
  const accepted = await acceptedOf(settings, memberHost(settings.name, namespace, member), administrator);
  throw new Error(`its users are old; ${await tellToRead(server, accepted)}`);
}

async function waitForFormation(settings: EnsembleSettings, namespace: string): Promise<void> {
  const members = memberNames(settings.name, settings.members);
  const host = serviceHost(settings.name, namespace);
  await waitFor(
    `${settings.members} members with one leader`,
    async () => {
      const ask = (connection: NatsConnection) => jetStreamStates(connection, settings.members, 3_000);
      const reason = whyNotFormed(await withUser(settings, host, administrator, ask), members);
      return reason === undefined ? { done: true } : { waiting: reason };
    },
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

// --- roll

/** Each server reports on itself, the meta group, and its streams and consumers. */
const examineServers = (members: string[], settings: EnsembleSettings, namespace: string) =>
  examineEach(members, async (member) => {
    const ask = (path: string) => monitor(settings, namespace, member, path);
    const [health, state] = await Promise.all([ask("healthz?details=true"), ask("jsz")]);
    const leads = (JSON.parse(state.body) as JetStreamPage).meta_cluster?.leader === member;
    const reason = whyNotHealthy(JSON.parse(health.body) as Health);
    return { whole: reason === undefined, leads, detail: reason ?? "" };
  });

// --- reconcile

/** What the reconciler sees of the certificate that clients see. */
const clientCertificate = join(paths.serverTls, "tls.crt");
/** Of the 10 s that Prometheus waits for a scrape, if nothing else was said. */
const scrapeSeconds = 3;

async function keepReconciled(settings: EnsembleSettings, namespace: string): Promise<void> {
  const { username, password } = await readCredentials(paths.reconciler);
  await reconcile({
    host: serviceHost(settings.name, namespace),
    caFile: settings.tls === "off" ? undefined : join(paths.trust, "ca.crt"),
    accounts: settings.applications.map((application) => ({
      account: application,
      credentials: { username: inAccount(username, application), password },
    })),
    replicas: wantedReplicas(settings.members),
    certificates: renewalOf(settings, namespace, { username: inAccount(username, systemAccount), password }),
    samples: collector(settings, namespace),
  });
}

function collector(settings: EnsembleSettings, namespace: string): () => Promise<Sample[]> {
  const ofEnsemble = ensembleCollector({ ...settings, namespace }, clientCertificate, inClusterApi(impatient));
  const members = memberNames(settings.name, settings.members);
  return async () => {
    const ofMembers = members.map(async (member) => {
      const ask = (path: string) => monitor(settings, namespace, member, path, scrapeSeconds);
      return memberSamples(member, await observeMember(ask).catch(() => undefined));
    });
    return (await Promise.all([...ofMembers, ofEnsemble()])).flat();
  };
}

/** With a user that may only tell servers to read their files. */
function renewalOf(settings: EnsembleSettings, namespace: string, credentials: Credentials): RenewalOptions {
  const members = settings.tls === "off" ? [] : memberNames(settings.name, settings.members);
  return {
    members: Object.fromEntries(members.map((member) => [member, monitoringUrl(settings, namespace, member, "varz")])),
    files: { client: clientCertificate, peer: join(paths.peerTls, "tls.crt") },
    endpoint: async () => ({
      ...(await endpointOf(settings, serviceHost(settings.name, namespace), credentials)),
      name: "cells-services-renewal",
      inboxPrefix: reconcilerInbox,
    }),
  };
}

// --- members

function monitoringUrl({ name }: EnsembleSettings, namespace: string, member: string, path: string): string {
  return `http://${memberHost(name, namespace, member)}:${ports.metrics}/${path}`;
}

const monitor = (settings: EnsembleSettings, namespace: string, member: string, path: string, timeoutSeconds = 5) =>
  http({ url: monitoringUrl(settings, namespace, member, path), timeoutSeconds });
