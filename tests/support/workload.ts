import { chooseCluster, createRedaction, loadCluster, openEnvironment, readOutputs, selectTargets } from "../../checks";
import { type DrilledService, profileOf } from "../../drills/profiles";
import { kubectl } from "../../sandbox/cluster";
import { checkout, kubeconfig } from "../../sandbox/paths";

/** Where a service of the stack is. */
export async function placeOf(stack: string, service: DrilledService) {
  const outputs = await readOutputs({ stack, directory: checkout });
  const [target] = selectTargets(outputs.checks, [service]);
  if (target === undefined) throw new Error(`the stack has no ${service}`);
  const config = loadCluster(chooseCluster({ kubeconfig }, outputs, {}));
  return { config, target, profile: await profileOf(service) };
}

/** A real client that writes, and reads back what each single member holds. `run` is part of the names of what it writes. */
export async function openWorkload(stack: string, service: DrilledService, run: string) {
  const { config, target, profile } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  const workload = await profile.open(target, environment, run);
  const close = async (): Promise<void> => {
    await workload.close();
    await environment.close();
  };
  return { members: target.members, workload, close };
}

/** Runs a CronJob now, and returns what it has said. */
export async function runNow(namespace: string, cronJob: string): Promise<string> {
  const job = `${cronJob}-now-${Date.now().toString(36)}`;
  await kubectl("create", "job", job, "-n", namespace, `--from=cronjob/${cronJob}`);
  await kubectl("wait", `job/${job}`, "-n", namespace, "--for=condition=Complete", "--timeout=300s");
  return kubectl("logs", `job/${job}`, "-n", namespace);
}

/** `kubectl rollout status` knows no StatefulSets whose pods are replaced by somebody else. */
export async function allReady(namespace: string, service: DrilledService, seconds: number): Promise<void> {
  const ready = "--for=jsonpath={.status.readyReplicas}=3";
  await kubectl("wait", `statefulset/${service}`, "-n", namespace, ready, `--timeout=${seconds}s`);
}
