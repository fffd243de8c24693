import type { CoreV1Event, V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { describe as diagnose } from "../../../checks/diagnostics";
import { target } from "./target";

const pod = (name: string): V1Pod => ({
  metadata: { name },
  spec: { nodeName: "node-1", containers: [{ name: "etcd" }] },
  status: {
    phase: "Running",
    containerStatuses: [
      {
        name: "etcd",
        image: "",
        imageID: "",
        ready: false,
        restartCount: 4,
        state: { waiting: { reason: "CrashLoopBackOff" } },
      },
    ],
  },
});

const event = (name: string, minute: number, type = "Warning"): CoreV1Event => ({
  metadata: {},
  involvedObject: { name },
  type,
  reason: "BackOff",
  message: `at ${minute}`,
  lastTimestamp: new Date(minute * 60_000),
});

describe("diagnostics", () => {
  it("show the state of the pods, the missing ones and the last warnings about them", () => {
    const events = [event("etcd-0", 2), event("other-0", 3), event("data-etcd-1", 1), event("etcd-0", 0, "Normal")];
    expect(diagnose(target("etcd"), [pod("etcd-0")], events)).toEqual([
      "pod etcd-0: Running, 0/1 ready, 4 restarts, node node-1, CrashLoopBackOff",
      "pods that do not exist: etcd-1, etcd-2",
      "event data-etcd-1: BackOff: at 1",
      "event etcd-0: BackOff: at 2",
    ]);
  });

  it("show the last sentence of a container that fails", () => {
    const refused = pod("etcd-0");
    const terminated = { exitCode: 1, reason: "Error", message: "member failed: the volume of etcd-0 is empty\n" };
    const member = { name: "member", image: "", imageID: "", ready: false, restartCount: 1, lastState: { terminated } };
    refused.status = { phase: "Pending", initContainerStatuses: [member] };
    expect(diagnose(target("etcd"), [refused], [])[0]).toBe(
      "pod etcd-0: Pending, 0/1 ready, 0 restarts, node node-1, Error; member: member failed: the volume of etcd-0 is empty",
    );
  });

  it("take ten lines at most, the latest events among them", () => {
    const events = Array.from({ length: 30 }, (_, minute) => event("etcd-0", minute));
    const lines = diagnose(target("etcd"), [pod("etcd-0"), pod("etcd-1"), pod("etcd-2")], events);
    expect(lines).toHaveLength(10);
    expect(lines.at(-1)).toBe("event etcd-0: BackOff: at 29");
  });
});
