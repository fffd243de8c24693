/** What the gateway's init container does: the configuration of HAProxy with full names, since HAProxy has no search list. */
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { type GatewaySettings, gatewayConfig, gatewayPaths } from "../core/gateway";
import { clusterDomain } from "../core/hosts";
import { log } from "../core/log";
import { type Commands, readPod, readSettings } from "./main";

export const commands: Commands = { gateway: writeGatewayConfig };

async function writeGatewayConfig(): Promise<void> {
  const settings = readSettings<GatewaySettings>();
  const { namespace } = readPod();
  const domain = clusterDomain(await readFile("/etc/resolv.conf", "utf8"), namespace);
  await writeFile(gatewayPaths.config, gatewayConfig(settings, namespace, domain, await hasIpv6()));
  log(`the gateway follows the primary of ${settings.members} members in ${domain}`);
}

/** Node.js listens on both families where the kernel has IPv6, and otherwise on IPv4. */
export async function hasIpv6(): Promise<boolean> {
  const server = createServer().listen();
  await once(server, "listening");
  const { family } = server.address() as AddressInfo;
  server.close();
  return family === "IPv6";
}
