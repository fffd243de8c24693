/**
 * Proves with a real client that a NATS cluster works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import { connect as connectTcp } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { ConsumerInfo, JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
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
import { describePeer, toJetStreamState, whyNotFormed } from "./formation";
import { scheme, wantedReplicas } from "./layout";
import { decide, type StreamState, toStreamState } from "./replication";

/** An answer takes milliseconds; ten seconds cover an election and a slow tunnel. */
const deadlineMilliseconds = 10_000;
/** All servers answer at once; those that do not within this time are missing. */
const answerMilliseconds = 3_000;
/** The reconciler is told of a new stream at once; its full pass, which needs no telling, comes every minute. */
const reconcileMilliseconds = 90_000;
/** A check that was killed leaves its streams; the next one removes them when no check can still be using them. */
const leftoverMilliseconds = 3_600_000;
const streamPrefix = "cells-services-check-";

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

    const servers = new Map<string, NatsConnection>();
    for (const member of target.members) {
      await step(`member ${member}`, `look at the pod ${member} and its log`, async () => {
        const connection = await session.open(member, access);
        const { server_name: server, version, jetstream } = connection.info ?? {};
        if (server !== member) throw new Error(`the server calls itself ${server ?? "nothing"}, expected ${member}`);
        if (jetstream !== true) throw new Error("JetStream is not enabled");
        servers.set(member, connection);
        return `${access.ca === undefined ? "plain text" : "TLS, certificate verified"}; nats ${version ?? "unknown"}`;
      });
    }
    const [first] = [...servers];
    if (first === undefined) return findings;
    const [, system] = first;

    await step("routes", "look at the logs of the members and at the network policy between them", () =>
      checkRoutes(target, system),
    );
    await step("meta group", "look at readiness and logs of the members; streams cannot be changed without it", () =>
      checkMetaGroup(target, environment, system),
    );
    await step("durability", "a member runs with another configuration than it should: look at its pod", () =>
      checkDurability(target, system),
    );
    for (const [application, secret] of Object.entries(target.applications)) {
      await checkApplication(target, environment, session, step, { application, secret, members: [...servers.keys()] });
    }

    // Every member: one that runs with an older configuration would let in whom the others refuse.
    const everywhere = async (attempt: (member: string) => Promise<string>): Promise<string> => {
      const answers = await Promise.allSettled([...servers.keys()].map(attempt));
      const failures = [...servers.keys()].flatMap((member, index) => {
        const answer = answers[index];
        return answer?.status === "rejected" ? [`${member}: ${(answer.reason as Error).message}`] : [];
      });
      if (failures.length > 0) throw new Error(failures.join("; "));
      const [first] = answers;
      return first?.status === "fulfilled" ? `${first.value}, by ${[...servers.keys()].join(", ")}` : "";
    };
    await step("anonymous access", "authentication is not enabled: look at the Secret with the users", () =>
      everywhere((each) =>
        refusal(session.open(each, { ...access, auth: undefined }), /authorization/i, "a client without a password"),
      ),
    );
    await step("wrong password", "authentication is not enabled: look at the Secret with the users", () => {
      const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
      return everywhere((each) =>
        refusal(session.open(each, { ...access, auth }), /authorization/i, "a client with a wrong password"),
      );
    });
    if (target.tls !== "off") {
      await step("unknown authority", "the member does not show a certificate of its own authority", async () => {
        const ca = await unrelatedAuthority();
        return everywhere((each) =>
          refusal(session.open(each, { ...access, ca }), untrusted, "a client that trusts another authority"),
        );
      });
    }
    if (target.tls === "required") {
      await step("plain text refused", "tls is required: look at the configuration of the member", () =>
        everywhere((each) => refusedInPlainText(target, environment, each, access)),
      );
    }
    if (target.tls === "optional") {
      await step("plain text", "tls is optional: look at the configuration of the member", () =>
        everywhere((each) =>
          session.open(each, { ...access, ca: undefined }).then(() => "a client without TLS is let in"),
        ),
      );
    }
    return findings;
  } finally {
    await session.close();
  }
};

