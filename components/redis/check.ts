/** Proves with a real client that a Redis ensemble works. Loads the client when it runs: previews need none. */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
import { checkCertificates } from "../shared/check/certificates";
import { type Connections, connections, endpointOf, probeName } from "../shared/check/connections";
import {
  answering,
  answerSeconds,
  beginCheck,
  type CheckContext,
  everywhere,
  failIfAny,
  observeAll,
  type Place,
  waiting,
} from "../shared/check/context";
import { type Access, enterAsApplication } from "../shared/check/logins";
import { checkMembers } from "../shared/check/members";
import type { PlainText } from "../shared/check/plaintext";
import { checkStrangers, loginStrangers, refusal } from "../shared/check/strangers";
import type { Check, CheckTarget } from "../shared/core/check";
import { majority, memberHost } from "../shared/core/names";
import { waitFor } from "../shared/core/wait";
import {
  markDatabase,
  markKey,
  memberOf,
  neededReplicas,
  ports,
  replicaLagSeconds,
  scheme,
  sentinelChannel,
} from "./layout";
import type { Server, Up } from "./membership";

/** Sentinels ask for news every ten seconds: so long they may not know of a replica that is new. */
const newsSeconds = 15;
/** A check that was killed leaves its keys for this long. */
const leftoverSeconds = 600;
const shortMilliseconds = 1_500;
const keyPrefix = "cells-services-check:";

export type MemberState = Up<Server> & { member: string };

export interface SentinelState {
  member: string;
  /** Host of the master. */
  master: string | undefined;
  flags: string;
  otherSentinels: number;
  replicas: number;
  quorum: string;
}

export const check: Check = (target, environment) => {
  const context = beginCheck(target, environment);
  const { step, member, address } = context;
  const session = openSession();
  const states: MemberState[] = [];
  const greet = async (client: Redis, { name }: Place): Promise<string> => {
    const { toInfo, toServer } = await import("./client.js");
    const info = toInfo(await client.info("server", "replication"));
    const state = toServer(info, null, (host) => memberOf(target.name, target.namespace, host));
    states.push({ member: name, ...state });
    return `redis ${info["redis_version"] ?? "unknown"}; ${state.role}`;
  };
  return checkMembers(context, session, greet, async ({ access, clients: servers, members, places }) => {
    await step("one master", "look at the logs of the agents, container agent of each member", async () =>
      oneMaster(states),
    );
    await step("sentinels", "look at the containers sentinel and agent of the members named", () =>
      checkSentinels(context, (each) => session.open(member(each, ports.sentinel), access), states),
    );
    await step("persistence", "a member runs with another configuration than it should: look at its pod", () =>
      everywhere(servers.keys(), async (each) => checkPersistence(target, answering(servers, each))),
    );
    await step("address", `look at the pods of ${target.name}-gateway and at the members' agents`, async () => {
      const role = await (await session.open(address, access)).role();
      if (role[0] !== "master") throw new Error(`the address leads to a ${String(role[0])}`);
      return `${target.host} leads to the master`;
    });
    await step("replication", "look at the members named: a replica that is not connected gets nothing", async () =>
      checkReplication(await session.open(address, access), probeName(keyPrefix), servers, states),
    );
    await step("expiry", "look at the clocks of the nodes", async () =>
      checkExpiry(await session.open(address, access), probeName(keyPrefix), environment.signal),
    );
    const enter = async (place: Place, as: Access): Promise<unknown> => (await session.open(place, as)).ping();
    for (const application of Object.keys(target.applications)) {
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => ({ url: `${scheme(target.tls)}://${target.host}:${target.clientPort}` }),
        enter,
      });
      if (granted === undefined) continue;
      await step(`rights ${application}`, "look at the rights of the user, and at the log of the setup job", async () =>
        checkApplication(
          { application: await session.open(address, granted), admin: await session.open(address, access) },
          probeName(keyPrefix),
          application,
        ),
      );
    }

    const refusals = { anonymous: /NOAUTH/, wrongPassword: /WRONGPASS|NOAUTH/ };
    const common = { access, enter, plainText };
    await checkStrangers(context, {
      ...common,
      places,
      strangers: loginStrangers(access, refusals),
      remedy: "authentication is not enabled: look at the Secret with the users",
    });
    const prefix = "sentinel ";
    const sentinels = members.map(({ name }) => member(name, ports.sentinel));
    await checkStrangers(context, {
      ...common,
      places: sentinels,
      strangers: loginStrangers(access, refusals, prefix),
      remedy: "look at the container sentinel of the members named",
      prefix,
    });
    await checkCertificates(context, access.ca, [...places, ...sentinels]);
  });
};

