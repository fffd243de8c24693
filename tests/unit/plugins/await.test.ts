import { describe, expect, it } from "vitest";
import { daemonSetStatus } from "../../../sandbox/plugins/kubernetes/await/daemonset";
import { deploymentStatus } from "../../../sandbox/plugins/kubernetes/await/deployment";
import { jobStatus } from "../../../sandbox/plugins/kubernetes/await/job";
import { podProblem, podStatus } from "../../../sandbox/plugins/kubernetes/await/pod";
import { serviceStatus } from "../../../sandbox/plugins/kubernetes/await/service";
import { claimStatus, definitionStatus, namespaceStatus } from "../../../sandbox/plugins/kubernetes/await/simple";
import { statefulSetStatus } from "../../../sandbox/plugins/kubernetes/await/statefulset";
import type { PropertyMap } from "../../../sandbox/plugins/server/values";

type Row = [name: string, spec: PropertyMap, status: PropertyMap, state: string, message: string];

const observed = { observedGeneration: 2 };
const metadata = { name: "a", namespace: "n", generation: 2 };

describe("StatefulSet", () => {
  const one = { currentRevision: "r1", updateRevision: "r1" };
  const rolling = { currentRevision: "r1", updateRevision: "r2" };
  const rows: Row[] = [
    [
      "unseen",
      { replicas: 3 },
      { observedGeneration: 1, readyReplicas: 3, updatedReplicas: 3, replicas: 3, ...one },
      "waiting",
      "the controller has not seen the change yet",
    ],
    [
      "starting",
      { replicas: 3 },
      { ...observed, replicas: 3, updatedReplicas: 3, readyReplicas: 1, ...one },
      "waiting",
      "1 of 3 replicas ready",
    ],
    [
      "rolling",
      { replicas: 3 },
      { ...observed, replicas: 3, updatedReplicas: 1, readyReplicas: 3, ...rolling },
      "waiting",
      "1 of 3 replicas updated, 3 of 3 ready",
    ],
    [
      "rolled but not settled",
      { replicas: 3 },
      { ...observed, replicas: 3, updatedReplicas: 3, readyReplicas: 3, ...rolling },
      "waiting",
      "revision r2 is rolling out, 3 of 3 replicas ready",
    ],
    [
      "rolled",
      { replicas: 3 },
      { ...observed, replicas: 3, updatedReplicas: 3, readyReplicas: 3, ...one },
      "done",
      "3 of 3 replicas ready",
    ],
    [
      "shrinking",
      { replicas: 1 },
      { ...observed, replicas: 3, updatedReplicas: 1, readyReplicas: 3, ...one },
      "waiting",
      "2 replicas above 1 are still ending",
    ],
    ["none wanted", { replicas: 0 }, { ...observed, replicas: 0, ...one }, "done", "0 of 0 replicas ready"],
    [
      "OnDelete with old pods",
      { replicas: 3, updateStrategy: { type: "OnDelete" } },
      { ...observed, replicas: 3, readyReplicas: 3, ...rolling },
      "done",
      "3 of 3 replicas ready",
    ],
    [
      "OnDelete unready",
      { replicas: 3, updateStrategy: { type: "OnDelete" } },
      { ...observed, replicas: 3, readyReplicas: 2, ...rolling },
      "waiting",
      "2 of 3 replicas ready",
    ],
    [
      "a partition",
      { replicas: 3, updateStrategy: { rollingUpdate: { partition: 2 } } },
      { ...observed, replicas: 3, updatedReplicas: 1, readyReplicas: 3, ...rolling },
      "done",
      "3 of 3 replicas ready",
    ],
  ];
  it.each(rows)("%s", (_name, spec, status, state, message) => {
    expect(statefulSetStatus({ metadata, spec, status })).toEqual({ state, message });
  });
});

describe("Deployment", () => {
  const exceeded = { type: "Progressing", status: "False", reason: "ProgressDeadlineExceeded", message: "too slow" };
  const rows: Row[] = [
    ["unseen", {}, { observedGeneration: 1 }, "waiting", "the controller has not seen the change yet"],
    ["updating", { replicas: 2 }, { ...observed, updatedReplicas: 1 }, "waiting", "1 of 2 replicas updated"],
    [
      "old ones ending",
      { replicas: 2 },
      { ...observed, replicas: 3, updatedReplicas: 2 },
      "waiting",
      "1 old replicas are still ending",
    ],
    [
      "not available",
      { replicas: 2 },
      { ...observed, replicas: 2, updatedReplicas: 2, availableReplicas: 1 },
      "waiting",
      "1 of 2 updated replicas available",
    ],
    [
      "available",
      { replicas: 2 },
      { ...observed, replicas: 2, updatedReplicas: 2, availableReplicas: 2 },
      "done",
      "2 of 2 replicas available",
    ],
    ["too slow", {}, { ...observed, conditions: [exceeded] }, "failed", "too slow"],
    ["paused", { paused: true }, {}, "done", "paused"],
  ];
  it.each(rows)("%s", (_name, spec, status, state, message) => {
    expect(deploymentStatus({ metadata, spec, status })).toEqual({ state, message });
  });
});

