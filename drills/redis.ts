import type { Redis } from "ioredis";
import { within } from "../checks";
import { open, toInfo, toRecord } from "../components/redis/client";
import { markDatabase, markKey, ports } from "../components/redis/layout";
import { adminAccess, applicationAccess } from "../components/shared/check/logins";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { Refused } from "./ledger";
import { commonBudgets, type Profile, type Workload, writerOf } from "./workload";

const writeSeconds = 1;
const readSeconds = 10;
/** Bytes that a replica may be behind while others write. */
const lagBytes = 100_000;

export const redisProfile: Profile = {
  container: "redis",
  processes: ["redis-server"],
  sidecar: true,
  // A hand-over takes 2.2 to 3.1 s with 8.0.6; Sentinels look at the replica that they promote once a second.
  budgets: { ...commonBudgets, kill: 15, handOver: 5, follower: 1, volume: 60, volumeGap: 15, fullStop: 60 },
  // Replication is asynchronous: what a master has acknowledged may have reached nobody else.
  loss: "counted",
  // A master whose replicas are silent for longer takes no writes (min-replicas-max-lag).
  lossSeconds: 10,
  renews: false,
  open: openRedis,
};

/** Writes one key for each id through the one address, and reads every member by itself. */
async function openRedis(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members } = target;
  const { application } = writerOf(target);
  const prefix = `drill:${run}:`;
  const { access: writing } = await applicationAccess(target, environment, application);
  const reading = await adminAccess(target, environment);
  const writers = new Map<number, Promise<Redis>>();
  const readers = new Map<string, Promise<Redis>>();

  const connect = async (
    servername: string,
    address: { host: string; port: number },
    { ca, auth }: typeof reading,
    seconds: number,
  ): Promise<Redis> =>
    open({
      ...address,
      name: "drill",
      timeoutMilliseconds: seconds * 1000,
      ...(auth === undefined ? {} : { credentials: auth }),
      ...(ca === undefined ? {} : { tls: { ca, servername } }),
    });
  const byAddress = async (): Promise<Redis> =>
    connect(target.host, await environment.tunnel.service(target.name, target.clientPort), writing, writeSeconds);
  /** Kept as long as it works, by member and port. */
  const readerOf = async (member: string, port: number): Promise<Redis> => {
    const key = `${member}:${port}`;
    const known = await readers.get(key)?.catch(() => undefined);
    if (known?.status === "ready") return known;
    const host = memberHost(target.name, target.namespace, member);
    const fresh = environment.tunnel.dial(member, port).then((address) => connect(host, address, reading, readSeconds));
    readers.set(key, fresh);
    return fresh;
  };
  const infoOf = async (member: string): Promise<Record<string, string>> =>
    toInfo(await (await readerOf(member, target.clientPort)).info("replication"));

  return {
    async prepare() {
      const client = await byAddress();
      await client.ping();
      client.disconnect();
    },
    async write(id, writer) {
      const known = writers.get(writer) ?? byAddress();
      writers.set(writer, known);
      try {
        const client = await within(known, 2 * writeSeconds, "a connection to the address");
        await client.set(`${prefix}${id}`, id);
      } catch (error) {
        writers.delete(writer);
        known.then(
          (client) => client.disconnect(),
          () => undefined,
        );
        throw isRefusal(error) ? new Refused((error as Error).message) : error;
      }
    },
    async leader() {
      const seen = await Promise.allSettled(
        members.map(async (member) => {
          const client = await readerOf(member, ports.sentinel);
          const known = toRecord(await client.call("SENTINEL", "MASTER", target.name));
          return { master: known["ip"], epoch: Number(known["config-epoch"]) };
        }),
      );
      const views = seen.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
      const latest = views.sort((a, b) => b.epoch - a.epoch)[0];
      if (latest === undefined) throw new Error("no sentinel answers");
      const member = members.find((each) => memberHost(target.name, target.namespace, each) === latest.master);
      if (member === undefined) throw new Error(`the sentinels name ${latest.master ?? "nobody"}, which is no member`);
      const { role } = await infoOf(member);
      if (role !== "master") throw new Error(`${member}, which the sentinels name, is ${role ?? "unknown"}`);
      // No term: a master that is back before it is taken for dead rightly stays master, without an election.
      return { member, detail: `epoch ${latest.epoch}, named by ${views.length} sentinels` };
    },
    async converged() {
      const infos = await Promise.all(members.map(async (member) => ({ member, info: await infoOf(member) })));
      const masters = infos.filter(({ info }) => info["role"] === "master");
      const [master] = masters;
      if (master === undefined || masters.length > 1) return { waiting: `${masters.length} masters` };
      for (const { member, info } of infos) {
        if (member === master.member) continue;
        if (info["master_link_status"] !== "up" || info["master_sync_in_progress"] === "1") {
          return { waiting: `${member} is not connected to ${master.member}` };
        }
        // Until then it is not one that could take over.
        if (info["slave_priority"] === "0") return { waiting: `${member} may not be elected yet` };
        const behind = Number(master.info["master_repl_offset"]) - Number(info["slave_repl_offset"]);
        if (behind > lagBytes) return { waiting: `${member} is ${behind} bytes behind` };
      }
      return { done: true };
    },
    holders: async () => members,
    identity: async (member) => member,
    async clusterIdentity(member) {
      const client = await readerOf(member, target.clientPort);
      await client.select(markDatabase);
      try {
        const [id] = ((await client.get(markKey)) ?? "").split(" ");
        if (id === undefined || id === "") throw new Error(`${member} has no mark`);
        return id;
      } finally {
        await client.select(0);
      }
    },
    async stored(member) {
      const client = await readerOf(member, target.clientPort);
      const ids = new Set<string>();
      let cursor = "0";
      do {
        const [next, keys] = await client.scan(cursor, "MATCH", `${prefix}*`, "COUNT", 5000);
        for (const key of keys) ids.add(key.slice(prefix.length));
        cursor = next;
      } while (cursor !== "0");
      return ids;
    },
    async close() {
      const removal = async (): Promise<void> => {
        const client = await connect(
          target.host,
          await environment.tunnel.service(target.name, target.clientPort),
          reading,
          readSeconds,
        );
        let cursor = "0";
        do {
          const [next, keys] = await client.scan(cursor, "MATCH", `${prefix}*`, "COUNT", 5000);
          if (keys.length > 0) await client.unlink(...keys);
          cursor = next;
        } while (cursor !== "0");
        client.disconnect();
      };
      await removal().catch(() => undefined);
      const all = await Promise.allSettled([...writers.values(), ...readers.values()]);
      for (const each of all) if (each.status === "fulfilled") each.value.disconnect();
    },
  };
}

/** Refused for certain: the server says that it has not done it. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof Error && /^(READONLY|NOREPLICAS|OOM|MISCONF|LOADING|NOPERM|NOAUTH|WRONGPASS)/.test(error.message)
  );
}