/** A server that speaks TLS only ends the connection without a word. */
const plainText: PlainText = { hello: "PING\r\n", served: /^(\+PONG|-NOAUTH)/ };

/** Throws unless one member is master, and all others that answer have what it has. */
export function oneMaster(states: MemberState[]): string {
  const masters = states.filter(({ role }) => role === "master").map(({ member }) => member);
  const [master] = masters;
  if (master === undefined) throw new Error("no member that answers is master");
  if (masters.length > 1) throw new Error(`several members are master: ${masters.join(", ")}`);
  const replicas = states.filter(({ member }) => member !== master);
  const problems = replicas.flatMap(({ member, follows, syncing, linked }) => {
    if (follows !== master) return `${member} replicates ${follows ?? "nobody"}`;
    if (syncing) return `${member} gets a whole copy from its master`;
    return linked ? [] : `${member} is not connected to its master`;
  });
  failIfAny(problems);
  return `${master}; ${replicas.length} replicas follow it`;
}

/** `openSentinel`: of a member. */
async function checkSentinels(
  context: CheckContext,
  openSentinel: (member: string) => Promise<Redis>,
  states: MemberState[],
): Promise<string> {
  const { name, namespace, members } = context.target;
  const master = states.find(({ role }) => role === "master")?.member;
  const host = master === undefined ? undefined : memberHost(name, namespace, master);
  const attempt = async () => {
    const { seen, failures } = await observeAll(members, async (member) =>
      observeSentinel(await openSentinel(member), name, member),
    );
    const problems = [...failures, ...sentinelProblems(seen, members.length, host)];
    if (problems.length > 0) return { waiting: problems.join("; ") };
    const voters = majority(members.length);
    return {
      done: `${seen.length} sentinels name ${master ?? ""}, know each other and all replicas; ${voters} of them can elect`,
    };
  };
  return waitFor("agreement of the sentinels", attempt, waiting(context, newsSeconds));
}

async function observeSentinel(client: Redis, name: string, member: string): Promise<SentinelState> {
  const { toRecord } = await import("./client.js");
  const details = toRecord(await client.call("SENTINEL", "MASTER", name));
  const quorum = await client.call("SENTINEL", "CKQUORUM", name).catch((error: Error) => error.message);
  return {
    member,
    master: details["ip"],
    flags: details["flags"] ?? "",
    otherSentinels: Number(details["num-other-sentinels"]),
    replicas: Number(details["num-slaves"]),
    quorum: String(quorum),
  };
}

export function sentinelProblems(states: SentinelState[], members: number, master: string | undefined): string[] {
  return states.flatMap(({ member, master: named, flags, otherSentinels, replicas, quorum }) => {
    const problems: string[] = [];
    if (named !== master) problems.push(`${member} names ${named ?? "nobody"}, the master is ${master ?? "unknown"}`);
    if (flags !== "master") problems.push(`${member} takes the master for ${flags}`);
    if (otherSentinels !== members - 1)
      problems.push(`${member} knows ${otherSentinels} of ${members - 1} other sentinels`);
    if (replicas !== members - 1) problems.push(`${member} knows ${replicas} of ${members - 1} replicas`);
    if (!quorum.startsWith("OK")) problems.push(`${member}: ${quorum}`);
    return problems;
  });
}

async function checkPersistence(target: CheckTarget, client: Redis): Promise<string> {
  const { toInfo, toRecord } = await import("./client.js");
  const names = ["appendonly", "appendfsync", "min-replicas-to-write", "min-replicas-max-lag"];
  const settings = toRecord(await client.call("CONFIG", "GET", ...names));
  const wanted: Record<string, string> = {
    appendonly: "yes",
    appendfsync: target.durability === "fsync" ? "always" : "everysec",
    "min-replicas-to-write": String(neededReplicas(target.members.length)),
    "min-replicas-max-lag": String(replicaLagSeconds),
  };
  const wrong = names.filter((name) => settings[name] !== wanted[name]);
  failIfAny(wrong.map((name) => `${name} is ${settings[name] ?? "missing"}, expected ${wanted[name] ?? ""}`));
  const { aof_last_write_status: write, aof_last_bgrewrite_status: rewrite } = toInfo(await client.info("persistence"));
  if (write !== "ok") throw new Error(`the last write to its file was ${write ?? "unknown"}`);
  if (rewrite !== "ok") throw new Error(`its file could not be rewritten: ${rewrite ?? "unknown"}`);
  return `writes go to a file (${wanted["appendfsync"] ?? ""}), and only with ${wanted["min-replicas-to-write"] ?? ""} of the replicas`;
}

