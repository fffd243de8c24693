/** A run of a CronJob now, followed until its end. */
import {
  BatchV1Api,
  CoreV1Api,
  type KubeConfig,
  type V1CronJob,
  type V1Job,
  type V1Pod,
} from "@kubernetes/client-node";
import { patient, waitFor } from "../components/shared/core/wait";
import { readNamed, statusOf } from "./cluster";

export interface Run {
  ok: boolean;
  /** Of the last container. */
  log: string;
}

/** undefined: there is no such CronJob. */
export async function findCronJob(config: KubeConfig, namespace: string, name: string): Promise<V1CronJob | undefined> {
  const request = config.makeApiClient(BatchV1Api).readNamespacedCronJob({ namespace, name });
  const found = request.catch((error: unknown) => {
    if (statusOf(error) !== 404) throw error;
    return undefined;
  });
  return readNamed("CronJob", namespace, name, found);
}

/** `args`: another command for its last container. `say` gets what the containers print, as it comes. */
export async function runNow(
  config: KubeConfig,
  cronJob: V1CronJob,
  {
    args,
    deadlineSeconds,
    say = () => undefined,
  }: { args?: string[]; deadlineSeconds?: number; say?: (text: string) => void } = {},
): Promise<Run> {
  const job = jobOf(cronJob, Date.now().toString(36), args);
  const { name = "", namespace = "" } = job.metadata ?? {};
  const batch = config.makeApiClient(BatchV1Api);
  const core = config.makeApiClient(CoreV1Api);
  await batch.createNamespacedJob({ namespace, body: job });
  const printed = new Map<string, string>();
  const follow = async (pod: V1Pod): Promise<string> => {
    let last = "";
    for (const container of containersOf(pod)) {
      const request = core.readNamespacedPodLog({ namespace, name: pod.metadata?.name ?? "", container });
      // A container that has not started has none.
      last = await request.catch(() => "");
      const before = printed.get(container) ?? "";
      if (last.length > before.length) say(last.slice(before.length));
      printed.set(container, last);
    }
    return last;
  };
  return waitFor(
    `the end of the Job ${name}`,
    async () => {
      const { status } = await batch.readNamespacedJob({ namespace, name });
      const { items } = await core.listNamespacedPod({
        namespace,
        labelSelector: `batch.kubernetes.io/job-name=${name}`,
      });
      const [pod] = items;
      const log = pod === undefined ? "" : await follow(pod);
      const end = status?.conditions?.find(
        ({ type, status: is }) => ["Complete", "Failed"].includes(type) && is === "True",
      );
      if (end !== undefined) return { done: { ok: end.type === "Complete", log } };
      return { waiting: pod === undefined ? "it has no pod yet" : stateOf(pod) };
    },
    {
      ...patient,
      intervalSeconds: 1,
      deadlineSeconds: deadlineSeconds ?? (job.spec?.activeDeadlineSeconds ?? 3600) + 60,
    },
  );
}

/** As `kubectl create job --from=cronjob/...` makes it; a failure is not repeated, and the Job is deleted after an hour. */
export function jobOf(cronJob: V1CronJob, suffix: string, args: string[] | undefined): V1Job {
  const { name = "", namespace = "", uid = "" } = cronJob.metadata ?? {};
  const template = structuredClone(cronJob.spec?.jobTemplate);
  const [container] = template?.spec?.template.spec?.containers ?? [];
  if (template?.spec === undefined || container === undefined) throw new Error(`the CronJob ${name} has no container`);
  if (args !== undefined) container.args = args;
  return {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name: `${name}-${suffix}`,
      namespace,
      labels: template.metadata?.labels ?? {},
      ownerReferences: [{ apiVersion: "batch/v1", kind: "CronJob", name, uid }],
    },
    spec: { ...template.spec, backoffLimit: 0, ttlSecondsAfterFinished: 3600 },
  };
}

/** Those that end: a server beside them has much to say, and its log stays in the cluster. */
function containersOf({ spec }: V1Pod): string[] {
  const first = (spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy !== "Always");
  return [...first, ...(spec?.containers ?? [])].map(({ name }) => name);
}

function stateOf({ status }: V1Pod): string {
  const states = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const waiting = states.map(({ state }) => state?.waiting).find((each) => each?.message !== undefined);
  return waiting === undefined ? `its pod is ${status?.phase}` : `${waiting.reason}: ${waiting.message}`;
}