describe("DaemonSet", () => {
  it.each([
    [{ ...observed, desiredNumberScheduled: 3, updatedNumberScheduled: 1 }, "waiting"],
    [{ ...observed, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 2 }, "waiting"],
    [{ ...observed, desiredNumberScheduled: 3, updatedNumberScheduled: 3, numberAvailable: 3 }, "done"],
  ])("%j is %s", (status, state) => expect(daemonSetStatus({ metadata, status }).state).toBe(state));
});

describe("Service", () => {
  const ready = { endpoints: [{ conditions: { ready: true } }] };
  const unready = { endpoints: [{ conditions: { ready: false } }] };
  const selector = { app: "a" };
  it.each([
    ["a ready endpoint", { selector }, {}, [ready], "done"],
    ["unready endpoints", { selector }, {}, [unready], "waiting"],
    ["no endpoints", { selector }, {}, [], "waiting"],
    ["headless", { selector, clusterIP: "None" }, {}, [], "done"],
    ["no selector", {}, {}, [], "done"],
    ["another name", { selector, type: "ExternalName" }, {}, [], "done"],
    ["a load balancer without address", { selector, type: "LoadBalancer" }, {}, [ready], "waiting"],
    [
      "a load balancer",
      { selector, type: "LoadBalancer" },
      { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } },
      [ready],
      "done",
    ],
  ])("%s", (_name, spec, status, slices, state) => {
    expect(serviceStatus({ metadata, spec, status }, slices).state).toBe(state);
  });
});

describe("Job", () => {
  it.each([
    ["complete", {}, { conditions: [{ type: "Complete", status: "True" }] }, "done", "complete"],
    [
      "failed",
      {},
      { conditions: [{ type: "Failed", status: "True", reason: "BackoffLimitExceeded", message: "m" }] },
      "failed",
      "BackoffLimitExceeded: m",
    ],
    ["running", {}, { active: 1 }, "waiting", "0 succeeded, 1 active, 0 failed"],
    ["suspended", { suspend: true }, {}, "done", "suspended"],
  ] as Row[])("%s", (_name, spec, status, state, message) => {
    expect(jobStatus({ metadata, spec, status })).toEqual({ state, message });
  });
});

describe("Pod", () => {
  it("tells why it is not ready", () => {
    const status = {
      phase: "Pending",
      containerStatuses: [
        { name: "c", ready: false, state: { waiting: { reason: "ImagePullBackOff", message: "no such image" } } },
      ],
    };
    expect(podStatus({ status })).toEqual({ state: "waiting", message: "container c ImagePullBackOff, no such image" });
  });

  it("tells the exit of a crash loop", () => {
    const state = { waiting: { reason: "CrashLoopBackOff" } };
    const lastState = { terminated: { exitCode: 3, reason: "Error" } };
    const status = { phase: "Running", containerStatuses: [{ name: "c", ready: false, state, lastState }] };
    expect(podProblem({ status })).toBe("container c CrashLoopBackOff, last exit 3 (Error)");
  });

  it("tells why it has no node", () => {
    const conditions = [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes" }];
    expect(podProblem({ status: { phase: "Pending", conditions } })).toBe("Unschedulable: 0/3 nodes");
  });

  it("is done when ready or finished, and fails when failed", () => {
    expect(podStatus({ status: { phase: "Succeeded" } }).state).toBe("done");
    expect(podStatus({ status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } }).state).toBe(
      "done",
    );
    expect(podStatus({ status: { phase: "Failed", message: "evicted" } })).toEqual({
      state: "failed",
      message: "evicted",
    });
  });
});

it("claims, namespaces and definitions", () => {
  expect(claimStatus({ status: { phase: "Bound" } }).state).toBe("done");
  expect(claimStatus({}).state).toBe("waiting");
  expect(claimStatus({ status: { phase: "Lost" } }).state).toBe("failed");
  expect(namespaceStatus({ status: { phase: "Active" } }).state).toBe("done");
  expect(definitionStatus({ status: { conditions: [{ type: "Established", status: "True" }] } }).state).toBe("done");
});
