/**
 * Proves with a real client that a NATS cluster works as its users need it. The client is loaded when the check runs: a
 * component must not bring it into every preview.
 */
import { randomBytes } from "node:crypto";
import type { ConsumerInfo, JetStreamManager } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { checkCertificates, greetingOf, type StartTls } from "../shared/check/certificates";
import { type Connections, connections, endpointOf, probeName } from "../shared/check/connections";
import {
  answerSeconds,
  beginCheck,
  type CheckContext,
  failIfAny,
  greetMembers,
  type Place,
  waiting,
} from "../shared/check/context";
import { type Access, administrator, enterAsApplication } from "../shared/check/logins";
import type { PlainText } from "../shared/check/plaintext";
import { checkStrangers, loginStrangers } from "../shared/check/strangers";
import type { Check, CheckTarget } from "../shared/core/check";
import { waitFor } from "../shared/core/wait";
import { describePeer, toJetStreamState, whyNotFormed } from "./formation";
import { ports, scheme, wantedReplicas } from "./layout";
import { decide, type StreamState, toStreamState } from "./replication";

/** All servers answer at once; those that do not within this time are missing. */
const answerMilliseconds = (answerSeconds / 4) * 1000;
/** The reconciler is told of a new stream at once; its full pass, which needs no telling, comes every minute. */
const reconcileSeconds = 90;
/** A check that was killed leaves its streams; the next one removes them when no check can still be using them. */
const leftoverMilliseconds = 3_600_000;
const streamPrefix = "cells-services-check-";

export const check: Check = async (target, environment) => {
  const context = beginCheck(target, environment);
  const { findings, step, member: memberPlace, address } = context;
  const session = openSession();
  try {
    const access = await administrator(context);
    if (access === undefined) return findings;

    const servers = new Map<string, NatsConnection>();
    await greetMembers(context, async (place) => {
      const connection = await session.open(place, access);
      const { server_name: server, version, jetstream } = connection.info ?? {};
      if (server !== place.name) {
        throw new Error(`the server calls itself ${server ?? "nothing"}, expected ${place.name}`);
      }
      if (jetstream !== true) throw new Error("JetStream is not enabled");
      servers.set(place.name, connection);
      return `nats ${version ?? "unknown"}`;
    });
    const [system] = servers.values();
    if (system === undefined) return findings;

    await step("routes", "look at the logs of the members and at the network policy between them", () =>
      checkRoutes(target, system),
    );
    await step("meta group", "look at readiness and logs of the members; streams cannot be changed without it", () =>
      checkMetaGroup(context, system),
    );
    await step("durability", "a member runs with another configuration than it should: look at its pod", () =>
      checkDurability(target, system),
    );
    const members = [...servers.keys()].map((each) => memberPlace(each));
    const places = [...members, address];
    await step("address", "look at the Service and at which members are ready", async () => {
      const { server_name: server = "nothing" } = (await session.open(address, access)).info ?? {};
      if (!target.members.includes(server)) throw new Error(`${target.host} leads to ${server}, which is no member`);
      return `${target.host} leads to ${server}`;
    });
    for (const application of Object.keys(target.applications)) {
      const granted = await enterAsApplication(context, application, {
        places,
        expected: () => ({ url: `${scheme(target.tls)}://${target.host}:${target.clientPort}` }),
        enter: session.open,
      });
      if (granted !== undefined) await checkApplication(context, session, { application, members, granted });
    }

    await checkStrangers(context, {
      places,
      access,
      enter: session.open,
      strangers: loginStrangers(access, { anonymous: /authorization/i, wrongPassword: /authorization/i }),
      plainText: plainText(access),
      remedy: "authentication is not enabled: look at the Secret with the users",
    });
    const clientPorts = places.map((place) => ({ ...place, startTls }));
    const peers = [...servers.keys()].map((each) => memberPlace(each, ports.peer));
    await checkCertificates(context, access.ca, [...clientPorts, ...peers]);
    return findings;
  } finally {
    await session.close();
  }
};

