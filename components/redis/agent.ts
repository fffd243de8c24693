/** The commands for Redis, see `shared/agent/commands.ts`. */
import type { Redis } from "ioredis";
import { commonCommands } from "../shared/agent/commands";
import { keepMarker, watchMarker } from "../shared/agent/guard";
import { askAgent } from "../shared/agent/http";
import { core, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readLogin, readUsers, verifyLogins } from "../shared/agent/logins";
import type { Commands, Ensemble, Pod } from "../shared/agent/main";
import { type Examine, examineSidecars, type MemberPod, rollCommand } from "../shared/agent/roll";
import { sidecarCommand } from "../shared/agent/start";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { open, toInfo, toServer } from "./client";
import { writeMemberFiles } from "./files";
import { leavingPriority, markDatabase, markKey, memberOf, newsSeconds, paths, ports } from "./layout";
import { isMaster, type Server, up } from "./membership";
import { afterForgetting, nextRelease } from "./release";
import { askEach, createSidecar } from "./sidecar";

/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;
/** The news of the Sentinels, and two hand-overs with the time that a pod has to stop. */
const releaseSeconds = 180;

export const commands: Commands = {
  ...commonCommands({
    volume: paths.data,
    start: startMember,
    setup,
    release,
    sidecar: () => sidecarCommand((settings, pod, ask) => createSidecar(settings, pod, watchMarker(ask))),
  }),
  roll: () => rollCommand(examineMembers),
};

/**
 * The members that leave are stopped at once, so none of them may be master then. They are not forgotten here: until
 * they have stopped their Sentinels make themselves known again. The agents of those that stay make their Sentinels
 * forget them afterwards.
 */
async function release(leaving: string[], settings: EnsembleSettings, namespace: string): Promise<void> {
  const api = inClusterApi();
  const ensemble = { ...settings, namespace };
  const staying = memberNames(settings.name, settings.members);
  const members = [...staying, ...leaving];
  let lowered = Number.NEGATIVE_INFINITY;
  await waitFor(
    `a master among ${staying.join(", ")}`,
    async () => {
      const servers = await askEach(members, (member) =>
        readServer(ensemble, member).catch((error): Server => ({ state: "away", reason: messageOf(error) })),
      );
      const step = nextRelease(servers, staying, leaving);
      if (step.kind === "done") return { done: true };
      if (step.kind === "wait") return { waiting: step.reason };
      if (step.kind === "lower") {
        for (const member of step.members) {
          log(`${member} is to leave, and is elected after all others`);
          await withServer(ensemble, member, (client) => client.config("SET", "replica-priority", leavingPriority));
        }
        lowered = performance.now();
        return { waiting: "what the servers say then" };
      }
      if (performance.now() - lowered < newsSeconds * 1000) return { waiting: "the sentinels to hear of it" };
      const path = core(namespace, "pods", step.member);
      const { uid, deletionTimestamp } = (await api.get<MemberPod>(path))?.metadata ?? {};
      if (uid !== undefined && deletionTimestamp === undefined) {
        log(`${step.member} is to leave, and is master: its pod is replaced, so that it hands over`);
        // All that stay follow it, so the disruption budget has nothing to say: a leaving member may have failed.
        await api.remove(path, uid);
      }
      return { waiting: `the hand-over of ${step.member}` };
    },
    { deadlineSeconds: releaseSeconds, onError: "wait" },
  );
}

function readServer(ensemble: Ensemble, member: string): Promise<Server> {
  return withServer(ensemble, member, async (client) => {
    const info = toInfo(await client.info("replication"));
    await client.select(markDatabase);
    return toServer(info, await client.get(markKey), (host) => memberOf(ensemble.name, ensemble.namespace, host));
  });
}

const examineMembers: Examine = async (pods, settings, namespace) => {
  const conditions = await examineSidecars(pods, settings, namespace);
  const settled = [...conditions].map(async ([member, condition]) => {
    const metrics = await askAgent(settings, namespace, member, "/metrics").catch(() => undefined);
    return [member, afterForgetting(condition, metrics?.body ?? "", settings.members)] as const;
  });
  return new Map(await Promise.all(settled));
};

/** Asks nothing first: whatever its volume holds, a server starts as a replica of nobody. */
async function startMember(settings: EnsembleSettings, { name, namespace }: Pod): Promise<void> {
  await writeMemberFiles({ ...settings, namespace, member: name });
  log("the configurations of server and sentinel are written");
}

/** Every step reads before it writes. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const ensemble = { ...settings, namespace };
  const clusterId = await waitForFormation(ensemble);
  // From here on empty volumes are lost ones.
  await keepMarker(settings, namespace, api, clusterId);
  const { admin, applications } = await readUsers();
  await verifyLogins(
    memberNames(settings.name, settings.members),
    async (member) => {
      for (const login of [...admin, ...Object.values(applications).flat()]) {
        (await openMember(ensemble, member, login)).disconnect();
      }
    },
    // The kubelet brings a changed Secret to the members within two minutes.
    180,
  );
}

/** Returns the id that the first master gave to the data: all members have it. */
async function waitForFormation(ensemble: Ensemble): Promise<string> {
  const members = memberNames(ensemble.name, ensemble.members);
  return waitFor(
    `one master and ${members.length - 1} replicas`,
    async () => {
      const servers = await askEach(members, (member) => readServer(ensemble, member));
      const masters = members.filter((member) => isMaster(servers[member]));
      if (masters.length !== 1) return { waiting: `masters: ${masters.join(", ") || "none"}` };
      const unlinked = members.filter((member) => !masters.includes(member) && up(servers[member])?.linked !== true);
      if (unlinked.length > 0) return { waiting: `not connected to the master: ${unlinked.join(", ")}` };
      const ids = new Set(members.map((member) => up(servers[member])?.clusterId));
      const [id] = ids;
      return ids.size === 1 && id !== undefined
        ? { done: id }
        : { waiting: "the data has no mark yet, or not on all members" };
    },
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

/** As the administrator. */
async function withServer<T>(ensemble: Ensemble, member: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = await openMember(ensemble, member, await readCredentials(paths.admin));
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

async function openMember(
  { name, namespace, tls }: Ensemble,
  member: string,
  credentials: Credentials,
): Promise<Redis> {
  const login = await readLogin(tls, paths.trust, memberHost(name, namespace, member), credentials);
  return open({ ...login, port: ports.client, name: "cells-services-setup", timeoutMilliseconds: 5000 });
}
