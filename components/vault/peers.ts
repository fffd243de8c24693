/** What to do until only members that stay are peers: pure. The loop that observes and acts is in `setup.ts`. */
import type { Peer } from "./client";

export type PeerStep =
  | { kind: "wait"; reason: string }
  | { kind: "remove"; peer: Peer }
  /** The active member leaves, and gives the leadership to another voter first. */
  | { kind: "step down"; peer: Peer };

/** `staying` and `leaving` are addresses. undefined: each of `staying` votes, and none of `leaving` is a peer. */
export function nextStep(peers: Peer[], staying: string[], leaving: string[]): PeerStep | undefined {
  const mute = staying.filter((address) => !peers.some((peer) => peer.address === address && peer.voter));
  // Until all members that stay vote, the majority may need a member that leaves.
  if (mute.length > 0) return { kind: "wait", reason: `without a vote: ${mute.join(", ")}` };
  const rest = peers.filter(({ address }) => leaving.includes(address));
  // The leader goes last: by then every other voter stays.
  const peer = rest.find(({ leader }) => !leader) ?? rest[0];
  return peer && { kind: peer.leader ? "step down" : "remove", peer };
}