/** The whole line: less of it can be the end of a tunnel that broke. */
const greeting = /^INFO .*\r\n/;

/** The server greets in plain text before it starts TLS; between members TLS comes first. */
const startTls: StartTls = (socket) => greetingOf(socket, (received) => greeting.test(received.toString("latin1")));

/** The library would refuse a server with TLS before the server could refuse the client. */
export function plainText({ auth }: Pick<Access, "auth">): PlainText {
  const login = JSON.stringify({ user: auth?.username, pass: auth?.password, verbose: false });
  return { hello: `CONNECT ${login}\r\nPING\r\n`, greeting, served: /^PONG/m, refused: /^-ERR /m };
}

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
  failIfAny(missing);
  return `each of ${target.members.length} members is connected to all others`;
}

async function checkMetaGroup(context: CheckContext, system: NatsConnection): Promise<string> {
  const { members } = context.target;
  const { jetStreamStates } = await import("./client.js");
  // A follower is shortly not current after each change of a stream.
  const attempt = async () => {
    const states = await jetStreamStates(system, members.length, answerMilliseconds);
    const reason = whyNotFormed(states, members);
    return reason === undefined
      ? { done: `leader ${states[0]?.leader ?? ""}, all ${members.length} members current` }
      : { waiting: reason };
  };
  return waitFor("the meta group", attempt, waiting(context));
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
  failIfAny(wrong);
  return always
    ? "all members write messages to disk before they acknowledge them"
    : "as configured, messages are acknowledged when a majority has them in memory";
}

interface ApplicationUnderCheck {
  application: string;
  /** Members that answer. */
  members: Place[];
  granted: Access;
}

async function checkApplication(
  context: CheckContext,
  session: Session,
  { application, members, granted }: ApplicationUnderCheck,
): Promise<void> {
  const { target, step } = context;
  const [writer = context.address, reader = writer] = members;
  const wanted = wantedReplicas(target.members.length);
  await step(`streams ${application}`, "look at the log of the reconciler and of the members named", async () =>
    checkStreams(context, await session.open(writer, granted), await managerOf(await session.open(writer, granted))),
  );
  await step(`replication ${application}`, "a majority must answer: look at readiness and volumes of the members", () =>
    checkReplication(context, session, granted, { writer, reader, wanted }),
  );
  await step(`reconciler ${application}`, "look at the pod of the reconciler and its log", () =>
    checkReconciler(context, session, granted, { writer, wanted }),
  );
  await step(`clean-up ${application}`, `delete the streams that begin with ${streamPrefix}`, async () =>
    removeLeftovers(await managerOf(await session.open(writer, granted))),
  );
}

