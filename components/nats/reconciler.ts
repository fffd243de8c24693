/**
 * Keeps the replicas of all streams: many applications create streams without saying how many replicas they want, which
 * NATS takes for one, and say so again each time they start. So this listens for ever, and looks at everything now and then.
 */
import { createServer } from "node:http";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { log } from "../shared/core/log";
import { connectionOptions } from "./client";
import { reconcilerInbox } from "./layout";
import { keepCertificatesRead, type RenewalOptions } from "./renewal";
import { createShortage, type Decision, decide, type StreamState, toStreamState } from "./replication";

export interface ReconcilerOptions {
  host: string;
  port: number;
  /** Read again for each connection; undefined without TLS. */
  caFile: string | undefined;
  accounts: { account: string; credentials: { username: string; password: string } }[];
  replicas: number;
  certificates: RenewalOptions;
  probePort: number;
}

/** Without an event everything is looked at this often: events may be lost, and agents may be away. */
const fullPassSeconds = 60;
/** While something is under way; twice as long each time that nothing has changed, such as while a member is away. */
const watchedPassSeconds = 3;
/** Three full passes without success, and some time for the answers. */
const staleSeconds = 4 * fullPassSeconds;

/** What makes another look worth it: a stream that changed, or one that can be changed now. */
const advisories = ["CREATED", "UPDATED", "LEADER_ELECTED"].map((event) => `$JS.EVENT.ADVISORY.STREAM.${event}.*`);

/** Ends only when an account cannot be watched any longer: then its container is started again. */
export async function reconcile(options: ReconcilerOptions): Promise<void> {
  const lastPass = new Map<string, number>();
  const probes = serveProbes(options.probePort, () =>
    options.accounts.every(({ account }) => Date.now() - (lastPass.get(account) ?? 0) < staleSeconds * 1000),
  );
  // When one account cannot be watched, nothing else must keep the process alive.
  const stop = new AbortController();
  const { signal } = stop;
  try {
    await Promise.all([
      keepCertificatesRead(options.certificates, signal),
      ...options.accounts.map((account) =>
        watchAccount({ ...options, signal }, account, () => lastPass.set(account.account, Date.now())),
      ),
    ]);
  } finally {
    stop.abort();
    probes.close();
  }
}

async function watchAccount(
  options: ReconcilerOptions & { signal: AbortSignal },
  { account, credentials }: ReconcilerOptions["accounts"][number],
  passed: () => void,
): Promise<void> {
  const connection = await connect({
    ...connectionOptions({ ...options, credentials, name: "cells-services-reconciler", inboxPrefix: reconcilerInbox }),
    tls: options.caFile === undefined ? null : { caFile: options.caFile },
    // For ever: neither an outage nor a password that reaches one member later than another is a reason to give up.
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    // A server that vanished without a word is noticed within 40 s.
    pingInterval: 20_000,
    maxPingOut: 2,
  });
  const bell = createBell();
  const aborted = (): void => void connection.close();
  options.signal.addEventListener("abort", aborted);
  const closed = connection.closed().then((error) => {
    bell.close();
    return error;
  });
  for (const subject of advisories) connection.subscribe(subject, { callback: () => bell.ring() });
  void ringOnReconnect(connection, bell);
  log(`watching the streams of ${account}`);

  const report = createReport(account);
  const freshOf = createShortage(options.replicas);
  let seconds = watchedPassSeconds;
  while (!bell.closed() && !options.signal.aborted) {
    try {
      const manager = await jetstreamManager(connection);
      const outcomes = await pass(manager, options.replicas, freshOf);
      const news = report(outcomes);
      passed();
      const pending = outcomes.some(({ kind }) => kind === "raise" || kind === "wait");
      seconds = pending ? nextPassSeconds(seconds, news) : fullPassSeconds;
    } catch (error) {
      if (bell.closed()) break;
      log(`${account}: ${(error as Error).message}`);
      seconds = nextPassSeconds(seconds, false);
    }
    await bell.wait(seconds);
  }
  options.signal.removeEventListener("abort", aborted);
  const error = await closed;
  if (options.signal.aborted) return;
  throw new Error(`the connection of ${account} was closed${error instanceof Error ? `: ${error.message}` : ""}`);
}

