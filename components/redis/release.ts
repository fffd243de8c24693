/** How members that are to leave are released: pure. `agent.ts` asks the servers and does what is decided here. */
import type { Condition } from "../shared/agent/roll";
import { type Wait, wait } from "../shared/core/decision";
import { electablePriority, membersGauge } from "./layout";
import { isMaster, type Server, up } from "./membership";

export type ReleaseStep =
  | { kind: "done" }
  /** These may be elected as readily as a member that stays. */
  | { kind: "lower"; members: string[] }
  /** It is master, and hands over when its pod is stopped. */
  | { kind: "replace"; member: string }
  | Wait;

/** A leaving member that does not answer may never have joined: what matters is that all that stay follow one of their own. */
export function nextRelease(servers: Record<string, Server>, staying: string[], leaving: string[]): ReleaseStep {
  const seen = (member: string) => up(servers[member]);
  const electable = leaving.filter((member) => seen(member)?.priority === electablePriority);
  if (electable.length > 0) return { kind: "lower", members: electable };
  const masters = [...staying, ...leaving].filter((member) => isMaster(servers[member]));
  const [master] = masters;
  if (master === undefined || masters.length > 1) {
    return wait(`masters: ${masters.join(", ") || "none"}`);
  }
  const others = staying.filter(
    (member) => member !== master && !(seen(member)?.linked === true && seen(member)?.follows === master),
  );
  if (others.length > 0) return wait(`not connected to ${master}: ${others.join(", ")}`);
  return leaving.includes(master) ? { kind: "replace", member: master } : { kind: "done" };
}

/**
 * For the roll, which takes one replica away: a member that still counts those that have left needs more replicas.
 * `metrics`: of its agent; an agent of an older release has no such gauge.
 */
export function afterForgetting(condition: Condition, metrics: string, members: number): Condition {
  const counted = Number(new RegExp(`^cells_services_redis_${membersGauge} (\\d+)$`, "m").exec(metrics)?.[1] ?? 0);
  return counted > members
    ? { ...condition, whole: false, detail: `its sentinel still knows members that have left: ${counted} count` }
    : condition;
}
