import { patient, waitFor } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { mayDo, memberOf, whyNotWhole } from "../components/vault/check";
import { type Health, type VaultClient, VaultError, vaultClient } from "../components/vault/client";
import { describeServer } from "../components/vault/membership";
import { Refused } from "./ledger";
import { commonBudgets, firstAnswer, inTurn, type Profile, rotation, type Workload, writerOf } from "./workload";

/** A client that waits longer than an election only makes the gap larger than it is. */
const writeSeconds = 2;
const readSeconds = 20;

export const vaultProfile: Profile = {
  container: "vault",
  processes: ["vault"],
  sidecar: true,
  budgets: { ...commonBudgets, kill: 15, handOver: 5, follower: 5, volume: 180, fullStop: 90 },
  loss: "none",
  renews: true,
  open: openVault,
};

/** One key for each write, as an application; any member will do, since standbys pass on what they are asked. */
async function openVault(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members } = target;
  const writers = rotation(members);
  const { token, ca } = await applicationToken(target, environment);
  const { token: monitor } = await environment.secret(target.adminSecret);
  const clientOf = async (member: string, as: string | undefined, timeoutSeconds: number): Promise<VaultClient> => {
    const { host, port } = await environment.tunnel.dial(member, target.clientPort);
    return vaultClient({
      url: `${ca === undefined ? "http" : "https"}://${host}:${port}`,
      ca,
      servername: ca === undefined ? undefined : memberHost(target.name, target.namespace, member),
      token: as,
      timeoutSeconds,
    });
  };
  const mount = await firstAnswer(members, async (member) =>
    usableMount(target, environment, await clientOf(member, token, readSeconds)),
  );
  const host = (member: string): string => memberHost(target.name, target.namespace, member);
  const folder = `drill-${run}`;
  const path = (kind: "data" | "metadata", id: string): string => `${mount}/${kind}/${folder}/${id}`;
  const watch = (member: string): Promise<VaultClient> => clientOf(member, monitor, writeSeconds);
  const healthOf = async (member: string): Promise<Health> => (await watch(member)).health();
  const peers = () => firstAnswer(members, async (member) => (await watch(member)).peers());
  const autopilot = () => firstAnswer(members, async (member) => (await watch(member)).autopilotState());
  const listed = async (member: string): Promise<string[]> =>
    (await clientOf(member, token, readSeconds)).list(`${mount}/metadata/${folder}`);

  return {
    async prepare() {
      await inTurn(members, async (member) =>
        (await clientOf(member, token, readSeconds)).write(path("data", "prepared"), { data: { id: "prepared" } }),
      );
    },
    async write(id, writer) {
      try {
        const client = await clientOf(writers.current(writer), token, writeSeconds);
        await client.write(path("data", id), { data: { id } });
      } catch (error) {
        writers.next(writer);
        throw isRefusal(error) ? new Refused((error as Error).message) : error;
      }
    },
    async leader() {
      // The members themselves: the list of peers needs a leader that answers.
      const leader = await firstAnswer(members, async (member) => {
        const health = await healthOf(member);
        if (health.sealed || health.standby) throw new Error(`${member} ${describeServer(health)}`);
        return member;
      });
      return { member: leader };
    },
    async converged() {
      for (const member of members) {
        const health = await healthOf(member);
        const serves = health.initialised && !health.sealed && !health.removed;
        if (!serves || (health.standby && health.following !== true)) {
          return { waiting: `${member} ${describeServer(health)}` };
        }
      }
      const reason = whyNotWhole(target, await peers());
      if (reason !== undefined) return { waiting: reason };
      const { healthy, servers } = await autopilot();
      const ill = servers.filter((server) => !server.healthy).map(({ address }) => memberOf(target, address));
      return healthy ? { done: true } : { waiting: `not healthy: ${ill.join(", ") || "no reason given"}` };
    },
    holders: async () => members,
    async identity(member) {
      const found = (await peers()).find(({ address }) => memberOf(target, address) === member);
      if (found === undefined) throw new Error(`${member} is not in the list of peers`);
      return found.id;
    },
    async clusterIdentity(member) {
      const { clusterId } = await healthOf(member);
      if (clusterId === undefined) throw new Error(`${member} does not know its cluster`);
      return clusterId;
    },
    async stored(member) {
      // A standby answers with what the active member says. That its own log goes as far as that of the active one is told
      // by autopilot, and with the same last entry two logs of Raft are the same.
      const leader = (await peers()).find((each) => each.leader)?.address;
      const goal = lastIndex(target, (await autopilot()).servers, leader);
      await waitFor(
        `${member} with all that the active member has`,
        async () => {
          // A standby tells every few seconds how far it is.
          const own = lastIndex(target, (await autopilot()).servers, host(member));
          return own >= goal ? { done: true } : { waiting: `it is ${goal - own} entries behind` };
        },
        { ...patient, deadlineSeconds: readSeconds, intervalSeconds: 0.5 },
      );
      return new Set((await listed(member)).filter((id) => id !== "prepared"));
    },
    async close() {
      const removal = inTurn(members, async (member) => {
        const client = await clientOf(member, token, readSeconds);
        for (const id of await listed(member)) await client.remove(path("metadata", id));
      });
      await removal.catch(() => undefined);
    },
  };
}

async function applicationToken(target: CheckTarget, environment: CheckEnvironment) {
  const { secret: secretName } = writerOf(target);
  const { token } = await environment.secret(secretName);
  if (!token) throw new Error(`token in the Secret ${secretName} is missing`);
  const ca = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
  return { token, ca: target.tls === "off" ? undefined : ca };
}

/** The first mount in which the application may write keys of the drill, list and remove them. */
async function usableMount(target: CheckTarget, environment: CheckEnvironment, client: VaultClient): Promise<string> {
  const { secret: secretName } = writerOf(target);
  const mounts = ((await environment.secret(secretName))["mounts"] ?? "").split(",");
  for (const mount of mounts) {
    const paths = [`${mount}/data/drill-x/y`, `${mount}/metadata/drill-x/`, `${mount}/metadata/drill-x/y`];
    const [data = [], list = [], metadata = []] = await mayDo(client, paths);
    if (data.includes("create") && list.includes("list") && metadata.includes("delete")) return mount;
  }
  throw new Error(
    `no mount in which the application of ${secretName} may create, list and remove keys, got ${mounts.join(", ") || "none"}`,
  );
}

function lastIndex(
  target: CheckTarget,
  servers: { address: string; lastIndex: number }[],
  address: string | undefined,
): number {
  const member = memberOf(target, address ?? "");
  const found = servers.find((server) => memberOf(target, server.address) === member);
  if (found === undefined) throw new Error(`autopilot does not know ${member}`);
  return found.lastIndex;
}

/** Refused for certain: Vault says so itself. What it could not do it has perhaps done. */
function isRefusal(error: unknown): boolean {
  return error instanceof VaultError && error.status >= 400 && error.status < 500;
}
