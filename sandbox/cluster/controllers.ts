import { join } from "node:path";
import { nodeBinary } from "../images";
import { checkout, kubeconfig } from "../paths";
import { controlPlaneCgroup, nodes } from "./layout";
import { ensureRunning } from "./processes";

/** What a cloud's cluster has and Kubernetes alone has not: NetworkPolicies that hold, and volumes on demand. */
export async function startControllers(): Promise<void> {
  await controller("networkpolicy", "--kubeconfig", kubeconfig, "--nodes", String(nodes.length));
  // The folders of volumes are made for every user.
  await controller("volumes");
}

export const controllerNames = ["networkpolicy", "volumes"];

async function controller(name: string, ...args: string[]): Promise<void> {
  const program = join(checkout, "dist", "sandbox", `${name}.js`);
  await ensureRunning({
    name,
    cgroup: controlPlaneCgroup,
    command: nodeBinary,
    args: ["--max-old-space-size=64", program, ...args],
    configuration: [kubeconfig, program],
  });
}
