/**
 * Proves with the official driver that a MongoDB replica set works as its users need it. The driver is loaded when the check
 * runs: a component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import type { Document, MongoClient, MongoClientOptions } from "mongodb";
import {
  type Access,
  adminAccess,
  adminAccessRemedy,
  applicationAccess,
  expectUrl,
  refusal,
  unrelatedAuthority,
  untrusted,
} from "../shared/check/logins";
import type { Check, CheckEnvironment, CheckTarget } from "../shared/core/check";
import { findingRecorder } from "../shared/core/findings";
import { memberHost } from "../shared/core/names";
import { address, connectionString, databaseOf } from "./layout";
import { openProxy } from "./proxy";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const deadlineMilliseconds = 10_000;
/** Of the collections that a check writes to; one that was killed leaves its own. */
const collectionPrefix = "cells-services-check-";

interface Place {
  access: Access;
  /** Where the user is, and what it works with. */
  database: string;
}

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const session = await openSession(target, environment);
  try {
    let access: Access = { ca: undefined, auth: undefined };
    const known = await step("credentials", adminAccessRemedy(target), async () => {
      const { auth, ca } = await adminAccess(target, environment);
      access = { auth, ca };
      return `administrator ${auth?.username ?? ""}${ca === undefined ? "" : " and trust bundle"} found`;
    });
    if (!known) return findings;
    const admin = (changes: Partial<Access> = {}): Place => ({ access: { ...access, ...changes }, database: "admin" });

    const members = new Map<string, MongoClient>();
    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member} and its log`, async () => {
        const client = await session.member(member, admin());
        const { version } = await command(client, { buildInfo: 1 });
        members.set(member, client);
        return `${access.ca === undefined ? "plain text" : "TLS, certificate verified"}; mongodb ${String(version)}`;
      });
    }
    const [first] = members.values();
    if (first === undefined) return findings;

    await step("topology", "look at the logs of the members, and at what their agents say on /ready", () =>
      checkTopology(target, members),
    );
    await step("durability", "look at the log of the setup job", () => checkDurability(first));
    for (const [application, secret] of Object.entries(target.applications)) {
      await step(`application ${application}`, `look at the Secret ${secret} and the log of the setup job`, () =>
        checkApplication(target, environment, session, application),
      );
      await step(`transaction ${application}`, "a majority must answer: look at readiness of the members", () =>
        checkTransaction(target, environment, session, application),
      );
    }

    // Every member: one that runs with an older configuration would let in whom the others refuse.
    const everywhere = async (attempt: (member: string) => Promise<string>): Promise<string> => {
      const [answer = ""] = await Promise.all([...members.keys()].map(attempt));
      return `${answer}, by ${[...members.keys()].join(", ")}`;
    };
    await step("anonymous access", "authorization is not enabled: look at the configuration of the members", () =>
      everywhere((each) =>
        refusal(
          session.member(each, admin({ auth: undefined })).then((client) => command(client, { listDatabases: 1 })),
          /requires authentication/i,
          "a client without a password",
        ),
      ),
    );
    await step("wrong password", "authorization is not enabled: look at the configuration of the members", () => {
      const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
      const enter = (each: string) => session.member(each, admin({ auth }));
      return everywhere((each) => refusal(enter(each), /authentication failed/i, "a client with a wrong password"));
    });
    if (target.tls !== "off") {
      await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
        const ca = await unrelatedAuthority();
        const enter = (each: string) => session.member(each, admin({ ca }));
        return everywhere((each) => refusal(enter(each), untrusted, "a client that trusts another authority"));
      });
    }
    if (target.tls === "required") {
      await step("plain text refused", "tls is required: look at the configuration of the member", () => {
        return everywhere(async (each) => {
          const plain = session.member(each, admin({ ca: undefined }));
          const answer = await refusal(plain, /connection .* closed/i, "a client without TLS");
          // The server ends the connection, as one that is away seems to.
          await session.member(each, admin()).then((client) => command(client, { ping: 1 }));
          return answer;
        });
      });
    }
    if (target.tls === "optional") {
      await step("plain text", "tls is optional: look at the configuration of the member", () =>
        everywhere((each) =>
          session.member(each, admin({ ca: undefined })).then(() => "a client without TLS is let in"),
        ),
      );
    }
    return findings;
  } finally {
    await session.close();
  }
};

async function checkTopology(target: CheckTarget, members: Map<string, MongoClient>): Promise<string> {
  if (members.size !== target.members.length)
    throw new Error(`${members.size} of ${target.members.length} members answer`);
  const expected = target.members.map((member) => hostOf(target, member)).sort();
  const primaries = new Set<string>();
  const versions = new Set<string>();
  for (const [member, client] of members) {
    const { config } = (await command(client, { replSetGetConfig: 1 })) as { config: Document };
    const listed = config["members"] as { host: string; votes: number; priority: number; arbiterOnly?: boolean }[];
    const hosts = listed.map(({ host }) => host).sort();
    if (hosts.join() !== expected.join())
      throw new Error(`${member} knows ${hosts.join(", ")}, expected ${expected.join(", ")}`);
    const silent = listed
      .filter(({ votes, arbiterOnly }) => votes !== 1 || arbiterOnly === true)
      .map(({ host }) => host);
    if (silent.length > 0) throw new Error(`without a vote, or without data: ${silent.join(", ")}`);
    versions.add(`${String(config["version"])}/${String(config["term"])}`);
    const status = await command(client, { replSetGetStatus: 1 });
    const states = status["members"] as { name: string; stateStr: string; health: number }[];
    const bad = states.filter(({ stateStr, health }) => health !== 1 || !["PRIMARY", "SECONDARY"].includes(stateStr));
    if (bad.length > 0)
      throw new Error(`${member} sees ${bad.map((each) => `${each.name} ${each.stateStr}`).join(", ")}`);
    for (const each of states.filter(({ stateStr }) => stateStr === "PRIMARY")) primaries.add(each.name);
  }
  if (primaries.size !== 1) throw new Error(`no agreement on a primary: ${[...primaries].join(", ") || "none"}`);
  if (versions.size !== 1) throw new Error(`members have different configurations: ${[...versions].join(", ")}`);
  const [primary = ""] = primaries;
  return `primary ${primary.split(".")[0] ?? ""}, ${target.members.length - 1} secondaries, all with a vote and data`;
}

async function checkDurability(client: MongoClient): Promise<string> {
  const concern = (await command(client, { getDefaultRWConcern: 1 }))["defaultWriteConcern"] as
    | { w?: unknown }
    | undefined;
  if (concern?.w !== "majority") throw new Error(`the default write concern is ${JSON.stringify(concern ?? "none")}`);
  const { config } = (await command(client, { replSetGetConfig: 1 })) as { config: Document };
  if (config["writeConcernMajorityJournalDefault"] !== true)
    throw new Error("a majority acknowledges before its journal");
  return "writes are acknowledged by default when they are in the journals of a majority";
}

/** With nothing but one address with user and password, and the trust of the Secret, as the application will do it. */
async function enter(target: CheckTarget, environment: CheckEnvironment, session: Session, application: string) {
  const { access, values } = await applicationAccess(target, environment, application);
  const database = databaseOf(application);
  const { name, namespace, members, tls } = target;
  expectUrl(values, address({ name, namespace, members: members.length, tls, database }));
  if (values["database"] !== database) throw new Error(`database in the Secret is ${values["database"] ?? "missing"}`);
  const { url = "", username = "", password = "" } = values;
  const alone = { access: { ...access, auth: undefined }, database };
  return {
    place: { access, database },
    client: await session.set(connectionString(url, { username, password }), alone),
  };
}

async function checkApplication(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  application: string,
): Promise<string> {
  const { client, place } = await enter(target, environment, session, application);
  const name = collectionPrefix + randomBytes(6).toString("hex");
  const collection = client.db(place.database).collection<{ _id: string }>(name);
  try {
    const _id = randomBytes(8).toString("hex");
    await collection.insertOne({ _id }, { writeConcern: { w: "majority", wtimeoutMS: deadlineMilliseconds } });
    await collection.createIndex({ checked: 1 });
    for (const member of target.members) {
      // A majority may be the others: what was acknowledged is read when this member has got to it.
      const direct = (await session.member(member, place)).db(place.database).collection<{ _id: string }>(name);
      await found(direct, _id, member, environment);
    }
  } finally {
    await collection.drop();
  }
  const foreign = client.db(`${place.database}_other`).collection("x").insertOne({});
  await refusal(foreign, /not authorized/i, `${application} in another database`);
  return `${application} wrote with a majority, indexed, and read on ${target.members.join(", ")}; refused in another database`;
}

interface Readable {
  findOne(filter: { _id: string }): Promise<unknown>;
}

async function found(collection: Readable, _id: string, member: string, environment: CheckEnvironment): Promise<void> {
  const end = environment.clock() + deadlineMilliseconds;
  while ((await collection.findOne({ _id })) === null) {
    environment.signal.throwIfAborted();
    if (environment.clock() > end) throw new Error(`${member} does not have what a majority has acknowledged`);
  }
}

async function checkTransaction(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  application: string,
): Promise<string> {
  const { client, place } = await enter(target, environment, session, application);
  const collection = client
    .db(place.database)
    .collection<{ _id: string }>(collectionPrefix + randomBytes(6).toString("hex"));
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
  /** To this member, whoever is primary. Logged in when it returns. */
  member(member: string, place: Place): Promise<MongoClient>;
  /** To the set, by its address. */
  set(url: string, place: Place): Promise<MongoClient>;
  close(): Promise<void>;
}

async function openSession(target: CheckTarget, environment: CheckEnvironment): Promise<Session> {
  const proxy = await openProxy(environment.tunnel);
  const clients = new Map<string, MongoClient>();
  const open = async (url: string, { access, database }: Place, options: MongoClientOptions): Promise<MongoClient> => {
    const key = JSON.stringify([url, access, database]);
    const known = clients.get(key);
    if (known !== undefined) return known;
    const { MongoClient } = await import("mongodb");
    const client = new MongoClient(url, {
      ...options,
      appName: "cells-services-check",
      maxPoolSize: 2,
      proxyHost: proxy.host,
      proxyPort: proxy.port,
      connectTimeoutMS: deadlineMilliseconds,
      socketTimeoutMS: deadlineMilliseconds,
      ...(access.ca === undefined ? { tls: false } : { tls: true, ca: access.ca }),
      ...(access.auth === undefined ? {} : { auth: access.auth, authSource: database }),
    });
    try {
      await client.db(database).command({ ping: 1 });
    } catch (error) {
      await client.close();
      throw error;
    }
    clients.set(key, client);
    return client;
  };
  return {
    member: (member, place) =>
      open(`mongodb://${hostOf(target, member)}/`, place, {
        directConnection: true,
        readPreference: "secondaryPreferred",
        // The driver tries a refused connection again until then.
        serverSelectionTimeoutMS: 5_000,
      }),
    set: (url, place) => open(url, place, { serverSelectionTimeoutMS: deadlineMilliseconds }),
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
