import { setTimeout as delay } from "node:timers/promises";
import { messageOf, patient, waitFor } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import {
  awaySeconds,
  deletePod,
  deleteVolume,
  type Fault,
  fillVolumes,
  fullSeconds,
  killAgent,
  killServer,
  type Place,
  pauseSeconds,
  pauseServer,
  stopEverything,
  stopPod,
  takeNode,
} from "./faults";
import {
  judge,
  type Loss,
  type Mark,
  type Proof,
  startWriters,
  type Timeline,
  timelineOf,
  type Verdict,
  type Write,
  type Writers,
} from "./ledger";
import { type Budgets, bounded, type Leadership, type Profile, type Workload } from "./workload";

export const drillNames = [
  "leader-kill",
  "leader-pause",
  "leader-delete",
  "leader-repeat",
  "hand-over",
  "member-crash",
  "agent-kill",
  "volume-loss",
  "leader-loss",
  "disk-full",
  "node-cut",
  "node-stop",
  "full-stop",
] as const;
export type DrillName = (typeof drillNames)[number];

/** Does the fault to a member; a fault of everything takes no notice of which. */
export type Strike = (victim: string) => Promise<Fault>;

interface Plan {
  /** `node`: the one that most leaders of the services in this drill are on. */
  victim: "leader" | "follower" | "everybody" | "node";
  strike: (place: Place, victim: string) => Promise<Fault>;
  /** The member that was hit comes back without its data. */
  losesVolume?: boolean;
  /** How often, each time whoever leads then. */
  strikes: number;
  /** Seconds without writes. */
  gap: (budgets: Budgets) => number;
  /** Seconds until all members are full and equal again. */
  recovery: (budgets: Budgets) => number;
  /** `moves`: somebody else must lead. `stays`: nobody else may, and no write may need more than one retry. */
  leadership: "moves" | "may move" | "stays";
  /** Whether a service that replicates after it has acknowledged may lose writes: not when nobody who led died unasked. */
  mayLose: boolean;
}

/** Nobody promises a time for a member that comes back with its data; later than this, something is wrong. */
const convergeSeconds = 120;
const converge = (): number => convergeSeconds;

/** Shorter than the fault: a service that waits for its end has not helped itself. */
const before = (faultSeconds: number, seconds: number): number => Math.min(seconds, faultSeconds - 5);

const lostVolume = {
  strike: deleteVolume,
  losesVolume: true,
  strikes: 1,
  gap: ({ volumeGap, kill }) => volumeGap ?? kill,
  recovery: ({ volume }) => volume,
  leadership: "may move",
} satisfies Partial<Plan>;

const lostNode = {
  victim: "node",
  strikes: 1,
  gap: ({ node }) => before(awaySeconds, node),
  recovery: () => awaySeconds + 2 * convergeSeconds,
  leadership: "may move",
  mayLose: true,
} satisfies Partial<Plan>;

