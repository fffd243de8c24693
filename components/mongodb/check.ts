/**
 * Proves with the official driver that a MongoDB replica set works as its users need it. The driver is loaded when the check
 * runs: a component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import type { Document, MongoClient } from "mongodb";
import { checkCertificates } from "../shared/check/certificates";
import { probeName } from "../shared/check/connections";
import {
  answering,
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  greetMembers,
  observeAll,
  type Place,
  waiting,
} from "../shared/check/context";
import { type Access, administrator, applicationAccess, enterAsApplication } from "../shared/check/logins";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { memberHost } from "../shared/core/names";
import { waitFor } from "../shared/core/wait";
import { connectionString, databaseOf, address as setAddress } from "./layout";
import { openProxy } from "./proxy";

/** Of the collections that a check writes to; one that was killed leaves its own. */
const collectionPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { findings, step, member: memberPlace, address } = context;
  const session = await openSession(target, environment);
  try {
    const access = await administrator(context);
    if (access === undefined) return findings;

    const clients = new Map<string, MongoClient>();
    await greetMembers(context, async (place) => {
      const client = await session.at(place, access);
      const { version } = await command(client, { buildInfo: 1 });
      clients.set(place.name, client);
      return `mongodb ${String(version)}`;
    });
    if (clients.size === 0) return findings;

    await step("topology", "look at the logs of the members, and at what their agents say on /ready", () =>
      checkTopology(target, clients),
    );
    await step("durability", "look at the log of the setup job", () => checkDurability(target, clients));
    const places = [...[...clients.keys()].map((each) => memberPlace(each)), address];
    const enter = async (place: Place, as: Access): Promise<unknown> =>
      command(await session.at(place, as), { listDatabases: 1 });
    await step("address", "look at the Service and at which members are ready", async () => {
      const { me } = await command(await session.at(address, access), { hello: 1 });
      const hosts = target.members.map((member) => hostOf(target, member));
      if (!hosts.includes(String(me))) throw new Error(`${target.host} leads to ${String(me)}, which is no member`);
      return `${target.host} leads to ${String(me)}`;
    });
    for (const application of Object.keys(target.applications)) {
      const database = databaseOf(application);
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => expectedValues(target, database),
        enter: (place, as) => session.at(place, as, database),
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
      enter,
      strangers: loginStrangers(access, {
        anonymous: /requires authentication/i,
        wrongPassword: /authentication failed/i,
      }),
      plainText: /connection .* closed/i,
      remedy: "authorization is not enabled: look at the configuration of the members",
    });
    await checkCertificates(context, access.ca, places);
    return findings;
  } finally {
    await session.close();
  }
};

/** What one member says about the replica set. */
export interface SetView {
  member: string;
  hosts: string[];
  /** Hosts without a vote, or without data. */
  silent: string[];
  /** Of the configuration, with its term. */
  version: string;
  states: { name: string; stateStr: string; health: number }[];
}

async function checkTopology(target: CheckTarget, clients: Map<string, MongoClient>): Promise<string> {
  const { seen, failures } = await observeAll(target.members, (member) => observeSet(clients, member));
  const hosts = target.members.map((member) => hostOf(target, member));
  failIfAny([...failures, ...topologyProblems(hosts, seen)]);
  const [primary = ""] = primariesOf(seen);
  return `primary ${primary.split(".")[0] ?? ""}, ${target.members.length - 1} secondaries, all with a vote and data`;
}

async function observeSet(clients: Map<string, MongoClient>, member: string): Promise<SetView> {
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

async function checkDurability(target: CheckTarget, clients: Map<string, MongoClient>): Promise<string> {
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
  ];
}

function expectedValues({ name, namespace, members, tls }: CheckTarget, database: string): Record<string, string> {
  return { url: setAddress({ name, namespace, members: members.length, tls, database }), database };
}

/** The set by its address, with nothing but user, password and trust of the Secret, as the application will do it. */
async function openSet(
  { target, environment }: CheckContext,
  session: Session,
  application: string,
): Promise<MongoClient> {
  const { access, values } = await applicationAccess(target, environment, application);
  const { url = "", username = "", password = "" } = values;
  const alone = { ...access, auth: undefined };
  return session.set(connectionString(url, { username, password }), alone, databaseOf(application));
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
      const direct = (await session.at(context.member(member), access, database)).db(database);
      // A majority may be the others: what was acknowledged is read when this member has got to it.
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

interface Session {
  /** To this place, whoever is primary. Logged in when it returns; `database` is where the user is. */
  at(place: Place, access: Access, database?: string): Promise<MongoClient>;
  /** To the set, by its address. */
  set(url: string, access: Access, database: string): Promise<MongoClient>;
  close(): Promise<void>;
}

async function openSession(target: CheckTarget, environment: CheckEnvironment): Promise<Session> {
  const { MongoClient } = await import("mongodb");
  const proxy = await openProxy(environment.tunnel, { host: target.host, service: target.name });
  const clients = new Map<string, MongoClient>();
  const open = async (
    url: string,
    access: Access,
    database: string,
    directConnection: boolean,
  ): Promise<MongoClient> => {
    const key = JSON.stringify([url, access, database]);
    const known = clients.get(key);
    if (known !== undefined) return known;
    const client = new MongoClient(url, {
      directConnection,
      ...(directConnection ? { readPreference: "secondaryPreferred" } : {}),
      appName: "cells-services-check",
      maxPoolSize: 2,
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      connectTimeoutMS: answerSeconds * 1000,
      socketTimeoutMS: answerSeconds * 1000,
      serverSelectionTimeoutMS: answerSeconds * 1000,
      ...(access.ca === undefined ? { tls: false } : { tls: true, ca: access.ca }),
      ...(access.auth === undefined ? {} : { auth: access.auth, authSource: database }),
    });
    const answer = client.db(database).command({ ping: 1 });
    // For a set another member may answer; of one place the first failure tells why, and waiting adds nothing.
    const failure = new Promise<never>((_resolve, reject) => {
      if (directConnection) client.once("serverHeartbeatFailed", (event) => reject(event.failure));
    });
    try {
      await Promise.race([answer, failure]);
    } catch (error) {
      await client.close();
      throw error;
    }
    clients.set(key, client);
    return client;
  };
  return {
    at: ({ host }, access, database = "admin") =>
      open(`mongodb://${host}:${target.clientPort}/`, access, database, true),
    set: (url, access, database) => open(url, access, database, false),
    async close() {
      await Promise.allSettled([...clients.values()].map((client) => client.close()));
      proxy.close();
    },
  };
}

function command(client: MongoClient, document: Document): Promise<Document> {
  return client.db("admin").command(document);
}

function hostOf(target: CheckTarget, member: string): string {
  return `${memberHost(target.name, target.namespace, member)}:${target.clientPort}`;
}
