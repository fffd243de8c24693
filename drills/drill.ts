import { setTimeout as delay } from "node:timers/promises";
import type { KubeConfig } from "@kubernetes/client-node";
import { messageOf, until } from "../checks";
import type { CheckEnvironment, CheckTarget } from "../components/shared/check";
import { etcdProfile } from "./etcd";
import { deletePod, deleteVolume, type Fault, killServerProcess } from "./faults";
import { judge, type Proof, startWriters, type Verdict } from "./ledger";
import { natsProfile } from "./nats";
import type { Leadership, Profile, Workload } from "./workload";

export const drillNames = ["leader-kill", "leader-delete", "member-crash", "volume-loss"] as const;
export type DrillName = (typeof drillNames)[number];

export interface DrillReport extends Omit<Verdict, "lost"> {
  drill: DrillName;
  service: string;
  name: string;
  /** The member that was hit. */
  victim: string;
  fault: string;
  budgetSeconds: number;
  leaderBefore: string;
  leaderAfter: string;
  /** From the fault until all members are full and equal again. */
  recoveredSeconds: number | undefined;
  /** The number of acknowledged writes that each member lacks at the end. */
  lost: Record<string, number>;
}

export interface DrillOptions {
  /** Writing before the fault and after the recovery. */
  steadySeconds: number;
  writers: number;
  paceMilliseconds: number;
  log(text: string): void;
}

const profiles: Record<CheckTarget["service"], Profile> = { etcd: etcdProfile, nats: natsProfile };

/** Less than this in `steadySeconds` is not a load. */
const minimumPerSecond = 5;
const convergeSeconds = 120;
const prepareSeconds = 30;

/**
 * How long writes may be interrupted. When a volume is lost, the cluster is changed twice while a member is away, and what
 * is promised is that it is whole again in time, without a lost write; the interruption is reported.
 */
export function budgetOf(service: CheckTarget["service"], drill: DrillName): number {
  const { budgetSeconds, volumeSeconds } = profiles[service];
  return drill === "volume-loss" ? volumeSeconds : budgetSeconds;
}

/** Steady load, fault, recovery, steady load, and then every member is read. */
export async function runDrill(
  drill: DrillName,
  target: CheckTarget,
  strike: Strike,
  environment: CheckEnvironment,
  options: DrillOptions,
): Promise<DrillReport> {
  const profile = profiles[target.service];
  const log = (text: string): void => options.log(`${target.name} ${drill}: ${text}`);
  const run = `${drill.replaceAll("-", "")}${Date.now().toString(36)}`;
  const workload = await profile.open(target, environment, run);
  try {
    await until("a first write", async () => ({ done: await workload.prepare() }), { deadlineSeconds: prepareSeconds });
    const converge = (seconds: number): Promise<unknown> =>
      until(`${target.name} with all members`, () => workload.converged(), { deadlineSeconds: seconds });
    await converge(convergeSeconds);
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
      const identity = await workload.identity(victim);
      log(`${before.member} leads, the fault strikes ${victim}`);
      const fault = await strike(victim);
      // Whoever takes over may hand the leadership back later, so this looks while it happens.
      const [proof, successor] = await Promise.all([
        // From here on nothing is thrown: the ledger must be judged, whatever happens.
        fault.proof.catch((error: unknown): Proof => ({ proven: false, detail: messageOf(error) })),
        victim === before.member ? otherLeader(workload, victim) : undefined,
      ]);
      log(proof.detail);

      const recovered = await recovery(drill, workload, victim, identity, profile).then(
        (at) => (at - fault.at) / 1000,
        (error: unknown) => void failures.push(messageOf(error)),
      );
      log(recovered === undefined ? "not recovered" : `recovered in ${recovered.toFixed(1)} s`);
      await delay(options.steadySeconds * 1000);
      const after = await leaderSoon(workload).catch((error: unknown) => void failures.push(messageOf(error)));
      const end = performance.now();
      const writes = await writers.stop();
      if (victim === before.member && after?.term !== undefined && after.term === before.term) {
        failures.push(`no election took place: the term is still ${after.term}`);
      }

      await converge(convergeSeconds).catch((error: unknown) => void failures.push(messageOf(error)));
      const { stored, unreadable } = await readBack(workload, holders);
      failures.push(...unreadable);
      const verdict = judge({
        writes,
        window: { fault: fault.at, end },
        proof,
        stored,
        budgetSeconds: budgetOf(target.service, drill),
        minimum: Math.ceil(minimumPerSecond * options.steadySeconds),
      });
      return {
        ...withFailures(verdict, failures),
        drill,
        service: target.service,
        name: target.name,
        victim,
        fault: proof.detail,
        budgetSeconds: budgetOf(target.service, drill),
        leaderBefore: describe(before),
        leaderAfter: describe(successor ?? after ?? { member: "unknown" }),
        recoveredSeconds: recovered,
        lost: Object.fromEntries(Object.entries(verdict.lost).map(([member, ids]) => [member, ids.length])),
      };
    } finally {
      await writers.stop();
    }
  } finally {
    await workload.close();
  }
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
export function brokenOff(drill: DrillName, target: CheckTarget, error: unknown): DrillReport {
  return {
    drill,
    service: target.service,
    name: target.name,
    result: "invalid",
    reasons: [`broke off: ${messageOf(error)}`],
    victim: "none",
    fault: "unknown",
    budgetSeconds: budgetOf(target.service, drill),
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
  };
}

