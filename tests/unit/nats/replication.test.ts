import type { StreamInfo } from "@nats-io/jetstream";
import { describe, expect, it } from "vitest";
import { streamProblems } from "../../../components/nats/check";
import {
  createShortage,
  type Decision,
  decide,
  raisesAtOnce,
  type StreamState,
  settleSeconds,
  toStreamState,
} from "../../../components/nats/replication";

function stream(changes: Partial<StreamState> = {}): StreamState {
  return {
    name: "queue",
    replicas: 1,
    storage: "file",
    metadata: {},
    leader: "nats-0",
    peers: [],
    migrating: false,
    ...changes,
  };
}

const current = (name: string) => ({ name, current: true });
const behind = (name: string, lag = 0) => ({ name, current: false, lag });
const offline = (name: string) => ({ name, current: false, offline: true });

describe("which streams get more replicas", () => {
  it.each<[string, Partial<StreamState>, Decision]>([
    ["one replica", {}, { kind: "raise", stream: "queue", from: 1, to: 3 }],
    [
      "two replicas, both current",
      { replicas: 2, peers: [current("nats-1")] },
      { kind: "raise", stream: "queue", from: 2, to: 3 },
    ],
    [
      "two replicas, one behind",
      { replicas: 2, peers: [behind("nats-1", 7)] },
      { kind: "wait", stream: "queue", reason: "nats-1 is not current" },
    ],
    [
      "two replicas, one away",
      { replicas: 2, peers: [offline("nats-1")] },
      { kind: "wait", stream: "queue", reason: "nats-1 is offline" },
    ],
    ["three replicas", { replicas: 3 }, { kind: "enough", stream: "queue" }],
    ["three replicas without a leader", { replicas: 3, leader: "" }, { kind: "enough", stream: "queue" }],
    ["more than wanted is never lowered", { replicas: 5 }, { kind: "enough", stream: "queue" }],
    ["no leader", { leader: "" }, { kind: "wait", stream: "queue", reason: "it has no leader" }],
    ["being moved", { migrating: true }, { kind: "wait", stream: "queue", reason: "it is being moved" }],
    ["memory", { storage: "memory" }, { kind: "leave", stream: "queue", reason: "it is stored in memory" }],
    [
      "its owner wants one replica",
      { metadata: { "cells-services.replicas": "keep" } },
      { kind: "leave", stream: "queue", reason: "its metadata says cells-services.replicas: keep" },
    ],
    [
      "other metadata",
      { metadata: { "cells-services.replicas": "1" } },
      { kind: "raise", stream: "queue", from: 1, to: 3 },
    ],
    ["buckets are streams", { name: "KV_config" }, { kind: "raise", stream: "KV_config", from: 1, to: 3 }],
    ["object stores are streams", { name: "OBJ_files" }, { kind: "raise", stream: "OBJ_files", from: 1, to: 3 }],
  ])("%s", (_, changes, expected) => {
    expect(decide([stream(changes)], 3)).toEqual([expected]);
  });

  it("raises a few at a time, in the order of their names", () => {
    const names = ["g", "f", "e", "d", "c", "b", "a"];
    const decisions = decide(
      names.map((name) => stream({ name })),
      3,
    );
    expect(decisions.filter(({ kind }) => kind === "raise").map((each) => each.stream)).toEqual(["a", "b", "c", "d"]);
    expect(decisions.at(-1)).toEqual({
      kind: "wait",
      stream: "g",
      reason: `${raisesAtOnce} other streams are being moved`,
    });
  });

  it("counts those that are under way", () => {
    const moving = ["a", "b", "c"].map((name) => stream({ name, replicas: 3, migrating: true }));
    const decisions = decide([...moving, stream({ name: "x" }), stream({ name: "y" })], 3);
    expect(decisions.map(({ kind }) => kind)).toEqual(["enough", "enough", "enough", "raise", "wait"]);
  });

  it("is not held up by streams that miss a member that is away", () => {
    const degraded = Array.from({ length: 20 }, (_, index) =>
      stream({ name: `s${index}`, replicas: 3, peers: [current("nats-1"), offline("nats-2")] }),
    );
    expect(decide([...degraded, stream()], 3).find(({ stream: name }) => name === "queue")?.kind).toBe("raise");
  });
});

describe("what the server says about a stream", () => {
  it("is read from its own words", () => {
    const info = {
      config: { name: "S", num_replicas: 3, storage: "file", metadata: { owner: "x" } },
      cluster: {
        leader: "nats-1",
        replicas: [{ name: "nats-0", current: false, offline: true, active: 1, lag: 4, peer: "abc" }],
        desired: { created: "2026-01-01T00:00:00Z" },
      },
    } as unknown as StreamInfo;
    expect(toStreamState(info)).toEqual({
      name: "S",
      replicas: 3,
      storage: "file",
      metadata: { owner: "x" },
      leader: "nats-1",
      peers: [{ name: "nats-0", current: false, offline: true, lag: 4 }],
      migrating: true,
    });
  });

  it("may leave out what is not there", () => {
    const info = { config: { name: "S", storage: "memory" } } as unknown as StreamInfo;
    expect(toStreamState(info)).toMatchObject({ replicas: 1, metadata: {}, leader: "", peers: [], migrating: false });
  });
});

describe("the shortage of replicas", () => {
  it("is fresh until it was seen for long enough, and again when an owner lowers a stream", () => {
    let time = 0;
    const freshOf = createShortage(3, () => time);
    const at = (seconds: number, ...streams: StreamState[]): string[] => {
      time = seconds * 1000;
      return [...freshOf(streams)];
    };
    expect(at(0, stream(), stream({ name: "whole", replicas: 3 }))).toEqual(["queue"]);
    expect(at(settleSeconds - 1, stream(), stream({ name: "new" }))).toEqual(["queue", "new"]);
    expect(at(settleSeconds, stream(), stream({ name: "new" }))).toEqual(["new"]);
    expect(at(settleSeconds + 1, stream({ replicas: 3 }))).toEqual([]);
    expect(at(settleSeconds + 2, stream(), stream({ name: "new" }))).toEqual(["queue", "new"]);
  });
});

describe("problems of streams in words", () => {
  it.each<[string, string[], StreamState[], string[]]>([
    ["none", ["queue"], [stream({ replicas: 3, peers: [current("nats-1"), current("nats-2")] })], []],
    ["exceptions are none", ["queue"], [stream({ storage: "memory" })], []],
    ["not in the list", ["gone"], [], ['stream "gone" has no leader']],
    ["no leader", ["queue"], [stream({ replicas: 3, leader: "" })], ['stream "queue" has no leader']],
    [
      "behind",
      ["queue"],
      [stream({ replicas: 3, peers: [behind("nats-1", 14), offline("nats-2")] })],
      ['stream "queue": nats-1 is 14 operations behind, nats-2 is offline'],
    ],
    ["being moved", ["queue"], [stream({ replicas: 3, migrating: true })], ['stream "queue" is being moved']],
    ["not raised", ["queue"], [stream()], ['stream "queue" has 1 of 3 replicas']],
  ])("%s", (_, names, streams, expected) => {
    expect(streamProblems(names, streams, 3)).toEqual(expected);
  });
});