const plans: Record<DrillName, Plan> = {
  "leader-kill": {
    victim: "leader",
    strike: killServer,
    strikes: 1,
    gap: ({ kill }) => kill,
    recovery: converge,
    leadership: "may move",
    mayLose: true,
  },
  "leader-pause": {
    victim: "leader",
    strike: pauseServer,
    strikes: 1,
    gap: ({ hang }) => before(pauseSeconds, hang),
    recovery: converge,
    leadership: "moves",
    mayLose: true,
  },
  "leader-delete": {
    victim: "leader",
    strike: deletePod,
    strikes: 1,
    gap: ({ kill }) => kill,
    recovery: converge,
    leadership: "may move",
    mayLose: true,
  },
  "leader-repeat": {
    victim: "leader",
    strike: deletePod,
    strikes: 3,
    // The next leader dies before the first is back, so its successor may have to wait for a majority.
    gap: ({ kill, repeat }) => repeat ?? 2 * kill,
    recovery: converge,
    leadership: "may move",
    mayLose: true,
  },
  "hand-over": {
    victim: "leader",
    strike: stopPod,
    strikes: 1,
    gap: ({ handOver }) => handOver,
    recovery: converge,
    leadership: "moves",
    mayLose: false,
  },
  "member-crash": {
    victim: "follower",
    strike: killServer,
    strikes: 1,
    gap: ({ follower }) => follower,
    recovery: converge,
    leadership: "stays",
    mayLose: false,
  },
  "agent-kill": {
    victim: "leader",
    strike: killAgent,
    strikes: 1,
    gap: ({ follower }) => follower,
    recovery: converge,
    leadership: "stays",
    mayLose: false,
  },
  "volume-loss": { ...lostVolume, victim: "follower", mayLose: false },
  "leader-loss": { ...lostVolume, victim: "leader", mayLose: true },
  "disk-full": {
    victim: "everybody",
    strike: fillVolumes,
    strikes: 1,
    // Nobody can write meanwhile.
    gap: () => fullSeconds + convergeSeconds,
    recovery: () => fullSeconds + convergeSeconds,
    leadership: "may move",
    mayLose: false,
  },
  "node-cut": { ...lostNode, strike: (place) => takeNode(place, "cut") },
  "node-stop": { ...lostNode, strike: (place) => takeNode(place, "stop") },
  "full-stop": {
    victim: "everybody",
    strike: stopEverything,
    strikes: 1,
    // Nobody can write meanwhile.
    gap: ({ fullStop }) => fullStop,
    recovery: ({ fullStop }) => fullStop,
    leadership: "may move",
    mayLose: true,
  },
};

export interface DrillReport extends Omit<Verdict, "lost"> {
  drill: DrillName;
  service: string;
  name: string;
  /** What was hit. */
  victim: string;
  fault: string;
  /** Of the write gap. */
  budgetSeconds: number;
  leaderBefore: string;
  leaderAfter: string;
  /** From the fault until all members are full and equal again. */
  recoveredSeconds: number | undefined;
  recoveryBudgetSeconds: number;
  /** The number of acknowledged writes that each member lacks at the end. */
  lost: Record<string, number>;
  /** Undefined when it broke off. */
  timeline: Timeline | undefined;
}

export interface DrillOptions {
  /** Writing before the fault and after the recovery. */
  steadySeconds: number;
  writers: number;
  paceMilliseconds: number;
  log(text: string): void;
  /** The name of the node that the fault takes away. */
  node?: string;
  /** Waits until the fault may strike; by default it strikes when this drill is ready. */
  ready?(): Promise<void>;
  /** Waits until those that were struck with this service have recovered too; by default for nobody. */
  recovered?(): Promise<void>;
}

/** Less than this in `steadySeconds` is not a load. */
const minimumPerSecond = 5;
/** Of a recovery that was late: the last reasons to wait. */
const lastReasons = 10;
const prepareSeconds = 30;
const leaderSeconds = 30;

/** How long writes may be interrupted. */
export function gapBudgetOf(drill: DrillName, { budgets }: Pick<Profile, "budgets">): number {
  return plans[drill].gap(budgets);
}

/** How long it may take until all members are full and equal again. */
export function recoveryBudgetOf(drill: DrillName, { budgets }: Pick<Profile, "budgets">): number {
  return plans[drill].recovery(budgets);
}

/** What a drill allows to be lost; undefined: nothing. */
export function lossOf(
  drill: DrillName,
  { loss, lossSeconds }: Pick<Profile, "loss" | "lossSeconds">,
  strikes: readonly number[],
): Loss | undefined {
  if (loss === "none" || !plans[drill].mayLose) return undefined;
  return { strikes, ...(lossSeconds === undefined ? {} : { seconds: lossSeconds }) };
}

/** Whether the fault takes a node away, which others than this service lose too. */
export const takesNode = (drill: DrillName): boolean => plans[drill].victim === "node";

/** Not every service has an agent beside its server that could be killed. */
export function applies(drill: DrillName, { sidecar }: Pick<Profile, "sidecar">): boolean {
  return drill !== "agent-kill" || sidecar;
}

