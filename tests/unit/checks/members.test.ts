import type { V1Pod, V1StatefulSet } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { describeMembers, describePasswords } from "../../../checks/members";

const members = ["etcd-0", "etcd-1"];
const version = "app.kubernetes.io/version";

function set(status: Partial<V1StatefulSet["status"]> = {}): V1StatefulSet {
  return {
    metadata: { generation: 2 },
    spec: {
      selector: {},
      serviceName: "etcd-peers",
      template: { metadata: { labels: { [version]: "3.6.8" } } },
    },
    status: { replicas: 2, observedGeneration: 2, updateRevision: "new", ...status },
  };
}

const pod = (name: string, revision: string, runs = "3.6.8"): V1Pod => ({
  metadata: { name, labels: { "controller-revision-hash": revision, [version]: runs } },
});

describe("the members of a service", () => {
  it("are told with their version when all are what was deployed last", () => {
    const others = pod("etcd-maintenance-1-abc", "old");
    expect(describeMembers(members, set(), [pod("etcd-0", "new"), pod("etcd-1", "new"), others], ["former"])).toBe(
      "2 of version 3.6.8, as deployed last",
    );
  });

  it("are told by name when one is stale or missing", () => {
    expect(() => describeMembers(members, set(), [pod("etcd-0", "old", "3.5.21")], [])).toThrow(
      "etcd-0 is not what was deployed last: version 3.5.21, wanted 3.6.8; etcd-1 does not exist",
    );
    expect(() => describeMembers(members, set(), [pod("etcd-0", "new"), pod("etcd-1", "old")], [])).toThrow(
      /^etcd-1 is not what was deployed last$/,
    );
  });

  it("are told by name when they started before the last certificates", () => {
    const former = { ...pod("etcd-1", "new") };
    former.metadata = { ...former.metadata, uid: "former" };
    expect(() => describeMembers(members, set(), [pod("etcd-0", "new"), former], ["former"])).toThrow(
      /^etcd-1 started before the last certificates$/,
    );
  });

  it("are not told before Kubernetes has looked at the last change", () => {
    const pods = [pod("etcd-0", "old"), pod("etcd-1", "old")];
    for (const status of [{ observedGeneration: 1, updateRevision: "old" }, { updateRevision: undefined }]) {
      expect(() => describeMembers(members, set(status as V1StatefulSet["status"]), pods, [])).toThrow(
        "Kubernetes has not looked at the StatefulSet yet",
      );
    }
  });
});

describe("the passwords of a service", () => {
  it("are told with the time of their last rotation", () => {
    const annotations = {
      "cells-services/passwords": "2",
      "cells-services/passwords-accepted-at": "2026-11-29T09:00:00.000Z",
    };
    expect(describePasswords({ metadata: { annotations } })).toBe(
      "passwords of rotation 2 since 2026-11-29T09:00:00.000Z",
    );
    expect(describePasswords({})).toBe("passwords of rotation unknown since before it was noted");
  });
});
