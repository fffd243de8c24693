import { describe, expect, it } from "vitest";
import { type Answer, clusterName, decide, type Identity, type Observed } from "../../../components/nats/member";
import type { Marker } from "../../../components/shared/core/marker";

const self: Identity = { name: "nats-2", clusterId: "cells-nats", members: 3, tls: "required" };
const marker: Marker = { clusterId: "cells-nats", members: 3, tls: "on", bootstrappedAt: "2026-01-01T00:00:00Z" };
const full = (member: string): Answer => ({ member, hasData: true });
const empty = (member: string): Answer => ({ member, hasData: false, reason: "it has no data itself" });
const away = (member: string): Answer => ({ member, hasData: false, reason: "connection refused" });

describe("whether a member may start", () => {
  it.each<[string, Observed, string]>([
    ["first start", { data: "empty", marker: undefined, others: [] }, "the cluster has not been formed yet"],
    ["restart", { data: "present", marker, others: [] }, "the volume has data"],
    ["restart while the API is away", { data: "present", marker: undefined, others: [] }, "the volume has data"],
    [
      "restart with a marker of others: the volume decides",
      { data: "present", marker: { ...marker, clusterId: "x" }, others: [] },
      "the volume has data",
    ],
    [
      "lost volume",
      { data: "empty", marker, others: [full("nats-0"), full("nats-1")] },
      "the volume is empty and is filled from nats-0",
    ],
    [
      "lost volume, one of the others away",
      { data: "empty", marker, others: [away("nats-0"), full("nats-1")] },
      "the volume is empty and is filled from nats-1",
    ],
  ])("starts: %s", (_, observed, reason) => {
    expect(decide(observed, self)).toEqual({ kind: "start", reason });
  });

  it("never founds a second cluster when all volumes are lost", () => {
    expect(decide({ data: "empty", marker, others: [away("nats-0"), empty("nats-1")] }, self)).toEqual({
      kind: "wait",
      reason:
        "the volume of nats-2 is empty and no other member with data answers (nats-0: connection refused; nats-1: it has no data itself); " +
        "starting could found a cluster without the data; bring another member back, or, when all volumes are lost, destroy " +
        "the component, delete its marker and volume claims if they were kept, and deploy it again",
    });
  });

  it.each<[string, Marker, string]>([
    [
      "another cluster",
      { ...marker, clusterId: "other-nats" },
      "the marker belongs to the cluster other-nats, got cells-nats, and the volume of nats-2 is empty; " +
        "restore the name of the cluster, or destroy the component, delete its marker and volume claims if they were kept, " +
        "and deploy it again",
    ],
    [
      "TLS switched on",
      { ...marker, tls: "off" },
      'the cluster has no TLS between its members, as its marker says, got tls "required"; they can change it only all at ' +
        'once; set tls to "off"',
    ],
  ])("refuses, whoever runs: %s", (_, wrong, reason) => {
    expect(decide({ data: "empty", marker: wrong, others: [full("nats-0")] }, self)).toEqual({
      kind: "refuse",
      reason,
    });
  });
});

it("names clusters differently in each namespace", () => {
  expect(clusterName("nats", "cells")).toBe("cells-nats");
});