/** Every member must be connected to every other one: what one does not hear, its clients do not hear. */
async function checkRoutes(target: CheckTarget, system: NatsConnection): Promise<string> {
  const { askServers } = await import("./client.js");
  const answers = (await askServers(system, "ROUTEZ", target.members.length, answerMilliseconds)) as {
    server?: { name?: string };
    data?: { routes?: { remote_name?: string }[] };
  }[];
  const missing = target.members.flatMap((member) => {
    const answer = answers.find(({ server }) => server?.name === member);
    if (answer === undefined) return [`${member} does not answer`];
    const remotes = new Set((answer.data?.routes ?? []).map(({ remote_name: remote }) => remote));
    return target.members
      .filter((other) => other !== member && !remotes.has(other))
      .map((other) => `${member} has no route to ${other}`);
  });
  if (missing.length > 0) throw new Error(missing.join("; "));
  return `each of ${target.members.length} members is connected to all others`;
}

async function checkMetaGroup(
  target: CheckTarget,
  environment: CheckEnvironment,
  system: NatsConnection,
): Promise<string> {
  const { jetStreamStates } = await import("./client.js");
  // A follower is shortly not current after each change of a stream.
  return eventually("the meta group", deadlineMilliseconds, environment, async () => {
    const states = await jetStreamStates(system, target.members.length, answerMilliseconds);
    const reason = whyNotFormed(states, target.members);
    return reason === undefined
      ? { done: `leader ${states[0]?.leader ?? ""}, all ${target.members.length} members current` }
      : { seen: reason };
  });
}

/** What the running servers say, against what was asked for. */
async function checkDurability(target: CheckTarget, system: NatsConnection): Promise<string> {
  const { askServers } = await import("./client.js");
  const always = target.durability === "fsync";
  const answers = await askServers(system, "JSZ", target.members.length, answerMilliseconds);
  const states = answers.map(toJetStreamState);
  const wrong = target.members.flatMap((member) => {
    const state = states.find(({ server }) => server === member);
    if (state === undefined) return [`${member} does not answer`];
    if (state.syncAlways === always) return [];
    return [
      always
        ? `${member} acknowledges before messages are on disk`
        : `${member} writes each message to disk, which the configuration does not ask for`,
    ];
  });
  if (wrong.length > 0) throw new Error(wrong.join("; "));
  return always
    ? "all members write messages to disk before they acknowledge them"
    : "as configured, messages are acknowledged when a majority has them in memory";
}

interface ApplicationUnderCheck {
  application: string;
  secret: string;
  /** Members that answer. */
  members: string[];
}

async function checkApplication(
  target: CheckTarget,
  environment: CheckEnvironment,
  session: Session,
  step: ReturnType<typeof findingRecorder>["step"],
  { application, secret, members }: ApplicationUnderCheck,
): Promise<void> {
  const [writer = "", reader = writer] = members;
  const wanted = wantedReplicas(target.members.length);
  let access: Access | undefined;
  await step(`application ${application}`, `look at the Secret ${secret} and the log of the setup job`, async () => {
    const known = await applicationAccess(target, environment, application);
    expectUrl(known.values, `${scheme(target.tls)}://${target.host}:${target.clientPort}`);
    for (const member of members) await session.open(member, known.access);
    access = known.access;
    return `${application} logged in on ${members.join(", ")} with the Secret ${secret}`;
  });
  if (access === undefined) return;
  const granted = access;

  await step(`streams ${application}`, "look at the log of the reconciler and of the members named", async () =>
    checkStreams(target, environment, await session.open(writer, granted), await session.manager(writer, granted)),
  );
  await step(`replication ${application}`, "a majority must answer: look at readiness and volumes of the members", () =>
    checkReplication(environment, session, granted, { writer, reader, wanted }),
  );
  await step(`reconciler ${application}`, "look at the pod of the reconciler and its log", () =>
    checkReconciler(environment, session, granted, { writer, wanted }),
  );
  await step(`clean-up ${application}`, `delete the streams that begin with ${streamPrefix}`, async () =>
    removeLeftovers(await session.manager(writer, granted)),
  );
}

