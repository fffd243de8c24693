/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { tlsContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { type Refuse, refuse, type Wait, wait } from "../shared/core/decision";
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

export type Action = { kind: "start"; reason: string } | Wait | Refuse;

/**
 * A server with an empty volume has the identity of its name and receives everything from the others. One server with data cannot be
 * outvoted: votes of servers with an empty log count only when all members have voted, and then the longest log wins (measured with
 * 2.15.2: when two of three volumes are lost, streams of three replicas become whole again; two empty servers alone elect no leader).
 * NATS does not notice the loss of all volumes: it founds a new cluster. So in a cluster that was formed before, a server with an empty
 * volume starts only beside a server that holds data. A server that merely runs may be stopping, or empty itself.
 */
export function decide(observed: Observed, self: Identity): Action {
  const { data, marker, others } = observed;
  if (data === "present") return { kind: "start", reason: "the volume has data" };
  // The setup writes the marker right after the first formation, so a cluster without one has kept nothing for long.
  if (marker === undefined) return { kind: "start", reason: "the cluster has not been formed yet" };

  const contradiction = tlsContradiction(marker, self) ?? clusterContradiction(marker, self);
  if (contradiction !== undefined) return refuse(contradiction);

  const source = others.find((answer) => answer.hasData);
  if (source !== undefined) return { kind: "start", reason: `the volume is empty and is filled from ${source.member}` };
  const answers = others.map((answer) => `${answer.member}: ${answer.hasData ? "has data" : answer.reason}`);
  return wait(
    `the volume of ${self.name} is empty and no other member with data answers (${answers.join("; ")}); starting could found a ` +
      `cluster without the data; bring another member back, or, when all volumes are lost, ${beginAnew}`,
  );
}

function clusterContradiction(marker: Marker, self: Identity): string | undefined {
  if (marker.clusterId === self.clusterId) return undefined;
  return (
    `the marker belongs to the cluster ${marker.clusterId}, got ${self.clusterId}, and the volume of ${self.name} is empty; ` +
    `restore the name of the cluster, or ${beginAnew}`
  );
}

/** Streams belong to this name for life. It contains the namespace, so that metrics and gateways tell clusters apart. */
export function clusterName(name: string, namespace: string): string {
  return `${namespace}-${name}`;
}
