/**
 * Proves with a real client that a Redis ensemble works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
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
import { within } from "../shared/core/wait";
import { majority, markDatabase, neededReplicas, ports, replicaLagSeconds, scheme } from "./layout";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const deadlineMilliseconds = 10_000;
/** Sentinels ask for news every ten seconds: so long they may not know of a replica that is new. */
const newsMilliseconds = 15_000;
/** A check that was killed leaves its keys for this long. */
const leftoverSeconds = 600;
/** How long the key lives whose end is waited for. */
const shortMilliseconds = 1_500;
const keyPrefix = "cells-services-check:";

export interface MemberState {
  member: string;
  role: string;
  link: string | undefined;
  syncing: boolean;
  /** The host that it replicates. */
  master: string | undefined;
}

/** What a Sentinel says. */
export interface SentinelState {
  member: string;
  /** Host of the master. */
  master: string | undefined;
  flags: string;
  otherSentinels: number;
  replicas: number;
  quorum: string;
}

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const session = openSession(target, environment);
  try {
    let access: Access = { ca: undefined, auth: undefined };
    const known = await step("credentials", adminAccessRemedy(target), async () => {
      access = await adminAccess(target, environment);
      return `administrator ${access.auth?.username ?? ""}${access.ca === undefined ? "" : " and trust bundle"} found`;
    });
    if (!known) return findings;

    const servers = new Map<string, Redis>();
    const states: MemberState[] = [];
    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member}, its readiness and its log`, async () => {
        const client = await session.member(member, access);
        const { toInfo } = await import("./client.js");
        const info = toInfo(await client.info("server", "replication"));
        servers.set(member, client);
        const state = toMemberState(member, info);
        states.push(state);
        const problem = memberProblem(state);
        if (problem !== undefined) throw new Error(problem);
        const words = state.role === "master" ? "master" : "replica, up to date";
        return `${access.ca === undefined ? "plain text" : "TLS, certificate verified"}; redis ${info["redis_version"] ?? "unknown"}; ${words}`;
      });
    }
    if (servers.size === 0) return findings;

    await step("one master", "look at the logs of the agents, container agent of each member", async () =>
      oneMaster(target, states),
    );
    await step("sentinels", "look at the containers sentinel and agent of the members named", () =>
      checkSentinels(target, environment, session, access, states),
    );
    await step("persistence", "a member runs with another configuration than it should: look at its pod", () =>
      everywhere([...servers.keys()], (member) => checkPersistence(target, servers.get(member))),
    );
    await step("address", `look at the pods of ${target.name}-gateway and at the members' agents`, async () => {
      const client = await session.address(access);
      const role = await client.role();
      if (role[0] !== "master") throw new Error(`the address leads to a ${String(role[0])}`);
      return `${target.host} leads to the master`;
    });
    const key = session.key();
    await step("replication", "look at the members named: a replica that is not connected gets nothing", () =>
      checkReplication(session, access, key, servers, states),
    );
    await step("expiry", "look at the clocks of the nodes", () => checkExpiry(session, access, environment));
    for (const [application, secret] of Object.entries(target.applications)) {
      await step(
        `application ${application}`,
        `look at the Secret ${secret} and the log of the setup job`,
        async () => {
          const found = await applicationAccess(target, environment, application);
          expectUrl(found.values, `${scheme(target.tls)}://${target.host}:${target.clientPort}`);
          for (const member of servers.keys()) await session.member(member, found.access);
          return checkApplication(session, found.access, application);
        },
      );
    }

    // Every member: one that runs with an older configuration would let in whom the others refuse.
    const all = [...servers.keys()];
    await step("anonymous access", "authentication is not enabled: look at the Secret with the users", () =>
      everywhere(all, (each) =>
        refusal(session.member(each, { ...access, auth: undefined }), /NOAUTH/, "a client without a password"),
      ),
    );
    await step("wrong password", "authentication is not enabled: look at the Secret with the users", () => {
      const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
      return everywhere(all, (each) =>
        refusal(session.member(each, { ...access, auth }), /WRONGPASS|NOAUTH/, "a client with a wrong password"),
      );
    });
    await step("sentinel without password", "look at the container sentinel of the members named", () =>
      everywhere(all, (each) =>
        refusal(session.sentinel(each, { ...access, auth: undefined }), /NOAUTH/, "a client without a password"),
      ),
    );
    if (target.tls !== "off") {
      await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
        const ca = await unrelatedAuthority();
        return everywhere(all, (each) =>
          refusal(session.member(each, { ...access, ca }), untrusted, "a client that trusts another authority"),
        );
      });
      await step("plain text refused", "tls is required: look at the configuration of the member", () =>
        everywhere(all, (each) => refusedInPlainText(session, environment, target, each)),
      );
    }
    return findings;
  } finally {
    await session.close();
  }
};

