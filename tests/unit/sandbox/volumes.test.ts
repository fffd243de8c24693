import { describe, expect, it } from "vitest";
import { type Claim, type Class, decide, provisioner, type Volume } from "../../../sandbox/volumes/decide";

const standard: Class = { metadata: { name: "standard" }, provisioner };

const claimOf = (storage: string): Claim => ({
  metadata: { name: "data-redis-0", namespace: "cells", uid: "1" },
  spec: { storageClassName: "standard", accessModes: ["ReadWriteOnce"], resources: { requests: { storage } } },
});

const volumeOf = (storage: string): Volume => ({
  metadata: { name: "pvc-1" },
  spec: { storageClassName: "standard", persistentVolumeReclaimPolicy: "Delete", capacity: { storage } },
  status: { phase: "Bound" },
});

describe("decide", () => {
  it("makes a volume for a claim without one", () => {
    const claim = claimOf("1Gi");
    expect(decide([claim], [], [standard])).toEqual({ provision: [{ claim, class: standard }], grow: [], reclaim: [] });
  });

  it("leaves a volume of the right size alone, however the size is written", () => {
    expect(decide([claimOf("1Gi")], [volumeOf("1024Mi")], [standard])).toEqual({
      provision: [],
      grow: [],
      reclaim: [],
    });
  });

  it("grows the volume of a claim that asks for more", () => {
    const claim = claimOf("2Gi");
    const { grow } = decide([claim], [volumeOf("1Gi")], [standard]);
    expect(grow).toEqual([{ claim, capacity: "2Gi" }]);
  });

  it("never makes a volume smaller", () => {
    expect(decide([claimOf("1Gi")], [volumeOf("2Gi")], [standard]).grow).toEqual([]);
  });

  it("removes a volume whose claim is gone", () => {
    const released = { ...volumeOf("1Gi"), status: { phase: "Released" } };
    expect(decide([], [released], [standard]).reclaim).toEqual([released]);
  });
});
