/** Proves with a real client that NATS works as its users need it. The client is loaded when the check runs, not with every preview. */
import { randomBytes } from "node:crypto";
import type { ConsumerInfo, JetStreamManager, StreamConfig } from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { checkCertificates, greetingOf, type StartTls } from "../shared/check/certificates";
import { type Connections, connections, endpointOf, probeName } from "../shared/check/connections";
import { answerSeconds, beginCheck, type CheckContext, failIfAny, type Place, waiting } from "../shared/check/context";
import { type Access, enterAsApplication } from "../shared/check/logins";
import { checkMembers } from "../shared/check/members";
import type { PlainText } from "../shared/check/plaintext";
import { checkStrangers, loginStrangers } from "../shared/check/strangers";
import type { Check, CheckTarget } from "../shared/core/check";
import { type Attempt, waitFor } from "../shared/core/wait";
import { describePeer, isBehind, whyNotFormed } from "./formation";
import { ports, scheme, wantedReplicas } from "./layout";
import { decide, type StreamState, toStreamState } from "./replication";

const timeout = answerSeconds * 1000;
/** When one question goes to all servers, those that do not answer within this time are missing. */
const answerMilliseconds = timeout / 4;
/** An event tells the reconciler of a new stream at once. If the event is lost, its full pass comes within a minute. */
const reconcileSeconds = 90;
/** Streams of killed checks that are older than this are removed: no check uses them any more. */
const leftoverMilliseconds = 3_600_000;
const streamPrefix = "cells-services-check-";

export const check: Check = (target, environment) => {
  const context = beginCheck(target, environment);
  const { step, member, address } = context;
  const session = openSession();
  const greet = async ({ info }: NatsConnection, { name }: Place): Promise<string> => {
    const { server_name: server, version, jetstream } = info ?? {};
    if (server !== name) throw new Error(`the server calls itself ${server ?? "nothing"}, expected ${name}`);
    if (jetstream !== true) throw new Error("JetStream is not enabled");
    return `nats ${version ?? "unknown"}`;
  };
  return checkMembers(context, session, greet, async ({ access, clients, members, places }) => {
    const [system] = clients.values();
    if (system === undefined) return;
    await step("routes", "look at the logs of the members and at the network policy between them", () =>
      checkRoutes(target, system),
    );
    await step("meta group", "look at readiness and logs of the members; streams cannot be changed without it", () =>
      checkMetaGroup(context, system),
    );
    await step("durability", "a member runs with another configuration than it should: look at its pod", () =>
      checkDurability(target, system),
    );
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
      if (granted !== undefined) await checkApplication(context, session, application, members, granted);
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
    const peerPorts = [...clients.keys()].map((each) => member(each, ports.peer));
    await checkCertificates(context, access.ca, [...clientPorts, ...peerPorts]);
  });
};

/** The whole line: a part of it may come from a tunnel that broke. */
const greeting = /^INFO .*\r\n/;

/** The server greets in plain text before it starts TLS; between members TLS comes first. */
const startTls: StartTls = (socket) => greetingOf(socket, (received) => greeting.test(received.toString("latin1")));

/** The library would refuse a server with TLS before the server could refuse the client. */
export function plainText({ auth }: Pick<Access, "auth">): PlainText {
  const login = JSON.stringify({ user: auth?.username, pass: auth?.password, verbose: false });
  return { hello: `CONNECT ${login}\r\nPING\r\n`, greeting, served: /^PONG/m, refused: /^-ERR /m };
}

/** Every member must be connected to every other member, or its clients miss messages. */
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
  // A follower is not current for a moment after each change of a stream.
  const attempt = async () => {
    const states = await jetStreamStates(system, members.length, answerMilliseconds);
    const reason = whyNotFormed(states, members);
    return reason === undefined
      ? { done: `leader ${states[0]?.leader ?? ""}, all ${members.length} members current` }
      : { waiting: reason };
  };
  return waitFor("the meta group", attempt, waiting(context));
}

/** Compares the running servers with the configuration. */
async function checkDurability(target: CheckTarget, system: NatsConnection): Promise<string> {
  const { jetStreamStates } = await import("./client.js");
  const always = target.durability === "fsync";
  const states = await jetStreamStates(system, target.members.length, answerMilliseconds);
  const trouble = always
    ? "acknowledges before messages are on disk"
    : "writes each message to disk, which the configuration does not ask for";
  const wrong = target.members.flatMap((member) => {
    const state = states.find(({ server }) => server === member);
    if (state === undefined) return [`${member} does not answer`];
    return state.syncAlways === always ? [] : [`${member} ${trouble}`];
  });
  failIfAny(wrong);
  return always
    ? "all members write messages to disk before they acknowledge them"
    : "as configured, messages are acknowledged when a majority has them in memory";
}

