import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { stat, statfs } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { CoreV1Api, type KubeConfig, type V1ContainerStatus, type V1Pod, Watch } from "@kubernetes/client-node";
import { CannotRun, messageOf, patient, statusOf, waitFor } from "../checks";
import type { CheckTarget } from "../components/shared/core/check";
import { instanceLabels, labelKeys, labelSelectorOf } from "../components/shared/core/names";
import type { Proof } from "./ledger";
import type { Profile } from "./workload";

/** Starts a fault. `proof` waits until it is seen to have happened. */
export interface Fault {
  /** When it struck, milliseconds of the monotonic clock. */
  at: number;
  proof: Promise<Proof>;
  /** Asked when the drill is over: what happened that must not have happened. */
  aftermath?: () => Promise<string[]>;
}

/** Where the pods of an ensemble are, and how to recognize its server. */
export interface Place {
  config: KubeConfig;
  target: Pick<CheckTarget, "service" | "name" | "namespace" | "members">;
  profile: Pick<Profile, "container" | "processes">;
  /** The one that a drill takes away. */
  node?: Node;
}

const proofSeconds = 120;
/** Beyond the grace period of the pod, within which the kubelet must be done with it. */
const stopSeconds = 60;
/** Longer than any service takes to replace a silent leader; shorter than the patience of a liveness probe, which is a minute. */
export const pauseSeconds = 20;
/** The agent beside a server, see components/shared/deploy/members.ts. */
const agentContainer = "agent";

/**
 * A crash: SIGKILL of the server process, from the machine the nodes run on. Deleting a pod is no crash, even without a
 * grace period: the server gets a SIGTERM first and hands over its leadership.
 */
