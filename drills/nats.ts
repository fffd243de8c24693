import { JetStreamApiError, jetstream, jetstreamManager, StorageType, type StreamInfo } from "@nats-io/jetstream";
import { connect, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node";
import { patient, waitFor, within } from "../checks";
import { wantedReplicas } from "../components/nats/layout";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { Refused } from "./ledger";
import { commonBudgets, firstAnswer, inTurn, type Profile, rotation, type Workload, writerOf } from "./workload";

const writeSeconds = 1;
const connectSeconds = 2;
const leaderSeconds = 20;
/** Requests on their way at the same time when a whole stream is read. */
const readConcurrency = 64;

export const natsProfile: Profile = {
  container: "nats",
  processes: ["nats-server"],
  sidecar: false,
  // Whichever member goes may lead the streams of somebody else, so a follower has the budget of a leader.
  // Followers wait 4 to 9 s for a leader that says nothing, which nobody can set (raft.go of nats-server 2.15.2), and a client asks each second.
  budgets: { ...commonBudgets, kill: 15, hang: 12, handOver: 5, follower: 15, volume: 180, fullStop: 90 },
  loss: "none",
  renews: false,
  open: openNats,
};

/**
 * Publishes to a replicated stream on files. One connection for each member, made again by hand: the addresses that the
 * servers tell their clients are not reachable through a tunnel, so the library must not follow them.
 */
async function openNats(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members } = target;
  const stream = `DRILL_${run.toUpperCase()}`;
  const subject = `drill.${run}`;
  const options = await connectionOptions(target, environment);
  const connections = new Map<string, Promise<NatsConnection>>();
  const writers = rotation(members);
  const replicaCount = wantedReplicas(members.length);

  const connectionOf = async (member: string): Promise<NatsConnection> => {
    const known = connections.get(member);
    if (known !== undefined) {
      const connection = await known.catch(() => undefined);
      if (connection?.isClosed() === false) return connection;
      if (connections.get(member) !== known) return connectionOf(member);
    }
    const fresh = open(target, environment, member, options);
    connections.set(member, fresh);
    return fresh;
  };
  const managerOf = async (member: string) =>
    jetstreamManager(await connectionOf(member), { checkAPI: false, timeout: connectSeconds * 1000 });
  const info = (): Promise<StreamInfo> =>
    firstAnswer(members, async (member) => (await managerOf(member)).streams.info(stream));
  const leaderOf = (seen: StreamInfo): string => {
    const leader = seen.cluster?.leader;
    if (leader === undefined || leader === "") throw new Error(`the stream ${stream} has no leader`);
    return memberOf(members, leader);
  };
  const holdersOf = (seen: StreamInfo): string[] => {
    const followers = (seen.cluster?.replicas ?? []).map((each) => memberOf(members, each.name));
    const holding = new Set([leaderOf(seen), ...followers]);
    return members.filter((each) => holding.has(each));
  };
  const convergedStream = async (): Promise<{ done: StreamInfo } | { waiting: string }> => {
    const seen = await info();
    const holders = holdersOf(seen);
    const replicas = seen.cluster?.replicas ?? [];
    const behind = replicas.filter((each) => !each.current || each.offline === true || (each.lag ?? 0) > 100);
    if (behind.length > 0) return { waiting: `replicas behind: ${behind.map((each) => each.name).join(", ")}` };
    return holders.length === replicaCount
      ? { done: seen }
      : { waiting: `replicas only on ${holders.join(", ")}, ${replicaCount} are wanted` };
  };
  const moveLeader = async (member: string): Promise<void> => {
    await waitFor(
      `leadership of ${stream} on ${member}`,
      async () => {
        const leader = leaderOf(await info());
        if (leader === member) return { done: true };
        const connection = await connectionOf(leader);
        const body = JSON.stringify({ placement: { preferred: member } });
        await connection.request(`$JS.API.STREAM.LEADER.STEPDOWN.${stream}`, body, { timeout: connectSeconds * 1000 });
        return { waiting: `${leader} leads` };
      },
      { ...patient, deadlineSeconds: leaderSeconds, intervalSeconds: 0.5 },
    );
  };

  return {
    async prepare() {
      await inTurn(members, async (member) =>
        (await managerOf(member)).streams.add({
          name: stream,
          subjects: [subject],
          storage: StorageType.File,
          num_replicas: replicaCount,
        }),
      );
    },
    async write(id, writer) {
      const member = writers.current(writer);
      try {
        const connection = await within(connectionOf(member), connectSeconds, `connection to ${member}`);
        await jetstream(connection).publish(subject, id, { msgID: id, timeout: writeSeconds * 1000, retries: 0 });
      } catch (error) {
        writers.next(writer);
        throw isRefusal(error) ? new Refused((error as Error).message) : error;
      }
    },
    async leader() {
      const seen = await info();
      const since = seen.cluster?.leader_since;
      const meta = await metaLeader(target, environment).catch(() => undefined);
      return {
        member: leaderOf(seen),
        ...(since === undefined ? {} : { term: since }),
        detail: `meta leader ${meta ?? "unknown"}`,
      };
    },
    async converged() {
      const seen = await convergedStream();
      // The leader takes a member that has just died for a current one; the members themselves know better.
      await Promise.all(members.map((member) => monitor(target, environment, member, "healthz")));
      return "done" in seen ? { done: true } : seen;
    },
    holders: async () => holdersOf(await info()),
    // A server that lost its volume comes back under the same name, so nothing but its content can tell.
    identity: async (member) => member,
    async clusterIdentity(member) {
      // There is no identity of the whole; a cluster that was formed anew does not know when this stream was made.
      const { created, cluster } = await (await managerOf(member)).streams.info(stream);
      return `${cluster?.name ?? "without a name"}, stream of ${created}`;
    },
    async stored(member) {
      // Only the leader of a stream answers from its own files for certain, so each member has to lead once.
      await moveLeader(member);
      const { state } = await info();
      const manager = await managerOf(member);
      const ids = new Set<string>();
      const sequences = range(state.first_seq, state.last_seq);
      await Promise.all(
        Array.from({ length: readConcurrency }, async () => {
          for (const seq of sequences) {
            const message = await manager.streams.getMessage(stream, { seq });
            if (message !== null) ids.add(message.string());
          }
        }),
      );
      const leader = leaderOf(await info());
      if (leader !== member) throw new Error(`${member} lost the leadership to ${leader} while it was read`);
      return ids;
    },
    async close() {
      const removal = inTurn(members, async (member) => (await managerOf(member)).streams.delete(stream));
      await removal.catch(() => undefined);
      const all = await Promise.allSettled(connections.values());
      await Promise.all(all.flatMap((each) => (each.status === "fulfilled" ? [each.value.close()] : [])));
    },
  };
}

