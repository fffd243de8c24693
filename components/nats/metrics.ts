/** What the reconciler says of NATS: servers have no metrics of their own for Prometheus. */
import type { HttpResponse } from "../shared/agent/http";
import { ensembleMetrics, type Metrics, metricsOfService, type Sample } from "../shared/core/metrics";
import { type Health, whyNotHealthy } from "./formation";

const member = { labels: ["member"] };
const store = { labels: ["member", "storage"] };
const application = { labels: ["application"] };

export const natsMetrics = {
  up: { help: "1: the member answers the reconciler; otherwise it has no other samples", ...member },
  ready: { help: "1: JetStream runs, and the member is current with the leader of the meta group", ...member },
  streams_current: { help: "1: all streams and consumers on the member are current with their leaders", ...member },
  meta_leader: { help: "1: the member leads the meta group", ...member },
  routes: { help: "other members that the member is connected to", ...member },
  connections: { help: "connections of clients", ...member },
  max_connections: { help: "connections that the member accepts", ...member },
  slow_consumers: {
    help: "clients that the member has disconnected since its start because they read too slowly",
    ...member,
  },
  memory_bytes: { help: "memory of the process", ...member },
  store_used_bytes: { help: "what streams take: storage is file or memory", ...store },
  store_limit_bytes: { help: "what streams may take: then the member refuses messages", ...store },
  streams_under_replicated: {
    help: "streams with fewer replicas than they are to have; without those in memory, or that their owner keeps so",
    ...application,
  },
  last_pass_timestamp_seconds: {
    help: "when the reconciler last looked at all streams; 0: not yet since its start",
    ...application,
  },
} as const satisfies Metrics;

/** Everything that the reconciler may say. */
export const reconcilerMetrics: Metrics = { ...metricsOfService("nats", natsMetrics), ...ensembleMetrics };

const sample = (name: keyof typeof natsMetrics, value: number | undefined, labels: Record<string, string>): Sample[] =>
  value === undefined ? [] : [{ name: `nats_${name}`, value, labels }];

/** Of `/varz`. Without JetStream, also when a full volume has switched it off, `jetstream` is empty. */
export interface Varz {
  server_name: string;
  connections: number;
  max_connections: number;
  remotes?: number;
  mem: number;
  slow_consumer_stats?: { clients?: number };
  jetstream?: {
    config?: { max_memory?: number; max_storage?: number };
    stats?: { memory?: number; storage?: number };
    meta?: { leader?: string };
  };
}

interface MemberState {
  varz: Varz;
  /** undefined: no answer. */
  ready: boolean | undefined;
  streamsCurrent: boolean | undefined;
}

/** Throws when the server does not answer. */
export async function observeMember(ask: (path: string) => Promise<HttpResponse>): Promise<MemberState> {
  const unknown = () => undefined;
  const [varz, ready, health] = await Promise.all([
    ask("varz"),
    ask("healthz?js-meta-only=true").catch(unknown),
    // It looks at all streams, which may take longer than a scrape.
    ask("healthz?details=true").catch(unknown),
  ]);
  if (varz.status !== 200) throw new Error(`status ${varz.status}`);
  return {
    varz: JSON.parse(varz.body) as Varz,
    ready: ready && ready.status === 200,
    streamsCurrent: health && whyNotHealthy(JSON.parse(health.body) as Health) === undefined,
  };
}

/** undefined: the member did not answer. */
export function memberSamples(member: string, state: MemberState | undefined): Sample[] {
  if (state === undefined) return sample("up", 0, { member });
  const { varz, ready, streamsCurrent } = state;
  const { config = {}, stats = {}, meta } = varz.jetstream ?? {};
  return [
    ...sample("up", 1, { member }),
    ...sample("ready", ready === undefined ? undefined : Number(ready), { member }),
    ...sample("streams_current", streamsCurrent === undefined ? undefined : Number(streamsCurrent), { member }),
    ...sample("meta_leader", Number(meta?.leader === varz.server_name), { member }),
    ...sample("routes", varz.remotes ?? 0, { member }),
    ...sample("connections", varz.connections, { member }),
    ...sample("max_connections", varz.max_connections, { member }),
    ...sample("slow_consumers", varz.slow_consumer_stats?.clients, { member }),
    ...sample("memory_bytes", varz.mem, { member }),
    ...sample("store_used_bytes", stats.storage, { member, storage: "file" }),
    ...sample("store_limit_bytes", config.max_storage, { member, storage: "file" }),
    ...sample("store_used_bytes", stats.memory, { member, storage: "memory" }),
    ...sample("store_limit_bytes", config.max_memory, { member, storage: "memory" }),
  ];
}

/** The last look at all streams of an application. */
export interface LastPass {
  /** Milliseconds since 1970. */
  at: number;
  underReplicated: number;
}

/** undefined: not yet. */
export function passSamples(application: string, last: LastPass | undefined): Sample[] {
  return [
    ...sample("streams_under_replicated", last?.underReplicated, { application }),
    ...sample("last_pass_timestamp_seconds", (last?.at ?? 0) / 1000, { application }),
  ];
}