/** All streams and their consumers: a leader, all replicas current, and of streams as many as the reconciler keeps. */
async function checkStreams(
  target: CheckTarget,
  environment: CheckEnvironment,
  connection: NatsConnection,
  manager: JetStreamManager,
): Promise<string> {
  // Replicas are shortly behind under load; what stays behind is found.
  return eventually("the streams", 3 * deadlineMilliseconds, environment, async () => {
    const names: string[] = [];
    for await (const name of manager.streams.names()) if (!name.startsWith(streamPrefix)) names.push(name);
    const streams: StreamState[] = [];
    for await (const info of manager.streams.list()) streams.push(toStreamState(info));
    const problems = streamProblems(names, streams, wantedReplicas(target.members.length));
    const left = streams.filter(({ replicas }) => replicas < wantedReplicas(target.members.length)).length;
    let consumers = 0;
    // A stream without a leader has no answer for its consumers.
    for (const { name } of streams.filter((each) => names.includes(each.name) && each.leader !== "")) {
      const known = await consumerNames(connection, name);
      const infos: ConsumerInfo[] = [];
      for await (const info of manager.consumers.list(name)) infos.push(info);
      problems.push(...consumerProblems(name, known, infos));
      consumers += known.length;
    }
    if (problems.length > 0) return { seen: problems.join("; ") };
    const exceptions = left === 0 ? "" : `; ${left} with fewer replicas, as their owner wants`;
    return {
      done: `${names.length} streams and ${consumers} consumers, each with a leader and all replicas current${exceptions}`,
    };
  });
}

/** In words, one for each stream that is not well. A stream without a leader is in the names but not in the list. */
export function streamProblems(names: string[], streams: StreamState[], wanted: number): string[] {
  const decisions = decide(streams, wanted);
  return names.flatMap((name) => {
    const stream = streams.find((each) => each.name === name);
    if (stream === undefined || stream.leader === "") return [`stream ${JSON.stringify(name)} has no leader`];
    const behind = stream.peers.filter((peer) => peer.offline === true || !peer.current);
    if (behind.length > 0) return [`stream ${JSON.stringify(name)}: ${behind.map(describePeer).join(", ")}`];
    if (stream.migrating) return [`stream ${JSON.stringify(name)} is being moved`];
    const kind = decisions.find((decision) => decision.stream === name)?.kind;
    return kind === "raise" || kind === "wait"
      ? [`stream ${JSON.stringify(name)} has ${stream.replicas} of ${wanted} replicas`]
      : [];
  });
}

/** In words, one for each consumer that is not well. A consumer without a leader is in the names but not in the list. */
export function consumerProblems(
  stream: string,
  names: string[],
  infos: Pick<ConsumerInfo, "name" | "cluster">[],
): string[] {
  return names.flatMap((name) => {
    const title = `consumer ${JSON.stringify(name)} of stream ${JSON.stringify(stream)}`;
    const cluster = infos.find((info) => info.name === name)?.cluster;
    if (!cluster?.leader) return [`${title} has no leader`];
    const behind = (cluster.replicas ?? []).filter((peer) => peer.offline === true || !peer.current);
    return behind.length === 0 ? [] : [`${title}: ${behind.map(describePeer).join(", ")}`];
  });
}

