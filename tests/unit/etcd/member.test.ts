import { describe, expect, it } from "vitest";
import { keepPeerUrls } from "../../../components/etcd/agent";
import type { Member } from "../../../components/etcd/client";
import { type Action, decide, type Identity, initialCluster, type Observed } from "../../../components/etcd/member";
import type { Marker } from "../../../components/shared/core/marker";

const peerUrl = (ordinal: number): string => `https://etcd-${ordinal}.etcd-peers.cells.svc:2380`;
const self: Identity = { name: "etcd-2", peerUrl: peerUrl(2), members: 3, tls: "required" };
const marker: Marker = { clusterId: "77", members: 3, tls: "on", bootstrappedAt: "2026-01-01T00:00:00Z" };

function member(ordinal: number, changes: Partial<Member> = {}): Member {
  return {
    id: String(100 + ordinal),
    name: `etcd-${ordinal}`,
    peerUrls: [peerUrl(ordinal)],
    clientUrls: [],
    learner: false,
    ...changes,
  };
}

const quorum = (...members: Member[]) => ({ clusterId: "77", members });
const nobody = { unreachable: "etcd-0: no answer" };

describe("how the members name each other while TLS is switched", () => {
  const plain = (ordinal: number): string => peerUrl(ordinal).replace("https", "http");
  const both = (ordinal: number): string[] => [plain(ordinal), peerUrl(ordinal)];
  const keep = async (members: Member[], urlsOf: (ordinal: number) => string[]) => {
    const updated: string[] = [];
    const client = {
      memberList: async () => ({ clusterId: "77", members }),
      memberUpdate: async (id: string, urls: string[]) => void updated.push(`${id} ${urls.join(" ")}`),
    };
    await keepPeerUrls(client, (name) => urlsOf(Number(name.at(-1))));
    return updated;
  };
  const before = [0, 1, 2].map((ordinal) => member(ordinal, { peerUrls: [plain(ordinal)] }));
  const between = [0, 1, 2].map((ordinal) => member(ordinal, { peerUrls: both(ordinal).reverse() }));

  it("gets both URLs of each before all stop, and leaves those that have them", async () => {
    expect(await keep(before, both)).toEqual([0, 1, 2].map((n) => `10${n} ${plain(n)} ${peerUrl(n)}`));
    expect(await keep([...between.slice(0, 2), ...before.slice(2)], both)).toEqual([`102 ${plain(2)} ${peerUrl(2)}`]);
    expect(await keep(between, both)).toEqual([]);
  });

  it("loses the former ones afterwards, and changes nothing of a cluster that was not switched", async () => {
    const one = (ordinal: number): string[] => [peerUrl(ordinal)];
    expect(await keep(between, one)).toEqual([0, 1, 2].map((n) => `10${n} ${peerUrl(n)}`));
    expect(await keep([member(0), member(1), member(2)], one)).toEqual([]);
    expect(await keep([member(2, { name: "", peerUrls: both(2) })], one)).toEqual([]);
  });

  it("lets a member whose volume is lost in between join them", () => {
    const cluster = quorum(...between);
    expect(decide({ data: "empty", marker, cluster }, self)).toMatchObject({ kind: "join", remove: "102" });
    const added = [...between.slice(0, 2), member(2, { name: "", learner: true })];
    expect(initialCluster(added, self.name)).toBe(
      [
        ...both(0).map((url) => `etcd-0=${url}`),
        ...both(1).map((url) => `etcd-1=${url}`),
        `etcd-2=${peerUrl(2)}`,
      ].join(),
    );
  });
});

