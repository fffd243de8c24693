/** Which member of a roll is replaced next: pure. `agent/roll.ts` observes and acts. */

/** How long a roll waits for those of other services in its namespace: five of them, each with members that start within two minutes. */
export const turnSeconds = 1800;

export interface RollMember {
  name: string;
  /**
   * Of its pod, against what the StatefulSet wants, and against what the certificates command notes as stale. `missing`: deleted, and
   * not gone or not made again yet. `otherTls`: stale, with TLS between members where none is wanted, or without it.
   */
  revision: "missing" | "stale" | "otherTls" | "current";
  /** `away`: its server does not run, so it counts for nothing. `behind`: it runs, and the others may need it. */
  condition: "whole" | "behind" | "away";
  /** In the words of Kubernetes, which counts them for the disruption budget. */
  ready: boolean;
  /** Why it is not whole, in the words of Kubernetes or of the database. */
  reason: string;
  leads: boolean;
}

export type RollStep =
  | { kind: "done" }
  /** `evict` respects the disruption budget; `delete` is for what counts for nothing; `stop` is for all with other TLS, at once. */
  | { kind: "evict" | "delete" | "stop"; members: string[] }
  | { kind: "wait"; member: string; reason: string };

/**
 * One at a time, and only while all others are whole; the leader last. A stale member whose server does not run goes first, and
 * does not wait for the others: that harms nobody, and it cures an ensemble that only what is new can start. It stays while what is
 * new does not start: perhaps its server is back in a moment.
 *
 * `late`: waiting longer helps nobody. Then a stale member that runs and does not become whole is replaced too, since perhaps only
 * what is new makes it whole, unless what is new does not even start. Kubernetes refuses when the ready ones would become too few; where
 * none is ready, as after certificates that have ended, there is nothing that it could protect, and it would refuse for ever.
 *
 * Members with other TLS could not talk to the first that is replaced: they stop together, whatever the others are. The preflight has
 * seen all of them whole, and the user has asked for it.
 */
export function nextStep(members: RollMember[], late: boolean): RollStep {
  const apart = members.filter(({ revision }) => revision === "otherTls");
  if (apart.length > 0) return { kind: "stop", members: apart.map(({ name }) => name) };
  const stale = members.filter(({ revision }) => revision === "stale");
  const starts = members.every(({ revision, condition }) => revision !== "current" || condition !== "away");
  const away = stale.find(({ condition }) => condition === "away");
  if (away !== undefined && (starts || late)) return { kind: "delete", members: [away.name] };
  const stuck = stale.find(({ condition }) => condition === "behind");
  if (late && starts && stuck !== undefined) {
    return { kind: members.some(({ ready }) => ready) ? "evict" : "delete", members: [stuck.name] };
  }
  const waited = members.find(({ condition }) => condition !== "whole");
  if (waited !== undefined) return { kind: "wait", member: waited.name, reason: waited.reason };
  // The highest ordinal first, as Kubernetes does it.
  const next = stale.filter(({ leads }) => !leads).at(-1) ?? stale.at(-1);
  return next === undefined ? { kind: "done" } : { kind: "evict", members: [next.name] };
}
