import { rmSync } from "node:fs";
import type { Image } from "../images";
import { home } from "../paths";
import { step } from "../progress";
import { openDisks } from "../volumes/disk";
import { installAddons } from "./addons";
import { makeCertificates } from "./certificates";
import { killCgroup, processesIn, removeCgroup } from "./cgroups";
import { controllerNames, startControllers } from "./controllers";
import { certificatesFolder, startControlPlane } from "./controlplane";
import { cgroup, type Node, nodes } from "./layout";
import { connectNodes, cut, disconnectNodes, heal, isCut } from "./network";
import { awaitPods, awaitReady, importImages, startNode, stopNode, unmountBelow } from "./nodes";
import { pidOf } from "./processes";

export { apply, kubectl } from "./kubectl";

/** Boots the cluster, or mends what is missing of it. Nothing that runs as it should is touched. */
export async function startCluster(): Promise<void> {
  await step("cluster: network", async () => {
    await connectNodes();
    return undefined;
  });
  const certificates = await makeCertificates(certificatesFolder);
  await step("cluster: control plane", async () => {
    await startControlPlane(certificates);
    return undefined;
  });
  const since = new Date();
  const restarted: Node[] = [];
  await step("cluster: nodes", async () => {
    openDisks();
    await startControllers();
    await Promise.all(
      nodes.map(async (node) => {
        if (await startNode(node, certificates)) restarted.push(node);
      }),
    );
    await awaitReady(nodes);
    return `${nodes.length} ready`;
  });
  await step("cluster: names and volumes", async () => {
    await installAddons();
    return undefined;
  });
  if (restarted.length === 0) return;
  await step("cluster: pods", async () => {
    const waiting = await awaitPods(restarted, since);
    return waiting.length === 0 ? "all ready" : `not ready: ${waiting.join("\n")}`;
  });
}

/** Gives the nodes an image that they do not have from the start. */
export async function loadImage(image: Image): Promise<void> {
  await Promise.all(nodes.map((node) => importImages(node, [image])));
}

/** Ends every process of the sandbox and takes its mounts, network and cgroups away; the data stays for the next start. */
export async function stopCluster(): Promise<void> {
  await step("cluster: processes", async () => {
    const count = processesIn(cgroup).length;
    await killCgroup(cgroup);
    return `${count} ended`;
  });
  await step("cluster: mounts, network, cgroups", async () => {
    await unmountBelow(home);
    await disconnectNodes();
    removeCgroup(cgroup);
    return undefined;
  });
}

/** Removes what the cluster and its stacks kept. */
export function removeData(): void {
  rmSync(home, { recursive: true, force: true });
}

export const nodeActions: Record<string, (node: Node) => Promise<unknown>> = {
  stop: stopNode,
  start: async (node) => {
    await startNode(node, await makeCertificates(certificatesFolder));
    await awaitReady([node]);
  },
  cut,
  heal: async (node) => {
    await heal(node);
    await awaitReady([node]);
  },
};

/** One line per part of the cluster. */
export async function describe(): Promise<[part: string, state: string][]> {
  const state = (name: string): string => {
    const pid = pidOf(name);
    return pid === undefined ? "stopped" : `runs (pid ${pid})`;
  };
  const control = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", ...controllerNames];
  return [
    ...control.map((name): [string, string] => [name, state(name)]),
    ...(await Promise.all(
      nodes.map(
        async (node): Promise<[string, string]> => [
          node.name,
          pidOf(`${node.name}-kubelet`) === undefined ? "stopped" : (await isCut(node)) ? "cut" : "runs",
        ],
      ),
    )),
  ];
}
