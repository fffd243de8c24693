import type { V1Pod, V1ServiceSpec } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import { podBehind } from "../../../checks/environment";

const pod = (name: string, ready = true): V1Pod => ({
  metadata: { name },
  spec: { containers: [{ name: "server", ports: [{ name: "client", containerPort: 2379 }] }] },
  status: { conditions: [{ type: "Ready", status: ready ? "True" : "False" }] },
});
const spec: V1ServiceSpec = { selector: { app: "etcd" }, ports: [{ port: 2379, targetPort: "client" }] };
const behind = (changes: V1ServiceSpec, pods: V1Pod[]) => podBehind("etcd", 2379, { ...spec, ...changes }, pods);

describe("a Service", () => {
  it("leads to a port of a pod that is ready", () => {
    expect(behind({}, [pod("etcd-0", false), pod("etcd-1")])).toEqual({ pod: "etcd-1", port: 2379 });
    expect(behind({ ports: [{ port: 2379, targetPort: 9 }] }, [pod("etcd-0")])).toEqual({ pod: "etcd-0", port: 9 });
    expect(behind({ ports: [{ port: 2379 }] }, [pod("etcd-0")])).toEqual({ pod: "etcd-0", port: 2379 });
  });

  it.each<[string, V1ServiceSpec, V1Pod[], RegExp]>([
    ["without the port", { ports: [{ port: 80 }] }, [pod("etcd-0")], /the Service etcd has no port 2379, it has 80/],
    ["without a selector", { selector: {} }, [pod("etcd-0")], /the Service etcd selects no pods/],
    ["whose selector fits nothing", {}, [], /no pod is ready behind the Service etcd, of 0 pods/],
    ["whose pods are not ready", {}, [pod("etcd-0", false)], /no pod is ready behind the Service etcd, of 1 pods/],
    [
      "whose port no pod has",
      { ports: [{ port: 2379, targetPort: "other" }] },
      [pod("etcd-0")],
      /the pod etcd-0 has no port named other/,
    ],
  ])("%s leads nowhere", (_, changes, pods, reason) => {
    expect(() => behind(changes, pods)).toThrow(reason);
  });

  it("does not lead to a pod that goes", () => {
    const going = { ...pod("etcd-0"), metadata: { name: "etcd-0", deletionTimestamp: new Date(0) } };
    expect(() => behind({}, [going])).toThrow(/no pod is ready/);
  });
});
