import { CoreV1Api, type KubeConfig } from "@kubernetes/client-node";
import type { CheckEnvironment, CheckTarget } from "../components/shared/check";
import { apiMessage } from "./cluster";
import type { Redaction } from "./redaction";
import { openTunnel, portForward, type TunnelManager } from "./tunnel";
import { within } from "./wait";

export interface OpenEnvironment extends CheckEnvironment {
  tunnel: TunnelManager;
  close(): Promise<void>;
}

const requestSeconds = 10;
/** Keys of a Secret that are no secrets: they appear in messages on purpose. */
const publicKeys = ["ca.crt", "tls.crt", "username", "host", "port"];

export function openEnvironment(
  config: KubeConfig,
  target: Pick<CheckTarget, "namespace">,
  redaction: Redaction,
  signal: AbortSignal,
): OpenEnvironment {
  const { namespace } = target;
  const core = config.makeApiClient(CoreV1Api);
  const tunnel = openTunnel(portForward(config, namespace));
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

  async function read<T>(kind: string, name: string, request: Promise<T>): Promise<T> {
    try {
      return await within(`${kind} ${name}`, requestSeconds, request);
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
