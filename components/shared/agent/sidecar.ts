/** The loop of the agent beside a server, the same for all services: observes, decides, acts, and says what it sees. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { help, log, newsOf } from "../core/log";
import { ensembleMetrics, type Metrics, memberMetrics, metricsOfService, type Sample } from "../core/metrics";
import { agentPorts, type EnsembleSettings } from "../core/settings";
import { within } from "../core/wait";
import { impatient, inClusterApi } from "./kubernetes";
import type { Pod } from "./main";
import { ensembleCollector, exposition, volumeSamples } from "./metrics";
import { type Pages, servePages } from "./pages";

export interface Status {
  /** In the ensemble and up to date enough to serve. */
  ready: boolean;
  /** The writable member, and a majority agrees. */
  primary: boolean;
  /** What was seen, in one line, without secrets. */
  detail: string;
  /** What it refuses to do goes on until a person has decided. Default: false. */
  refused?: boolean;
  /** Gauges by name, without the name of the service. */
  metrics?: Record<string, number>;
}

export interface Sidecar<Observed, Action> {
  /** Prefix of its metrics. */
  service: string;
  /** What `Status.metrics` may have. */
  metrics: Metrics;
  /** Which a scrape reads. The certificate is not there without TLS. */
  files: { certificate: string; volume: string };
  /** May throw: what was seen before counts until it is old. Bounded by time-outs of its own. */
  observe(): Promise<Observed>;
  status(observed: Observed): Status;
  /** undefined: there is nothing to do. */
  decide(observed: Observed): Action | undefined;
  /** One at a time, beside further observations. What fails is decided anew. */
  act(action: Action): Promise<void>;
  /** Before the server is stopped: gives the leadership away and says what came of it. 30 s at most. */
  handOver?(): Promise<string>;
}

/** Older than this, an observation says nothing any more: two observations whose time-outs (2 s) ran out. */
const staleSeconds = 5;
/** Far more than the time-outs of an observation: it hangs, and only a new process ends it. No server stops with its agent. */
const hungSeconds = 60;
const observeSeconds = 0.5;
/** While another member becomes primary, each step waits for an observation of the step before. */
const eventful = { observeSeconds: 0.1, lastsSeconds: 3 };
/** The kubelet waits for a hand-over; what is left of the grace period is for the server to stop. */
const handOverSeconds = 30;

export interface View {
  status: Status;
  /** Milliseconds of the monotonic clock. */
  at: number;
  /** Since when the detail has had the same words. */
  since: number;
}

/** Seconds from the begin of one observation to that of the next. */
export function pauseSeconds(view: View | undefined, now: number): number {
  const recent = view !== undefined && now - view.since < eventful.lastsSeconds * 1000;
  return recent ? eventful.observeSeconds : observeSeconds;
}

/** What is answered: an observation that is old counts as none. */
export function current(view: Pick<View, "status" | "at"> | undefined, now: number): Status {
  if (view === undefined) return { ready: false, primary: false, detail: "nothing was observed yet" };
  const age = (now - view.at) / 1000;
  if (age <= staleSeconds) return view.status;
  const detail = `nothing was observed for ${age.toFixed(0)} seconds; before: ${view.status.detail}`;
  return { ready: false, primary: false, detail };
}

/** Milliseconds of the monotonic clock: the last pass began then. */
export function isLive(passBegan: number, now: number): boolean {
  return now - passBegan < hungSeconds * 1000;
}

