import { CoreV1Api, type KubeConfig } from "@kubernetes/client-node";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { within } from "../components/shared/core/wait";
import { apiMessage } from "./cluster";
import { publicKeys, type Redaction } from "./redaction";
import { openTunnel, portForward, type TunnelManager } from "./tunnel";

export interface OpenEnvironment extends CheckEnvironment {
  tunnel: TunnelManager;
  close(): Promise<void>;
}

const requestSeconds = 10;

export function openEnvironment(
  config: KubeConfig,
  target: Pick<CheckTarget, "namespace">,
  redaction: Redaction,
  signal: AbortSignal,
): OpenEnvironment {
  const { namespace } = target;
  const core = config.makeApiClient(CoreV1Api);
  const tunnel = openTunnel(portForward(config, namespace), readyPod);
  return {
    tunnel,
    async secret(name) {
      const { data } = await read("Secret", name, core.readNamespacedSecret({ name, namespace }));
      const decoded = Object.fromEntries(
        Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString("utf8")]),
      );
      for (const [key, value] of Object.entries(decoded)) if (isSecret(key, value)) redaction.add(value);
      return decoded;
    },
    async configMap(name) {
      const { data } = await read("ConfigMap", name, core.readNamespacedConfigMap({ name, namespace }));
      return { ...data };
    },
    clock: () => performance.now(),
    signal,
    close: () => tunnel.close(),
  };

  /** By the selector, as the Service itself finds them: named ports are those of the pod's containers. */
  async function readyPod(service: string, port: number): Promise<{ pod: string; port: number }> {
    const { spec } = await read("Service", service, core.readNamespacedService({ name: service, namespace }));
    const target = spec?.ports?.find((each) => each.port === port)?.targetPort ?? port;
    const labelSelector = Object.entries(spec?.selector ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(",");
    const pods = await read("pods of Service", service, core.listNamespacedPod({ namespace, labelSelector }));
    const ready = pods.items.filter(
      ({ metadata, status }) =>
        metadata?.deletionTimestamp === undefined &&
        status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
    );
    const pod = ready[0];
    if (pod?.metadata?.name === undefined) {
      throw new Error(`no pod is ready behind the Service ${service}, of ${pods.items.length} pods`);
    }
    if (typeof target === "number") return { pod: pod.metadata.name, port: target };
    const named = pod.spec?.containers.flatMap((each) => each.ports ?? []).find((each) => each.name === target);
    if (named === undefined) throw new Error(`the pod ${pod.metadata.name} has no port named ${target}`);
    return { pod: pod.metadata.name, port: named.containerPort };
  }

  async function read<T>(kind: string, name: string, request: Promise<T>): Promise<T> {
    try {
      return await within(request, requestSeconds, `${kind} ${name}`);
    } catch (error) {
      throw new Error(`cannot read ${kind} ${namespace}/${name}: ${apiMessage(error)}`);
    }
  }
}

function isSecret(key: string, value: string): boolean {
  // A url names a host for everybody; only one with a user in it is a secret.
  if (key === "url") return value.includes("@");
  return !publicKeys.includes(key);
}
