import { describe, expect, it } from "vitest";
import {
  type Group,
  type HeldStream,
  type JetStreamPage,
  nextRelease,
  type ReleaseStep,
  toHeldStreams,
} from "../../../components/nats/release";

const staying = ["nats-0", "nats-1", "nats-2"];

function peer(ordinal: number, changes: { current?: boolean; offline?: boolean } = {}) {
  return { name: `nats-${ordinal}`, peer: `id-${ordinal}`, current: true, ...changes };
}

function stream(name: string, servers: number[], changes: Partial<HeldStream> = {}): HeldStream {
  const names = servers.map((ordinal) => `nats-${ordinal}`);
  return { account: "cells", name, replicas: servers.length, servers: names, moving: false, ...changes };
}

function group(changes: Partial<Group> = {}): Group {
  return { leader: "nats-0", peers: [1, 2, 3, 4].map((n) => peer(n)), streams: [], troubles: [], ...changes };
}

const removal = (ordinal: number): ReleaseStep => ({
  kind: "remove",
  server: `nats-${ordinal}`,
  peer: `id-${ordinal}`,
});
const waiting = (reason: string): ReleaseStep => ({ kind: "wait", reason });
const away = { current: false, offline: true };
const jobs = stream("jobs", [0, 3, 4]);
const kept = stream("kept", [4]);

describe("the release of servers", () => {
  it.each<[string, Group, ReleaseStep]>([
    ["is done without them", group({ peers: [peer(1), peer(2)] }), { kind: "done" }],
    ["is done although somebody is not whole", group({ peers: [peer(1), peer(2)], troubles: ["x"] }), { kind: "done" }],
    ["needs a leader", group({ leader: "", peers: [] }), waiting("the meta group has no leader")],
    [
      "needs the names of all that stay",
      group({ peers: [peer(1), { ...peer(2, away), name: "Server name unknown at this time" }] }),
      waiting("nats-2 is not in the meta group of nats-0"),
    ],
    ["waits for members that are not whole", group({ troubles: ["nats-1: late"] }), waiting("nats-1: late")],
    ["removes the highest ordinal first", group(), removal(4)],
    ["removes the other one then", group({ peers: [peer(1), peer(2), peer(3)] }), removal(3)],
    [
      "takes the lead from one that leaves",
      group({ leader: "nats-4", peers: [peer(0, { current: false }), peer(1), peer(2), peer(3)], streams: [jobs] }),
      { kind: "step-down", from: "nats-4", to: "nats-1" },
    ],
    [
      "gives the lead only to a member that is current",
      group({ leader: "nats-4", peers: [0, 1, 2].map((n) => peer(n, { current: false })) }),
      waiting("no member that stays is current with nats-4"),
    ],
    [
      "moves all streams of one server first",
      group({ streams: [jobs, kept, stream("near", [0, 1, 2])] }),
      { kind: "move", server: "nats-4", streams: [jobs, kept] },
    ],
    [
      "moves no stream twice at a time",
      group({ streams: [{ ...jobs, moving: true }, kept] }),
      { kind: "move", server: "nats-4", streams: [kept] },
    ],
    [
      "waits until moves have ended",
      group({ streams: [{ ...jobs, moving: true }] }),
      waiting("streams are being moved off nats-4: 1 left"),
    ],
    [
      "moves four at a time",
      group({ streams: [..."abcd"].map((name) => ({ ...stream(name, [0, 1, 2]), moving: true })).concat(kept) }),
      waiting("streams are being moved off nats-4: 1 left"),
    ],
    ["ignores what another one holds", group({ streams: [stream("other", [3])] }), removal(4)],
    [
      "waits for one that is offline",
      group({ peers: [peer(1), peer(2), peer(3), peer(4, away)] }),
      waiting(
        "nats-4 is offline, and what it alone holds would be lost; bring it back, if need be with an empty volume",
      ),
    ],
  ])("%s", (_, seen, expected) => {
    expect(nextRelease(seen, staying)).toEqual(expected);
  });

  it("refuses when a stream has more replicas than servers stay", () => {
    const wide = stream("wide", [0, 1, 2, 3, 4]);
    expect(nextRelease(group({ streams: [wide], troubles: ["x"] }), staying)).toEqual({
      kind: "refuse",
      reason:
        'the stream "wide" of cells has 5 replicas and only 3 servers stay; update it to 3 replicas, and run pulumi up again',
    });
  });
});

describe("what servers hold", () => {
  const page = (...details: object[]) => ({ account_details: [{ name: "cells", stream_detail: details }] });
  const jobsOf = (leader: string, ...replicas: string[]) => ({
    name: "jobs",
    config: { num_replicas: 3 },
    cluster: { leader, replicas: replicas.map((name) => ({ name })) },
  });
  const held = (pages: Record<string, object>) =>
    toHeldStreams(new Map(Object.entries(pages as Record<string, JetStreamPage>)));

  it("is read from all their pages", () => {
    const pages = {
      "nats-0": page(jobsOf("nats-1", "nats-4")),
      "nats-1": page(jobsOf("nats-1", "nats-0", "nats-4")),
      "nats-4": page({ name: "kept", config: { num_replicas: 1 }, cluster: { leader: "nats-4" } }),
    };
    expect(held(pages)).toEqual(
      [stream("jobs", [0, 1, 4]), kept].map((each) => ({ ...each, servers: expect.any(Array) as string[] })),
    );
    expect(held(pages).map(({ servers }) => servers.sort())).toEqual([["nats-0", "nats-1", "nats-4"], ["nats-4"]]);
  });

  it.each([
    ["says where it goes", { leader: "nats-4", desired: { replicas: [{ name: "nats-0" }] } }],
    ["is on more servers than configured", { leader: "nats-4", replicas: [{ name: "nats-0" }] }],
  ])("is being moved when it %s", (_, cluster) => {
    const [only] = held({ "nats-4": page({ name: "kept", config: { num_replicas: 1 }, cluster }) });
    expect(only).toEqual({ account: "cells", name: "kept", replicas: 1, servers: ["nats-4", "nats-0"], moving: true });
  });

  it("is nothing where JetStream is switched off", () => {
    expect(held({ "nats-4": { disabled: true } })).toEqual([]);
  });
});
