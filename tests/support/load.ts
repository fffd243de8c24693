/** A change of a service while clients write to it. */
import { setTimeout as delay } from "node:timers/promises";
import { expect } from "vitest";
import { labelSelectorOf, serverSelector } from "../../components/shared/core/names";
import { startWriters, writeGap } from "../../drills/ledger";
import { type DrilledService, profileOf } from "../../drills/profiles";
import type { Workload } from "../../drills/workload";
import { kubectl } from "../../sandbox/cluster";
import { until } from "../../sandbox/shell";
import { budgetFactor } from "./pace";
import { expectStored, openWorkload } from "./workload";

export const selectorOf = (service: DrilledService): string => labelSelectorOf(serverSelector(service, service));

interface Pod {
  metadata: { name: string; uid: string; creationTimestamp: string };
}

/** The uid of each member's pod, in the order in which they were made. */
export async function podsOf(stack: string, service: DrilledService): Promise<Map<string, string>> {
  const listed = await kubectl("get", "pods", "-n", `cells-${stack}`, "-l", selectorOf(service), "-o", "json");
  const { items } = JSON.parse(listed) as { items: Pod[] };
  const made = ({ metadata }: Pod) => metadata.creationTimestamp;
  return new Map(
    items.sort((a, b) => made(a).localeCompare(made(b))).map(({ metadata }) => [metadata.name, metadata.uid]),
  );
}

/** A bound for what is measured here, by that of a drill which hands the leadership over once. */
export async function expectShort(service: DrilledService, gapSeconds: number): Promise<void> {
  process.stdout.write(`${service}: at most ${gapSeconds.toFixed(2)} s without a write\n`);
  const { budgets } = await profileOf(service);
  expect(gapSeconds).toBeLessThan(budgets.handOver * (await budgetFactor()));
}

export interface UnderLoad<T> {
  result: T;
  /** Before. */
  leader: string;
  gapSeconds: number;
  failures: string[];
}

/** Clients that write all the time. */
export const startClients = (workload: Workload, run: string) =>
  startWriters({ writers: 3, paceMilliseconds: 50, run, write: (id, writer) => workload.write(id, writer) });

/** Writes while something happens, and proves that each member that is there then holds every acknowledged write. */
export async function underLoad<T>(
  stack: string,
  service: DrilledService,
  happens: () => Promise<T>,
): Promise<UnderLoad<T>> {
  const run = `change${Date.now().toString(36)}`;
  const { workload, close } = await openWorkload(stack, service, run);
  try {
    await until("a first write", 60, () => workload.prepare().then(() => true));
    const { member: leader } = await workload.leader();
    const writers = startClients(workload, "change");
    const begin = performance.now() + 2_000;
    await delay(2_000);
    const result = await happens();
    await delay(2_000);
    const end = performance.now();
    const writes = await writers.stop();
    const acknowledged = writes.filter(({ outcome }) => outcome === "ok").map(({ id }) => id);
    const failures = writes.flatMap(({ outcome, error }) => (outcome === "ok" ? [] : [error ?? outcome]));
    expect(acknowledged.length).toBeGreaterThan(50);
    const after = await openWorkload(stack, service, run);
    try {
      const holders = await until("who holds all writes", 60, () => after.workload.holders());
      expect(holders.length).toBeGreaterThanOrEqual(3);
      await expectStored({ members: holders, workload: after.workload }, acknowledged);
    } finally {
      await after.close();
    }
    const gap = writeGap(writers.writes, { fault: begin, end });
    return { result, leader, failures, gapSeconds: (gap?.milliseconds ?? Number.POSITIVE_INFINITY) / 1000 };
  } finally {
    await close();
  }
}
