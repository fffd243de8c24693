import { describe, expect, it } from "vitest";
import { type Observed, type Pod, reasons } from "../../../sandbox/cluster/diagnosis";
import { errorLines } from "../../../sandbox/cluster/processes";
import { until } from "../../../sandbox/shell";

const namespace = "kube-system";
const subject = { namespace, name: "coredns" };
const none: Observed = { pods: [], events: [], logs: {}, kubelets: {} };

type Status = NonNullable<Pod["status"]["containerStatuses"]>[number];

const pod = (...containerStatuses: Status[]): Pod => ({
  metadata: { namespace, name: "coredns-7d9-x2x" },
  spec: { nodeName: "node-1" },
  status: { containerStatuses },
});

const event = (name: string, reason: string, message: string, type = "Warning") => ({
  type,
  reason,
  message,
  involvedObject: { kind: "Pod", namespace, name },
});

describe("why pods are not ready", () => {
  it("is the newest warning of each kind about them and what owns them", () => {
    const events = [
      event("coredns-7d9", "FailedCreate", "forbidden: quota\n"),
      event("coredns-7d9-x2x", "FailedCreatePodSandBox", "first attempt"),
      event("coredns-7d9-x2x", "FailedCreatePodSandBox", 'failed to find plugin "bridge" in path [/usr/lib/cni]'),
      event("coredns-7d9-x2x", "Scheduled", "assigned to node-1", "Normal"),
      event("corednsx", "Failed", "about another pod"),
    ];
    expect(reasons(subject, { ...none, events })).toEqual([
      "coredns-7d9: FailedCreate: forbidden: quota",
      'coredns-7d9-x2x: FailedCreatePodSandBox: failed to find plugin "bridge" in path [/usr/lib/cni]',
    ]);
  });

  it("is the state of a container and its last words", () => {
    const waiting = { reason: "CrashLoopBackOff", message: "back-off 10s" };
    const pods = [pod({ name: "coredns", ready: false, containerID: "containerd://1", state: { waiting } })];
    const logs = { "kube-system/coredns-7d9-x2x/coredns": "plugin/kubernetes: no API\nlistening failed\n" };
    expect(reasons(subject, { ...none, pods, logs })).toEqual([
      "coredns-7d9-x2x: coredns: CrashLoopBackOff: back-off 10s",
      "coredns-7d9-x2x: coredns wrote: plugin/kubernetes: no API",
      "coredns-7d9-x2x: coredns wrote: listening failed",
    ]);
  });

  it("says how a container ended, and nothing about an init container that ended well", () => {
    const broken = pod({ name: "main", ready: false, containerID: "1", state: { terminated: { exitCode: 137 } } });
    broken.status.initContainerStatuses = [
      { name: "init", ready: false, containerID: "2", state: { terminated: { exitCode: 0 } } },
    ];
    expect(reasons(subject, { ...none, pods: [broken] })).toEqual(["coredns-7d9-x2x: main: ended with exit code 137"]);
  });

  it("is what kubelet wrote about a pod without a container, and nothing about one that has", () => {
    const kubelets = {
      "node-1": "E1128 10:22:11 1 pod_workers.go] about coredns-7d9-x2x\nE1128 10:22:11 1 other\nI1128 coredns-7d9-x2x",
    };
    expect(reasons(subject, { ...none, pods: [pod()], kubelets })).toEqual([
      "coredns-7d9-x2x: kubelet of node-1 wrote: E1128 10:22:11 1 pod_workers.go] about coredns-7d9-x2x",
    ]);
    const ready = pod({ name: "coredns", ready: true, containerID: "containerd://1", state: {} });
    expect(reasons(subject, { ...none, pods: [ready], kubelets })).toEqual([]);
  });
});

describe("the last words of a log", () => {
  it.each([
    ["I1 a\nE1128 b\nI1 c\nF1128 d\nI1 e\n", ["E1128 b", "F1128 d"]],
    ["level=info msg=a\ntime=1 level=error msg=b\nlevel=info msg=c", ["time=1 level=error msg=b"]],
    ['{"level":"warn"}\n{"level":"fatal","msg":"b"}\n{"level":"info"}', ['{"level":"fatal","msg":"b"}']],
    ["one\ntwo\n\nthree\n", ["two", "three"]],
    ["", []],
  ])("of %j are its errors, else its end", (log, expected) => {
    expect(errorLines(log, 2)).toEqual(expected);
  });
});

it("prints the reasons when something was waited for in vain", async () => {
  const waiting = until("CoreDNS", 0, () => Promise.reject(new Error("0 of 2")), {
    intervalMilliseconds: 1,
    why: async () => ["coredns-1: no plugin"],
  });
  await expect(waiting).rejects.toThrow("waited 0 s for CoreDNS; last seen: 0 of 2\ncoredns-1: no plugin");
});
