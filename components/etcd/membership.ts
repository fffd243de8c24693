/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { parseQuantity } from "../shared/quantity";
import type { Member } from "./client";

/** Written once by the setup, after the cluster has formed and before anybody could write to it. */
export interface Marker {
  clusterId: string;
  members: number;
  /** How members speak to each other: a part of their addresses, which the cluster remembers. */
  scheme: string;
  bootstrappedAt: string;
}

export interface Identity {
  name: string;
  ordinal: number;
  peerUrl: string;
  /** How many members the component wants. */
  members: number;
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
          "restore the marker to have the member replaced, or destroy the component and deploy it again when nothing was stored",
      };
    }
    // The marker is written before the first user exists: until then no application could log in.
    return { kind: "form" };
  }

  const scheme = self.peerUrl.split(":")[0] ?? "";
  const contradiction = livingContradiction(marker, { members: self.members, scheme });
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

/** What cannot be changed by starting pods with other arguments. */
export function livingContradiction(marker: Marker, wanted: { members: number; scheme: string }): string | undefined {
  if (marker.members !== wanted.members) {
    return (
      `the cluster was formed with ${marker.members} members, got members ${wanted.members}; the number of members of a ` +
      `living cluster cannot be changed; set members to ${marker.members}`
    );
  }
  if (marker.scheme !== wanted.scheme) {
    const [formed, remedy] =
      marker.scheme === "https" ? ["with TLS", '"required" or "optional"'] : ["without TLS", '"off"'];
    return (
      `the cluster was formed ${formed} between its members and remembers their addresses, got ${wanted.scheme} ` +
      `addresses; TLS of a living cluster cannot be switched on or off; set tls to ${remedy}`
    );
  }
  return undefined;
}

/** The volumes of a StatefulSet cannot be changed: Pulumi would replace it, and all members with it. */
export function storageContradiction(
  existing: { size: string; class: string | undefined },
  wanted: { size: string; class?: string },
): string | undefined {
  // Kubernetes rewrites quantities: 8192Mi comes back as 8Gi.
  if (parseQuantity(existing.size) !== parseQuantity(wanted.size)) {
    return (
      `the volumes were made with storage.size ${existing.size}, got ${wanted.size}; the size cannot be changed while the ` +
      `cluster lives; set storage.size to ${existing.size}`
    );
  }
  if (existing.class !== wanted.class) {
    const named = (name: string | undefined): string => name ?? "the default class";
    return (
      `the volumes were made with storage.class ${named(existing.class)}, got ${named(wanted.class)}; the class cannot be ` +
      `changed while the cluster lives; set storage.class as it was`
    );
  }
  return undefined;
}

/** `name=url` of all members; an entry that never started has no name yet and is this member. */
export function initialCluster(members: Member[], self: Identity): string {
  return members
    .flatMap((member) => member.peerUrls.map((url) => `${member.name === "" ? self.name : member.name}=${url}`))
    .sort()
    .join(",");
}
