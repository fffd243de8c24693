import { type Long, MongoClient, MongoServerError, type Timestamp } from "mongodb";
import { patient, waitFor } from "../checks";
import { openProxy } from "../components/mongodb/proxy";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { memberHost } from "../components/shared/core/names";
import { Refused } from "./ledger";
import { commonBudgets, firstAnswer, type Leadership, type Profile, type Workload, writerOf } from "./workload";

const writeMilliseconds = 1_000;
const readSeconds = 20;
/** NotWritablePrimary, NotPrimaryNoSecondaryOk: the server looked at its role and did nothing. */
const refusals = [10107, 13435];

export const mongodbProfile: Profile = {
  container: "mongod",
  processes: ["mongod"],
  sidecar: true,
  budgets: { ...commonBudgets, kill: 15, handOver: 5, follower: 3, volume: 180, fullStop: 90 },
  loss: "none",
  renews: false,
  open: openMongodb,
};

interface Status {
  term: Long;
  members: { name: string; stateStr: string; self?: boolean; optime: { ts: Timestamp }; optimeDate: Date }[];
}

/** Of the answering member itself: what it says of others is as old as their last heartbeat. */
function own(status: Status): Status["members"][number] {
  const found = status.members.find(({ self }) => self === true);
  if (found === undefined) throw new Error("a member does not find itself in its set");
  return found;
}

/** Writes go to the set by its address, as those of an application do; each member is read by itself. */
async function openMongodb(target: CheckTarget, environment: CheckEnvironment, run: string): Promise<Workload> {
  const { members, name, namespace } = target;
  const user = await environment.secret(writerOf(target).secret);
  const admin = await environment.secret(target.adminSecret);
  const trust = target.trust === null ? undefined : (await environment.configMap(target.trust))["ca.crt"];
  const proxy = await openProxy(environment.tunnel);
  const clients: MongoClient[] = [];

  const connect = (url: string, auth: Record<string, string>, authSource: string, selection: number): MongoClient => {
    const client = new MongoClient(url, {
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      auth: { username: auth["username"] ?? "", password: auth["password"] ?? "" },
      authSource,
      tls: trust !== undefined,
      ...(trust === undefined ? {} : { ca: trust }),
      // Every error is wanted: retries of the library would hide what happened to which write.
      retryWrites: false,
      retryReads: false,
      serverSelectionTimeoutMS: selection,
      connectTimeoutMS: writeMilliseconds,
      heartbeatFrequencyMS: 500,
      appName: "cells-services-drill",
    });
    // Heartbeats of a member that is away are no error of the drill.
    client.on("error", () => undefined);
    clients.push(client);
    return client;
  };
  const database = user["database"] ?? "";
  const set = connect(user["url"] ?? "", user, database, writeMilliseconds);
  const collection = set.db(database).collection<{ _id: string }>(`drill_${run}`);
  const hostOf = (member: string): string => `${memberHost(name, namespace, member)}:${target.clientPort}`;
  const memberOf = (host: string): string => host.split(".")[0] ?? host;
  const singles = new Map(
    members.map((member) => [
      member,
      connect(`mongodb://${hostOf(member)}/?directConnection=true`, admin, "admin", writeMilliseconds * 2),
    ]),
  );
  // A client whose first connection has failed connects again only when it is told to.
  const single = async (member: string): Promise<MongoClient> => {
    const client = singles.get(member);
    if (client === undefined) throw new Error(`no member ${member} in ${name}; it has ${members.join(", ")}`);
    return client.connect();
  };
  const statusOf = async (member: string): Promise<Status> =>
    (await (await single(member)).db("admin").command({ replSetGetStatus: 1 })) as unknown as Status;
  const configOf = async (member: string) =>
    (await (await single(member)).db("admin").command({ replSetGetConfig: 1 }))["config"] as {
      members: { host: string; votes: number }[];
      settings: { replicaSetId: unknown };
    };

  const leader = (): Promise<Leadership> =>
    firstAnswer(members, async (member) => {
      const status = await statusOf(member);
      const primary = status.members.find(({ stateStr }) => stateStr === "PRIMARY");
      if (primary === undefined) throw new Error(`${member} sees no primary`);
      return { member: memberOf(primary.name), term: status.term.toString() };
    });

  return {
    async prepare() {
      await set.connect();
      await collection.insertOne({ _id: "prepared" }).catch((error: unknown) => {
        // A former attempt has got there.
        if (!(error instanceof MongoServerError && error.code === 11000)) throw error;
      });
    },
    async write(id) {
      try {
        await collection.insertOne(
          { _id: id },
          { writeConcern: { w: "majority", wtimeoutMS: writeMilliseconds }, timeoutMS: writeMilliseconds },
        );
      } catch (error) {
        if (error instanceof MongoServerError && refusals.includes(Number(error.code)))
          throw new Refused(error.message);
        throw error;
      }
    },
    leader,
    async converged() {
      const seen = await Promise.all(members.map(statusOf));
      const primaries = new Set(
        seen.flatMap((each) => each.members.filter(({ stateStr }) => stateStr === "PRIMARY").map((m) => m.name)),
      );
      if (primaries.size !== 1) return { waiting: `primaries: ${[...primaries].join(", ") || "none"}` };
      const others = seen.flatMap((each) =>
        each.members.filter(({ stateStr }) => !["PRIMARY", "SECONDARY"].includes(stateStr)),
      );
      if (others.length > 0)
        return { waiting: others.map((each) => `${memberOf(each.name)} ${each.stateStr}`).join(", ") };
      const silent = (await configOf(members[0] ?? "")).members.filter(({ votes }) => votes !== 1);
      if (silent.length > 0)
        return { waiting: `without a vote: ${silent.map(({ host }) => memberOf(host)).join(", ")}` };
      const times = seen.map((each) => own(each).optimeDate.getTime());
      const behind = Math.max(...times) - Math.min(...times);
      // The time of the last write, in whole seconds; without load they must be equal, which `stored` shows.
      return behind <= 2_000 ? { done: true } : { waiting: `a member is ${behind / 1000} s behind` };
    },
    holders: async () => members,
    identity: async (member) => member,
    clusterIdentity: async (member) => String((await configOf(member)).settings.replicaSetId),
    async stored(member) {
      // What a majority has is on its way to the others.
      const { ts: newest } = own(await statusOf((await leader()).member)).optime;
      await waitFor(
        `${member} with all writes`,
        async () => {
          const { optime, optimeDate } = own(await statusOf(member));
          const reached = optime.ts.compare(newest) >= 0;
          return reached ? { done: true } : { waiting: `it is at ${optimeDate.toISOString()}` };
        },
        { ...patient, deadlineSeconds: readSeconds },
      );
      const there = (await single(member)).db(database).collection<{ _id: string }>(`drill_${run}`);
      const rows = await there.find({}, { readPreference: "secondaryPreferred" }).toArray();
      return new Set(rows.map(({ _id }) => _id).filter((id) => id !== "prepared"));
    },
    async close() {
      await collection.drop().catch(() => undefined);
      await Promise.allSettled(clients.map((client) => client.close()));
      proxy.close();
    },
  };
}
