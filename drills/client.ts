/**
 * A pod among the clients of a service, and a way through it to the address of the service. What a drill writes to a gateway is then
 * admitted as clients are, and reaches whichever proxy the node has chosen, which a port forward to one proxy would pass by.
 */
import { CoreV1Api, type KubeConfig, type V1Affinity, type V1Pod } from "@kubernetes/client-node";
import { openTunnel, patient, portForward, waitFor } from "../checks";
import type { Tunnel } from "../components/shared/core/check";
import { agentImage } from "../components/shared/deploy/images";

const relayPort = 8080;
const startSeconds = 60;

/** Each connection says in its first line where it wants to go. */
const relay = `
const net = require("node:net");
net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  let head = Buffer.alloc(0);
  client.on("error", () => undefined);
  client.on("data", function read(chunk) {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(10);
    if (end < 0) return;
    client.pause();
    client.off("data", read);
    const [host, port] = head.subarray(0, end).toString().split(" ");
    const server = net.connect({ host, port, noDelay: true, allowHalfOpen: true });
    const cut = () => { client.destroy(); server.destroy(); };
    client.on("error", cut);
    server.on("error", cut);
    client.on("close", cut);
    server.on("close", cut);
    server.write(head.subarray(end + 1));
    client.pipe(server).pipe(client);
  });
}).listen(${relayPort});
process.on("SIGTERM", () => process.exit(0));`;

function elsewhere(node: string): V1Affinity {
  const term = { matchFields: [{ key: "metadata.name", operator: "NotIn", values: [node] }] };
  return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [term] } } };
}

function clientPod(avoid: string | undefined): V1Pod {
  return {
    metadata: { generateName: "cells-services-drill-" },
    spec: {
      ...(avoid === undefined ? {} : { affinity: elsewhere(avoid) }),
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 0,
      // A drill that was killed leaves it behind, for no longer than this.
      activeDeadlineSeconds: 3600,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name: "client",
          image: agentImage,
          imagePullPolicy: "IfNotPresent",
          command: ["/usr/local/bin/node", "-e", relay],
          readinessProbe: { tcpSocket: { port: relayPort }, periodSeconds: 1 },
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
          resources: { requests: { cpu: "20m", memory: "48Mi" }, limits: { memory: "192Mi" } },
        },
      ],
    },
  };
}

/** The way through a client, in place of the tunnel's own. `dial` takes any name or address that its pod can reach. */
export interface Client extends Tunnel {
  close(): Promise<void>;
}

/** `service` is for the Services of this namespace, which the client is in. `avoid`: a node that it must not be on. */
export async function openClient(config: KubeConfig, namespace: string, avoid?: string): Promise<Client> {
  const core = config.makeApiClient(CoreV1Api);
  const { metadata } = await core.createNamespacedPod({ namespace, body: clientPod(avoid) });
  const name = metadata?.name ?? "";
  const forward = portForward(config, namespace);
  const tunnel = openTunnel(
    async (address, port, events) => {
      const channel = await forward(name, relayPort, events);
      channel.send(Buffer.from(`${address} ${port}\n`), () => undefined);
      return channel;
    },
    // By its address: how long the name takes is not what a drill measures.
    async (service, port) => {
      const { spec } = await core.readNamespacedService({ name: service, namespace });
      if (spec?.clusterIP === undefined) throw new Error(`the Service ${service} has no address`);
      return { pod: spec.clusterIP, port };
    },
  );
  const close = async (): Promise<void> => {
    await tunnel.close();
    await core.deleteNamespacedPod({ name, namespace }).catch(() => undefined);
  };
  try {
    await waitFor(
      `the client ${name}`,
      async () => {
        const { status } = await core.readNamespacedPod({ name, namespace });
        const ready = status?.containerStatuses?.every((each) => each.ready) ?? false;
        return ready ? { done: true } : { waiting: `it is ${status?.phase ?? "unknown"}` };
      },
      { ...patient, deadlineSeconds: startSeconds },
    );
    return {
      dial: (host, port) => tunnel.dial(host, port),
      service: (service, port) => tunnel.service(service, port),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