/** `members`: those that answer. */
async function checkApplication(
  context: CheckContext,
  session: Session,
  application: string,
  members: Place[],
  granted: Access,
): Promise<void> {
  const { target, step } = context;
  const [writer = context.address, reader = writer] = members;
  const wanted = wantedReplicas(target.members.length);
  await step(`streams ${application}`, "look at the log of the reconciler and of the members named", async () =>
    checkStreams(context, await session.open(writer, granted)),
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
async function checkStreams(context: CheckContext, connection: NatsConnection): Promise<string> {
  const manager = await managerOf(connection);
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
    const behind = stream.peers.filter(isBehind);
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
    const behind = (cluster.replicas ?? []).filter(isBehind);
    return behind.length === 0 ? [] : [`${title}: ${behind.map(describePeer).join(", ")}`];
  });
}

/** The library only lists the consumers that answer. */
async function consumerNames(connection: NatsConnection, stream: string): Promise<string[]> {
  const names: string[] = [];
  for (;;) {
    const body = JSON.stringify({ offset: names.length });
    const message = await connection.request(`$JS.API.CONSUMER.NAMES.${stream}`, body, { timeout });
    const page = message.json<{ consumers?: string[] | null; total?: number; error?: { description?: string } }>();
    if (page.error !== undefined) {
      throw new Error(`the consumers of ${JSON.stringify(stream)}: ${page.error.description ?? "an error"}`);
    }
    const more = page.consumers ?? [];
    names.push(...more);
    if (more.length === 0 || names.length >= (page.total ?? 0)) return names;
  }
}

/** Writes a message through one server, waits for the acknowledgement, and consumes it through another server. */
async function checkReplication(
  context: CheckContext,
  session: Session,
  access: Access,
  { writer, reader, wanted }: { writer: Place; reader: Place; wanted: number },
): Promise<string> {
  const { jetstream, AckPolicy, StorageType } = await import("@nats-io/jetstream");
  const connection = await session.open(writer, access);
  const manager = await managerOf(connection);
  return withStream(manager, { num_replicas: wanted, storage: StorageType.File }, async (stream) => {
    const value = randomBytes(8).toString("hex");
    const { seq } = await jetstream(connection, { timeout }).publish(stream, value);
    if (seq !== 1) throw new Error(`the first message of a new stream got the number ${seq}`);
    const complete = () => whetherComplete(manager, stream, wanted);
    await waitFor("all replicas of a new stream", complete, waiting(context));
    const readingManager = await managerOf(await session.open(reader, access));
    await readingManager.consumers.add(stream, { durable_name: "check", ack_policy: AckPolicy.Explicit });
    const consumer = await readingManager.jetstream().consumers.get(stream, "check");
    const message = await consumer.next({ expires: timeout });
    if (message?.string() !== value) {
      throw new Error(`${reader.name} did not deliver what was written through ${writer.name}`);
    }
    if (!(await message.ackAck())) throw new Error(`${reader.name} did not confirm that the message was consumed`);
    return `written through ${writer.name} to ${wanted} replicas, all current; consumed through ${reader.name}`;
  });
}

/** A stream that is created without a number of replicas gets the wanted number from the reconciler. */
async function checkReconciler(
  context: CheckContext,
  session: Session,
  access: Access,
  { writer, wanted }: { writer: Place; wanted: number },
): Promise<string> {
  const manager = await managerOf(await session.open(writer, access));
  const { clock } = context.environment;
  return withStream(manager, {}, async (stream) => {
    const start = clock();
    const complete = () => whetherComplete(manager, stream, wanted);
    await waitFor("the reconciler", complete, waiting(context, reconcileSeconds));
    return `a new stream had ${wanted} replicas, all current, after ${((clock() - start) / 1000).toFixed(1)} seconds`;
  });
}

/** Makes a stream of a new name, and deletes it in the end. */
async function withStream(
  manager: JetStreamManager,
  config: Pick<Partial<StreamConfig>, "num_replicas" | "storage">,
  use: (stream: string) => Promise<string>,
): Promise<string> {
  const stream = probeName(streamPrefix);
  await manager.streams.add({ name: stream, subjects: [stream], ...config });
  try {
    return await use(stream);
  } finally {
    await manager.streams.delete(stream);
  }
}

async function whetherComplete(manager: JetStreamManager, stream: string, wanted: number): Promise<Attempt<void>> {
  const { leader, replicas, peers, migrating } = toStreamState(await manager.streams.info(stream));
  if (leader === "") return { waiting: "a new stream has no leader" };
  if (replicas < wanted) return { waiting: `a new stream has ${replicas} of ${wanted} replicas` };
  return !migrating && peers.filter(({ current }) => current).length === wanted - 1
    ? { done: undefined }
    : { waiting: peers.map(describePeer).join(", ") || "no replica has started" };
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
      return open({ ...(await endpointOf(place, access)), name: "cells-services-check" }, timeout);
    },
    (connection: NatsConnection) => connection.close(),
  );
}

async function managerOf(connection: NatsConnection): Promise<JetStreamManager> {
  const { jetstreamManager } = await import("@nats-io/jetstream");
  return jetstreamManager(connection, { timeout });
}
