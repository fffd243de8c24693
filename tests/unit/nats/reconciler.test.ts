import type { JetStreamManager } from "@nats-io/jetstream";
import { describe, expect, it } from "vitest";
import { createBell, pass } from "../../../components/nats/reconciler";

describe("the bell of the reconciler", () => {
  it("wakes who waits", async () => {
    const bell = createBell();
    const waiting = bell.wait(3600);
    bell.ring();
    await waiting;
  });

  it("remembers what rang while nobody waited, once", async () => {
    const bell = createBell();
    bell.ring();
    bell.ring();
    await bell.wait(3600);
    const start = performance.now();
    await bell.wait(0.02);
    expect(performance.now() - start).toBeGreaterThanOrEqual(15);
  });

  it("keeps nobody waiting when it is closed", async () => {
    const bell = createBell();
    const waiting = bell.wait(3600);
    bell.close();
    await waiting;
    await bell.wait(3600);
    expect(bell.closed()).toBe(true);
  });
});

/** The part of the library that a pass uses; raising a stream whose name is in `broken` fails. */
function manager(streams: Record<string, number>, broken: string[] = [], latest: Record<string, number> = {}) {
  const updates: [string, object][] = [];
  const state = (name: string, replicas: number | undefined) => ({
    config: { name, num_replicas: replicas, storage: "file" },
    cluster: { leader: "nats-0" },
  });
  const fake = {
    streams: {
      async *list() {
        for (const [name, replicas] of Object.entries(streams)) yield state(name, replicas);
      },
      info: async (name: string) => state(name, latest[name] ?? streams[name]),
      async update(name: string, config: object) {
        if (broken.includes(name)) throw new Error("insufficient resources");
        updates.push([name, config]);
      },
    },
  };
  return { fake: fake as unknown as JetStreamManager, updates };
}

const settled = () => new Set<string>();

describe("a pass over the streams of an account", () => {
  it("gives the owner of a fresh stream time", async () => {
    const { fake, updates } = manager({ a: 1, b: 1 });
    expect(await pass(fake, 3, () => new Set(["a"]))).toMatchObject([{ kind: "wait" }, { kind: "raise", stream: "b" }]);
    expect(updates.map(([name]) => name)).toEqual(["b"]);
  });

  it("leaves a stream that its owner has raised meanwhile", async () => {
    const { fake, updates } = manager({ a: 1 }, [], { a: 5 });
    expect(await pass(fake, 3, settled)).toEqual([{ kind: "enough", stream: "a" }]);
    expect(updates).toEqual([]);
  });

  it("changes the number of replicas and nothing else", async () => {
    const { fake, updates } = manager({ a: 1, b: 3 });
    expect(await pass(fake, 3, settled)).toEqual([
      { kind: "raise", stream: "a", from: 1, to: 3 },
      { kind: "enough", stream: "b" },
    ]);
    expect(updates).toEqual([["a", { num_replicas: 3 }]]);
  });

  it("goes on after a stream that cannot be raised", async () => {
    const { fake, updates } = manager({ a: 1, b: 1 }, ["a"]);
    expect(await pass(fake, 3, settled)).toEqual([
      { kind: "raise", stream: "a", from: 1, to: 3, failed: "insufficient resources" },
      { kind: "raise", stream: "b", from: 1, to: 3 },
    ]);
    expect(updates.map(([name]) => name)).toEqual(["b"]);
  });

  it("finds nothing to do in an empty account", async () => {
    expect(await pass(manager({}).fake, 3, settled)).toEqual([]);
  });
});
