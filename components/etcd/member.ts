/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */

import { tlsContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { beginAnew, type Marker } from "../shared/core/marker";
import type { Member } from "./client";

export interface Identity {
  name: string;
  ordinal: number;
  peerUrl: string;
  /** How many members the component wants. */
  members: number;
  tls: TlsMode;
}

export interface Observed {
  /**
   * The data directory. "partial": a database without a write-ahead log, as a crash during the very first start leaves it,
   * but also as a damaged volume looks.
   */
  data: "present" | "partial" | "empty";
  /** undefined: the cluster was never formed. */
  marker: Marker | undefined;
  /** What a majority says, asked through another member; only observed when it is needed. */
  cluster: { clusterId: string; members: Member[] } | { unreachable: string };
}

export type Action =
  | { kind: "start" }
  | { kind: "form" }
  /** Remove the entry of the lost member, if there is one, and add this one as a learner. */
  | { kind: "join"; remove: string | undefined }
  /** This member was added before but never started: use that entry. */
  | { kind: "rejoin" }
  /** Passes by itself or with other members. */
  | { kind: "wait"; reason: string }
  /** Needs a person, and goes on by itself when the reason is gone. */
  | { kind: "refuse"; reason: string };

export function decide(observed: Observed, self: Identity): Action {
  const { data, marker, cluster } = observed;
  // Somebody scaled the StatefulSet by hand: the others do not expect this member, and no certificate names it.
  if (self.ordinal >= self.members) {
    return {
      kind: "refuse",
      reason:
        `${self.name} is not one of the ${self.members} members; scale the StatefulSet back to ${self.members} replicas, ` +
        "and delete the volume claim of this one",
    };
  }
  // The data knows its cluster: raft decides, whatever else is true.
  if (data === "present") return { kind: "start" };
  const own =
    "unreachable" in cluster
      ? undefined
      : cluster.members.find((member) => member.name === self.name || member.peerUrls.includes(self.peerUrl));
  if (marker === undefined) {
    // A member publishes its client URLs when it has started. This one had, and now its volume is empty.
    if (own !== undefined && own.clientUrls.length > 0) {
      return {
        kind: "refuse",
        reason:
          `the volume of ${self.name} is empty, the other members know it as one that has run, and the marker is missing; ` +
          `restore the marker to have the member replaced, or, when nothing was stored, ${beginAnew}`,
      };
    }
    // The marker is written before the first user exists: until then no application could log in.
    return { kind: "form" };
  }

  const contradiction = tlsContradiction(marker, self);
  if (contradiction !== undefined) return { kind: "refuse", reason: contradiction };

  if ("unreachable" in cluster) {
    return {
      kind: "refuse",
      reason:
        `the volume of ${self.name} is empty and no majority of the other members answers (${cluster.unreachable}); ` +
        "starting would form a second cluster without the data; bring the other members back, or restore a snapshot " +
        "when a majority of the volumes is lost",
    };
  }
  if (cluster.clusterId !== marker.clusterId) {
    return {
      kind: "refuse",
      reason:
        `the other members are cluster ${cluster.clusterId}, but the marker says ${marker.clusterId}; ` +
        "find out which one holds the data before any member is started",
    };
  }

  if (data === "partial" && (own === undefined || own.name !== "")) {
    return {
      kind: "refuse",
      reason:
        `the volume of ${self.name} has a database but no write-ahead log: it is damaged; ` +
        "delete its volume claim and its pod to have it replaced from the other members",
    };
  }
  if (own !== undefined && own.name === "") return { kind: "rejoin" };

  // etcd allows one learner at a time; two replacements at once would also leave too few voters.
  const pending = cluster.members.find((member) => member !== own && (member.learner || member.name === ""));
  if (pending !== undefined) {
    const who = pending.name === "" ? (pending.peerUrls[0] ?? pending.id) : pending.name;
    return { kind: "wait", reason: `${who} is being replaced; one member is replaced at a time` };
  }
  return { kind: "join", remove: own?.id };
}

/** `name=url` of all members; an entry that never started has no name yet and is this member. */
export function initialCluster(members: Member[], self: Identity): string {
  return members
    .flatMap((member) => member.peerUrls.map((url) => `${member.name === "" ? self.name : member.name}=${url}`))
    .sort()
    .join(",");
}
