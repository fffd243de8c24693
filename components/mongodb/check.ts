/** Proves with the driver that a MongoDB replica set works. Loads the driver when it runs: previews need none. */
import { randomBytes } from "node:crypto";
import type { Document, MongoClient } from "mongodb";
import { checkCertificates } from "../shared/check/certificates";
import { type Connections, probeName } from "../shared/check/connections";
import {
  answering,
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  observeAll,
  waiting,
} from "../shared/check/context";
import { type Access, applicationAccess, enterAsApplication } from "../shared/check/logins";
import { checkMembers } from "../shared/check/members";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { waitFor } from "../shared/core/wait";
import { connectionString, databaseOf, address as setAddress, setHost } from "./layout";
import { settingsProblems } from "./membership";
import { openProxy } from "./proxy";

/** Of the collections that a check writes to; one that was killed leaves its own. */
const collectionPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { step, address } = context;
  const session = await openSession(target, environment);
  const greet = async (client: MongoClient): Promise<string> =>
    `mongodb ${String((await command(client, { buildInfo: 1 }))["version"])}`;
  return checkMembers(context, session, greet, async ({ access, clients, places }) => {
    await step("topology", "look at the logs of the members, and at what their agents say on /ready", () =>
      checkTopology(target, clients),
    );
    await step("durability", "look at the log of the setup job", () => checkDurability(target, clients));
    await step("address", "look at the Service and at which members are ready", async () => {
      const me = String((await command(await session.open(address, access), { hello: 1 }))["me"]);
      if (!hostsOf(target).includes(me)) throw new Error(`${target.host} leads to ${me}, which is no member`);
      return `${target.host} leads to ${me}`;
    });
    for (const application of Object.keys(target.applications)) {
      const database = databaseOf(application);
      const { name, namespace, members, tls } = target;
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => ({ url: setAddress({ name, namespace, members: members.length, tls, database }), database }),
        enter: (place, as) => session.open(place, as, database),
      });
      if (granted === undefined) continue;
      await step(`rights ${application}`, "look at the users of the database, and at the log of the setup job", () =>
        checkApplication(context, session, application, granted),
      );
      await step(`transaction ${application}`, "a majority must answer: look at readiness of the members", () =>
        checkTransaction(context, session, application),
      );
    }

    await checkStrangers(context, {
      places,
      access,
      enter: async (place, as) => command(await session.open(place, as), { listDatabases: 1 }),
      strangers: loginStrangers(access, {
        anonymous: /requires authentication/i,
        wrongPassword: /authentication failed/i,
      }),
      plainText: /connection .* closed/i,
      remedy: "authorization is not enabled: look at the configuration of the members",
    });
    await checkCertificates(context, access.ca, places);
  });
};

export interface SetView {
  member: string;
  hosts: string[];
  /** Hosts without a vote, or without data. */
  silent: string[];
  version: string;
  states: { name: string; stateStr: string; health: number }[];
}

async function checkTopology(target: CheckTarget, clients: ReadonlyMap<string, MongoClient>): Promise<string> {
  const { seen, failures } = await observeAll(target.members, (member) => observeSet(clients, member));
  failIfAny([...failures, ...topologyProblems(hostsOf(target), seen)]);
  const [primary = ""] = primariesOf(seen);
  return `primary ${primary.split(".")[0] ?? ""}, ${target.members.length - 1} secondaries, all with a vote and data`;
}

async function observeSet(clients: ReadonlyMap<string, MongoClient>, member: string): Promise<SetView> {
  const client = answering(clients, member);
  const { config } = (await command(client, { replSetGetConfig: 1 })) as { config: Document };
  const listed = config["members"] as { host: string; votes: number; arbiterOnly?: boolean }[];
  const status = await command(client, { replSetGetStatus: 1 });
  return {
    member,
    hosts: listed.map(({ host }) => host),
    silent: listed.filter(({ votes, arbiterOnly }) => votes !== 1 || arbiterOnly === true).map(({ host }) => host),
    version: `${String(config["version"])}/${String(config["term"])}`,
    states: status["members"] as SetView["states"],
  };
}

