/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */

import { tlsContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { beginAnew, type Marker } from "../shared/core/marker";

export interface Identity {
  name: string;
  /** Name of the cluster in the configuration. */
  clusterId: string;
  /** How many members the component wants. */
  members: number;
  tls: TlsMode;
}

/** Whether the server of another member runs and holds something that an empty one can be filled from. */
export type Answer = { member: string; hasData: true } | { member: string; hasData: false; reason: string };

export interface Observed {
  data: "present" | "empty";
  /** undefined: the cluster was never formed. */
  marker: Marker | undefined;
  /** Of all other members; only asked when it matters. */
  others: Answer[];
}

export type Action =
  | { kind: "start"; reason: string }
  /** Passes when the other members are back. */
  | { kind: "wait"; reason: string }
  /** Needs a person, and goes on by itself when the reason is gone. */
  | { kind: "refuse"; reason: string };

/**
 * NATS needs no list of members that somebody must edit: a server with an empty volume has the identity of its name and
 * receives everything from the others. As long as one server with data takes part it cannot be outvoted: votes of servers
 * with an empty log count only when all members have voted, and then the one with the longest log wins (measured with
 * 2.15.2: two of three volumes lost, streams of three replicas are whole again; two empty servers alone elect nobody).
 * What NATS does not notice is the loss of all volumes: then it silently founds a new cluster. So an empty volume in a
 * cluster that was formed before starts only beside a server that holds data. That a server runs is not enough: it may be
 * on its way out, or empty itself.
 */
export function decide(observed: Observed, self: Identity): Action {
  const { data, marker, others } = observed;
  if (data === "present") return { kind: "start", reason: "the volume has data" };
  // The marker is written after the first formation; until then nobody can have lost anything that was kept for long.
  if (marker === undefined) return { kind: "start", reason: "the cluster has not been formed yet" };

  const contradiction = tlsContradiction(marker, self) ?? clusterContradiction(marker, self);
  if (contradiction !== undefined) return { kind: "refuse", reason: contradiction };

  const source = others.find((answer) => answer.hasData);
  if (source !== undefined) {
    return { kind: "start", reason: `the volume is empty and is filled from ${source.member}` };
  }
  return {
    kind: "wait",
    reason:
      `the volume of ${self.name} is empty and no other member with data answers (${describe(others)}); starting could found a ` +
      `cluster without the data; bring another member back, or, when all volumes are lost, ${beginAnew}`,
  };
}

function describe(others: Answer[]): string {
  return others.map((answer) => `${answer.member}: ${answer.hasData ? "has data" : answer.reason}`).join("; ");
}

function clusterContradiction(marker: Marker, self: Identity): string | undefined {
  if (marker.clusterId === self.clusterId) return undefined;
  return (
    `the marker belongs to the cluster ${marker.clusterId}, got ${self.clusterId}, and the volume of ${self.name} is empty; ` +
    `restore the name of the cluster, or ${beginAnew}`
  );
}

/** Streams are bound to it for life. Different in each namespace, so that metrics and gateways tell clusters apart. */
export function clusterName(name: string, namespace: string): string {
  return `${namespace}-${name}`;
}