/** The library only lists the consumers that answer. */
async function consumerNames(connection: NatsConnection, stream: string): Promise<string[]> {
  const names: string[] = [];
  for (;;) {
    const body = JSON.stringify({ offset: names.length });
    const message = await connection.request(`$JS.API.CONSUMER.NAMES.${stream}`, body, {
      timeout: deadlineMilliseconds,
    });
    const page = message.json<{ consumers?: string[] | null; total?: number; error?: { description?: string } }>();
    if (page.error !== undefined) {
      throw new Error(`the consumers of ${JSON.stringify(stream)}: ${page.error.description ?? "an error"}`);
    }
    const more = page.consumers ?? [];
    names.push(...more);
    if (more.length === 0 || names.length >= (page.total ?? 0)) return names;
  }
}

/** Written through one server, acknowledged, and consumed through another. */
async function checkReplication(
  environment: CheckEnvironment,
  session: Session,
  access: Access,
  { writer, reader, wanted }: { writer: string; reader: string; wanted: number },
): Promise<string> {
  const { jetstream, AckPolicy, StorageType } = await import("@nats-io/jetstream");
  const stream = session.streamName();
  const manager = await session.manager(writer, access);
  await manager.streams.add({
    name: stream,
    subjects: [stream],
    num_replicas: wanted,
    storage: StorageType.File,
  });
  try {
    const value = randomBytes(8).toString("hex");
    const writing = jetstream(await session.open(writer, access), { timeout: deadlineMilliseconds });
    const { seq } = await writing.publish(stream, value);
    if (seq !== 1) throw new Error(`the first message of a new stream got the number ${seq}`);
    await eventually("all replicas of a new stream", deadlineMilliseconds, environment, async () => {
      const { peers, leader } = toStreamState(await manager.streams.info(stream));
      const current = peers.filter((peer) => peer.current);
      return leader !== "" && current.length === wanted - 1
        ? { done: "" }
        : { seen: leader === "" ? "it has no leader" : peers.map(describePeer).join(", ") || "it has one replica" };
    });
    const readingManager = await session.manager(reader, access);
    await readingManager.consumers.add(stream, { durable_name: "check", ack_policy: AckPolicy.Explicit });
    const consumer = await readingManager.jetstream().consumers.get(stream, "check");
    const message = await consumer.next({ expires: deadlineMilliseconds });
    if (message?.string() !== value) throw new Error(`${reader} did not deliver what was written through ${writer}`);
    if (!(await message.ackAck())) throw new Error(`${reader} did not confirm that the message was consumed`);
    return `written through ${writer} to ${wanted} replicas, all current; consumed through ${reader}`;
  } finally {
    await manager.streams.delete(stream);
  }
}

/** An application that does not say how many replicas it wants gets them all the same. */
async function checkReconciler(
  environment: CheckEnvironment,
  session: Session,
  access: Access,
  { writer, wanted }: { writer: string; wanted: number },
): Promise<string> {
  const stream = session.streamName();
  const manager = await session.manager(writer, access);
  await manager.streams.add({ name: stream, subjects: [stream] });
  const start = environment.clock();
  try {
    await eventually("the reconciler", reconcileMilliseconds, environment, async () => {
      const { replicas, peers, migrating } = toStreamState(await manager.streams.info(stream));
      if (replicas < wanted) return { seen: `a new stream has ${replicas} of ${wanted} replicas` };
      const complete = !migrating && peers.filter((peer) => peer.current).length === wanted - 1;
      return complete ? { done: "" } : { seen: peers.map(describePeer).join(", ") || "no replica has started" };
    });
    const seconds = ((environment.clock() - start) / 1000).toFixed(1);
    return `a new stream had ${wanted} replicas, all current, after ${seconds} seconds`;
  } finally {
    await manager.streams.delete(stream);
  }
}

async function removeLeftovers(manager: JetStreamManager): Promise<string> {
  const removed: string[] = [];
  for await (const { config, created } of manager.streams.list()) {
    const old = Date.now() - Date.parse(created) > leftoverMilliseconds;
    if (config.name.startsWith(streamPrefix) && old) removed.push(config.name);
  }
  for (const name of removed) await manager.streams.delete(name);
  return removed.length === 0 ? "no streams of former checks" : `${removed.length} streams of former checks removed`;
}

