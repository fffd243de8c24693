import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { describe, expect, it } from "vitest";
import {
  changesOf,
  claimOf,
  containerOf,
  endOf,
  isOfService,
  type LastSeen,
  noted,
  processesIn,
  processesOfContainer,
  provenPause,
  provenStop,
  replacement,
  stateOf,
} from "../../../drills/faults";

const status = (name: string, more: Partial<V1ContainerStatus> = {}): V1ContainerStatus => ({
  name,
  image: "x",
  imageID: "x",
  ready: true,
  restartCount: 0,
  containerID: `containerd://${name}1`,
  ...more,
});

const pod = (name: string, uid: string, more: Partial<V1Pod> = {}): V1Pod => ({ metadata: { name, uid }, ...more });

describe("the processes of a container", () => {
  const id = "4f5c9a52".repeat(8);
  const proc = mkdtempSync(join(tmpdir(), "proc-"));
  const add = (pid: number, group: string, comm: string, cmdline = comm): void => {
    mkdirSync(join(proc, String(pid)));
    writeFileSync(join(proc, String(pid), "cgroup"), `4:memory:${group}\n`);
    writeFileSync(join(proc, String(pid), "comm"), `${comm}\n`);
    writeFileSync(join(proc, String(pid), "cmdline"), cmdline);
  };
  add(10, "/", "etcd");
  add(11, "/kubepods/pod0f3c/abc", "etcd");
  add(12, `/kubepods/pod0f3c/${id}`, "etcd", "");
  add(13, `/kubepods.slice/kubepods-pod0f3c.slice/cri-containerd-${id}.scope`, "etcd");
  add(14, `/kubepods/pod0f3c/${id}`, "helper");
  mkdirSync(join(proc, "self"));
  const container = { containerID: `containerd://${id}` };

  it("are found by its control group, and are not zombies or somebody else's, not even of the same pod", () => {
    expect(processesOfContainer(container, ["etcd"], proc)).toEqual([13]);
    expect(processesOfContainer(container, undefined, proc)).toEqual([13, 14]);
    expect(processesOfContainer(container, ["etcd", "helper"], proc)).toEqual([13, 14]);
    expect(processesOfContainer(container, ["nats-server"], proc)).toEqual([]);
  });

  it("are none as long as the container has not started", () => {
    expect(processesOfContainer({}, ["etcd"], proc)).toEqual([]);
    expect(processesOfContainer({ containerID: "" }, ["etcd"], proc)).toEqual([]);
    expect(processesIn("", proc)).toEqual([]);
  });

  it("are seen to be stopped, whatever their names are", () => {
    writeFileSync(join(proc, "13", "stat"), "13 (etcd) S) T 1 13 13 0 -1");
    writeFileSync(join(proc, "14", "stat"), "14 (etcd) S 1 14 14 0 -1");
    expect([stateOf(13, proc), stateOf(14, proc), stateOf(99, proc)]).toEqual(["T", "S", undefined]);
    expect(provenPause([13], ["T"])).toEqual({
      proven: true,
      detail: "stopped for 20 s, and then continued: process 13 T",
    });
    expect(provenPause([13, 14], ["T", undefined])).toEqual({
      proven: false,
      detail: "not stopped for all of 20 s (T): process 13 T, 14 gone",
    });
  });
});

describe("a container", () => {
  it("is a server, or an agent that runs beside it", () => {
    const both = pod("redis-0", "1", {
      status: { containerStatuses: [status("redis")], initContainerStatuses: [status("member"), status("agent")] },
    });
    expect(containerOf(both, "redis").containerID).toBe("containerd://redis1");
    expect(containerOf(both, "agent").containerID).toBe("containerd://agent1");
    expect(() => containerOf(both, "nats")).toThrow('pod redis-0 has no container "nats"; it has redis, member, agent');
    expect(() => containerOf(pod("redis-0", "1"), "redis")).toThrow("none yet");
  });

  it("was left alone when it is the very same", () => {
    const before = status("redis", { restartCount: 2 });
    expect(changesOf(before, { ...before }, "redis-0")).toEqual([]);
    expect(changesOf(before, { ...before, restartCount: 3 }, "redis-0")).toEqual([
      "the container redis of redis-0 restarted 1 times without a reason of its own",
    ]);
    expect(changesOf(before, { ...before, containerID: "containerd://other" }, "redis-0")).toEqual([
      "the container redis of redis-0 is another one",
    ]);
  });
});