/** In words; empty when the members agree on one configuration, in which all have a vote and data, and on a primary. */
export function topologyProblems(hosts: string[], views: SetView[]): string[] {
  const expected = [...hosts].sort().join(", ");
  const problems = views.flatMap(({ member, hosts: listed, silent, states }) => {
    const known = [...listed].sort().join(", ");
    const bad = states.filter(({ stateStr, health }) => health !== 1 || !["PRIMARY", "SECONDARY"].includes(stateStr));
    return [
      ...(known === expected ? [] : [`${member} knows ${known}, expected ${expected}`]),
      ...(silent.length === 0 ? [] : [`${member} sees without a vote, or without data: ${silent.join(", ")}`]),
      ...(bad.length === 0 ? [] : [`${member} sees ${bad.map((each) => `${each.name} ${each.stateStr}`).join(", ")}`]),
    ];
  });
  const primaries = primariesOf(views);
  if (primaries.length !== 1) problems.push(`no agreement on a primary: ${primaries.join(", ") || "none"}`);
  const versions = [...new Set(views.map(({ version }) => version))];
  if (versions.length > 1) problems.push(`members have different configurations: ${versions.join(", ")}`);
  return problems;
}

function primariesOf(views: SetView[]): string[] {
  const primaries = views.flatMap(({ states }) => states.filter(({ stateStr }) => stateStr === "PRIMARY"));
  return [...new Set(primaries.map(({ name }) => name))];
}

async function checkDurability(target: CheckTarget, clients: ReadonlyMap<string, MongoClient>): Promise<string> {
  await everywhere(target.members, async (member) => {
    const client = answering(clients, member);
    const { defaultWriteConcern } = await command(client, { getDefaultRWConcern: 1 });
    const { config } = (await command(client, { replSetGetConfig: 1 })) as { config: Document };
    failIfAny(durabilityProblems(defaultWriteConcern as { w?: unknown } | undefined, config));
    return "asked";
  });
  return "writes are acknowledged by default when they are in the journals of a majority";
}

/** In words; empty when a write without a concern of its own waits for the journals of a majority. */
export function durabilityProblems(concern: { w?: unknown } | undefined, config: Document): string[] {
  return [
    ...(concern?.w === "majority" ? [] : [`the default write concern is ${JSON.stringify(concern ?? "none")}`]),
    ...(config["writeConcernMajorityJournalDefault"] === true ? [] : ["a majority acknowledges before its journal"]),
    ...settingsProblems(config),
  ];
}

/** The set by its address, with nothing but user, password and trust of the Secret, as the application connects. */
async function openSet({ target, environment }: CheckContext, session: Session, application: string) {
  const { access, values } = await applicationAccess(target, environment, application);
  const { url = "", username = "", password = "" } = values;
  return session.set(connectionString(url, { username, password }), access.ca, databaseOf(application));
}

async function checkApplication(
  context: CheckContext,
  session: Session,
  application: string,
  access: Access,
): Promise<string> {
  const { target } = context;
  const client = await openSet(context, session, application);
  const database = databaseOf(application);
  const name = probeName(collectionPrefix);
  const collection = client.db(database).collection<{ _id: string }>(name);
  const _id = randomBytes(8).toString("hex");
  let read = "";
  try {
    await collection.insertOne({ _id }, { writeConcern: { w: "majority", wtimeoutMS: answerSeconds * 1000 } });
    await collection.createIndex({ checked: 1 });
    read = await everywhere(target.members, async (member) => {
      const direct = (await session.open(context.member(member), access, database)).db(database);
      // A majority may consist of other members: this member may not have the document yet.
      const attempt = async () =>
        (await direct.collection<{ _id: string }>(name).findOne({ _id })) === null
          ? { waiting: "a document is missing that a majority has acknowledged" }
          : { done: "read" };
      return waitFor("replication", attempt, waiting(context));
    });
  } finally {
    await collection.drop();
  }
  const foreign = client.db(`${database}_other`).collection("x").insertOne({});
  await refusal(foreign, /not authorized/i, `${application} in another database`);
  return `${application} wrote with a majority, and indexed; ${read}; refused in another database`;
}

