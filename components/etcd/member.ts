/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { tlsContradiction } from "../shared/core/change";
import type { TlsMode } from "../shared/core/check";
import { type Refuse, refuse, type Wait, wait } from "../shared/core/decision";
import { beginAnew, type Marker } from "../shared/core/marker";
import { ordinalOf } from "../shared/core/names";
import type { Member } from "./client";

export interface Identity {
  name: string;
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
  /** `joins`: the members that it must know; undefined: those that its data names, or all, with which it forms the cluster. */
  | { kind: "start"; joins?: Member[]; reason: string }
  /** Remove the entry of the lost member, if there is one, and add this one as a learner. */
  | { kind: "join"; remove: string | undefined; reason: string }
  | Wait
  | Refuse;

export function decide({ data, marker, cluster }: Observed, self: Identity): Action {
  // Somebody scaled the StatefulSet by hand: the others do not expect this member, and no certificate names it.
  if (ordinalOf(self.name) >= self.members) {
    return refuse(
      `${self.name} is not one of the ${self.members} members; scale the StatefulSet back to ${self.members} replicas, ` +
        "and delete the volume claim of this one",
    );
  }
  if (data === "present") return { kind: "start", reason: "the volume has data, and raft decides" };
  const own =
    "unreachable" in cluster
      ? undefined
      : cluster.members.find((member) => member.name === self.name || member.peerUrls.includes(self.peerUrl));
  if (marker === undefined) {
    // A member publishes its client URLs when it has started. This one had, and now its volume is empty.
    if (own !== undefined && own.clientUrls.length > 0) {
      return refuse(
        `the volume of ${self.name} is empty, the other members know it as one that has run, and the marker is missing; ` +
          `restore the marker to have the member replaced, or, when nothing was stored, ${beginAnew}`,
      );
    }
    // The marker is written before the first user exists: until then no application could log in.
    return { kind: "start", reason: "the cluster has not been formed yet" };
  }

  const contradiction = tlsContradiction(marker, self);
  if (contradiction !== undefined) return refuse(contradiction);

  if ("unreachable" in cluster) {
    return refuse(
      `the volume of ${self.name} is empty and no majority of the other members answers (${cluster.unreachable}); ` +
        "starting would form a second cluster without the data; bring the other members back, or restore a snapshot " +
        "when a majority of the volumes is lost",
    );
  }
  if (cluster.clusterId !== marker.clusterId) {
    return refuse(
      `the other members are cluster ${cluster.clusterId}, but the marker says ${marker.clusterId}; ` +
        "find out which one holds the data before any member is started",
    );
  }

  if (own?.name === "") {
    return { kind: "start", joins: cluster.members, reason: "the other members have added it as a learner" };
  }
  if (data === "partial") {
    return refuse(
      `the volume of ${self.name} has a database but no write-ahead log: it is damaged; ` +
        "delete its volume claim and its pod to have it replaced from the other members",
    );
  }

  // etcd allows one learner at a time; two replacements at once would also leave too few voters.
  const pending = cluster.members.find((member) => member !== own && (member.learner || member.name === ""));
  if (pending !== undefined) {
    const who = pending.name === "" ? (pending.peerUrls[0] ?? pending.id) : pending.name;
    return wait(`${who} is being replaced; one member is replaced at a time`);
  }
  return { kind: "join", remove: own?.id, reason: "the volume is empty; it is filled from the other members" };
}

/** `name=url` of all members; an entry that never started has no name yet and is this member. */
export function initialCluster(members: Pick<Member, "name" | "peerUrls">[], self: string): string {
  return members
    .flatMap(({ name, peerUrls }) => peerUrls.map((url) => `${name === "" ? self : name}=${url}`))
    .sort()
    .join(",");
}
