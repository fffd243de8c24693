/**
 * Keeps the replicas of all streams. Many applications create streams without a number of replicas, which NATS takes for one, each time
 * they start. So the reconciler listens to events all the time, and regularly looks at all streams.
 */
import { once } from "node:events";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { exposition } from "../shared/agent/metrics";
import { servePages } from "../shared/agent/pages";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import type { Sample } from "../shared/core/metrics";
import { agentPorts } from "../shared/core/settings";
import { connectionOptions } from "./client";
import { fullPassSeconds, ports, reconcilerInbox, staleSeconds } from "./layout";
import { type LastPass, passSamples, reconcilerMetrics } from "./metrics";
import { keepCertificatesRead, type RenewalOptions } from "./renewal";
import { createShortage, type Decision, decide, type StreamState, toStreamState } from "./replication";

export interface ReconcilerOptions {
  host: string;
  /** Read again for each connection; undefined without TLS. */
  caFile: string | undefined;
  accounts: { account: string; credentials: { username: string; password: string } }[];
  replicas: number;
  certificates: RenewalOptions;
  /** What a scrape says beside the passes. Bounded by time-outs of its own. */
  samples: () => Promise<Sample[]>;
}

/** Between two passes while a stream is to be changed. Doubles with each pass that changes nothing, as while a member is away. */
const watchedPassSeconds = 3;

/** The events that start a pass: a stream has changed, or can be changed now. */
const advisories = ["CREATED", "UPDATED", "LEADER_ELECTED"].map((event) => `$JS.EVENT.ADVISORY.STREAM.${event}.*`);

/** Throws when an account cannot be watched any longer. The kubelet then starts the container again. */
export async function reconcile(options: ReconcilerOptions): Promise<void> {
  const lastPass = new Map<string, LastPass>();
  const isRecent = ({ account }: { account: string }): boolean =>
    Date.now() - (lastPass.get(account)?.at ?? 0) < staleSeconds * 1000;
  const server = await servePages(agentPorts.http, {
    "/live": () => ({ ok: true, text: "ok" }),
    "/ready": () => (options.accounts.every(isRecent) ? { ok: true, text: "ok" } : { ok: false, text: "not ready" }),
    "/metrics": async () => {
      const passes = options.accounts.flatMap(({ account }) => passSamples(account, lastPass.get(account)));
      return { ok: true, text: await exposition(reconcilerMetrics, [...(await options.samples()), ...passes]) };
    },
  });
  // When one account cannot be watched, the other ones must not keep the process alive.
  const stop = new AbortController();
  const { signal } = stop;
  try {
    await Promise.all([
      // Without accounts and without TLS there is still somebody who asks for metrics.
      once(signal, "abort"),
      keepCertificatesRead(options.certificates, signal),
      ...options.accounts.map((account) =>
        watchAccount({ ...options, signal }, account, (outcomes) =>
          lastPass.set(account.account, { at: Date.now(), underReplicated: outcomes.filter(isPending).length }),
        ),
      ),
    ]);
  } finally {
    stop.abort();
    server.close();
  }
}

async function watchAccount(
  options: ReconcilerOptions & { signal: AbortSignal },
  { account, credentials }: ReconcilerOptions["accounts"][number],
  passed: (outcomes: Outcome[]) => void,
): Promise<void> {
  const { host, signal, caFile, replicas } = options;
  const endpoint = { host, port: ports.client, credentials, inboxPrefix: reconcilerInbox };
  const connection = await connect({
    ...connectionOptions({ ...endpoint, name: "cells-services-reconciler" }),
    tls: caFile === undefined ? null : { caFile },
    // Reconnects for ever, after an outage and while a new password has not reached all members.
    waitOnFirstConnect: true,
    maxReconnectAttempts: -1,
    ignoreAuthErrorAbort: true,
    // Notices within 40 s that a server has vanished.
    pingInterval: 20_000,
    maxPingOut: 2,
  });
  const bell = createBell();
  const aborted = (): void => void connection.close();
  signal.addEventListener("abort", aborted);
  const closed = connection.closed().finally(() => bell.close());
  for (const subject of advisories) connection.subscribe(subject, { callback: () => bell.ring() });
  void ringOnReconnect(connection, bell);
  log(`watching the streams of ${account}`);

  const report = createReport(account);
  const freshOf = createShortage(replicas);
  let seconds = watchedPassSeconds;
  while (!bell.closed() && !signal.aborted) {
    try {
      const outcomes = await pass(await jetstreamManager(connection), replicas, freshOf);
      const news = report(outcomes);
      passed(outcomes);
      seconds = outcomes.some(isPending) ? nextPassSeconds(seconds, news) : fullPassSeconds;
    } catch (error) {
      if (bell.closed()) break;
      log(`${account}: ${messageOf(error)}`);
      seconds = nextPassSeconds(seconds, false);
    }
    await bell.wait(seconds);
  }
  signal.removeEventListener("abort", aborted);
  const error = await closed;
  if (signal.aborted) return;
  throw new Error(`the connection of ${account} was closed${error instanceof Error ? `: ${error.message}` : ""}`);
}

function nextPassSeconds(last: number, news: boolean): number {
  return news ? watchedPassSeconds : Math.min(2 * last, fullPassSeconds);
}

export type Outcome = Decision & { failed?: string };

/** The stream has fewer replicas than it is to have. */
export function isPending({ kind }: Pick<Outcome, "kind">): boolean {
  return kind === "raise" || kind === "wait";
}

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
    outcomes.push(decision.kind === "raise" ? await raise(manager, decision, replicas) : decision);
  }
  return outcomes;
}

/** One stream that cannot be raised, because space is missing or because it was just deleted, does not stop the pass. */
async function raise(manager: JetStreamManager, decision: Decision, replicas: number): Promise<Outcome> {
  try {
    // Raising other streams took seconds, and the owner may have changed this one meanwhile.
    const [latest = decision] = decide([toStreamState(await manager.streams.info(decision.stream))], replicas);
    // The library reads the configuration and sends it back with this change: only an owner's change in between could be undone.
    if (latest.kind === "raise") await manager.streams.update(decision.stream, { num_replicas: latest.to });
    return latest;
  } catch (error) {
    return { ...decision, failed: messageOf(error) };
  }
}

/** Logs each outcome once, not with every pass. Returns whether there was a new one. */
function createReport(account: string): (outcomes: Outcome[]) => boolean {
  let said = new Map<string, string>();
  return (outcomes) => {
    const texts = new Map(outcomes.map((outcome) => [outcome.stream, describe(outcome)]));
    const news = [...texts].filter(([stream, text]) => said.get(stream) !== text);
    for (const [stream, text] of news) {
      // A stream that has had its replicas from the start is no news.
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
  /** Returns when the bell rings or this time is over; at once when the bell has rung since the last wait. */
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