/** A service that did not come back, or that did not notice the loss of its leader, is a failure, not a doubt. */
export function withFailures(verdict: Verdict, failures: string[]): Verdict {
  if (failures.length === 0) return verdict;
  return { ...verdict, result: "failed", reasons: [...failures, ...verdict.reasons] };
}

export function victimOf(drill: DrillName, target: Pick<CheckTarget, "members" | "name">, leader: string): string {
  if (drill === "leader-kill" || drill === "leader-delete") return leader;
  const follower = target.members.filter((each) => each !== leader).at(-1);
  if (follower === undefined) throw new Error(`${target.name} has no other member than its leader`);
  return follower;
}

/** Does the fault to a member. */
export type Strike = (victim: string) => Promise<Fault>;

export function faultOf(drill: DrillName, target: CheckTarget, config: KubeConfig): Strike {
  const { namespace, service } = target;
  switch (drill) {
    case "leader-kill":
    case "member-crash":
      return (victim) => killServerProcess(config, namespace, victim, profiles[service].process);
    case "leader-delete":
      return (victim) => deletePod(config, namespace, victim);
    case "volume-loss":
      return (victim) => deleteVolume(config, namespace, victim);
  }
}

/** The time when all members are back as full members. A member without its volume must come back as a new one. */
async function recovery(
  drill: DrillName,
  workload: Workload,
  victim: string,
  identity: string,
  profile: Profile,
): Promise<number> {
  const deadlineSeconds = drill === "volume-loss" ? profile.volumeSeconds : convergeSeconds;
  return until(
    "recovery of all members",
    async () => {
      if (drill === "volume-loss" && profile.renews && (await workload.identity(victim)) === identity) {
        return { waiting: `${victim} is still known as ${identity}` };
      }
      const seen = await workload.converged();
      return "done" in seen ? { done: performance.now() } : seen;
    },
    { deadlineSeconds },
  );
}

function leaderSoon(workload: Workload): Promise<Leadership> {
  return until("a leader", async () => ({ done: await workload.leader() }), { deadlineSeconds: 30 });
}

/** The first other leader that is seen; undefined when the same member leads again before anybody else is seen to. */
function otherLeader(workload: Workload, than: string): Promise<Leadership | undefined> {
  const seen = until(
    `another leader than ${than}`,
    async () => {
      const leader = await workload.leader();
      return leader.member === than ? { waiting: `${than} leads` } : { done: leader };
    },
    { deadlineSeconds: 30 },
  );
  return seen.catch(() => undefined);
}

function describe({ member, term, detail }: Leadership): string {
  const more = [...(term === undefined ? [] : [`term ${term}`]), ...(detail === undefined ? [] : [detail])];
  return more.length === 0 ? member : `${member} (${more.join(", ")})`;
}