function nextPassSeconds(last: number, news: boolean): number {
  return news ? watchedPassSeconds : Math.min(2 * last, fullPassSeconds);
}

export type Outcome = Decision & { failed?: string };

/** Reads all streams, and raises those that the decision names. */
export async function pass(
  manager: JetStreamManager,
  replicas: number,
  freshOf: (streams: StreamState[]) => ReadonlySet<string>,
): Promise<Outcome[]> {
  const streams: StreamState[] = [];
  for await (const info of manager.streams.list()) streams.push(toStreamState(info));
  const outcomes: Outcome[] = [];
  for (const decision of decide(streams, replicas, freshOf(streams))) {
    if (decision.kind !== "raise") {
      outcomes.push(decision);
      continue;
    }
    try {
      // Raising takes seconds, and the owner may have had other ideas meanwhile: look again at this one.
      const [latest] = decide([toStreamState(await manager.streams.info(decision.stream))], replicas);
      if (latest?.kind === "raise") {
        // The library reads the configuration once more and sends it back with this change, which leaves an owner's
        // change only milliseconds in which it could be undone.
        await manager.streams.update(decision.stream, { num_replicas: latest.to });
      }
      outcomes.push(latest ?? decision);
    } catch (error) {
      // One stream that cannot be raised, for want of space or because it was just deleted, is no reason to stop.
      outcomes.push({ ...decision, failed: (error as Error).message });
    }
  }
  return outcomes;
}

/** Each news once, not with every pass. Returns whether there were any. */
function createReport(account: string): (outcomes: Outcome[]) => boolean {
  let said = new Map<string, string>();
  return (outcomes) => {
    const texts = new Map(outcomes.map((outcome) => [outcome.stream, describe(outcome)]));
    const news = [...texts].filter(([stream, text]) => said.get(stream) !== text);
    for (const [stream, text] of news) {
      // That a stream has what it should have is news only after it had not.
      if (text.endsWith(enough) && !said.has(stream)) continue;
      log(`${account}: ${text}`);
    }
    said = texts;
    return news.length > 0;
  };
}

const enough = "has its replicas";

function describe(decision: Outcome): string {
  const stream = `stream ${JSON.stringify(decision.stream)}`;
  if (decision.kind === "enough") return `${stream} ${enough}`;
  if (decision.kind === "leave") return `${stream} is left as it is: ${decision.reason}`;
  if (decision.kind === "wait") return `${stream} is looked at again soon: ${decision.reason}`;
  const change = `from ${decision.from} to ${decision.to} replicas`;
  return decision.failed === undefined
    ? `${stream} goes ${change}`
    : `${stream} could not be changed ${change}: ${decision.failed}`;
}

async function ringOnReconnect(connection: NatsConnection, bell: Bell): Promise<void> {
  for await (const status of connection.status()) if (status.type === "reconnect") bell.ring();
}

interface Bell {
  ring(): void;
  /** Until it rings, at most for this time; at once when it has rung since the last wait. */
  wait(seconds: number): Promise<void>;
  close(): void;
  closed(): boolean;
}

export function createBell(): Bell {
  let rung = false;
  let over = false;
  let wake: (() => void) | undefined;
  const ring = (): void => {
    rung = true;
    wake?.();
  };
  return {
    ring,
    async wait(seconds) {
      if (!rung && !over) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, seconds * 1000);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      wake = undefined;
      rung = false;
    },
    close() {
      over = true;
      ring();
    },
    closed: () => over,
  };
}

function serveProbes(port: number, ready: () => boolean) {
  const server = createServer((request, response) => {
    const ok = request.url === "/livez" || (request.url === "/readyz" && ready());
    response.writeHead(ok ? 200 : 503, { "content-type": "text/plain" }).end(ok ? "ok\n" : "not ready\n");
  });
  return server.listen(port);
}