export function strikeOf(drill: DrillName, place: Place): Strike {
  return (victim) => plans[drill].strike(place, victim);
}

/** Steady load, fault, recovery, steady load, and then every member is read. */
export async function runDrill(
  drill: DrillName,
  target: CheckTarget,
  profile: Profile,
  strike: Strike,
  environment: CheckEnvironment,
  options: DrillOptions,
): Promise<DrillReport> {
  const plan = plans[drill];
  const log = (text: string): void => options.log(`${target.name} ${drill}: ${text}`);
  const run = `${drill.replaceAll("-", "")}${Date.now().toString(36)}`;
  const workload = bounded(await profile.open(target, environment, run));
  try {
    await waitFor("a first write", async () => ({ done: await workload.prepare() }), {
      ...patient,
      deadlineSeconds: prepareSeconds,
    });
    const whole = (): Promise<unknown> =>
      waitFor(`${target.name} with all members`, () => workload.converged(), {
        ...patient,
        deadlineSeconds: convergeSeconds,
      });
    await whole();
    const cluster = oneCluster(await clustersOf(workload, target.members));
    const writers = startWriters({
      writers: options.writers,
      paceMilliseconds: options.paceMilliseconds,
      run,
      write: (id, writer) => workload.write(id, writer),
    });
    const failures: string[] = [];
    try {
      log(`writing for ${options.steadySeconds} s`);
      await delay(options.steadySeconds * 1000);
      const before = await leaderSoon(workload);
      const holders = await workload.holders();
      const victim = victimOf(drill, { name: target.name, members: holders }, before.member);
      const identity = victim === undefined ? undefined : await workload.identity(victim);
      log(`${before.member} leads, the fault strikes ${options.node ?? victim ?? "all members"}`);
      await options.ready?.();
      const struck = await strikeInTurn({ plan, first: before, victim, strike, workload, writers, log });
      failures.push(...struck.failures);
      log(struck.proof.detail);
      const last = struck.times.at(-1) ?? performance.now();

      const awaited: string[] = [];
      const recoveredAt = await waitFor(
        "recovery of all members",
        async () => {
          if (plan.losesVolume === true && profile.renews && victim !== undefined) {
            const now = await workload.identity(victim);
            if (now === identity) return { waiting: `${victim} is still known as ${now}` };
          }
          const seen = await workload.converged();
          if (!("done" in seen)) return seen;
          // Whole, and of no use to anybody, is not recovered.
          return acknowledgedSince(writers.writes, last) ? { done: performance.now() } : { waiting: "a write" };
        },
        // Beyond the budget, because how late it was is worth knowing.
        {
          ...patient,
          deadlineSeconds: 2 * recoveryBudgetOf(drill, profile),
          say: (line) => awaited.push(`${((performance.now() - last) / 1000).toFixed(1)} s: ${line}`),
        },
      ).catch((error: unknown) => void failures.push(messageOf(error)));
      const recovered = recoveredAt === undefined ? undefined : (recoveredAt - last) / 1000;
      // Whoever took over has been seen by now, if there was anybody.
      struck.endWatch();
      const successor = await struck.successor;
      log(recovered === undefined ? "not recovered" : `recovered in ${recovered.toFixed(1)} s`);
      if ((recovered ?? Infinity) > recoveryBudgetOf(drill, profile)) awaited.slice(-lastReasons).forEach(log);
      await options.recovered?.();
      await delay(options.steadySeconds * 1000);
      const after = await leaderSoon(workload).catch((error: unknown) => void failures.push(messageOf(error)));
      const end = performance.now();
      const writes = await writers.stop();
      failures.push(...leadershipFailures(drill, { before, during: successor?.leader, after }));
      for (const fault of struck.faults) {
        const seen = await fault.aftermath?.().catch((error: unknown) => [messageOf(error)]);
        failures.push(...(seen ?? []));
      }

      await whole().catch((error: unknown) => void failures.push(messageOf(error)));
      failures.push(...clusterFailures(cluster, await clustersOf(workload, target.members)));
      const { stored, unreadable } = await readBack(workload, holders);
      failures.push(...unreadable);
      const loss = lossOf(drill, profile, struck.times);
      const verdict = judge({
        writes,
        window: {
          fault: struck.times[0] ?? end,
          end,
          ...(recoveredAt === undefined ? {} : { recovered: recoveredAt }),
        },
        proof: struck.proof,
        stored,
        budgetSeconds: gapBudgetOf(drill, profile),
        recovery: { seconds: recovered, budgetSeconds: recoveryBudgetOf(drill, profile) },
        minimum: Math.ceil(minimumPerSecond * options.steadySeconds),
        ...(plan.leadership === "stays" ? { failuresInARow: profile.failuresInARow ?? 1 } : {}),
        ...(loss === undefined ? {} : { loss }),
      });
      const marks: Mark[] = [
        ...struck.times.map((at) => ({ at, what: "fault" })),
        ...(successor === undefined ? [] : [{ at: successor.seen, what: `${successor.leader.member} leads` }]),
        ...(recoveredAt === undefined ? [] : [{ at: recoveredAt, what: "all members are whole" }]),
      ];
      return {
        ...withFailures(verdict, failures),
        drill,
        service: target.service,
        name: target.name,
        victim: options.node ?? struck.victims.join(", "),
        fault: struck.proof.detail,
        budgetSeconds: gapBudgetOf(drill, profile),
        leaderBefore: describe(before),
        leaderAfter: describe(successor?.leader ?? after ?? { member: "unknown" }),
        recoveredSeconds: recovered,
        recoveryBudgetSeconds: recoveryBudgetOf(drill, profile),
        lost: Object.fromEntries(Object.entries(verdict.lost).map(([member, ids]) => [member, ids.length])),
        timeline: timelineOf(writes, marks, end),
      };
    } finally {
      await writers.stop();
    }
  } finally {
    await workload.close();
  }
}