describe("how a member starts", () => {
  const forms: Action = { kind: "start", reason: "the cluster has not been formed yet" };
  const restarts: Action = { kind: "start", reason: "the volume has data, and raft decides" };
  const joins = (remove?: string): Action => ({
    kind: "join",
    remove,
    reason: "the volume is empty; it is filled from the other members",
  });
  const added = quorum(member(0), member(1), member(2, { name: "", learner: true }));
  const isAdded: Action = {
    kind: "start",
    joins: added.members,
    reason: "the other members have added it as a learner",
  };

  it.each<[string, Observed, Action]>([
    ["first start", { data: "empty", marker: undefined, cluster: nobody }, forms],
    ["crash during the first start", { data: "partial", marker: undefined, cluster: nobody }, forms],
    [
      "first start, late: the others have formed the cluster",
      { data: "empty", marker: undefined, cluster: quorum(member(0), member(1), member(2)) },
      forms,
    ],
    ["restart", { data: "present", marker, cluster: nobody }, restarts],
    ["restart before the setup, or without the API", { data: "present", marker: undefined, cluster: nobody }, restarts],
    ["volume lost", { data: "empty", marker, cluster: quorum(member(0), member(1), member(2)) }, joins("102")],
    [
      "volume lost, crash between remove and add",
      { data: "empty", marker, cluster: quorum(member(0), member(1)) },
      joins(),
    ],
    [
      "volume lost while the number of members changes",
      { data: "empty", marker: { ...marker, members: 5 }, cluster: quorum(member(0), member(1)) },
      joins(),
    ],
    ["volume lost, crash between add and start", { data: "empty", marker, cluster: added }, isAdded],
    ["volume lost, crash of the server in its first moments", { data: "partial", marker, cluster: added }, isAdded],
    [
      "volume lost again while it was a learner",
      { data: "empty", marker, cluster: quorum(member(0), member(1), member(2, { learner: true })) },
      joins("102"),
    ],
    [
      "known by its name only",
      {
        data: "empty",
        marker,
        cluster: quorum(member(0), member(1), member(2, { peerUrls: ["http://elsewhere:2380"] })),
      },
      joins("102"),
    ],
  ])("%s", (_, observed, action) => {
    expect(decide(observed, self)).toEqual(action);
  });

  it.each<[string, Observed, Action["kind"], RegExp]>([
    [
      "volume lost without a majority",
      { data: "empty", marker, cluster: nobody },
      "refuse",
      /no majority of the other members/,
    ],
    [
      "all volumes lost: members that would form a second cluster",
      { data: "empty", marker, cluster: { unreachable: "etcd-0: refused; etcd-1: refused" } },
      "refuse",
      /restore a snapshot/,
    ],
    [
      "another cluster answers",
      { data: "empty", marker, cluster: { clusterId: "78", members: [member(0), member(1)] } },
      "refuse",
      /are cluster 78, but the marker says 77/,
    ],
    [
      "TLS switched off",
      { data: "empty", marker: { ...marker, tls: "off" }, cluster: quorum(member(0), member(1)) },
      "refuse",
      /has no TLS between its members, as its marker says, got tls "required"/,
    ],
    [
      "damaged volume",
      { data: "partial", marker, cluster: quorum(member(0), member(1), member(2)) },
      "refuse",
      /no write-ahead log: it is damaged/,
    ],
    [
      "damaged volume of a removed member",
      { data: "partial", marker, cluster: quorum(member(0), member(1)) },
      "refuse",
      /it is damaged/,
    ],
    [
      "another member is a learner",
      { data: "empty", marker, cluster: quorum(member(0), member(1, { learner: true }), member(2)) },
      "wait",
      /^etcd-1 is being replaced/,
    ],
    [
      "another member was added and has not started",
      { data: "empty", marker, cluster: quorum(member(0), member(1, { name: "" }), member(2)) },
      "wait",
      /^https:\/\/etcd-1.* is being replaced/,
    ],
  ])("%s", (_, observed, kind, reason) => {
    const action = decide(observed, self);
    expect(action.kind).toBe(kind);
    expect("reason" in action ? action.reason : "").toMatch(reason);
  });

  it("never forms a cluster when there is a marker", () => {
    for (const data of ["empty", "partial"] as const) {
      for (const cluster of [nobody, quorum(), quorum(member(0)), quorum(member(2))]) {
        expect(decide({ data, marker, cluster }, self).kind).not.toBe("start");
      }
    }
  });
});

describe("initial cluster", () => {
  it("gives the entry without a name the own one", () => {
    expect(initialCluster([member(1), member(0), member(2, { name: "" })], self.name)).toBe(
      `etcd-0=${peerUrl(0)},etcd-1=${peerUrl(1)},etcd-2=${peerUrl(2)}`,
    );
  });
});

describe("a member that must not start", () => {
  it("has run before, with the marker missing", () => {
    const ran = member(2, { clientUrls: ["https://etcd-2:2379"] });
    const action = decide({ data: "empty", marker: undefined, cluster: quorum(member(0), member(1), ran) }, self);
    expect(action).toEqual({
      kind: "refuse",
      reason:
        "the volume of etcd-2 is empty, the other members know it as one that has run, and the marker is missing; " +
        "restore the marker to have the member replaced, or, when nothing was stored, destroy the component, delete its " +
        "marker and volume claims if they were kept, and deploy it again",
    });
  });

  it("was added by scaling the StatefulSet", () => {
    const fourth = { ...self, name: "etcd-3", peerUrl: peerUrl(3) };
    expect(decide({ data: "empty", marker, cluster: quorum(member(0), member(1), member(2)) }, fourth)).toEqual({
      kind: "refuse",
      reason:
        "etcd-3 is not one of the 3 members; scale the StatefulSet back to 3 replicas, " +
        "and delete the volume claim of this one",
    });
  });
});
