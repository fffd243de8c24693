import { expect } from "vitest";
import {
  chooseCluster,
  createRedaction,
  loadCluster,
  messageOf,
  openEnvironment,
  readOutputs,
  selectTargets,
} from "../../checks";
import { type DrilledService, profileOf } from "../../drills/profiles";
import { writerOf } from "../../drills/workload";
import { kubectl } from "../../sandbox/cluster";
import { checkout, kubeconfig } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import { serviceNames } from "../../stacks/config";

export const drilledServices = serviceNames.filter((each): each is DrilledService => each !== "objectstore");

/** Where a service of the stack is. */
export async function placeOf(stack: string, service: DrilledService) {
  const outputs = await readOutputs({ stack, directory: checkout });
  const [target] = selectTargets(outputs.checks, [service]);
  if (target === undefined) throw new Error(`the stack has no ${service}`);
  const config = loadCluster(chooseCluster({ kubeconfig }, outputs, {}));
  return { config, target, profile: await profileOf(service) };
}

/** What an application has read from its Secret, and may go on using. */
export type Held = Record<string, Record<string, string>>;

/**
 * A real client that writes, and reads back what each single member holds. `run` is part of the names of what it writes. `held`: instead
 * of what the Secret of the application says now.
 */
export async function openWorkload(
  stack: string,
  service: DrilledService,
  run: string,
  { held = {} }: { held?: Held } = {},
) {
  const { config, target, profile } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  const secret = async (name: string) => held[name] ?? environment.secret(name);
  try {
    const workload = await profile.open(target, { ...environment, secret }, run);
    const close = async (): Promise<void> => {
      await workload.close();
      await environment.close();
    };
    return { members: target.members, profile, workload, close };
  } catch (error) {
    await environment.close();
    throw error;
  }
}

/** Each member by itself holds all of these writes. */
export async function expectStored({ members, workload }: Opened, ids: string[]): Promise<void> {
  for (const member of members) {
    const stored = await until(`what ${member} holds`, 60, () => workload.stored(member));
    expect(
      ids.filter((id) => !stored.has(id)),
      `${member} lacks`,
    ).toEqual([]);
  }
}

type Opened = Pick<Awaited<ReturnType<typeof openWorkload>>, "members" | "workload">;

/** What the first application reads now. */
export async function heldBy(stack: string, service: DrilledService): Promise<Held> {
  const { config, target } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  try {
    const { secret } = writerOf(target);
    return { [secret]: await environment.secret(secret) };
  } finally {
    await environment.close();
  }
}

/** undefined: who holds this is let in by each member, or by the address that clients use. Otherwise why not. */
export async function refusalOf(stack: string, service: DrilledService, held: Held): Promise<string | undefined> {
  try {
    const { members, workload, close } = await openWorkload(stack, service, `held${Date.now().toString(36)}`, { held });
    try {
      await until("a first write", 15, () => workload.prepare().then(() => true));
      // Each writer begins with another member.
      for (const writer of members.keys()) await workload.write(`held-${writer}`, writer);
      return undefined;
    } finally {
      await close();
    }
  } catch (error) {
    return messageOf(error);
  }
}

/** Runs a CronJob now, and returns what it has said. */
export async function runNow(namespace: string, cronJob: string, seconds = 300): Promise<string> {
  const job = `${cronJob}-now-${Date.now().toString(36)}`;
  await kubectl("create", "job", job, "-n", namespace, `--from=cronjob/${cronJob}`);
  await kubectl("wait", `job/${job}`, "-n", namespace, "--for=condition=Complete", `--timeout=${seconds}s`);
  return kubectl("logs", `job/${job}`, "-n", namespace);
}

/** `kubectl rollout status` knows no StatefulSets whose pods are replaced by somebody else. */
export async function allReady(namespace: string, service: DrilledService, seconds: number): Promise<void> {
  const ready = "--for=jsonpath={.status.readyReplicas}=3";
  await kubectl("wait", `statefulset/${service}`, "-n", namespace, ready, `--timeout=${seconds}s`);
}