interface Successor {
  leader: Leadership;
  /** When it was seen to lead, milliseconds of the monotonic clock. */
  seen: number;
}

interface Struck {
  victims: string[];
  faults: Fault[];
  /** When each fault struck. */
  times: number[];
  proof: Proof;
  /** The first other leader that is seen until the watch ends. */
  successor: Promise<Successor | undefined>;
  endWatch(): void;
  failures: string[];
}

/**
 * Once, or several times, each time as soon as a new leader serves. From the first strike on nothing is thrown: the ledger
 * must be judged, whatever happens.
 */
async function strikeInTurn(drill: {
  plan: Plan;
  first: Leadership;
  victim: string | undefined;
  strike: Strike;
  workload: Workload;
  writers: Writers;
  log: (text: string) => void;
}): Promise<Struck> {
  const { plan, first, workload, writers } = drill;
  const victims: string[] = [];
  const faults: Fault[] = [];
  const proofs: Promise<Proof>[] = [];
  const failures: string[] = [];
  let leader = first;
  let victim = drill.victim;
  const watch = new AbortController();
  let successor: Promise<Successor | undefined> | undefined;
  for (let number = 1; number <= plan.strikes; number += 1) {
    let fault: Fault;
    try {
      fault = await drill.strike(victim ?? "");
    } catch (error) {
      if (faults.length === 0) throw error;
      failures.push(`fault ${number} of ${plan.strikes} could not strike: ${messageOf(error)}`);
      break;
    }
    victims.push(victim ?? "all members");
    faults.push(fault);
    proofs.push(fault.proof.catch((error: unknown): Proof => ({ proven: false, detail: messageOf(error) })));
    // Whoever takes over may hand the leadership back later, so this looks while it happens.
    if (victim === first.member && plan.leadership !== "stays")
      successor ??= otherLeader(workload, victim, watch.signal);
    if (number === plan.strikes) break;
    try {
      leader = await nextLeader(workload, writers, leader, fault);
    } catch (error) {
      failures.push(messageOf(error));
      break;
    }
    victim = leader.member;
    drill.log(`${leader.member} leads and serves, fault ${number + 1} of ${plan.strikes} strikes it`);
  }
  return {
    victims,
    faults,
    times: faults.map(({ at }) => at),
    proof: allOf(await Promise.all(proofs)),
    successor: successor ?? Promise.resolve(undefined),
    endWatch: () => watch.abort(),
    failures,
  };
}