describe("a pod that is asked to stop", () => {
  const asked = new Date("2026-01-01T00:00:00Z");
  const stopping = pod("etcd-0", "1");
  stopping.metadata = {
    ...stopping.metadata,
    deletionTimestamp: new Date(asked.getTime() + 60_000),
    deletionGracePeriodSeconds: 60,
  };
  const stopped: V1Pod = {
    metadata: {
      ...stopping.metadata,
      deletionTimestamp: new Date(asked.getTime() + 9000),
      deletionGracePeriodSeconds: 0,
    },
    status: {
      containerStatuses: [
        status("etcd", { state: { terminated: { exitCode: 0, finishedAt: new Date(asked.getTime() + 8000) } } }),
      ],
    },
  };

  it("is seen to its end, and the time counts from the request", () => {
    let last: LastSeen = { pod: pod("etcd-0", "1"), deleted: false };
    last = noted(last, stopping, false);
    expect(last.asked).toBe(asked.getTime());
    expect(endOf(last, "etcd")).toEqual({ exitCode: undefined, seconds: undefined });
    last = noted(last, stopped, true);
    expect(last.deleted).toBe(true);
    expect(endOf(last, "etcd")).toEqual({ exitCode: 0, seconds: 8 });
    expect(endOf(last, "nats")).toEqual({ exitCode: undefined, seconds: undefined });
  });

  it("reads times as the API writes them", () => {
    const raw = JSON.parse(JSON.stringify(stopping)) as V1Pod;
    const end = JSON.parse(JSON.stringify(stopped)) as V1Pod;
    expect(endOf(noted(noted({ pod: raw, deleted: false }, raw, false), end, true), "etcd")).toEqual({
      exitCode: 0,
      seconds: 8,
    });
  });

  it("has proven a planned stop only when its server ended by itself and somebody saw it", () => {
    const stop = { exitCode: 0, seconds: 8, grace: 60, after: "2" };
    expect(provenStop("etcd-0", stop)).toEqual({
      proven: true,
      detail: "server stopped when asked to after 8 s of 60 s, exit code 0; pod replaced by 2",
    });
    expect(provenStop("etcd-0", { ...stop, exitCode: 143 }).proven).toBe(true);
    // A segmentation fault.
    expect(provenStop("etcd-0", { ...stop, exitCode: 139 })).toEqual({
      proven: false,
      detail: "the server of etcd-0 failed after 8 s of 60 s with exit code 139, it did not just stop",
    });
    expect(provenStop("etcd-0", { ...stop, exitCode: 137 })).toMatchObject({
      proven: false,
      detail: "the server of etcd-0 was killed after 8 s of 60 s, it did not stop when it was asked to",
    });
    expect(provenStop("etcd-0", { ...stop, exitCode: undefined }).proven).toBe(false);
  });
});

describe("a full stop", () => {
  const before = [pod("redis-0", "1"), pod("redis-1", "2"), pod("redis-gateway-a", "3")];

  it("is proven when every pod is another one, and none is missing", () => {
    const fresh = [pod("redis-0", "4"), pod("redis-1", "5"), pod("redis-gateway-b", "6")];
    expect(replacement(before, fresh)).toEqual({
      done: "all 3 pods replaced: redis-0 4, redis-1 5, redis-gateway-b 6",
    });
    expect(replacement(before, [...fresh.slice(0, 2), pod("redis-gateway-a", "3")])).toEqual({
      waiting: "still there: redis-gateway-a",
    });
    expect(replacement(before, fresh.slice(0, 2))).toEqual({ waiting: "2 of 3 new pods are there" });
  });

  it("is of servers and gateways, not of Jobs and of what has run to its end", () => {
    const of = (component: string, phase: string): V1Pod => ({
      metadata: { labels: { "app.kubernetes.io/component": component } },
      status: { phase },
    });
    expect(isOfService(of("server", "Running"))).toBe(true);
    expect(isOfService(of("gateway", "Pending"))).toBe(true);
    expect(isOfService(of("agent", "Running"))).toBe(false);
    expect(isOfService(of("server", "Failed"))).toBe(false);
  });
});

describe("the volume of a member", () => {
  it("is the claim that its pod names", () => {
    const spec = { containers: [], volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data-etcd-0" } }] };
    expect(claimOf(pod("etcd-0", "1", { spec }))).toBe("data-etcd-0");
    expect(() => claimOf(pod("etcd-0", "1"))).toThrow('pod etcd-0 has no volume claim "data"');
  });
});
