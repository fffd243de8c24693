import { describe, expect, it } from "vitest";
import { exposition } from "../../../components/shared/agent/metrics";
import {
  current,
  isLive,
  metricsOf,
  pauseSeconds,
  since,
  statusSamples,
} from "../../../components/shared/agent/sidecar";

const status = { ready: true, primary: true, detail: "primary of 3 members" };

describe("what a sidecar answers", () => {
  it("is neither ready nor primary before the first observation", () => {
    expect(current(undefined, 0)).toMatchObject({ ready: false, primary: false });
  });

  it("is what was observed last", () => {
    expect(current({ status, at: 1_000 }, 5_900)).toEqual(status);
  });

  it("is no longer primary when the observation is old, because another member may be", () => {
    const answer = current({ status, at: 1_000 }, 6_100);
    expect(answer).toMatchObject({ ready: false, primary: false });
    expect(answer.detail).toBe("nothing was observed for 5 seconds; before: primary of 3 members");
  });
});

describe("the pause between two observations", () => {
  it("is short for three seconds after something has changed", () => {
    const view = { status, at: 9_000, since: 1_000 };
    expect(pauseSeconds(view, 3_900)).toBe(0.1);
    expect(pauseSeconds(view, 4_000)).toBe(0.5);
    expect(pauseSeconds(undefined, 0)).toBe(0.5);
  });
});

describe("what has changed", () => {
  const before = { status: { ...status, detail: "refused: the group has 3e11:1-5" }, at: 9_000, since: 1_000 };

  it.each([
    ["nothing", before.status.detail, 1_000],
    ["a list that is longer", "refused: the group has 3e11:1-7,4e12:1", 9_500],
    ["a number alone", "refused: the group has 3e11:1-72", 1_000],
    ["the words", "primary", 9_500],
  ])("is %s", (_, detail, expected) => {
    expect(since(before, { ...status, detail }, 9_500)).toBe(expected);
  });
});

describe("the life of a sidecar", () => {
  it("ends when a pass hangs, far beyond its time-outs", () => {
    expect(isLive(1_000, 60_900)).toBe(true);
    expect(isLive(1_000, 61_000)).toBe(false);
  });
});

describe("the metrics of a sidecar", () => {
  it("are gauges in the text format, those of the service with its name, and none that was not seen", async () => {
    const known = metricsOf({ service: "redis", metrics: { replicas: { help: "followers" }, keys: { help: "keys" } } });
    const text = await exposition(known, statusSamples("redis", { ...status, metrics: { replicas: 2 } }));
    expect(text.split("\n").filter((line) => !line.startsWith("#") && line !== "")).toEqual([
      "cells_services_ready 1",
      "cells_services_primary 1",
      "cells_services_refused 0",
      "cells_services_redis_replicas 2",
    ]);
    expect(text).toContain(
      "# HELP cells_services_redis_replicas followers\n# TYPE cells_services_redis_replicas gauge\n",
    );
  });
});
