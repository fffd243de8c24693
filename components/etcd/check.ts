/**
 * Proves with a real client that an etcd cluster works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import { connect as tlsConnect } from "node:tls";
import type { Etcd3, IOptions } from "etcd3";
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
import { scheme } from "./layout";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const deadlineMilliseconds = 10_000;

export const check: Check = async (target, environment) => {
  const { findings, step } = findingRecorder(environment);
  const session = openSession(target, environment);
  try {
    let access: Access = { ca: undefined, auth: undefined };
    const known = await step("credentials", adminAccessRemedy(target), async () => {
      const { auth, ca } = await adminAccess(target, environment);
      access = { auth, ca };
      return `administrator ${auth?.username ?? ""}${ca === undefined ? "" : " and trust bundle"} found`;
    });
    if (!known) return findings;

    const clients = new Map<string, Etcd3>();
    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member} and its log`, async () => {
        const secured =
          access.ca === undefined ? "plain text" : await handshake(target, environment, member, access.ca);
        const client = await session.open(member, access);
        const { version, dbSize } = await client.maintenance.status();
        clients.set(member, client);
        return `${secured}; etcd ${version}, database ${dbSize} bytes`;
      });
    }
    const [first, ...others] = [...clients];
    if (first === undefined) return findings;

    await step(
      "membership",
      "look at the logs of the members, and of the maintenance job when there is a learner",
      () => checkMembership(target, clients),
    );
    await step(
      "alarms",
      "look at the log of the last maintenance job; NOSPACE: delete what is not needed, the next maintenance then frees the space and allows writes",
      async () => {
        const { alarms } = await first[1].maintenance.alarm({ action: "Get" });
        if (alarms.length > 0) throw new Error(`raised: ${alarms.map(({ alarm }) => String(alarm)).join(", ")}`);
        return "none raised";
      },
    );

    const key = `${session.prefix}replication`;
    const value = randomBytes(8).toString("hex");
    await step(
      "replication",
      "a majority must answer: look at readiness and network policy of the members",
      async () => {
        await first[1].put(key).value(value);
        for (const [member, client] of others) {
          const read = await client.get(key).string();
          if (read !== value) throw new Error(`${member} did not read what was written through ${first[0]}`);
        }
        return `written through ${first[0]}, read through ${others.map(([member]) => member).join(", ") || "itself"}`;
      },
    );
    await step("watch", "look at the network between the members", () => checkWatch(session.prefix, clients));
    await step("durability", "etcd must not run with unsafe-no-fsync", () =>
      checkDurability(target, environment, session.prefix, clients),
    );

    const [member] = first;
    await step("anonymous access", "authentication is not enabled: look at the log of the setup job", async () => {
      const client = await session.open(member, { ...access, auth: undefined });
      return refusal(client.get(key).string(), /user name is empty|permission denied/, "a client without a password");
    });
    await step("wrong password", "authentication is not enabled: look at the log of the setup job", async () => {
      const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
      const client = await session.open(member, { ...access, auth });
      return refusal(client.get(key).string(), /authentication failed/, "a client with a wrong password");
    });
    if (target.tls !== "off") {
      await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
        const stranger = await unrelatedAuthority();
        const shown = handshake(target, environment, member, stranger);
        return refusal(shown, untrusted, "a client that trusts another authority");
      });
    }
    if (target.tls === "optional") {
      await step("plain text", "tls is optional: the port must accept plain text too", async () => {
        const client = await session.open(member, { ...access, ca: undefined });
        return `read without TLS: ${(await client.get(key).string()) === value ? "the value written" : "nothing"}`;
      });
    }
    for (const [application, secret] of Object.entries(target.applications)) {
      await step(`application ${application}`, `look at the Secret ${secret} and the log of the setup job`, () =>
        checkApplication(target, environment, session, { member, application, secret }),
      );
    }
    await step("clean-up", `delete the keys that begin with ${session.prefix}`, async () => {
      const { deleted } = await first[1].delete().prefix(session.prefix);
      return `${deleted} test keys removed`;
    });
    return findings;
  } finally {
    session.close();
  }
};

async function checkMembership(target: CheckTarget, clients: Map<string, Etcd3>): Promise<string> {
  const expected = [...target.members].sort().join(", ");
  const leaders = new Set<string>();
  let leaderName = "";
  for (const [member, client] of clients) {
    const { members } = await client.cluster.memberList({ linearizable: true });
    const names = members.map(({ name }) => name || "(never started)").sort();
    if (names.join(", ") !== expected) throw new Error(`${member} knows ${names.join(", ")}, expected ${expected}`);
    const learners = members.filter((each) => (each as { isLearner?: boolean }).isLearner === true);
    if (learners.length > 0) throw new Error(`still learning: ${learners.map(({ name }) => name).join(", ")}`);
    const { leader } = await client.maintenance.status();
    leaders.add(leader);
    leaderName = members.find(({ ID }) => ID === leader)?.name ?? leader;
  }
  if (clients.size !== target.members.length)
    throw new Error(`${clients.size} of ${target.members.length} members answer`);
  if (leaders.size !== 1 || leaders.has("0")) throw new Error(`no agreement on a leader: ${[...leaders].join(", ")}`);
  return `${expected}; leader ${leaderName}`;
}

/** A watch on the last member must deliver what is written through the first. */
async function checkWatch(prefix: string, clients: Map<string, Etcd3>): Promise<string> {
  const all = [...clients];
  const [writer, watching] = [all[0], all.at(-1)];
  if (writer === undefined || watching === undefined) throw new Error("no member answers");
  const key = `${prefix}watch`;
  const watcher = await within(watching[1].watch().key(key).create(), deadlineMilliseconds, "the watch to begin");
  try {
    const event = new Promise<string>((resolve, reject) => {
      watcher.on("put", (kv) => resolve(kv.value.toString()));
      watcher.on("error", reject);
    });
    await writer[1].put(key).value("seen");
    await within(event, deadlineMilliseconds, `a watch on ${watching[0]} to deliver a write through ${writer[0]}`);
    return `${watching[0]} delivered a write through ${writer[0]}`;
  } finally {
    await within(watcher.cancel(), deadlineMilliseconds, "the watch to end").catch(() => undefined);
  }
}