/** All streams and their consumers: a leader, all replicas current, and of streams as many as the reconciler keeps. */
async function checkStreams(
  context: CheckContext,
  connection: NatsConnection,
  manager: JetStreamManager,
): Promise<string> {
  const wanted = wantedReplicas(context.target.members.length);
  const attempt = async () => {
    const names: string[] = [];
    for await (const name of manager.streams.names()) if (!name.startsWith(streamPrefix)) names.push(name);
    const streams: StreamState[] = [];
    for await (const info of manager.streams.list()) streams.push(toStreamState(info));
    const problems = streamProblems(names, streams, wanted);
    const left = streams.filter(({ replicas }) => replicas < wanted).length;
    let consumers = 0;
    // A stream without a leader has no answer for its consumers.
    for (const { name } of streams.filter((each) => names.includes(each.name) && each.leader !== "")) {
      const known = await consumerNames(connection, name);
      const infos: ConsumerInfo[] = [];
      for await (const info of manager.consumers.list(name)) infos.push(info);
      problems.push(...consumerProblems(name, known, infos));
      consumers += known.length;
    }
    if (problems.length > 0) return { waiting: problems.join("; ") };
    const exceptions = left === 0 ? "" : `; ${left} with fewer replicas, as their owner wants`;
    return {
      done: `${names.length} streams and ${consumers} consumers, each with a leader and all replicas current${exceptions}`,
    };
  };
  // Replicas are shortly behind under load; what stays behind is found.
  return waitFor("the streams", attempt, waiting(context, 3 * answerSeconds));
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
      timeout: answerSeconds * 1000,
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
  context: CheckContext,
  session: Session,
  access: Access,
  { writer, reader, wanted }: { writer: Place; reader: Place; wanted: number },
): Promise<string> {
  const { jetstream, AckPolicy, StorageType } = await import("@nats-io/jetstream");
  const stream = probeName(streamPrefix);
  const manager = await managerOf(await session.open(writer, access));
  await manager.streams.add({
    name: stream,
    subjects: [stream],
    num_replicas: wanted,
    storage: StorageType.File,
  });
  try {
    const value = randomBytes(8).toString("hex");
    const writing = jetstream(await session.open(writer, access), { timeout: answerSeconds * 1000 });
    const { seq } = await writing.publish(stream, value);
    if (seq !== 1) throw new Error(`the first message of a new stream got the number ${seq}`);
    const attempt = async () => {
      const { peers, leader } = toStreamState(await manager.streams.info(stream));
      const current = peers.filter((peer) => peer.current);
      return leader !== "" && current.length === wanted - 1
        ? { done: undefined }
        : { waiting: leader === "" ? "it has no leader" : peers.map(describePeer).join(", ") || "it has one replica" };
    };
    await waitFor("all replicas of a new stream", attempt, waiting(context));
    const readingManager = await managerOf(await session.open(reader, access));
    await readingManager.consumers.add(stream, { durable_name: "check", ack_policy: AckPolicy.Explicit });
    const consumer = await readingManager.jetstream().consumers.get(stream, "check");
    const message = await consumer.next({ expires: answerSeconds * 1000 });
    if (message?.string() !== value)
      throw new Error(`${reader.name} did not deliver what was written through ${writer.name}`);
    if (!(await message.ackAck())) throw new Error(`${reader.name} did not confirm that the message was consumed`);
    return `written through ${writer.name} to ${wanted} replicas, all current; consumed through ${reader.name}`;
  } finally {
    await manager.streams.delete(stream);
  }
}

/** An application that does not say how many replicas it wants gets them all the same. */
async function checkReconciler(
  context: CheckContext,
  session: Session,
  access: Access,
  { writer, wanted }: { writer: Place; wanted: number },
): Promise<string> {
  const stream = probeName(streamPrefix);
  const manager = await managerOf(await session.open(writer, access));
  await manager.streams.add({ name: stream, subjects: [stream] });
  const { clock } = context.environment;
  const start = clock();
  try {
    const attempt = async () => {
      const { replicas, peers, migrating } = toStreamState(await manager.streams.info(stream));
      if (replicas < wanted) return { waiting: `a new stream has ${replicas} of ${wanted} replicas` };
      const complete = !migrating && peers.filter((peer) => peer.current).length === wanted - 1;
      return complete
        ? { done: undefined }
        : { waiting: peers.map(describePeer).join(", ") || "no replica has started" };
    };
    await waitFor("the reconciler", attempt, waiting(context, reconcileSeconds));
    const seconds = ((clock() - start) / 1000).toFixed(1);
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

type Session = Connections<NatsConnection>;

function openSession(): Session {
  return connections(
    async (place, access) => {
      const { open } = await import("./client.js");
      return open({ ...(await endpointOf(place, access)), name: "cells-services-check" }, answerSeconds * 1000);
    },
    (connection: NatsConnection) => connection.close(),
  );
}

async function managerOf(connection: NatsConnection): Promise<JetStreamManager> {
  const { jetstreamManager } = await import("@nats-io/jetstream");
  return jetstreamManager(connection, { timeout: answerSeconds * 1000 });
}