export function toMemberState(member: string, info: Record<string, string>): MemberState {
  return {
    member,
    role: info["role"] === "slave" ? "replica" : (info["role"] ?? "unknown"),
    link: info["master_link_status"],
    syncing: info["master_sync_in_progress"] === "1",
    master: info["master_host"],
  };
}

/** In words; undefined when it is well. */
export function memberProblem({ role, link, syncing, master }: MemberState): string | undefined {
  if (role === "master") return undefined;
  if (syncing) return `it gets a whole copy from ${master ?? "its master"}`;
  return link === "up" ? undefined : `it is a replica and not connected to its master ${master ?? ""}`;
}

function oneMaster(target: CheckTarget, states: MemberState[]): string {
  const masters = states.filter(({ role }) => role === "master").map(({ member }) => member);
  const [master] = masters;
  if (master === undefined) throw new Error("no member that answers is master");
  if (masters.length > 1) throw new Error(`several members are master: ${masters.join(", ")}`);
  const host = memberHost(target.name, target.namespace, master);
  const elsewhere = states.filter((state) => state.role === "replica" && state.master !== host);
  if (elsewhere.length > 0) {
    throw new Error(
      elsewhere.map(({ member, master: other }) => `${member} replicates ${other ?? "nobody"}`).join("; "),
    );
  }
  return `${master}; ${states.length - 1} replicas follow it`;
}

async function checkSentinels(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  access: Access,
  states: MemberState[],
): Promise<string> {
  const master = states.find(({ role }) => role === "master")?.member;
  const host = master === undefined ? undefined : memberHost(target.name, target.namespace, master);
  const end = environment.clock() + newsMilliseconds;
  for (;;) {
    const { seen, silent } = await askSentinels(target, session, access);
    const problems = [...silent, ...sentinelProblems(seen, target.members.length, host)];
    if (problems.length === 0) {
      const voters = majority(target.members.length);
      return `${seen.length} sentinels name ${master ?? ""}, know each other and all replicas; ${voters} of them can elect`;
    }
    if (environment.clock() >= end) throw new Error(problems.join("; "));
    await delay(1000, undefined, { signal: environment.signal });
  }
}

async function askSentinels(
  target: CheckTarget,
  session: Session,
  access: Access,
): Promise<{ seen: SentinelState[]; silent: string[] }> {
  const { toRecord } = await import("./client.js");
  const answers = await Promise.allSettled(
    target.members.map(async (member): Promise<SentinelState> => {
      const client = await session.sentinel(member, access);
      const details = toRecord(await client.call("SENTINEL", "MASTER", target.name));
      const quorum = await client.call("SENTINEL", "CKQUORUM", target.name).catch((error: Error) => error.message);
      return {
        member,
        master: details["ip"],
        flags: details["flags"] ?? "",
        otherSentinels: Number(details["num-other-sentinels"]),
        replicas: Number(details["num-slaves"]),
        quorum: String(quorum),
      };
    }),
  );
  const silent = target.members.flatMap((member, index) => {
    const answer = answers[index];
    return answer?.status === "rejected" ? [`${member}: ${(answer.reason as Error).message}`] : [];
  });
  return { seen: answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : [])), silent };
}

