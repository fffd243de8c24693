import { expect, it } from "vitest";
import { waitForStart } from "../../../components/shared/agent/start";
import { refuse } from "../../../components/shared/core/decision";

const start = { kind: "start", reason: "it has data" } as const;

it("does what a decision asks for, also when that failed before, and starts when it may", async () => {
  const decisions = [
    { kind: "join", reason: "the volume was lost" } as const,
    { kind: "join", reason: "again" } as const,
  ];
  const done: string[] = [];
  const act = async ({ reason }: { reason: string }): Promise<void> => {
    done.push(reason);
    if (reason !== "again") throw new Error("too few members answer");
  };
  const decide = async () => decisions.shift() ?? start;
  expect(await waitForStart("etcd-1", decide, { act, intervalSeconds: 0 })).toBe(start);
  expect(done).toEqual(["the volume was lost", "again"]);
});

it("starts nothing while it is refused", async () => {
  const decisions = [refuse("the marker is gone"), start];
  expect(await waitForStart("etcd-1", async () => decisions.shift() ?? start, { intervalSeconds: 0 })).toBe(start);
  expect(decisions).toEqual([]);
});
