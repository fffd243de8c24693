import { statSync } from "node:fs";
import { run } from "../shell";
import { tableName } from "./rules";

/** Where one node's rules go. */
export interface EnforcedNode {
  name: string;
  /** Name of the node's network namespace, below /var/run/netns. */
  networkNamespace: string;
}

export const namespaceFile = (networkNamespace: string): string => `/var/run/netns/${networkNamespace}`;
const inside = ({ networkNamespace }: EnforcedNode, ...command: string[]): string[] => [
  `--net=${namespaceFile(networkNamespace)}`,
  ...command,
];

/** Tells one incarnation of a network namespace from the next: inode numbers are used again, creation times are not. */
export function incarnation({ networkNamespace }: EnforcedNode): string | undefined {
  const stat = statSync(namespaceFile(networkNamespace), { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.dev}:${stat.ino}:${stat.ctimeNs}`;
}

/**
 * Pods of one node meet on a bridge, below IP. The kernel shows such packets to IP hooks, with connection tracking, only
 * when asked to; the bridge family of nftables would need CONFIG_NF_CONNTRACK_BRIDGE, which small kernels lack.
 */
const script = `
for family in iptables ip6tables; do
  setting=/proc/sys/net/bridge/bridge-nf-call-$family
  [ -w "$setting" ] || { echo "$setting is missing: load the kernel module br_netfilter" >&2; exit 1; }
  echo 1 > "$setting"
done
exec nft -f -`;

export async function apply(node: EnforcedNode, text: string): Promise<void> {
  await run("nsenter", inside(node, "sh", "-c", script), { input: text });
}

/** Whether the table is still there: somebody may have flushed the namespace. */
export async function isEnforced(node: EnforcedNode): Promise<boolean> {
  const tables = await run("nsenter", inside(node, "nft", "list", "tables", "inet"));
  return tables.split("\n").includes(`table inet ${tableName}`);
}
