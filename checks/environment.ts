import { CoreV1Api, type KubeConfig, type V1Pod, type V1ServiceSpec } from "@kubernetes/client-node";
import type { CheckEnvironment, CheckTarget } from "../components/shared/core/check";
import { labelSelectorOf } from "../components/shared/core/names";
import { readNamed } from "./cluster";
import { publicKeys, type Redaction } from "./redaction";
import { openTunnel, portForward, type TunnelManager } from "./tunnel";

export interface OpenEnvironment extends CheckEnvironment {
  tunnel: TunnelManager;
  close(): Promise<void>;
}

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

  async function readyPod(service: string, port: number): Promise<{ pod: string; port: number }> {
    const { spec } = await read("Service", service, core.readNamespacedService({ name: service, namespace }));
    const labelSelector = labelSelectorOf(spec?.selector ?? {});
    // Without a selector a list would hold all pods of the namespace.
    const pods =
      labelSelector === ""
        ? []
        : (await read("pods of Service", service, core.listNamespacedPod({ namespace, labelSelector }))).items;
    return podBehind(service, port, spec, pods);
  }

  function read<T>(kind: string, name: string, request: Promise<T>): Promise<T> {
    return readNamed(kind, namespace, name, request);
  }
}

/** Where the Service leads to: the first pod of its selector that is ready, and the port of this pod. */
export function podBehind(
  service: string,
  port: number,
  spec: V1ServiceSpec | undefined,
  pods: V1Pod[],
): { pod: string; port: number } {
  const ports = spec?.ports ?? [];
  const known = ports.find((each) => each.port === port);
  if (known === undefined) {
    throw new Error(`the Service ${service} has no port ${port}, it has ${ports.map((each) => each.port).join(", ")}`);
  }
  if (Object.keys(spec?.selector ?? {}).length === 0) throw new Error(`the Service ${service} selects no pods`);
  const pod = pods.find(
    ({ metadata, status }) =>
      metadata?.deletionTimestamp === undefined &&
      status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
  );
  const name = pod?.metadata?.name;
  if (name === undefined) throw new Error(`no pod is ready behind the Service ${service}, of ${pods.length} pods`);
  const target = known.targetPort ?? port;
  if (typeof target === "number") return { pod: name, port: target };
  // Named ports are those of the containers of the pod.
  const named = pod?.spec?.containers.flatMap((each) => each.ports ?? []).find((each) => each.name === target);
  if (named === undefined) throw new Error(`the pod ${name} has no port named ${target}`);
  return { pod: name, port: named.containerPort };
}

function isSecret(key: string, value: string): boolean {
  // A url names a host for everybody; only one with a user in it is a secret.
  if (key === "url") return value.includes("@");
  return !publicKeys.includes(key);
}
