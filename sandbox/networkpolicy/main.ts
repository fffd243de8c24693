import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { KubeConfig } from "@kubernetes/client-node";
import { hostAddress, nodes } from "../cluster/layout";
import { succeeds } from "../shell";
import { startController } from "./controller";

const usage = "usage: main.ts --kubeconfig <file> [--nodes <count>]";

/** One process on the host for all nodes: it enters their network namespaces, so it needs root. */
async function main(): Promise<void> {
  const { values } = parseArgs({ options: { kubeconfig: { type: "string" }, nodes: { type: "string" } } });
  const count = Number(values.nodes ?? nodes.length);
  if (values.kubeconfig === undefined) throw new Error(`--kubeconfig is missing; ${usage}`);
  if (!Number.isInteger(count) || count < 1 || count > nodes.length) {
    throw new Error(`--nodes must be a number from 1 to ${nodes.length}, got "${values.nodes ?? ""}"; ${usage}`);
  }
  const say = (line: string): void => console.log(`${new Date().toISOString()} ${line}`);

  // A module on some kernels, built in on others; the first application says so when it is neither.
  if (!existsSync("/proc/sys/net/bridge")) await succeeds("modprobe", ["br_netfilter"]);

  const config = new KubeConfig();
  config.loadFromFile(values.kubeconfig);
  const controlled = nodes.slice(0, count).map(({ name, networkNamespace, podRange, podGateway, address }) => ({
    name,
    networkNamespace,
    podRange,
    trusted: [podGateway, address, hostAddress],
  }));
  const controller = startController(config, controlled, say);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      controller.stop();
      say(`${signal}: ending, the rules stay`);
      process.exit(0);
    });
  }
}

main().catch((error: unknown) => {
  console.error(`networkpolicy: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
});
