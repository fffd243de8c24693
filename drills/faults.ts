import { readdirSync, readFileSync } from "node:fs";
import { CoreV1Api, type KubeConfig, type V1Pod } from "@kubernetes/client-node";
import { CannotRun, statusOf, until } from "../checks";
import type { Proof } from "./ledger";

/** Starts a fault. `proof` waits until it is seen to have happened. */
export interface Fault {
  /** When it struck, milliseconds of the monotonic clock. */
  at: number;
  proof: Promise<Proof>;
}

const proofSeconds = 120;

/**
 * A crash: SIGKILL of the server process, from the machine the nodes run on. Deleting a pod is no crash, even without a
 * grace period: the server gets a SIGTERM first and hands over its leadership.
 */
export async function killServerProcess(
  config: KubeConfig,
  namespace: string,
  pod: string,
  process_: string,
): Promise<Fault> {
  const core = config.makeApiClient(CoreV1Api);
  const before = await core.readNamespacedPod({ name: pod, namespace });
  const pid = serverProcess(uidOf(before), process_);
  if (pid === undefined) {
    throw new CannotRun(
      `no process ${process_} of pod ${pod} is visible from here; ` +
        "a crash needs root on the machine that runs the nodes, as in the sandbox",
    );
  }
  const at = performance.now();
  process.kill(pid, "SIGKILL");
  const proof = until(
    `a new ${process_} process in ${pod}`,
    async () => {
      if (isAlive(pid)) return { waiting: `process ${pid} is still there` };
      const after = await core.readNamespacedPod({ name: pod, namespace });
      const fresh = serverProcess(uidOf(after), process_);
      if (fresh === undefined) return { waiting: `process ${pid} is gone, there is no new one yet` };
      const same = uidOf(after) === uidOf(before) ? "the same pod" : "another pod";
      return { done: `process ${pid} killed, runs again as ${fresh} in ${same}` };
    },
    { deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

/** A pod deleted without a grace period; the server still gets a SIGTERM. */
export async function deletePod(config: KubeConfig, namespace: string, pod: string): Promise<Fault> {
  const core = config.makeApiClient(CoreV1Api);
  const before = uidOf(await core.readNamespacedPod({ name: pod, namespace }));
  const at = performance.now();
  await core.deleteNamespacedPod({ name: pod, namespace, gracePeriodSeconds: 0 });
  const proof = until(
    `a new pod ${pod}`,
    async () => {
      const after = uidOf(await core.readNamespacedPod({ name: pod, namespace }));
      return after === before
        ? { waiting: "the old pod is still there" }
        : { done: `pod ${before} replaced by ${after}` };
    },
    { deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

/** The volume of a member is gone: its claim is deleted, and its pod, without which the claim would stay. */
export async function deleteVolume(config: KubeConfig, namespace: string, pod: string): Promise<Fault> {
  const core = config.makeApiClient(CoreV1Api);
  const name = claimOf(await core.readNamespacedPod({ name: pod, namespace }));
  const before = uidOf(await core.readNamespacedPersistentVolumeClaim({ name, namespace }));
  const at = performance.now();
  await core.deleteNamespacedPersistentVolumeClaim({ name, namespace });
  await core.deleteNamespacedPod({ name: pod, namespace, gracePeriodSeconds: 0 });
  const proof = until(
    `a new claim ${name}`,
    async () => {
      const after = await core.readNamespacedPersistentVolumeClaim({ name, namespace }).catch((error: unknown) => {
        if (statusOf(error) === 404) return undefined;
        throw error;
      });
      if (after === undefined) return { waiting: "the old claim is gone, there is no new one yet" };
      if (uidOf(after) === before) return { waiting: "the old claim is still there" };
      const volume = after.spec?.volumeName;
      if (volume === undefined) return { waiting: "the new claim has no volume yet" };
      return { done: `claim ${name} ${before} replaced by ${uidOf(after)} on volume ${volume}` };
    },
    { deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

function proven(seen: Promise<string>): Promise<Proof> {
  return seen.then(
    (detail) => ({ proven: true, detail }),
    (error: unknown) => ({ proven: false, detail: error instanceof Error ? error.message : String(error) }),
  );
}

function uidOf(object: { metadata?: { uid?: string } }): string {
  return object.metadata?.uid ?? "";
}

export function claimOf(pod: V1Pod): string {
  const claim = pod.spec?.volumes?.find((each) => each.name === "data")?.persistentVolumeClaim?.claimName;
  if (claim === undefined) throw new CannotRun(`pod ${pod.metadata?.name ?? "?"} has no volume claim "data"`);
  return claim;
}

/** The process of this name in a container of this pod: control groups of containers carry the uid of their pod. */
export function serverProcess(podUid: string, name: string, proc = "/proc"): number | undefined {
  return processesOf(podUid, proc).find((each) => each.name === name)?.pid;
}

export interface PodProcess {
  pid: number;
  name: string;
}

export function processesOf(podUid: string, proc = "/proc"): PodProcess[] {
  if (podUid === "") return [];
  // The systemd driver of control groups writes underscores instead of hyphens.
  const forms = [podUid, podUid.replaceAll("-", "_")];
  return readdirSync(proc)
    .filter((each) => /^[0-9]+$/.test(each))
    .sort((a, b) => Number(a) - Number(b))
    .flatMap((each): PodProcess[] => {
      try {
        const groups = readFileSync(`${proc}/${each}/cgroup`, "utf8");
        if (!forms.some((form) => groups.includes(form))) return [];
        // A zombie has no command line: it is dead already.
        if (readFileSync(`${proc}/${each}/cmdline`).length === 0) return [];
        return [{ pid: Number(each), name: readFileSync(`${proc}/${each}/comm`, "utf8").trim() }];
      } catch {
        // The process ended while it was looked at.
        return [];
      }
    });
}

function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
}
