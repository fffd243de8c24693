import { describe, expect, it } from "vitest";
import { createBell } from "../../../components/nats/reconciler";

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
