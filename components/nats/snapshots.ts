/**
 * Snapshots of streams, as the API of JetStream gives and takes them. The leader of a stream makes them: the messages up to one sequence,
 * and the consumers with what they have acknowledged.
 */
import { createReadStream } from "node:fs";
import type { ConsumerInfo, StreamConfig, StreamInfo, StreamState } from "@nats-io/jetstream";
import { createInbox, type Msg, type NatsConnection } from "@nats-io/transport-node";
import { within } from "../shared/core/wait";
import { answerOf, askJetStream, JetStreamError } from "./client";

/** What the leader sends before it waits for an answer. Little, since it takes messages meanwhile. */
const snapshotWindow = { chunk_size: 2 ** 17, window_size: 2 ** 20 };
/** A server gives a snapshot up when it hears nothing for 5 s. The store may take longer for one of its parts. */
const patienceSeconds = 2;
/** Then 20 MiB wait for the store, since 5 minutes. */
const mostAhead = 150;
/** Without any part of a snapshot. */
const silenceSeconds = 120;
/** Servers take messages of 1 MiB and more. */
const restoreChunkBytes = 2 ** 19;
/** Of one chunk, and of the whole stream when its last chunk was sent. */
const restoreAnswerSeconds = 120;

/** Error codes of the server, in its `errors.json`. */
export const errorCodes = { streamNotFound: 10059, restoreFailed: 10062, consumerReplicas: [10126, 10134] } as const;

/** All of a list that comes in pages. */
async function listOf<T>(connection: NatsConnection, subject: string, key: string): Promise<T[]> {
  const all: T[] = [];
  for (;;) {
    const page = await askJetStream<Record<string, unknown>>(connection, subject, { offset: all.length });
    if (Array.isArray(page["missing"])) throw new Error(`${subject}: no answer of ${page["missing"].join(", ")}`);
    const items = (page[key] ?? []) as T[];
    all.push(...items);
    if (items.length === 0 || all.length >= Number(page["total"])) return all;
  }
}

export const streamNames = (connection: NatsConnection) => listOf<string>(connection, "STREAM.NAMES", "streams");

/** undefined: there is no such stream. */
export async function infoOf(connection: NatsConnection, name: string): Promise<StreamInfo | undefined> {
  try {
    return await askJetStream<StreamInfo>(connection, `STREAM.INFO.${name}`, {});
  } catch (error) {
    if (error instanceof JetStreamError && error.code === errorCodes.streamNotFound) return undefined;
    throw error;
  }
}

/** Of durable consumers: up to which sequence of the stream each has acknowledged all. Other consumers end by themselves. */
export async function floorsOf(connection: NatsConnection, name: string): Promise<Map<string, number>> {
  const all = await listOf<ConsumerInfo>(connection, `CONSUMER.LIST.${name}`, "consumers");
  const durable = all.filter(({ config }) => config.durable_name !== undefined);
  return new Map(durable.map((each) => [each.name, each.ack_floor.stream_seq]));
}

export async function removeStream(connection: NatsConnection, name: string): Promise<void> {
  if ((await infoOf(connection, name)) !== undefined) await askJetStream(connection, `STREAM.DELETE.${name}`, {});
}

/** `config` and `state` are those of its beginning. */
export async function openSnapshot(connection: NatsConnection, name: string) {
  const inbox = createInbox();
  const messages = connection.subscribe(inbox);
  try {
    const request = { deliver_subject: inbox, ...snapshotWindow };
    const subject = `STREAM.SNAPSHOT.${name}`;
    const begun = await askJetStream<{ config: StreamConfig; state: StreamState }>(connection, subject, request);
    return { ...begun, parts: partsOf(messages) };
  } catch (error) {
    messages.unsubscribe();
    throw error;
  }
}

/**
 * The server sends a window of parts, and one more for each answer. It gets one when a part was taken. While the store takes its time it
 * gets answers ahead, because it would give the snapshot up.
 */
export async function* partsOf(
  messages: AsyncIterable<Pick<Msg, "data" | "headers" | "respond">>,
  patience = patienceSeconds,
): AsyncGenerator<Buffer> {
  const iterator = messages[Symbol.asyncIterator]();
  let ahead = 0;
  try {
    for (;;) {
      const next = await within(iterator.next(), silenceSeconds, "the next part of the snapshot");
      if (next.done === true) throw new Error("the snapshot broke off: the connection was closed");
      const message = next.value;
      const { data, headers } = message;
      if (data.length === 0) {
        if (headers === undefined || headers.code === 204) return;
        throw new Error(`the server ended the snapshot: ${headers.code} ${headers.description}`);
      }
      const answering = setInterval(() => {
        if (ahead < mostAhead && message.respond()) ahead += 1;
      }, patience * 1000);
      try {
        yield Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      } finally {
        clearInterval(answering);
      }
      if (ahead > 0) ahead -= 1;
      else message.respond();
    }
  } finally {
    await iterator.return?.();
  }
}

/** `file`: the parts of the snapshot. */
export async function restoreSnapshot(
  connection: NatsConnection,
  { config, state }: { config: StreamConfig; state: StreamState },
  file: string,
): Promise<void> {
  const subject = `STREAM.RESTORE.${config.name}`;
  const begun = await askJetStream<{ deliver_subject: string }>(connection, subject, { config, state });
  const send = (chunk: Buffer) =>
    connection.request(begun.deliver_subject, chunk, { timeout: restoreAnswerSeconds * 1000 });
  const chunks = createReadStream(file, { highWaterMark: restoreChunkBytes }) as AsyncIterable<Buffer>;
  for await (const chunk of chunks) {
    const answer = await send(chunk);
    if (answer.data.length > 0) answerOf(subject, answer);
  }
  // An empty one is the last one.
  answerOf(subject, await send(Buffer.alloc(0)));
}