export async function runSidecar<Observed, Action>(
  sidecar: Sidecar<Observed, Action>,
  { name }: EnsembleSettings,
  { namespace }: Pod,
): Promise<void> {
  let view: View | undefined;
  let acting: Promise<void> | undefined;
  let passed = performance.now();
  const reportObservation = newsOf("not observed");
  const reportAction = newsOf("failed");

  const now = (): Status => current(view, performance.now());
  const live = (): boolean => isLive(passed, performance.now());
  const ofEnsemble = ensembleCollector({ name, namespace }, sidecar.files.certificate, inClusterApi(impatient));
  const scrape = async (): Promise<string> => {
    const files = await Promise.all([
      // What cannot be read is left out.
      volumeSamples(sidecar.files.volume).catch((): Sample[] => []),
      ofEnsemble(),
    ]);
    return exposition(metricsOf(sidecar), [...statusSamples(sidecar.service, now()), ...files.flat()]);
  };
  await servePages(agentPorts.http, pagesOf(scrape, now, live));
  await servePages(agentPorts.control, control(sidecar.handOver?.bind(sidecar)));

  const pass = async (): Promise<void> => {
    passed = performance.now();
    try {
      const observed = await sidecar.observe();
      view = show(view, sidecar.status(observed));
      const action = sidecar.decide(observed);
      reportObservation(undefined);
      if (acting !== undefined || action === undefined) return;
      acting = Promise.resolve()
        .then(() => sidecar.act(action))
        .then(() => reportAction(undefined), reportAction)
        .finally(() => {
          acting = undefined;
        });
    } catch (error) {
      // One answer that is late says nothing: what was seen before counts until it is old.
      reportObservation(error);
    }
  };
  // Not before something was observed: a restarted agent that said "down" would cut all sessions of a healthy primary.
  const begin = performance.now();
  while (view === undefined && performance.now() - begin < staleSeconds * 1000) {
    await Promise.all([pass(), delay(observeSeconds * 1000)]);
  }
  await once(gatewayServer(now).listen(agentPorts.gateway), "listening");
  for (;;) {
    const began = performance.now();
    await pass();
    await delay(Math.max(0, began + pauseSeconds(view, performance.now()) * 1000 - performance.now()));
  }
}

function show(before: View | undefined, status: Status): View {
  const at = performance.now();
  if (before?.status.detail !== status.detail) log(status.detail);
  return { status, at, since: since(before, status, at) };
}

/** Numbers alone are no change: a set of transactions grows all the time. */
export function since(before: View | undefined, { detail }: Status, now: number): number {
  const words = (text: string): string => text.replaceAll(/\d+/g, "");
  return before !== undefined && words(before.status.detail) === words(detail) ? before.since : now;
}

function pagesOf(scrape: () => Promise<string>, now: () => Status, live: () => boolean): Pages {
  return {
    // That this process observes: a server that is away is no reason to restart its agent.
    "/live": () => (live() ? { ok: true, text: "running" } : { ok: false, text: "an observation hangs" }),
    "/ready": () => {
      const { ready, detail } = now();
      return { ok: ready, text: ready ? detail : `${detail}\n${help}` };
    },
    "/primary": () => ({ ok: now().primary, text: now().detail }),
    "/metrics": async () => ({ ok: true, text: await scrape() }),
  };
}

/** Everything that an agent beside a server may say. */
export function metricsOf({ service, metrics }: Pick<Sidecar<never, never>, "service" | "metrics">): Metrics {
  return { ...memberMetrics, ...metricsOfService(service, metrics), ...ensembleMetrics };
}

export function statusSamples(service: string, { ready, primary, refused = false, metrics = {} }: Status): Sample[] {
  const common = Object.entries({ ready, primary, refused }).map(([name, value]) => ({ name, value: Number(value) }));
  return [...common, ...Object.entries(metrics).map(([name, value]) => ({ name: `${service}_${name}`, value }))];
}

/**
 * HAProxy's agent-check: unlike a health check, an agent that does not answer changes nothing, so the death of an agent
 * does not take a healthy server away; and one answer is enough, so a change of primary takes effect at once.
 */
function gatewayServer(now: () => Status): Server {
  return createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(now().primary ? "up\n" : "down\n");
  });
}

function control(handOver: (() => Promise<string>) | undefined): Pages {
  if (handOver === undefined) return {};
  const page = async () => {
    const text = await within(handOver(), handOverSeconds, "the hand-over")
      .then((outcome) => `hand-over: ${outcome}`)
      // The server stops in any case; what is left is to say so.
      .catch((error: unknown) => `hand-over failed: ${(error as Error).message}`);
    log(text);
    return { ok: true, text };
  };
  return { "/hand-over": page };
}
