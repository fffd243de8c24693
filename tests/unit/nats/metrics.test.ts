import { describe, expect, it } from "vitest";
import { memberSamples, observeMember, passSamples, reconcilerMetrics } from "../../../components/nats/metrics";
import { isPending } from "../../../components/nats/reconciler";
import { exposition } from "../../../components/shared/agent/metrics";

/** As NATS 2.15.2 answers. */
const varz = {
  server_name: "nats-1",
  connections: 3,
  max_connections: 65536,
  routes: 8,
  remotes: 2,
  mem: 21499904,
  slow_consumers: 2,
  slow_consumer_stats: { clients: 1, routes: 1, gateways: 0, leafs: 0 },
  jetstream: {
    config: { max_memory: 50000000, max_storage: 100000000, store_dir: "/data/jetstream" },
    stats: { memory: 5850, storage: 51550, reserved_memory: 0, reserved_storage: 0, accounts: 1 },
    meta: { name: "cells-nats", leader: "nats-1", cluster_size: 3 },
  },
};
const ok = { status: 200, body: '{"status":"ok"}' };
const answers = {
  varz: { status: 200, body: JSON.stringify(varz) },
  "healthz?js-meta-only=true": ok,
  "healthz?details=true": ok,
};
const asked =
  (different: Partial<Record<keyof typeof answers, { status: number; body: string }>> = {}) =>
  async (path: string) => {
    const answer = { ...answers, ...different }[path as keyof typeof answers];
    if (answer === undefined) throw new Error(`${path} is not known`);
    return answer;
  };
const state = (changes: object = {}) =>
  observeMember(asked({ varz: { status: 200, body: JSON.stringify({ ...varz, ...changes }) } }));

const text = async (...parts: Parameters<typeof exposition>[1][]): Promise<string[]> =>
  (await exposition(reconcilerMetrics, parts.flat()))
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
const member = async (changes: object = {}) => text(memberSamples("nats-1", await state(changes)));

describe("the metrics of a member", () => {
  it("are what it says of itself", async () => {
    const lines = await member();
    expect(lines).toEqual([
      'cells_services_nats_up{member="nats-1"} 1',
      'cells_services_nats_ready{member="nats-1"} 1',
      'cells_services_nats_streams_current{member="nats-1"} 1',
      'cells_services_nats_meta_leader{member="nats-1"} 1',
      'cells_services_nats_routes{member="nats-1"} 2',
      'cells_services_nats_connections{member="nats-1"} 3',
      'cells_services_nats_max_connections{member="nats-1"} 65536',
      'cells_services_nats_slow_consumers{member="nats-1"} 1',
      'cells_services_nats_memory_bytes{member="nats-1"} 21499904',
      'cells_services_nats_store_used_bytes{member="nats-1",storage="file"} 51550',
      'cells_services_nats_store_used_bytes{member="nats-1",storage="memory"} 5850',
      'cells_services_nats_store_limit_bytes{member="nats-1",storage="file"} 100000000',
      'cells_services_nats_store_limit_bytes{member="nats-1",storage="memory"} 50000000',
    ]);
  });

  it("name who leads by its own words only", async () => {
    const meta = (leader: string) => ({ jetstream: { ...varz.jetstream, meta: { ...varz.jetstream.meta, leader } } });
    const leads = 'cells_services_nats_meta_leader{member="nats-1"} 0';
    expect(await member(meta("nats-0"))).toContain(leads);
    expect(await member(meta(""))).toContain(leads);
  });

  it("have no store while JetStream is switched off", async () => {
    const lines = await member({ jetstream: {} });
    expect(lines.filter((line) => line.includes("store"))).toEqual([]);
    expect(lines).toContain('cells_services_nats_meta_leader{member="nats-1"} 0');
  });

  it("count no route of a member that is alone", async () => {
    expect(await member({ remotes: undefined })).toContain('cells_services_nats_routes{member="nats-1"} 0');
  });

  it("are up with 0, and nothing else, without an answer", async () => {
    expect(await text(memberSamples("nats-1", undefined))).toEqual(['cells_services_nats_up{member="nats-1"} 0']);
  });

  it.each([
    ["an answer fails", { varz: { status: 503, body: "" } }],
    ["an answer is no JSON", { "healthz?details=true": { status: 200, body: "<html>" } }],
  ])("are none when %s", async (_, different) => {
    await expect(observeMember(asked(different))).rejects.toThrow();
  });

  it("tell a member that is behind from one whose streams are", async () => {
    const behind = {
      status: 503,
      body: JSON.stringify({ status: "error", errors: [{ type: "STREAM", error: "stream a is not current" }] }),
    };
    const meta = await observeMember(asked({ "healthz?js-meta-only=true": { status: 503, body: "{}" } }));
    expect(meta).toMatchObject({ ready: false, streamsCurrent: true });
    const streams = await observeMember(asked({ "healthz?details=true": behind }));
    expect(streams).toMatchObject({ ready: true, streamsCurrent: false });
  });
});

describe("the metrics of the passes", () => {
  it("count the streams that are to be raised, not those that their owner keeps", () => {
    const kinds = ["raise", "wait", "leave", "enough"] as const;
    expect(kinds.filter((kind) => isPending({ kind }))).toEqual(["raise", "wait"]);
  });

  it("say how many streams of an application lack replicas, and when that was", async () => {
    expect(await text(passSamples("cells", { at: 1_700_000_000_500, underReplicated: 4 }))).toEqual([
      'cells_services_nats_streams_under_replicated{application="cells"} 4',
      'cells_services_nats_last_pass_timestamp_seconds{application="cells"} 1700000000.5',
    ]);
  });

  it("say 0 before the first pass, and nothing of streams", async () => {
    expect(await text(passSamples("cells", undefined))).toEqual([
      'cells_services_nats_last_pass_timestamp_seconds{application="cells"} 0',
    ]);
  });
});