export async function killServer(place: Place, pod: string): Promise<Fault> {
  const { container, processes } = place.profile;
  const before = await readPod(place, pod);
  const pids = processesOfContainer(containerOf(before, container), processes);
  if (pids.length === 0) throw invisible(processes.join(" or "), pod);
  const at = performance.now();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const proof = waitFor(
    `a new ${processes.join(", ")} process in ${pod}`,
    async () => {
      const left = pids.filter(isAlive);
      if (left.length > 0) return { waiting: `process ${left.join(", ")} is still there` };
      const after = await readPod(place, pod);
      const fresh = processesOfContainer(containerOf(after, container), processes);
      const gone = `process ${pids.join(", ")}`;
      if (fresh.length === 0) return { waiting: `${gone} is gone, there is no new one yet` };
      const same = uidOf(after) === uidOf(before) ? "the same pod" : "another pod";
      return { done: `${gone} killed, runs again as ${fresh.join(", ")} in ${same}` };
    },
    { ...patient, deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

/**
 * A server that hangs: stopped by SIGSTOP, for long enough that the others must replace it, and continued with all that it knew
 * then. Its connections stay open, and the kernel goes on to accept more.
 */
export async function pauseServer(place: Place, pod: string): Promise<Fault> {
  const { container, processes } = place.profile;
  const pids = processesOfContainer(containerOf(await readPod(place, pod), container), processes);
  if (pids.length === 0) throw invisible(processes.join(" or "), pod);
  const over = later(pauseSeconds, `kill -CONT ${pids.join(" ")}`);
  const at = performance.now();
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  const seen = delay(pauseSeconds * 1000 - 500).then(() => pids.map((pid) => stateOf(pid)));
  return { at, proof: Promise.all([seen, over]).then(([states]) => provenPause(pids, states)) };
}

/**
 * Ends a fault. A process of its own, begun before the fault: whatever ends this program must not leave a server behind that hangs,
 * or a node that is away. Resolves with the exit code.
 */
async function later(seconds: number, command: string): Promise<number> {
  const child = spawn("sh", ["-c", `sleep ${seconds}; ${command}`], { detached: true, stdio: "ignore" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}

/** The states of the processes, see proc(5), at the end of the pause. */
export function provenPause(pids: number[], states: (string | undefined)[]): Proof {
  const seen = states.map((state, index) => `${pids[index]} ${state ?? "gone"}`).join(", ");
  return states.every((state) => state === "T")
    ? { proven: true, detail: `stopped for ${pauseSeconds} s, and then continued: process ${seen}` }
    : { proven: false, detail: `not stopped for all of ${pauseSeconds} s (T): process ${seen}` };
}

export const fullSeconds = 30;
/** What is left to the file that takes the last of it, in small steps, and what a server may free between two of them. */
const nearlyFull = 2 ** 20;

/**
 * The volumes of all members have no space left: replicas are about equally full, so no other leader could do better. Files beside the
 * data take all space, also what servers free meanwhile, and are removed 30 s later.
 */
export async function fillVolumes(place: Place): Promise<Fault> {
  const paths = await Promise.all(place.target.members.map((member) => volumePath(place, member)));
  const free = () => Promise.all(paths.map(freeBytes));
  const sizes = (await free()).map((bytes) => Math.max(0, bytes - nearlyFull));
  const rest = (path: string): string => `dd if=/dev/zero bs=4096 >> ${path}/drill-full-rest`;
  const all = (command: (path: string, index: number) => string): string => paths.map(command).join("; ");
  const fill = `${all((path, index) => `fallocate -l ${sizes[index]} ${path}/drill-full`)}; ${all(rest)}`;
  const keep = `for second in $(seq ${fullSeconds}); do ${all(rest)}; sleep 1; done; rm -f ${paths.map((path) => `${path}/drill-full*`).join(" ")}`;
  const at = performance.now();
  const over = later(0, `${fill}; ${keep}`);
  const proof = async (): Promise<Proof> => {
    await delay(5000);
    const left = await free();
    const code = await over;
    // Servers that start again may free what they had reserved. It is taken from them within seconds.
    const proven = code === 0 && left.every((bytes) => bytes < nearlyFull);
    return { proven, detail: `free bytes after 5 s: ${left.join(", ")}` };
  };
  return { at, proof: proof() };
}

async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

/** Where the volume of a member is mounted on this machine. */
async function volumePath(place: Place, pod: string): Promise<string> {
  const core = place.config.makeApiClient(CoreV1Api);
  const { namespace } = place.target;
  const claim = await core.readNamespacedPersistentVolumeClaim({ name: claimOf(await readPod(place, pod)), namespace });
  const { spec } = await core.readPersistentVolume({ name: claim.spec?.volumeName ?? "" });
  const path = spec?.hostPath?.path;
  if (path === undefined) throw new CannotRun(`the volume of ${pod} is not visible from here`);
  const [own, around] = await Promise.all([path, dirname(path)].map((each) => stat(each).catch(() => undefined)));
  if (own === undefined) throw new CannotRun(`the volume of ${pod} is not on this machine`);
  // A folder has no size of its own: the machine itself would have no space left.
  if (own.dev === around?.dev)
    throw new CannotRun(`the volume of ${pod} is a folder of this machine, so it is not filled`);
  return path;
}

/** What takes a node away, and what brings it back. */
const nodeActions = { cut: "heal", stop: "start" } as const;
/** Kubernetes knows after 40 to 50 s that a node is gone: until then the services help themselves. */
export const awaySeconds = 35;
const kubeletPort = 10250;

export interface Node {
  name: string;
  /** Its internal one, which is reachable from here. */
  address: string;
  /** A command for the shell, to which the action and the name of the node are added. */
  command: string;
}

/** A node is cut off from all others, or dies with all that runs on it, and is there again 35 s later. */
export async function takeNode({ node }: Place, action: keyof typeof nodeActions): Promise<Fault> {
  if (node === undefined) throw new CannotRun("no node was chosen, so none can be taken away");
  const { name, address, command } = node;
  if (!(await answers(address))) {
    throw new CannotRun(
      `the kubelet of ${name} does not answer at ${address}, so nobody could see that the node is lost`,
    );
  }
  const over = later(awaySeconds, `${command} ${nodeActions[action]} ${name}`);
  await promisify(execFile)("sh", ["-c", `${command} ${action} ${name}`]);
  const at = performance.now();
  const away = async (): Promise<Proof> => {
    const answered = [await answers(address)];
    await delay((awaySeconds - 10) * 1000);
    answered.push(await answers(address));
    const code = await over;
    if (code !== 0) return { proven: false, detail: `${name} could not be brought back: exit code ${code}` };
    return answered.includes(true)
      ? { proven: false, detail: `the kubelet of ${name} answered at ${address}, so the node was not away` }
      : { proven: true, detail: `${name} was away (${action}) for ${awaySeconds} s: its kubelet did not answer` };
  };
  return { at, proof: away() };
}

async function answers(address: string): Promise<boolean> {
  const socket = connect({ host: address, port: kubeletPort });
  try {
    return await Promise.race([once(socket, "connect").then(() => true), delay(2000, false)]);
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

export async function addressOf(config: KubeConfig, name: string): Promise<string> {
  const { status } = await config.makeApiClient(CoreV1Api).readNode({ name });
  const address = status?.addresses?.find(({ type }) => type === "InternalIP")?.address;
  if (address === undefined) throw new CannotRun(`node ${name} has no internal address`);
  return address;
}

export async function nodeOf(place: Pick<Place, "config" | "target">, pod: string): Promise<string> {
  return (await readPod(place, pod)).spec?.nodeName ?? "";
}

/** The tag of the image of the first member. */
export async function versionOf(place: Pick<Place, "config" | "target">, container: string): Promise<string> {
  const { spec } = await readPod(place, place.target.members[0] ?? "");
  return (
    spec?.containers
      .find(({ name }) => name === container)
      ?.image?.split(":")
      .at(-1) ?? "unknown"
  );
}

/**
 * The agent beside a server dies. Whether anything but the agent noticed is asked at the end, when there was time for it: the
 * container of the server must be the very same.
 */
export async function killAgent(place: Place, pod: string): Promise<Fault> {
  const before = await readPod(place, pod);
  const agent = containerOf(before, agentContainer);
  const server = containerOf(before, place.profile.container);
  const pids = processesOfContainer(agent);
  if (pids.length === 0) throw invisible("agent", pod);
  const at = performance.now();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const proof = waitFor(
    `a new agent in ${pod}`,
    async () => {
      const left = pids.filter(isAlive);
      if (left.length > 0) return { waiting: `process ${left.join(", ")} is still there` };
      const now = containerOf(await readPod(place, pod), agentContainer);
      if (now.restartCount <= agent.restartCount || now.state?.running === undefined) {
        return { waiting: `process ${pids.join(", ")} is gone, the container does not run again yet` };
      }
      return { done: `agent process ${pids.join(", ")} killed, its container runs for time ${now.restartCount + 1}` };
    },
    { ...patient, deadlineSeconds: proofSeconds },
  );
  return {
    at,
    proof: proven(proof),
    aftermath: async () => changesOf(server, containerOf(await readPod(place, pod), place.profile.container), pod),
  };
}

/** What happened to a container that nobody touched. */
export function changesOf(before: V1ContainerStatus, after: V1ContainerStatus, pod: string): string[] {
  const what = `the container ${before.name} of ${pod}`;
  if (after.restartCount !== before.restartCount) {
    return [`${what} restarted ${after.restartCount - before.restartCount} times without a reason of its own`];
  }
  return after.containerID === before.containerID ? [] : [`${what} is another one`];
}

/** A pod deleted without a grace period; the server still gets a SIGTERM. */
export async function deletePod(place: Place, pod: string): Promise<Fault> {
  const before = uidOf(await readPod(place, pod));
  const at = performance.now();
  await removePod(place, pod, { gracePeriodSeconds: 0 });
  const proof = waitFor(
    `a new pod ${pod}`,
    async () => {
      const after = uidOf(await readPod(place, pod));
      return after === before
        ? { waiting: "the old pod is still there" }
        : { done: `pod ${before} replaced by ${after}` };
    },
    { ...patient, deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

/**
 * A pod deleted with its own grace period, as by a drain or a roll: the kubelet runs the hook, sends SIGTERM and waits. The
 * last words of the pod tell whether the server stopped by itself or had to be killed.
 */
export async function stopPod(place: Place, pod: string): Promise<Fault> {
  const before = await readPod(place, pod);
  const { container } = place.profile;
  const grace = before.spec?.terminationGracePeriodSeconds ?? 30;
  const last = watchEnd(place, before);
  try {
    await last.look();
    const at = performance.now();
    await removePod(place, pod, {});
    const proof = waitFor(
      `the end of the pod ${pod} and a new one`,
      async () => {
        const seen = await last.look();
        if (!seen.deleted) return { waiting: "the old pod is still there" };
        const after = uidOf(await readPod(place, pod));
        return { done: { ...endOf(seen, container), grace, after } };
      },
      { ...patient, deadlineSeconds: grace + stopSeconds },
    )
      .then((stop) => provenStop(pod, stop))
      .catch((error: unknown): Proof => ({ proven: false, detail: messageOf(error) }))
      .finally(() => last.close());
    return { at, proof };
  } catch (error) {
    last.close();
    throw error;
  }
}

/** What a pod that was asked to stop showed at its end. */
export interface Stop {
  /** Of the server; undefined when nobody saw it. */
  exitCode: number | undefined;
  /** From the request to the end of the server, in whole seconds as the API has them. */
  seconds: number | undefined;
  grace: number;
  /** Uid of the pod that took its place. */
  after: string;
}

/** By itself, or by SIGTERM (128 + 15), which some servers raise again when they are done. */
const stoppedExitCodes = [0, 143];
/** 128 + SIGKILL: the kubelet lost its patience, or somebody else was faster. */
const killedExitCode = 137;

export function provenStop(pod: string, { exitCode, seconds, grace, after }: Stop): Proof {
  const took = seconds === undefined ? "" : ` after ${seconds} s of ${grace} s`;
  if (exitCode === undefined) {
    return { proven: false, detail: `nobody saw how the server of ${pod} ended, so it may not have been asked to` };
  }
  if (exitCode === killedExitCode) {
    return { proven: false, detail: `the server of ${pod} was killed${took}, it did not stop when it was asked to` };
  }
  if (!stoppedExitCodes.includes(exitCode)) {
    return {
      proven: false,
      detail: `the server of ${pod} failed${took} with exit code ${exitCode}, it did not just stop`,
    };
  }
  return {
    proven: true,
    detail: `server stopped when asked to${took}, exit code ${exitCode}; pod replaced by ${after}`,
  };
}

/** What was seen of a pod that is going away. */
export interface LastSeen {
  pod: V1Pod;
  /** When it was asked to, by the clock of the API server. */
  asked?: number;
  deleted: boolean;
}

export function noted(last: LastSeen, pod: V1Pod, deleted: boolean): LastSeen {
  const { deletionTimestamp, deletionGracePeriodSeconds: grace = 0 } = pod.metadata ?? {};
  // The time of deletion is the time when the grace period will be over; at the very end there is no grace any more.
  const asked =
    last.asked ??
    (deletionTimestamp === undefined || grace === 0 ? undefined : new Date(deletionTimestamp).getTime() - grace * 1000);
  return { pod, deleted, ...(asked === undefined ? {} : { asked }) };
}

/** The end of a container, from the last state of its pod. */
export function endOf({ pod, asked }: LastSeen, container: string): Pick<Stop, "exitCode" | "seconds"> {
  const { terminated } = pod.status?.containerStatuses?.find((each) => each.name === container)?.state ?? {};
  const finished = terminated?.finishedAt;
  const known = asked !== undefined && finished !== undefined;
  return {
    exitCode: terminated?.exitCode,
    seconds: known ? Math.max(0, Math.round((new Date(finished).getTime() - asked) / 1000)) : undefined,
  };
}

/** Keeps the latest state of this very pod: after its end, nobody can ask for it any more. */
function watchEnd({ config, target }: Place, pod: V1Pod): { look(): Promise<LastSeen>; close(): void } {
  let last: LastSeen = { pod, deleted: false };
  let current: AbortController | undefined;
  const fieldSelector = `metadata.name=${nameOf(pod)}`;
  const open = async (): Promise<void> => {
    const core = config.makeApiClient(CoreV1Api);
    const { metadata, items } = await core.listNamespacedPod({ namespace: target.namespace, fieldSelector });
    const now = items.find((each) => uidOf(each) === uidOf(pod));
    last = now === undefined ? { ...last, deleted: true } : noted(last, now, false);
    if (last.deleted) return;
    let ended = false;
    const started = await new Watch(config).watch(
      `/api/v1/namespaces/${target.namespace}/pods`,
      // The version of the list, not of the pod: that may be too old to be watched from.
      { fieldSelector, resourceVersion: metadata?.resourceVersion },
      (phase, changed: V1Pod) => {
        if (phase !== "ERROR" && uidOf(changed) === uidOf(pod)) last = noted(last, changed, phase === "DELETED");
      },
      // After half a minute without news the client gives up, which is shorter than some grace periods.
      () => {
        ended = true;
        current = undefined;
      },
    );
    if (!ended) current = started;
  };
  return {
    async look() {
      if (current === undefined && !last.deleted) await open();
      return last;
    },
    close: () => current?.abort(),
  };
}

/**
 * All pods of the service at once: a power cut. The servers are killed where that is possible, because a deleted one still
 * gets a SIGTERM; the gateway goes too. Jobs are no part of the service and stay.
 */
export async function stopEverything(place: Place): Promise<Fault> {
  const { target, profile } = place;
  const before = await servicePods(place);
  const missing = target.members.filter((member) => !before.some((pod) => pod.metadata?.name === member));
  if (missing.length > 0) throw new Error(`${missing.join(", ")} is not there, so not everything can be stopped`);
  const pids = before
    .filter((pod) => target.members.includes(pod.metadata?.name ?? ""))
    .flatMap((pod) => processesOfContainer(containerOf(pod, profile.container), profile.processes));
  const at = performance.now();
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await Promise.all(before.map((pod) => removePod(place, pod.metadata?.name ?? "", { gracePeriodSeconds: 0 })));
  const proof = waitFor(
    `new pods of ${target.name}`,
    async () => {
      const seen = replacement(before, await servicePods(place));
      const left = pids.filter(isAlive);
      if (left.length > 0) return { waiting: `process ${left.join(", ")} is still there` };
      return "done" in seen ? { done: `${servers(pids.length)}${seen.done}` } : seen;
    },
    { ...patient, deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

const servers = (count: number): string => (count === 0 ? "" : `${count} server processes killed, `);

/** Every pod must be gone, and as many as before must be there, under the same names where names are for life. */
export function replacement(before: V1Pod[], after: V1Pod[]): { done: string } | { waiting: string } {
  const old = new Set(before.map(uidOf));
  const left = after.filter((pod) => old.has(uidOf(pod)));
  if (left.length > 0) return { waiting: `still there: ${left.map(nameOf).join(", ")}` };
  if (after.length < before.length) return { waiting: `${after.length} of ${before.length} new pods are there` };
  return {
    done: `all ${before.length} pods replaced: ${after.map((pod) => `${nameOf(pod)} ${uidOf(pod)}`).join(", ")}`,
  };
}

/** Members and gateway; what is on its way out, or has run to its end, does not count. */
async function servicePods({ config, target }: Place): Promise<V1Pod[]> {
  const labelSelector = labelSelectorOf(instanceLabels(target.service, target.name));
  const list = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace: target.namespace, labelSelector });
  return list.items.filter(isOfService);
}

export function isOfService({ metadata, status }: V1Pod): boolean {
  if (metadata?.labels?.[labelKeys.component] === "agent") return false;
  return status?.phase !== "Succeeded" && status?.phase !== "Failed";
}

/** The volume of a member is gone: its claim is deleted, and its pod, without which the claim would stay. */
export async function deleteVolume(place: Place, pod: string): Promise<Fault> {
  const { namespace } = place.target;
  const core = place.config.makeApiClient(CoreV1Api);
  const name = claimOf(await readPod(place, pod));
  const before = uidOf(await core.readNamespacedPersistentVolumeClaim({ name, namespace }));
  const at = performance.now();
  await core.deleteNamespacedPersistentVolumeClaim({ name, namespace });
  await removePod(place, pod, { gracePeriodSeconds: 0 });
  const proof = waitFor(
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
    { ...patient, deadlineSeconds: proofSeconds },
  );
  return { at, proof: proven(proof) };
}

function readPod({ config, target }: Pick<Place, "config" | "target">, name: string): Promise<V1Pod> {
  return config.makeApiClient(CoreV1Api).readNamespacedPod({ name, namespace: target.namespace });
}

async function removePod({ config, target }: Place, name: string, how: { gracePeriodSeconds?: number }): Promise<void> {
  await config.makeApiClient(CoreV1Api).deleteNamespacedPod({ name, namespace: target.namespace, ...how });
}

function proven(seen: Promise<string>): Promise<Proof> {
  return seen.then(
    (detail) => ({ proven: true, detail }),
    (error: unknown) => ({ proven: false, detail: messageOf(error) }),
  );
}

function uidOf(object: { metadata?: { uid?: string } }): string {
  return object.metadata?.uid ?? "";
}

function nameOf(object: { metadata?: { name?: string } }): string {
  return object.metadata?.name ?? "?";
}

export function claimOf(pod: V1Pod): string {
  const claim = pod.spec?.volumes?.find((each) => each.name === "data")?.persistentVolumeClaim?.claimName;
  if (claim === undefined) throw new CannotRun(`pod ${nameOf(pod)} has no volume claim "data"`);
  return claim;
}

/** Agents that run beside a server are init containers that are restarted. */
export function containerOf(pod: V1Pod, name: string): V1ContainerStatus {
  const all = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  const found = all.find((each) => each.name === name);
  if (found !== undefined) return found;
  const known = all.map((each) => each.name).join(", ") || "none yet";
  throw new Error(`pod ${nameOf(pod)} has no container "${name}"; it has ${known}`);
}

function invisible(what: string, pod: string): CannotRun {
  return new CannotRun(
    `no process ${what} of pod ${pod} is visible from here; ` +
      "a crash needs root on the machine that runs the nodes, as in the sandbox",
  );
}

/** The processes of a container, of these names or all: control groups carry the id of their container. */
export function processesOfContainer(
  { containerID = "" }: Pick<V1ContainerStatus, "containerID">,
  names?: readonly string[],
  proc = "/proc",
): number[] {
  // "containerd://<id>"
  const id = containerID.slice(containerID.indexOf("://") + "://".length);
  return processesIn(id, proc)
    .filter((each) => names === undefined || names.includes(each.name))
    .map((each) => each.pid);
}

export interface GroupProcess {
  pid: number;
  name: string;
}

/** What runs in a control group whose path contains this. */
export function processesIn(group: string, proc = "/proc"): GroupProcess[] {
  if (group === "") return [];
  return readdirSync(proc)
    .filter((each) => /^[0-9]+$/.test(each))
    .sort((a, b) => Number(a) - Number(b))
    .flatMap((each): GroupProcess[] => {
      try {
        if (!readFileSync(`${proc}/${each}/cgroup`, "utf8").includes(group)) return [];
        // A zombie has no command line: it is dead already.
        if (readFileSync(`${proc}/${each}/cmdline`).length === 0) return [];
        return [{ pid: Number(each), name: readFileSync(`${proc}/${each}/comm`, "utf8").trim() }];
      } catch {
        // The process ended while it was looked at.
        return [];
      }
    });
}

/** One letter: `T` is stopped; undefined when there is no such process. */
export function stateOf(pid: number, proc = "/proc"): string | undefined {
  try {
    // The name before it, in parentheses, may hold anything.
    return /.*\) (\S)/s.exec(readFileSync(`${proc}/${pid}/stat`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length > 0;
  } catch {
    return false;
  }
}