/** Proven when each of them is. */
export function allOf(proofs: Proof[]): Proof {
  return {
    proven: proofs.length > 0 && proofs.every((each) => each.proven),
    detail: proofs.map((each) => each.detail).join("; "),
  };
}

/** Another leader, or the same one in a new life, that has acknowledged a write since it was first seen. */
async function nextLeader(
  workload: Workload,
  writers: Writers,
  previous: Leadership,
  fault: Fault,
): Promise<Leadership> {
  let renewed = false;
  void fault.proof.then(
    ({ proven }) => void (renewed = proven),
    () => undefined,
  );
  let seen: { leader: Leadership; at: number } | undefined;
  return waitFor(
    `a new leader after ${previous.member} that serves writes`,
    async () => {
      const leader = await workload.leader();
      if (leader.member === previous.member && !hasMoved(previous, leader) && !renewed) {
        return { waiting: `${leader.member} leads` };
      }
      if (seen === undefined || hasMoved(seen.leader, leader)) seen = { leader, at: performance.now() };
      return acknowledgedSince(writers.writes, seen.at)
        ? { done: leader }
        : { waiting: `${leader.member} leads, no write` };
    },
    { ...patient, deadlineSeconds: convergeSeconds },
  );
}

/** Whether there was an election between the two, as far as the service tells. */
function hasMoved(before: Leadership, after: Leadership): boolean {
  return after.member !== before.member || (after.term !== undefined && after.term !== before.term);
}

function acknowledgedSince(writes: readonly Write[], time: number): boolean {
  return (writes.findLast((each) => each.outcome === "ok")?.started ?? Number.NEGATIVE_INFINITY) > time;
}

interface Leaders {
  before: Leadership;
  /** The first other leader that was seen after the fault. */
  during: Leadership | undefined;
  /** At the end; undefined when nobody led, which is reported by itself. */
  after: Leadership | undefined;
}

/** Who led, against what a fault of this kind must and must not do to a leader. */
export function leadershipFailures(drill: DrillName, { before, during, after }: Leaders): string[] {
  const { leadership, victim } = plans[drill];
  if (after === undefined) return [];
  if (leadership === "stays") {
    return hasMoved(before, after)
      ? [`${describe(after)} leads instead of ${describe(before)}, and nothing had happened to the leader`]
      : [];
  }
  if (victim !== "leader") return [];
  if (after.term !== undefined && after.term === before.term) {
    return [`no election took place: the term is still ${after.term}`];
  }
  if (leadership === "moves" && during === undefined && !hasMoved(before, after)) {
    return [`${before.member} could not lead any more, and nobody was seen to lead in its place`];
  }
  return [];
}

/** For each member the cluster that it takes itself to belong to. One that does not answer says so instead. */
async function clustersOf(workload: Workload, members: string[]): Promise<Record<string, string>> {
  const answers = members.map(async (member) => {
    const answer = waitFor(`the cluster of ${member}`, async () => ({ done: await workload.clusterIdentity(member) }), {
      ...patient,
      deadlineSeconds: leaderSeconds,
    });
    return [member, await answer.catch((error: unknown) => `unknown (${messageOf(error)})`)] as const;
  });
  return Object.fromEntries(await Promise.all(answers));
}

