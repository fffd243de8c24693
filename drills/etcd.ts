import { Etcd3, GRPCInvalidArgumentError, type IMember, type IOptions, type IStatusResponse } from "etcd3";
import { messageOf } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { Refused } from "./ledger";
import { commonBudgets, firstAnswer, inTurn, type Profile, rotation, type Workload, writerOf } from "./workload";

/** A client that waits longer than an election only makes the gap larger than it is. */
const writeSeconds = 1;
const readSeconds = 20;

export const etcdProfile: Profile = {
  container: "etcd",
  processes: ["etcd"],
  sidecar: false,
  budgets: {
    ...commonBudgets,
    kill: 5,
    handOver: 2,
    follower: 1,
    volume: 120,
    // Longer than an election: the leader applies the removal of the lost member while its dial to the dead address runs
    // into its time-out.
    volumeGap: 15,
    fullStop: 60,
  },
  loss: "none",
  renews: true,
  open: openEtcd,
};

/** One client for each member, so that the drill decides whom it talks to and reads each member by itself. */
async function openEtcd(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members } = target;
  const prefix = `/drill/${run}/`;
  const writing = await openClients(target, environment, writerOf(target).secret);
  const administrators = await openClients(target, environment, target.adminSecret);
  const writers = rotation(members);
  const deadline = (seconds: number): { deadline: number } => ({ deadline: Date.now() + seconds * 1000 });
  const statusOf = (member: string): Promise<IStatusResponse> =>
    administrators.use(member, (client) => client.maintenance.status());
  const memberList = async (): Promise<IMember[]> =>
    firstAnswer(members, (member) =>
      administrators.use(member, async (client) => (await client.cluster.memberList({ linearizable: true })).members),
    );

  return {
    async prepare() {
      await inTurn(members, (member) =>
        writing.use(member, (client) => client.put(`${prefix}prepared`).value("").exec()),
      );
    },
    async write(id, writer) {
      try {
        await writing.use(writers.current(writer), (client) =>
          client
            .put(prefix + id)
            .value(id)
            .options(deadline(writeSeconds))
            .exec(),
        );
      } catch (error) {
        writers.next(writer);
        throw error instanceof GRPCInvalidArgumentError ? new Refused(error.message) : error;
      }
    },
    async leader() {
      const status = await firstAnswer(members, async (member) => {
        const answer = await statusOf(member);
        if (answer.leader === "0") throw new Error(`${member} sees no leader`);
        return answer;
      });
      const leader = (await memberList()).find((each) => each.ID === status.leader);
      if (leader === undefined) throw new Error(`the leader ${status.leader} is not in the member list`);
      return { member: leader.name, term: status.raftTerm };
    },
    async converged() {
      const list = await memberList();
      const learners = list.filter((each) => each.isLearner).map((each) => each.name || each.ID);
      if (learners.length > 0) return { waiting: `learners: ${learners.join(", ")}` };
      const names = list.map((each) => each.name).sort();
      if (names.join() !== [...members].sort().join()) return { waiting: `members: ${names.join(", ")}` };
      const statuses = await Promise.all(members.map(statusOf));
      const leaders = new Set(statuses.map((each) => each.leader));
      if (leaders.size !== 1 || leaders.has("0")) return { waiting: `leaders seen: ${[...leaders].join(", ")}` };
      const applied = statuses.map((each) => Number(each.raftAppliedIndex));
      const behind = Math.max(...applied) - Math.min(...applied);
      // Under load the members are asked one after the other; without load they must be equal, which `stored` shows.
      return behind <= 100 ? { done: true } : { waiting: `a member is ${behind} entries behind` };
    },
    holders: async () => members,
    async identity(member) {
      const found = (await memberList()).find((each) => each.name === member);
      if (found === undefined) throw new Error(`${member} is not in the member list`);
      return found.ID;
    },
    // Made when the cluster is formed, and kept in the data of each member.
    clusterIdentity: async (member) => (await statusOf(member)).header.cluster_id,
    async stored(member) {
      // Serializable: the member answers from its own store, without asking the others.
      const keys = await writing.use(member, (client) =>
        client.getAll().prefix(prefix).serializable(true).options(deadline(readSeconds)).keys(),
      );
      return new Set(keys.map((key) => key.slice(prefix.length)));
    },
    async close() {
      const removal = inTurn(members, (member) =>
        writing.use(member, (client) => client.delete().prefix(prefix).options(deadline(readSeconds)).exec()),
      );
      await removal.catch(() => undefined);
      writing.close();
      administrators.close();
    },
  };
}

interface Clients {
  use<T>(member: string, ask: (client: Etcd3) => Promise<T>): Promise<T>;
  close(): void;
}

/** One client for each member, with what this Secret says. */
async function openClients(target: CheckTarget, environment: CheckEnvironment, secret: string): Promise<Clients> {
  const login = await environment.secret(secret);
  const opened: Etcd3[] = [];
  const clients = new Map<string, Etcd3>();
  const renew = async (member: string): Promise<Etcd3> => {
    const client = await connect(target, environment, member, login);
    opened.push(client);
    clients.set(member, client);
    return client;
  };
  for (const member of target.members) await renew(member);
  return {
    async use(member, ask) {
      const client = clients.get(member) ?? (await renew(member));
      try {
        return await ask(client);
      } catch (error) {
        // After each change of users: the official client logs in again then, this one does not.
        if (!messageOf(error).includes("revision of auth store is old")) throw error;
        return ask(clients.get(member) === client ? await renew(member) : (clients.get(member) ?? client));
      }
    },
    close() {
      for (const client of opened) client.close();
    },
  };
}

async function connect(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  { username, password }: Record<string, string>,
): Promise<Etcd3> {
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  const tls = target.tls !== "off";
  const trust = tls && target.trust !== null ? (await environment.configMap(target.trust))["ca.crt"] : undefined;
  if (tls && trust === undefined) throw new Error(`no ca.crt in the ConfigMap ${target.trust ?? "(none)"}`);
  const name = memberHost(target.name, target.namespace, member);
  return new Etcd3({
    // The client asks for its token without the name below, so the certificate must fit this one too: members carry
    // "localhost", and TLS does not allow an address as the name of a server.
    hosts: `${tls ? "https" : "http"}://${host === "127.0.0.1" ? "localhost" : host}:${port}`,
    ...(trust === undefined ? {} : { credentials: { rootCertificate: Buffer.from(trust) } }),
    ...(username === undefined || password === undefined
      ? {}
      : { auth: { username, password, callOptions: () => ({ deadline: Date.now() + writeSeconds * 1000 }) } }),
    defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: Date.now() + writeSeconds * 1000 }),
    dialTimeout: writeSeconds * 1000,
    grpcOptions: {
      ...(tls ? { "grpc.ssl_target_name_override": name, "grpc.default_authority": name } : {}),
      // The default waits a second and then ever longer, which would count as a write gap of the service.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.min_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 500,
    },
    // Every error is wanted: retries of the library would hide what happened to which write.
    faultHandling: { host: () => once, global: once },
  });
}

type Policy = NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;

/** A policy that does nothing: calls once and passes on what happens. */
const once = {
  execute: async (call: (context: { signal: AbortSignal }) => unknown) =>
    call({ signal: new AbortController().signal }),
} as unknown as Policy;