async function checkReplication(
  client: Redis,
  key: string,
  servers: ReadonlyMap<string, Redis>,
  states: MemberState[],
): Promise<string> {
  const replicas = states.filter(({ role }) => role === "replica").map(({ member }) => member);
  if (replicas.length === 0) throw new Error("no replica answers");
  const value = randomBytes(8).toString("hex");
  await client.set(key, value, "EX", leftoverSeconds);
  const reached = await client.wait(replicas.length, answerSeconds * 500);
  try {
    const read = await everywhere(replicas, async (member) => {
      if ((await answering(servers, member).get(key)) !== value) throw new Error("it does not have what was written");
      return "read";
    });
    if (reached < replicas.length) throw new Error(`${reached} of ${replicas.length} replicas confirmed a write`);
    return `written through the address, confirmed by ${reached} replicas; ${read}`;
  } finally {
    await client.del(key);
  }
}

async function checkExpiry(client: Redis, key: string, signal: AbortSignal): Promise<string> {
  await client.set(key, "short", "PX", shortMilliseconds);
  const left = await client.pttl(key);
  if (left <= 0 || left > shortMilliseconds)
    throw new Error(`a key that lives ${shortMilliseconds} ms has ${left} ms left`);
  await delay(shortMilliseconds + 200, undefined, { signal });
  if ((await client.exists(key)) !== 0) throw new Error(`a key was still there after ${shortMilliseconds} ms`);
  return `a key was gone after its ${shortMilliseconds} ms`;
}

async function checkApplication(
  { application: client, admin }: Record<"application" | "admin", Redis>,
  key: string,
  application: string,
): Promise<string> {
  await client.set(key, application, "EX", leftoverSeconds);
  try {
    const pattern = `${key}*`;
    if (!(await client.keys(pattern)).includes(key)) throw new Error("KEYS does not find a key");
    let cursor = "0";
    let found = false;
    do {
      const [next, some] = await client.scan(cursor, "MATCH", pattern, "COUNT", 1000);
      cursor = next;
      found ||= some.includes(key);
    } while (cursor !== "0" && !found);
    if (!found) throw new Error("SCAN does not find a key");
    const copy = `${key}:copy`;
    await client.copy(key, copy);
    if ((await client.get(copy)) !== application) throw new Error("COPY does not copy a key");
    const [role] = await client.role();
    if (role !== "master") throw new Error(`ROLE says ${String(role)}`);
    // Clients such as Action Cable publish on channels of their own that begin with an underscore.
    await client.publish(`_${key}`, application);
  } finally {
    await client.del(key, `${key}:copy`);
  }
  // None of them does harm where it is let in.
  const forbidden: [string, ...string[]][] = [
    ["CONFIG", "GET", "appendonly"],
    ["ACL", "LIST"],
    ["CLIENT", "LIST"],
  ];
  await everywhere(
    forbidden.map(([name, ...rest]) => ({ name, rest })),
    ({ name, rest }) => refusal(client.call(name, ...rest), /NOPERM/, `${application} with ${name}`),
  );
  // Only asked about: where it is let in, it would do what it says.
  const harmful = [
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["SHUTDOWN"],
    ["REPLICAOF", "NO", "ONE"],
    // What Sentinels tell each other, and what agents write down.
    ["PUBLISH", sentinelChannel, "x"],
    ["SELECT", String(markDatabase)],
    ["MOVE", key, String(markDatabase)],
    ["COPY", key, markKey, "DB", String(markDatabase)],
  ];
  await everywhere(
    harmful.map((command) => ({ name: command.join(" "), command })),
    async ({ command }) => {
      const answer = String(await admin.call("ACL", "DRYRUN", application, ...command));
      if (!/no permissions/i.test(answer)) throw new Error(`${application} may do this`);
      return "refused";
    },
  );
  return `${application} may write, KEYS, SCAN, COPY, ROLE and PUBLISH; CONFIG, ACL, FLUSHALL and others are refused`;
}

function openSession(): Connections<Redis> {
  return connections(
    async (place, access) => {
      const { open } = await import("./client.js");
      const own = { name: "cells-services-check", timeoutMilliseconds: answerSeconds * 1000 };
      return open({ ...(await endpointOf(place, access)), ...own });
    },
    (client: Redis) => client.disconnect(),
  );
}
