import { describe, expect, it } from "vitest";
import type { Peer } from "../../../components/vault/client";
import { peerAddress } from "../../../components/vault/layout";
import { nextStep, type PeerStep } from "../../../components/vault/peers";

const address = (ordinal: number): string => peerAddress({ name: "vault" }, "cells", `vault-${ordinal}`);
const staying = [0, 1, 2].map(address);
const leaving = [3, 4].map(address);

/** `ordinals` vote; `leads` is one of them. */
function peersOf(ordinals: number[], leads: number, changes: Partial<Peer> = {}): Peer[] {
  return ordinals.map((ordinal) => ({
    id: `id-${ordinal}`,
    address: address(ordinal),
    leader: ordinal === leads,
    voter: true,
    ...(ordinal === ordinals.at(-1) ? changes : {}),
  }));
}

const brief = (step: PeerStep | undefined): string | undefined =>
  step && (step.kind === "wait" ? step.reason : `${step.kind} ${step.peer.id}`);

describe("the peers of members that leave", () => {
  it.each<[string, Peer[], string | undefined]>([
    ["are removed one after the other", peersOf([0, 1, 2, 3, 4], 0), "remove id-3"],
    ["until none is left", peersOf([0, 1, 2, 4], 0), "remove id-4"],
    ["are gone", peersOf([0, 1, 2], 0), undefined],
    ["are removed without a vote too", peersOf([0, 1, 2, 3], 0, { voter: false }), "remove id-3"],
    ["lead to the last: only members that stay can be elected then", peersOf([0, 1, 2, 3, 4], 3), "remove id-4"],
    ["give the leadership away", peersOf([0, 1, 2, 3], 3), "step down id-3"],
    [
      "stay while one that stays has no vote",
      peersOf([0, 1, 3, 4, 2], 3, { voter: false }),
      "without a vote: vault-2.vault-peers.cells.svc:8201",
    ],
    [
      "stay while one that stays is no peer",
      peersOf([0, 1, 3, 4], 0),
      "without a vote: vault-2.vault-peers.cells.svc:8201",
    ],
  ])("%s", (_, peers, expected) => {
    expect(brief(nextStep(peers, staying, leaving))).toBe(expected);
  });

  it.each([0, 1, 2, 3, 4])("leave in few steps, whether or not an answer is lost, when %i leads", (leads) => {
    let peers = peersOf([0, 1, 2, 3, 4], leads);
    const steps: string[] = [];
    for (let step = nextStep(peers, staying, leaving); step !== undefined; step = nextStep(peers, staying, leaving)) {
      steps.push(brief(step) ?? "");
      if (step.kind === "remove") {
        const { id, leader } = step.peer;
        expect(leader).toBe(false);
        peers = peers.filter((peer) => peer.id !== id);
      } else {
        // Raft elects whichever voter it likes: here the last one.
        const others = peers.filter(({ leader }) => !leader);
        peers = peers.map((peer) => ({ ...peer, leader: peer === others.at(-1) }));
      }
    }
    expect(peers.map((peer) => peer.address)).toEqual(staying);
    expect(steps).toHaveLength(leads < 3 ? 2 : 3);
  });
});
