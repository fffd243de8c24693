/** Connections of the agent and of the check. Never imported by the component: it loads the client library. */
import { connect, type Msg, type NatsConnection, type NodeConnectionOptions } from "@nats-io/transport-node";
import type { Endpoint as CommonEndpoint } from "../shared/core/endpoint";
import { type JetStreamState, toJetStreamState } from "./formation";

export interface Endpoint extends CommonEndpoint {
  /** Shown in the server's list of connections. */
  name: string;
  /** Prefix of the inboxes for answers, for users that may not listen to all subjects. */
  inboxPrefix?: string;
}

const connectMilliseconds = 5_000;

/** One attempt to one server. A caller that tries again reads certificates and passwords anew. */
export function open(endpoint: Endpoint, milliseconds: number = connectMilliseconds): Promise<NatsConnection> {
  return connect({ ...connectionOptions(endpoint), reconnect: false, timeout: milliseconds });
}

/** Closes the connection after `use`. */
export async function withConnection<T>(
  endpoint: Endpoint,
  use: (connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const connection = await open(endpoint);
  try {
    return await use(connection);
  } finally {
    await connection.close();
  }
}

export function connectionOptions(endpoint: Endpoint): NodeConnectionOptions {
  const { host, port, tls, credentials, name, inboxPrefix } = endpoint;
  return {
    servers: `${host.includes(":") ? `[${host}]` : host}:${port}`,
    name,
    // Only the given address, never one that the servers announce.
    ignoreClusterUpdates: true,
    // The library passes this object on to `tls.connect`, over its own `servername`, which its type does not name. Verification stays
    // on: it sets `rejectUnauthorized` itself. Given any TLS options, it refuses a server without TLS.
    tls: tls ?? null,
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
    ...(credentials === undefined ? {} : { user: credentials.username, pass: credentials.password }),
  };
}

/** What JetStream refused, in its own words. */
export class JetStreamError extends Error {
  /** As in `errors.json` of the server. */
  readonly code: number | undefined;

  constructor(subject: string, description: string, code: number | undefined) {
    super(`${subject}: ${description}`);
    this.code = code;
  }
}

const answerMilliseconds = 10_000;

/** `subject`: of the API of JetStream, without its prefix. */
export async function askJetStream<T>(connection: NatsConnection, subject: string, request: object): Promise<T> {
  const answer = await connection.request(`$JS.API.${subject}`, JSON.stringify(request), {
    timeout: answerMilliseconds,
  });
  return answerOf<T>(subject, answer);
}

export function answerOf<T>(subject: string, answer: Msg): T {
  const { error, ...result } = answer.json<{ error?: { description: string; err_code?: number } }>();
  if (error !== undefined) throw new JetStreamError(subject, error.description, error.err_code);
  return result as T;
}

/** Asks all servers through one of them. Returns when as many as `expected` have answered, or after the time. */
export async function askServers(
  connection: NatsConnection,
  subject: string,
  expected: number,
  milliseconds: number,
): Promise<unknown[]> {
  const answers: unknown[] = [];
  const messages = await connection.requestMany(`$SYS.REQ.SERVER.PING.${subject}`, "", {
    strategy: "count",
    maxMessages: expected,
    maxWait: milliseconds,
  });
  for await (const message of messages) answers.push(message.json());
  return answers;
}

export async function jetStreamStates(
  connection: NatsConnection,
  expected: number,
  milliseconds: number,
): Promise<JetStreamState[]> {
  return (await askServers(connection, "JSZ", expected, milliseconds)).map(toJetStreamState);
}