async function checkTransaction(context: CheckContext, session: Session, application: string): Promise<string> {
  const client = await openSet(context, session, application);
  const collection = client.db(databaseOf(application)).collection<{ _id: string }>(probeName(collectionPrefix));
  try {
    const both = async (end: "commit" | "abort", ids: string[]): Promise<void> => {
      await client.withSession(async (transaction) => {
        transaction.startTransaction({ writeConcern: { w: "majority" }, readConcern: { level: "snapshot" } });
        for (const _id of ids) await collection.insertOne({ _id }, { session: transaction });
        await (end === "commit" ? transaction.commitTransaction() : transaction.abortTransaction());
      });
    };
    await both("commit", ["a", "b"]);
    await both("abort", ["c", "d"]);
    const ids = (await collection.find().toArray()).map(({ _id }) => _id).sort();
    if (ids.join() !== "a,b")
      throw new Error(`after a commit of a, b and an abort of c, d there are: ${ids.join(", ")}`);
    return "one committed as a whole, one aborted as a whole";
  } finally {
    await collection.drop();
  }
}

/** `open` connects to one place, whichever member is primary. `database` is where the user is, default "admin". */
interface Session extends Connections<MongoClient> {
  set(url: string, ca: string | undefined, database: string): Promise<MongoClient>;
}

async function openSession(target: CheckTarget, environment: CheckEnvironment): Promise<Session> {
  const { MongoClient } = await import("mongodb");
  const proxy = await openProxy(environment.tunnel, { host: target.host, service: target.name });
  const clients = new Map<string, MongoClient>();
  const milliseconds = answerSeconds * 1000;
  const open = async (url: string, { ca, auth }: Access, database: string, directConnection: boolean) => {
    const key = JSON.stringify([url, ca, auth, database]);
    const known = clients.get(key);
    if (known !== undefined) return known;
    const client = new MongoClient(url, {
      directConnection,
      ...(directConnection ? { readPreference: "secondaryPreferred" } : {}),
      appName: "cells-services-check",
      maxPoolSize: 2,
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      connectTimeoutMS: milliseconds,
      socketTimeoutMS: milliseconds,
      serverSelectionTimeoutMS: milliseconds,
      ...(ca === undefined ? { tls: false } : { tls: true, ca }),
      ...(auth === undefined ? {} : { auth, authSource: database }),
    });
    // In a set another member may answer. Of one place the first failure says why, and waiting adds nothing.
    const failure = new Promise<never>((_resolve, reject) => {
      if (directConnection) client.once("serverHeartbeatFailed", (event) => reject(event.failure));
    });
    try {
      await Promise.race([client.db(database).command({ ping: 1 }), failure]);
    } catch (error) {
      await client.close();
      throw error;
    }
    clients.set(key, client);
    return client;
  };
  return {
    open: ({ host }, access, database = "admin") =>
      open(`mongodb://${host}:${target.clientPort}/`, access, database, true),
    set: (url, ca, database) => open(url, { ca, auth: undefined }, database, false),
    async close() {
      await Promise.allSettled([...clients.values()].map((client) => client.close()));
      proxy.close();
    },
  };
}

function command(client: MongoClient, document: Document): Promise<Document> {
  return client.db("admin").command(document);
}

function hostsOf({ name, namespace, members }: CheckTarget): string[] {
  return members.map((member) => setHost(name, namespace, member));
}
