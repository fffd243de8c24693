import { CoreV1Api, KubeConfig } from "@kubernetes/client-node";
import { messageOf } from "../components/shared/core/errors";
import { within } from "../components/shared/core/wait";
import { CannotRun } from "./failure";
import type { ClusterChoice } from "./targets";

/** Answers of the API server are small; a cluster that takes longer than this is not one to check. */
export const requestSeconds = 10;

/** Loads the named kubeconfig and context, and nothing else. */
export function loadCluster(choice: ClusterChoice): KubeConfig {
  const config = new KubeConfig();
  try {
    const [first, ...others] = choice.files;
    if (first === undefined) throw new CannotRun("the list of kubeconfig files is empty");
    config.loadFromFile(first);
    for (const file of others) {
      const other = new KubeConfig();
      other.loadFromFile(file);
      config.mergeConfig(other);
    }
  } catch (error) {
    throw new CannotRun(`cannot load the kubeconfig ${choice.files.join(", ")}: ${messageOf(error)}`);
  }
  config.setCurrentContext(contextOf(config, choice));
  return config;
}

function contextOf(config: KubeConfig, choice: ClusterChoice): string {
  const known = config.getContexts().map((each) => each.name);
  const where = choice.files.join(", ");
  if (choice.context !== undefined) {
    if (known.includes(choice.context)) return choice.context;
    throw new CannotRun(
      `no context ${JSON.stringify(choice.context)} in ${where}; it has ${known.join(", ") || "none"}`,
    );
  }
  const [only, ...others] = known;
  if (only !== undefined && others.length === 0) return only;
  throw new CannotRun(`${where} has ${known.length} contexts (${known.join(", ")}); choose one with --context`);
}

/** Fails early and in words when the API server does not answer or does not let us in. */
export async function reachCluster(config: KubeConfig, namespace: string): Promise<void> {
  const server = config.getCurrentCluster()?.server ?? "unknown";
  try {
    const core = config.makeApiClient(CoreV1Api);
    await within(core.listNamespacedPod({ namespace, limit: 1 }), requestSeconds, "the API server");
  } catch (error) {
    throw new CannotRun(
      `cannot reach the cluster at ${server} (context ${config.getCurrentContext()}): ${apiMessage(error)}`,
    );
  }
}

/** Fails with one line that says what could not be read, and why. */
export async function readNamed<T>(kind: string, namespace: string, name: string, request: Promise<T>): Promise<T> {
  try {
    return await within(request, requestSeconds, `${kind} ${name}`);
  } catch (error) {
    throw new Error(`cannot read ${kind} ${namespace}/${name}: ${apiMessage(error)}`);
  }
}

/** The HTTP status of an error of the Kubernetes client, if it has one. */
export function statusOf(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "number" ? code : undefined;
}

/** An error of the Kubernetes client without the dump of all its headers. */
export function apiMessage(error: unknown): string {
  const status = statusOf(error);
  if (status === undefined) return messageOf(error);
  const body = (error as { body?: unknown }).body;
  return `the API server answered ${status}${reasonIn(body)}`;
}

function reasonIn(body: unknown): string {
  let value = body;
  if (typeof body === "string") {
    try {
      value = JSON.parse(body);
    } catch {
      return body === "" ? "" : `: ${body.slice(0, 200)}`;
    }
  }
  const message = (value as { message?: unknown } | null | undefined)?.message;
  return typeof message === "string" ? `: ${message}` : "";
}