/** A write must make every member force its log to disk: with unsafe-no-fsync the counter stands still. */
async function checkDurability(
  target: CheckTarget,
  environment: CheckEnvironment,
  prefix: string,
  clients: Map<string, Etcd3>,
): Promise<string> {
  const key = `${prefix}durability`;
  const all = [...clients];
  const before = await Promise.all(all.map(([member]) => readSyncs(target, environment, member)));
  await all[0]?.[1].put(key).value("synced");
  // When a member has read the write from a majority, the write is in its own log.
  for (const [, client] of all) await client.get(key).string();
  const after = await Promise.all(all.map(([member]) => readSyncs(target, environment, member)));
  const idle = all.filter((_, index) => (after[index] ?? 0) <= (before[index] ?? 0)).map(([member]) => member);
  if (idle.length > 0) throw new Error(`no sync to disk for a write on ${idle.join(", ")}`);
  return `a write was synced to disk on ${all.map(([member]) => member).join(", ")}`;
}

async function readSyncs(target: CheckTarget, environment: CheckEnvironment, member: string): Promise<number> {
  const { host, port } = await environment.tunnel.dial(member, target.metricsPort);
  const signal = AbortSignal.any([environment.signal, AbortSignal.timeout(deadlineMilliseconds)]);
  const metrics = await (await fetch(`http://${host}:${port}/metrics`, { signal })).text();
  return metricValue(metrics, "etcd_disk_wal_fsync_duration_seconds_count");
}

/** Value of a metric without labels, in the text format of Prometheus. */
export function metricValue(metrics: string, name: string): number {
  const line = metrics.split("\n").find((each) => each.startsWith(`${name} `));
  if (line === undefined) throw new Error(`the metric ${name} is missing`);
  return Number(line.slice(name.length + 1));
}

async function checkApplication(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  { member, application, secret }: { member: string; application: string; secret: string },
): Promise<string> {
  const { access, values } = await applicationAccess(target, environment, application);
  expectUrl(values, `${scheme(target.tls)}://${target.host}:${target.clientPort}`);
  const client = await session.open(member, access);
  const key = `${session.prefix}application/${application}`;
  await client.put(key).value(application);
  const read = await client.get(key).string();
  if (read !== application) throw new Error("a value written was not read back");
  const { deleted } = await client.delete().key(key);
  if (deleted !== "1") throw new Error(`a value written was not deleted, ${deleted} keys were`);
  return `${application} wrote, read and deleted with the Secret ${secret}`;
}

interface Session {
  /** All test keys begin with it; different in each run. */
  prefix: string;
  open(member: string, access: Access): Promise<Etcd3>;
  close(): void;
}

function openSession(target: CheckTarget, environment: CheckEnvironment): Session {
  const open: Etcd3[] = [];
  return {
    prefix: `cells-services/check/${randomBytes(6).toString("hex")}/`,
    async open(member, { ca, auth }) {
      const { Etcd3 } = await import("etcd3");
      const { host, port } = await environment.tunnel.dial(member, target.clientPort);
      const client = new Etcd3({
        // The client asks for its token without the option below, so the certificate must fit this name too; members carry
        // "localhost", and TLS does not allow an address as the name of a server.
        hosts: `${ca === undefined ? "http" : "https"}://${host === "127.0.0.1" ? "localhost" : host}:${port}`,
        ...(auth === undefined ? {} : { auth }),
        ...(ca === undefined ? {} : { credentials: { rootCertificate: Buffer.from(ca) } }),
        // Through the tunnel the address is local, but the certificate must be that of the member.
        grpcOptions: ca === undefined ? {} : { "grpc.ssl_target_name_override": memberName(target, member) },
        defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + deadlineMilliseconds }),
        // The first error is the finding; a retry or a circuit breaker would replace it by another.
        faultHandling: { global: once, host: () => once },
      });
      open.push(client);
      return client;
    },
    close: () => {
      for (const client of open) client.close();
    },
  };
}

type Policy = NonNullable<NonNullable<IOptions["faultHandling"]>["global"]>;

/** A policy that does nothing: calls once and passes on what happens. */
const once = {
  execute: async (call: (context: { signal: AbortSignal }) => unknown) =>
    call({ signal: new AbortController().signal }),
} as unknown as Policy;

/** A TLS handshake of its own, to see what certificate is shown. */
async function handshake(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  ca: string,
): Promise<string> {
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  const servername = memberName(target, member);
  // etcd speaks HTTP/2 only on this protocol name.
  const socket = tlsConnect({ host, port, ca, servername, ALPNProtocols: ["h2"] });
  try {
    const secured = new Promise<void>((resolve, reject) => {
      socket.once("secureConnect", resolve);
      socket.once("error", reject);
    });
    await within(secured, deadlineMilliseconds, `a TLS handshake with ${member}`);
    return `${socket.getProtocol() ?? "TLS"}, certificate valid until ${socket.getPeerCertificate().valid_to}`;
  } finally {
    socket.destroy();
  }
}

function memberName(target: CheckTarget, member: string): string {
  return memberHost(target.name, target.namespace, member);
}
