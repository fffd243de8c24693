/** What a member does before its server starts: pure. The loop that observes and acts is in `agent.ts`. */
import { type Wait, wait } from "../shared/core/decision";
import { beginAnew, type MarkerAnswer } from "../shared/core/marker";

/** How the others count this member, as the primary says. */
export type Vote =
  | { state: "unknown"; reason: string }
  | { state: "member"; votes: number }
  | { state: "stranger"; set: string };

export interface StartObserved {
  data: "present" | "empty";
  marker: MarkerAnswer;
  vote: Vote | undefined;
}

export type StartAction =
  | { kind: "start"; reason: string }
  /** Its vote is taken away first. */
  | { kind: "silence"; reason: string }
  /** It is added without a vote first. */
  | { kind: "join"; reason: string }
  | Wait;

/**
 * With its vote, an empty member could elect a primary that lacks what the lost volume had acknowledged. So it comes
 * back without a vote until it has all data. Taking the vote away needs a majority, without which nothing is
 * acknowledged anyway.
 */
export function decideStart({ data, marker, vote }: StartObserved, name: string): StartAction {
  if (data === "present") return { kind: "start", reason: "the volume has data" };
  if ("reason" in marker) {
    return wait(`the volume is empty, and whether the set was formed is unknown: ${marker.reason}`);
  }
  // Before the marker is written no client has a password, so nothing can have been acknowledged.
  if (!marker.formed) return { kind: "start", reason: "the replica set has not been formed yet" };
  if (vote === undefined || vote.state === "unknown") {
    return wait(
      `the volume of ${name} is empty, and no primary answers that could take its vote away ` +
        `(${vote?.reason ?? "not asked yet"}); bring the other members back; when most volumes are lost, make a member ` +
        `that has data the only one with a vote; when all are lost, ${beginAnew}`,
    );
  }
  if (vote.state === "stranger") {
    return vote.set === marker.clusterId
      ? { kind: "join", reason: "the volume is empty, and the replica set does not know the member" }
      : wait(
          `the volume of ${name} is empty, and the other members are the replica set ${vote.set}; the cluster is ` +
            `${marker.clusterId}, as its marker says; bring back the volumes that belong here`,
        );
  }
  return vote.votes === 0
    ? { kind: "start", reason: "the volume is empty; it is filled by the others, and has no vote until then" }
    : { kind: "silence", reason: "the volume is empty, and an empty member must not vote" };
}