/** In words, one for each thing that is not as it should be. */
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

/** What the running server says, against what was asked for. */
async function checkPersistence(target: CheckTarget, client: Redis | undefined): Promise<string> {
  if (client === undefined) throw new Error("it does not answer");
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
  if (wrong.length > 0) {
    throw new Error(
      wrong.map((name) => `${name} is ${settings[name] ?? "missing"}, expected ${wanted[name] ?? ""}`).join(", "),
    );
  }
  const { aof_last_write_status: write, aof_last_bgrewrite_status: rewrite } = toInfo(await client.info("persistence"));
  if (write !== "ok") throw new Error(`the last write to its file was ${write ?? "unknown"}`);
  if (rewrite !== "ok") throw new Error(`its file could not be rewritten: ${rewrite ?? "unknown"}`);
  return `writes go to a file (${wanted["appendfsync"] ?? ""}), and only with ${wanted["min-replicas-to-write"] ?? ""} of the replicas`;
}

async function checkReplication(
  session: Session,
  access: Access,
  key: string,
  servers: Map<string, Redis>,
  states: MemberState[],
): Promise<string> {
  const replicas = states.filter(({ role }) => role === "replica").map(({ member }) => member);
  const value = randomBytes(8).toString("hex");
  const client = await session.address(access);
  await client.set(key, value, "EX", leftoverSeconds);
  const reached = await client.wait(replicas.length, deadlineMilliseconds / 2);
  try {
    for (const member of replicas) {
      const read = await servers.get(member)?.get(key);
      if (read !== value) throw new Error(`${member} does not have what was written through the address`);
    }
    if (reached < replicas.length) throw new Error(`${reached} of ${replicas.length} replicas confirmed a write`);
    return `written through the address, confirmed by ${reached} replicas, read on ${replicas.join(", ")}`;
  } finally {
    await client.del(key);
  }
}

async function checkExpiry(session: Session, access: Access, environment: CheckEnvironment): Promise<string> {
  const key = session.key();
  const client = await session.address(access);
  await client.set(key, "short", "PX", shortMilliseconds);
  const left = await client.pttl(key);
  if (left <= 0 || left > shortMilliseconds)
    throw new Error(`a key that lives ${shortMilliseconds} ms has ${left} ms left`);
  await delay(shortMilliseconds + 200, undefined, { signal: environment.signal });
  if ((await client.exists(key)) !== 0) throw new Error(`a key was still there after ${shortMilliseconds} ms`);
  return `a key was gone after its ${shortMilliseconds} ms`;
}

/** What caches need, and what no application may do. */
async function checkApplication(session: Session, access: Access, application: string): Promise<string> {
  const client = await session.address(access);
  const key = session.key();
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
  } finally {
    await client.del(key);
  }
  // None of them does harm where it is let in.
  const forbidden: [string, ...string[]][] = [
    ["CONFIG", "GET", "appendonly"],
    ["ACL", "LIST"],
    ["CLIENT", "LIST"],
  ];
  for (const [command, ...rest] of forbidden) {
    await refusal(client.call(command, ...rest), /NOPERM/, `${application} with ${command}`);
  }
  // Only asked about: where it is let in, it would do what it says.
  const admin = await session.adminAddress();
  const harmful = [
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["SHUTDOWN"],
    ["REPLICAOF", "NO", "ONE"],
    // What Sentinels tell each other, and what agents write down.
    ["PUBLISH", "__sentinel__:hello", "x"],
    ["SELECT", String(markDatabase)],
    ["MOVE", key, String(markDatabase)],
  ];
  for (const command of harmful) {
    const answer = String(await admin.call("ACL", "DRYRUN", application, ...command));
    if (!/no permissions/i.test(answer)) throw new Error(`${application} may ${command.join(" ")}`);
  }
  return `${application} logged in everywhere, wrote through the address, may KEYS and SCAN; CONFIG, ACL, FLUSHALL and others are refused`;
}