async function connectionOptions(target: CheckTarget, environment: CheckEnvironment): Promise<NodeConnectionOptions> {
  // The administrator sees the system account; streams live in the account of an application.
  const { secret: secretName } = writerOf(target);
  const { username, password } = await environment.secret(secretName);
  const ca = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
  return {
    ...(username === undefined ? {} : { user: username }),
    ...(password === undefined ? {} : { pass: password }),
    ...(target.tls === "off" || ca === undefined ? {} : { tls: { ca } }),
    reconnect: false,
    ignoreClusterUpdates: true,
    timeout: connectSeconds * 1000,
    // A server that is gone without a word is noticed after two pings.
    pingInterval: 1000,
    maxPingOut: 2,
    name: "drill",
  };
}

async function open(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  options: NodeConnectionOptions,
): Promise<NatsConnection> {
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  const servername = memberHost(target.name, target.namespace, member);
  // `servername` is passed on to node:tls; the types of the library do not know it.
  const tls = options.tls === undefined || options.tls === null ? {} : { tls: { ...options.tls, servername } };
  return connect({ ...options, ...tls, servers: `${host}:${port}` });
}

/** The first server of the list whose name is, or begins with, the name of the pod. */
function memberOf(members: string[], server: string): string {
  return members.find((each) => server === each || server.startsWith(`${each}.`)) ?? server;
}

/** Refused for certain: the server says so itself. Without quorum it does not answer, and that is unknown. */
function isRefusal(error: unknown): boolean {
  return error instanceof JetStreamApiError && error.code >= 400 && error.code < 500;
}

async function metaLeader(target: CheckTarget, environment: CheckEnvironment): Promise<string | undefined> {
  return firstAnswer(target.members, async (member) => {
    const body = (await monitor(target, environment, member, "jsz")) as { meta_cluster?: { leader?: string } };
    if (body.meta_cluster?.leader === undefined) throw new Error(`${member} names no meta leader`);
    return body.meta_cluster.leader;
  });
}

/** What a server says about itself. Its health is good only when its own replica of every stream has caught up. */
async function monitor(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  path: "jsz" | "healthz",
): Promise<unknown> {
  const { host, port } = await environment.tunnel.dial(member, target.metricsPort);
  const response = await fetch(`http://${host}:${port}/${path}`, {
    signal: AbortSignal.timeout(connectSeconds * 1000),
  });
  const body = await response.text();
  if (!response.ok) throw new Error(`${member} is not well: ${body.slice(0, 200)}`);
  return JSON.parse(body);
}

function* range(first: number, last: number): Generator<number> {
  for (let each = Math.max(1, first); each <= last; each += 1) yield each;
}
