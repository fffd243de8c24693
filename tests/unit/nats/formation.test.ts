import { describe, expect, it } from "vitest";
import {
  describePeer,
  type Health,
  type JetStreamState,
  toJetStreamState,
  whyNotFormed,
  whyNotHealthy,
} from "../../../components/nats/formation";

const members = ["nats-0", "nats-1", "nats-2"];
const current = (name: string) => ({ name, peer: `id-${name}`, current: true });

function state(server: string, changes: Partial<JetStreamState> = {}): JetStreamState {
  const peers = server === "nats-0" ? [current("nats-1"), current("nats-2")] : [];
  return {
    server,
    cluster: "cells-nats",
    disabled: false,
    leader: "nats-0",
    size: 3,
    peers,
    syncAlways: true,
    ...changes,
  };
}

const followers = [state("nats-1"), state("nats-2")];

describe("the health of a server", () => {
  const lost = { type: "ACCOUNT", error: 'JetStream can not lookup account "gone": no such account' };
  const late = { type: "STREAM", error: "JetStream stream 'cells > jobs' is not current" };

  it.each<[string, Health, string | undefined]>([
    ["is well", { status: "ok" }, undefined],
    ["misses the account of a removed application", { status: "error", errors: [lost] }, undefined],
    ["has a stream that is late", { status: "error", errors: [lost, late] }, late.error],
    ["has no leader", { status: "unavailable", error: "JetStream has no leader" }, "JetStream has no leader"],
  ])("that %s", (_, health, reason) => {
    expect(whyNotHealthy(health)).toBe(reason);
  });
});

describe("whether the members have formed a cluster", () => {
  it.each<[string, JetStreamState[], string | undefined]>([
    ["yes", [state("nats-0"), ...followers], undefined],
    ["nobody", [], "nats-0, nats-1, nats-2 do not answer"],
    ["one missing", [state("nats-0"), state("nats-1")], "nats-2 does not answer"],
    [
      "a stranger",
      [state("nats-0"), ...followers, state("other-0")],
      "other-0 answered too, expected only nats-0, nats-1, nats-2",
    ],
    [
      "JetStream off",
      [state("nats-0"), state("nats-1"), state("nats-2", { disabled: true })],
      "JetStream is switched off on nats-2; look at its log and its volume",
    ],
    [
      "no leader",
      [state("nats-0"), state("nats-1", { leader: "" }), state("nats-2")],
      "nats-1 knows no leader of the meta group",
    ],
    [
      "two leaders",
      [state("nats-0"), state("nats-1", { leader: "nats-1" }), state("nats-2")],
      "the members follow different leaders: nats-0, nats-1",
    ],
    [
      "a group of two",
      [state("nats-0", { size: 2, peers: [current("nats-1")] }), ...followers],
      "the meta group has 2 members, expected 3",
    ],
    [
      "somebody behind",
      [state("nats-0", { peers: [current("nats-1"), { ...current("nats-2"), current: false, lag: 9 }] }), ...followers],
      "nats-2 is 9 operations behind",
    ],
    [
      "somebody replaced by a stranger",
      [state("nats-0", { peers: [current("nats-1"), current("nats-9")] }), ...followers],
      "nats-2 is not in the meta group of nats-0",
    ],
  ])("%s", (_, states, expected) => {
    expect(whyNotFormed(states, members)).toBe(expected);
  });
});

describe("answers of servers", () => {
  it("are read from JSZ", () => {
    const answer = {
      server: { name: "nats-1", cluster: "cells-nats" },
      data: {
        config: { sync_always: true },
        meta_cluster: { name: "cells-nats", leader: "nats-0", cluster_size: 3, replicas: [current("nats-1")] },
      },
    };
    expect(toJetStreamState(answer)).toEqual({ ...state("nats-1"), peers: [current("nats-1")] });
  });

  it("may lack everything", () => {
    expect(toJetStreamState({ data: { disabled: true } })).toMatchObject({ server: "", leader: "", disabled: true });
  });

  it.each([
    [{ name: "nats-1", current: true }, "nats-1 is current"],
    [{ name: "nats-1", current: false, lag: 3 }, "nats-1 is 3 operations behind"],
    [{ name: "nats-1", current: false }, "nats-1 is not current"],
    [{ name: "nats-1", current: false, offline: true, lag: 3 }, "nats-1 is offline"],
  ])("%o is said as: %s", (peer, words) => {
    expect(describePeer(peer)).toBe(words);
  });
});