async function everywhere(members: string[], attempt: (member: string) => Promise<string>): Promise<string> {
  const answers = await Promise.allSettled(members.map(attempt));
  const failures = members.flatMap((member, index) => {
    const answer = answers[index];
    return answer?.status === "rejected" ? [`${member}: ${(answer.reason as Error).message}`] : [];
  });
  if (failures.length > 0) throw new Error(failures.join("; "));
  const [first] = answers;
  return first?.status === "fulfilled" ? `${first.value}, by ${members.join(", ")}` : "";
}

/** The tunnel must work, so that a broken one is no refusal: a TLS client gets through at the same time. */
async function refusedInPlainText(
  session: Session,
  environment: CheckEnvironment,
  target: CheckTarget,
  member: string,
): Promise<string> {
  const { open } = await import("./client.js");
  await environment.tunnel.dial(member, target.clientPort);
  await session.alive(member);
  const address = await environment.tunnel.dial(member, target.clientPort);
  try {
    const client = await open({ ...address, timeoutMilliseconds: deadlineMilliseconds });
    client.disconnect();
  } catch (error) {
    const message = (error as Error).message;
    if (/NOAUTH/.test(message)) throw new Error("a client without TLS was let in");
    if (/ECONNREFUSED|timed out|ETIMEDOUT/.test(message)) throw error;
    return "a client without TLS is refused";
  }
  throw new Error("a client without TLS was let in");
}

interface Session {
  /** Different each time. */
  key(): string;
  /** One connection for each place and user. */
  member(member: string, access: Access): Promise<Redis>;
  sentinel(member: string, access: Access): Promise<Redis>;
  /** Through the gateway. */
  address(access: Access): Promise<Redis>;
  adminAddress(): Promise<Redis>;
  /** The administrator gets an answer from this member. */
  alive(member: string): Promise<void>;
  close(): Promise<void>;
}

function openSession(target: CheckTarget, environment: CheckEnvironment): Session {
  const connections = new Map<string, Redis>();
  const run = randomBytes(6).toString("hex");
  let keys = 0;
  const connectTo = async (
    what: string,
    servername: string,
    dial: () => Promise<{ host: string; port: number }>,
    { ca, auth }: Access,
  ): Promise<Redis> => {
    const key = JSON.stringify([what, ca, auth]);
    const existing = connections.get(key);
    if (existing?.status === "ready") return existing;
    const { open } = await import("./client.js");
    const client = await within(
      dial().then(({ host, port }) =>
        open({
          host,
          port,
          name: "cells-services-check",
          timeoutMilliseconds: deadlineMilliseconds,
          // Through the tunnel the address is local, but the certificate must be that of the member.
          ...(ca === undefined ? {} : { tls: { ca, servername } }),
          ...(auth === undefined ? {} : { credentials: auth }),
        }),
      ),
      deadlineMilliseconds,
      `a connection to ${what}`,
    );
    connections.set(key, client);
    return client;
  };
  const hostOf = (member: string): string => memberHost(target.name, target.namespace, member);
  const session: Session = {
    key: () => `${keyPrefix}${run}:${keys++}`,
    member: (member, access) =>
      connectTo(member, hostOf(member), () => environment.tunnel.dial(member, target.clientPort), access),
    sentinel: (member, access) =>
      connectTo(
        `the sentinel of ${member}`,
        hostOf(member),
        () => environment.tunnel.dial(member, ports.sentinel),
        access,
      ),
    address: (access) =>
      connectTo(target.host, target.host, () => environment.tunnel.service(target.name, target.clientPort), access),
    adminAddress: async () => session.address(await adminAccess(target, environment)),
    async alive(member) {
      await (await session.member(member, await adminAccess(target, environment))).ping();
    },
    async close() {
      for (const client of connections.values()) client.disconnect();
    },
  };
  return session;
}
