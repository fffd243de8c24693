import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { run, succeeds } from "../shell";
import { bridge, hostAddress, type Node, nodes } from "./layout";

const ip = (...args: string[]): Promise<string> => run("ip", args);
const within = (node: Node, ...args: string[]): Promise<string> =>
  run("ip", ["netns", "exec", node.networkNamespace, ...args]);

/** The host's end of the cable of a node. */
const cable = (node: Node): string => `cells-veth-${node.number}`;

/** A bridge on the host, a network namespace per node, routes between the pod ranges. Does nothing that is done already. */
export async function connectNodes(): Promise<void> {
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
  if (!existsSync(`/sys/class/net/${bridge}`)) {
    await ip("link", "add", bridge, "type", "bridge");
  }
  await ip("addr", "replace", `${hostAddress}/24`, "dev", bridge);
  await ip("link", "set", bridge, "up");
  for (const node of nodes) await connect(node);
}

async function connect(node: Node): Promise<void> {
  if (!existsSync(`/var/run/netns/${node.networkNamespace}`)) await ip("netns", "add", node.networkNamespace);
  if (!existsSync(`/sys/class/net/${cable(node)}`)) {
    await ip("link", "add", cable(node), "type", "veth", "peer", "name", "eth0", "netns", node.networkNamespace);
  }
  await within(node, "ip", "addr", "replace", `${node.address}/24`, "dev", "eth0");
  await ip("link", "set", cable(node), "master", bridge, "up");
  await within(node, "ip", "link", "set", "lo", "up");
  await within(node, "ip", "link", "set", "eth0", "up");
  await within(node, "ip", "route", "replace", "default", "via", hostAddress);
  await within(node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
  for (const other of nodes.filter((candidate) => candidate !== node)) {
    await within(node, "ip", "route", "replace", other.podRange, "via", other.address);
  }
  await ip("route", "replace", node.podRange, "via", node.address);
}

/** Pulls the cable of a node: its pods keep running and see nobody outside the node. */
export const cut = (node: Node): Promise<string> => ip("link", "set", cable(node), "down");
export const isCut = async (node: Node): Promise<boolean> =>
  !(await succeeds("sh", ["-c", `ip link show ${cable(node)} | grep -q 'state UP'`]));

/** Plugs the cable in again; the kernel forgot the routes over it when it went down. */
export const heal = connect;

export async function disconnectNodes(): Promise<void> {
  for (const node of nodes) {
    if (existsSync(`/sys/class/net/${cable(node)}`)) await ip("link", "del", cable(node));
    if (existsSync(`/var/run/netns/${node.networkNamespace}`)) await ip("netns", "del", node.networkNamespace);
  }
  // `ip netns` mounted the folder on itself; other namespaces of this machine may still be in it.
  if (existsSync("/run/netns") && readdirSync("/run/netns").length === 0) await succeeds("umount", ["/run/netns"]);
  if (existsSync(`/sys/class/net/${bridge}`)) await ip("link", "del", bridge);
}
