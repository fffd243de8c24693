import { join } from "node:path";
import { home } from "../paths";

/**
 * Addresses and names of the cluster. Fixed: one cluster per machine. The control plane runs on the host, each node in a
 * network namespace of its own behind one bridge.
 */
export const bridge = "cells0";
export const hostAddress = "10.200.0.1";
export const apiServer = `https://${hostAddress}:6443`;
export const podRange = "10.244.0.0/16";
export const serviceRange = "10.96.0.0/16";
export const kubernetesServiceAddress = "10.96.0.1";
export const dnsAddress = "10.96.0.10";
export const clusterDomain = "cluster.local";

/** The cgroup above all processes of the sandbox: what is in it was started by it. */
export const cgroup = "cells-services";

export interface Node {
  number: number;
  name: string;
  /** Name of the network namespace, below /var/run/netns. */
  networkNamespace: string;
  address: string;
  podRange: string;
  /** The bridge of the node's pods, the only gateway they know. */
  podGateway: string;
  cgroup: string;
  /** Everything the node keeps: images, container state, volumes of pods. */
  folder: string;
  containerdSocket: string;
}

export const nodes: Node[] = [1, 2, 3].map((number) => ({
  number,
  name: `node-${number}`,
  networkNamespace: `cells-node-${number}`,
  address: `10.200.0.1${number}`,
  podRange: `10.244.${number}.0/24`,
  podGateway: `10.244.${number}.1`,
  cgroup: `${cgroup}/node-${number}`,
  folder: join(home, `n${number}`),
  containerdSocket: join(home, `n${number}`, "containerd.sock"),
}));

export const controlPlaneCgroup = `${cgroup}/control-plane`;
export const controlPlaneFolder = join(home, "control-plane");