/** The identity that all members share; without one, a drill could not tell a second cluster from the first. */
export function oneCluster(clusters: Record<string, string>): string {
  const [first, ...others] = new Set(Object.values(clusters));
  if (first === undefined || others.length > 0) {
    const words = Object.entries(clusters).map(([member, cluster]) => `${member} in ${cluster}`);
    throw new Error(`the members are not in one cluster: ${words.join(", ")}`);
  }
  return first;
}

export function clusterFailures(before: string, after: Record<string, string>): string[] {
  return Object.entries(after)
    .filter(([, cluster]) => cluster !== before)
    .map(([member, cluster]) => `${member} is in the cluster ${cluster}, before the fault it was ${before}`);
}

/** What each member holds. One that cannot be read lacks everything: nobody can tell that it holds anything. */
export async function readBack(
  workload: Pick<Workload, "stored">,
  members: string[],
): Promise<{ stored: Record<string, Set<string>>; unreadable: string[] }> {
  const stored: Record<string, Set<string>> = {};
  const unreadable: string[] = [];
  for (const member of members) {
    try {
      stored[member] = await workload.stored(member);
    } catch (error) {
      stored[member] = new Set();
      unreadable.push(`${member} could not be read: ${messageOf(error)}`);
    }
  }
  return { stored, unreadable };
}

/** A drill that broke off: it proves nothing, and the reason is all there is to report. */
export function brokenOff(
  drill: DrillName,
  target: Pick<CheckTarget, "name" | "service">,
  profile: Pick<Profile, "budgets">,
  error: unknown,
): DrillReport {
  return {
    drill,
    service: target.service,
    name: target.name,
    result: "invalid",
    reasons: [`broke off: ${messageOf(error)}`],
    notes: [],
    victim: "none",
    fault: "unknown",
    budgetSeconds: gapBudgetOf(drill, profile),
    recoveryBudgetSeconds: recoveryBudgetOf(drill, profile),
    leaderBefore: "unknown",
    leaderAfter: "unknown",
    acknowledged: 0,
    refused: 0,
    unknown: 0,
    lost: {},
    lostWrites: 0,
    gapSeconds: undefined,
    baselineSeconds: undefined,
    recoveredSeconds: undefined,
    timeline: undefined,
  };
}

/** A service that did not come back, or that did not notice the loss of its leader, is a failure, not a doubt. */
export function withFailures(verdict: Verdict, failures: string[]): Verdict {
  if (failures.length === 0) return verdict;
  return { ...verdict, result: "failed", reasons: [...failures, ...verdict.reasons] };
}

/** Undefined when all are hit. */
export function victimOf(
  drill: DrillName,
  target: Pick<CheckTarget, "members" | "name">,
  leader: string,
): string | undefined {
  switch (plans[drill].victim) {
    case "leader":
    case "node":
      return leader;
    case "everybody":
      return undefined;
    case "follower": {
      const follower = target.members.filter((each) => each !== leader).at(-1);
      if (follower === undefined) throw new Error(`${target.name} has no other member than its leader`);
      return follower;
    }
  }
}

function leaderSoon(workload: Workload): Promise<Leadership> {
  return waitFor("a leader", async () => ({ done: await workload.leader() }), {
    ...patient,
    deadlineSeconds: leaderSeconds,
  });
}

/** The first other leader that is seen; undefined when the same member leads again before anybody else is seen to. */
function otherLeader(workload: Workload, than: string, signal: AbortSignal): Promise<Successor | undefined> {
  const seen = waitFor(
    `another leader than ${than}`,
    async () => {
      const leader = await workload.leader();
      return leader.member === than ? { waiting: `${than} leads` } : { done: { leader, seen: performance.now() } };
    },
    // Longer than any recovery: the signal ends it.
    { ...patient, deadlineSeconds: 2 * convergeSeconds, signal },
  );
  return seen.catch(() => undefined);
}

function describe({ member, term, detail }: Leadership): string {
  const more = [...(term === undefined ? [] : [`term ${term}`]), ...(detail === undefined ? [] : [detail])];
  return more.length === 0 ? member : `${member} (${more.join(", ")})`;
}