interface Session {
  /** Different each time. */
  streamName(): string;
  /** One connection for each member and user. */
  open(member: string, access: Access): Promise<NatsConnection>;
  manager(member: string, access: Access): Promise<JetStreamManager>;
  close(): Promise<void>;
}

function openSession(target: CheckTarget, environment: CheckEnvironment): Session {
  const connections = new Map<string, NatsConnection>();
  const run = randomBytes(6).toString("hex");
  let streams = 0;
  const connectTo = async (member: string, { ca, auth }: Access): Promise<NatsConnection> => {
    const key = JSON.stringify([member, ca, auth]);
    const existing = connections.get(key);
    if (existing !== undefined && !existing.isClosed()) return existing;
    const { open } = await import("./client.js");
    const { host, port } = await environment.tunnel.dial(member, target.clientPort);
    const connection = await within(
      open({
        host,
        port,
        name: "cells-services-check",
        // Through the tunnel the address is local, but the certificate must be that of the member.
        ...(ca === undefined ? {} : { tls: { ca, servername: memberHost(target.name, target.namespace, member) } }),
        ...(auth === undefined ? {} : { credentials: auth }),
      }),
      deadlineMilliseconds,
      `a connection to ${member}`,
    );
    connections.set(key, connection);
    return connection;
  };
  return {
    streamName: () => `${streamPrefix}${run}-${streams++}`,
    open: connectTo,
    async manager(member, access) {
      const { jetstreamManager } = await import("@nats-io/jetstream");
      return jetstreamManager(await connectTo(member, access), { timeout: deadlineMilliseconds });
    },
    async close() {
      const closing = [...connections.values()].map((connection) => connection.close());
      await within(Promise.allSettled(closing), deadlineMilliseconds, "closing").catch(() => undefined);
    },
  };
}

/** Asks again until it is so; when it does not become so in time, the error says what was seen last. */
async function eventually(
  what: string,
  milliseconds: number,
  environment: CheckEnvironment,
  attempt: () => Promise<{ done: string } | { seen: string }>,
): Promise<string> {
  const end = environment.clock() + milliseconds;
  for (;;) {
    const outcome = await attempt();
    if ("done" in outcome) return outcome.done;
    if (environment.clock() >= end) throw new Error(`${what}, after ${milliseconds / 1000} seconds: ${outcome.seen}`);
    await delay(500, undefined, { signal: environment.signal });
  }
}

/**
 * Speaks the protocol itself: the library would refuse before the server could. The greeting must have come, so that a
 * broken tunnel is no refusal.
 */
export async function refusedInPlainText(
  target: CheckTarget,
  environment: CheckEnvironment,
  member: string,
  { auth }: Access,
): Promise<string> {
  const { host, port } = await environment.tunnel.dial(member, target.clientPort);
  const socket = connectTcp({ host, port });
  let received = "";
  // The whole line: less of it can be the end of a tunnel that broke.
  const greeted = (): boolean => /^INFO .*\r\n/.test(received);
  const outcome = new Promise<string>((resolve, reject) => {
    const login = JSON.stringify({ user: auth?.username, pass: auth?.password, verbose: false });
    const refused = (): void => resolve("a client without TLS is refused");
    let asked = false;
    socket.on("data", (data) => {
      received += data.toString("latin1");
      if (greeted() && !asked) {
        asked = true;
        socket.write(`CONNECT ${login}\r\nPING\r\n`);
      }
      if (/^PONG/m.test(received)) reject(new Error("a client without TLS was let in"));
      else if (greeted() && /^-ERR /m.test(received)) refused();
    });
    const ended = (): void => {
      if (greeted()) refused();
      else reject(new Error("a client without TLS got neither in nor a refusal: no greeting"));
    };
    socket.on("close", ended).on("error", ended);
  });
  try {
    return await within(outcome, deadlineMilliseconds, "a refusal");
  } finally {
    socket.destroy();
  }
}
