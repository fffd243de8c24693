/**
 * What must run in the cluster for Redis:
 *
 *   preflight    a Job before the first start, and when what it judges changes: refuses what a living cluster cannot do
 *   member       the init container of each member: writes the configurations of its server and its Sentinel
 *   sidecar      beside them: who is master, who follows, and what the gateway and the probes ask
 *   roll         a Job after the StatefulSet: replaces members whose pods are not what it wants, as all services do it
 *   setup        a Job after the members are ready: marker, and proof that all users can log in everywhere
 *   certificates a Job and a CronJob, shared by all services
 */
import { certificatesCommand } from "../shared/agent/certificates";
import { askMarker, keepMarker, preflightCommand, setupCommand } from "../shared/agent/guard";
import { impatient, inClusterApi, type KubernetesApi } from "../shared/agent/kubernetes";
import { readCredentials, readLogin, readUsers, verifyLogins } from "../shared/agent/logins";
import { type Commands, type Pod, readPod, readSettings } from "../shared/agent/main";
import { rollCommand } from "../shared/agent/roll";
import { runSidecar } from "../shared/agent/sidecar";
import { log } from "../shared/core/log";
import { memberHost, memberNames } from "../shared/core/names";
import type { EnsembleSettings, SetupSettings } from "../shared/core/settings";
import type { Credentials } from "../shared/core/users";
import { waitFor } from "../shared/core/wait";
import { type Endpoint, open, toInfo } from "./client";
import { writeMemberFiles } from "./files";
import { markDatabase, markKey, paths, ports } from "./layout";
import { createSidecar } from "./sidecar";

/** The members are ready when the setup starts; what remains is the time of one election or one restart. */
const formationDeadlineSeconds = 240;

export const commands: Commands = {
  preflight: () => preflightCommand(),
  member: async () => startMember(readSettings<EnsembleSettings>(), readPod()),
  sidecar: async () => {
    const settings = readSettings<EnsembleSettings>();
    const pod = readPod();
    return runSidecar(createSidecar(settings, pod, () => askMarker(settings, pod.namespace, inClusterApi(impatient))));
  },
  roll: () => rollCommand(),
  setup: () => setupCommand(setup),
  certificates: certificatesCommand,
};

/** No question is asked here: whatever its volume holds, a server starts as a replica of nobody. */
async function startMember(settings: EnsembleSettings, pod: Pod): Promise<void> {
  const { name, members, tls } = settings;
  await writeMemberFiles({ name, namespace: pod.namespace, member: pod.name, members, tls });
  log("the configurations of server and sentinel are written");
}

// --- setup

/** Every step reads before it writes. */
async function setup(settings: SetupSettings, namespace: string, api: KubernetesApi): Promise<void> {
  const clusterId = await waitForFormation(settings, namespace);
  // From here on empty volumes are lost ones.
  await keepMarker(settings, namespace, api, clusterId);
  const { admin, applications } = await readUsers();
  await verifyLogins(
    memberNames(settings.name, settings.members),
    async (member) => {
      for (const login of [...admin, ...Object.values(applications).flat()]) {
        (await open(await endpoint(settings, namespace, member, login))).disconnect();
      }
    },
    // The kubelet brings a changed Secret to the members within two minutes.
    180,
  );
}

/** Returns the id that the first master gave to the data: all members have it. */
async function waitForFormation(settings: EnsembleSettings, namespace: string): Promise<string> {
  const members = memberNames(settings.name, settings.members);
  return waitFor(
    `one master and ${settings.members - 1} replicas`,
    async () => {
      const seen = await Promise.all(
        members.map(async (member) => {
          const client = await open(await endpoint(settings, namespace, member, await readCredentials(paths.admin)));
          try {
            const info = toInfo(await client.info("replication"));
            await client.select(markDatabase);
            return { member, info, clusterId: (await client.get(markKey))?.split(" ")[0] };
          } finally {
            client.disconnect();
          }
        }),
      );
      const masters = seen.filter(({ info }) => info["role"] === "master");
      if (masters.length !== 1)
        return { waiting: `masters: ${masters.map(({ member }) => member).join(", ") || "none"}` };
      const unlinked = seen.filter(({ info }) => info["role"] !== "master" && info["master_link_status"] !== "up");
      if (unlinked.length > 0) {
        return { waiting: `not connected to the master: ${unlinked.map(({ member }) => member).join(", ")}` };
      }
      const ids = new Set(seen.map(({ clusterId }) => clusterId));
      const [id] = ids;
      return ids.size === 1 && id !== undefined
        ? { done: id }
        : { waiting: "the data has no mark yet, or not on all members" };
    },
    { deadlineSeconds: formationDeadlineSeconds, intervalSeconds: 2, onError: "wait" },
  );
}

async function endpoint(
  settings: EnsembleSettings,
  namespace: string,
  member: string,
  credentials: Credentials,
): Promise<Endpoint> {
  return {
    ...(await readLogin(settings.tls, paths.trust, memberHost(settings.name, namespace, member), credentials)),
    port: ports.client,
    name: "cells-services-setup",
    timeoutMilliseconds: 5000,
  };
}
