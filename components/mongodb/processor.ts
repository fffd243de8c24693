/**
 * Since 5.0 the server is built for newer processors. On an older one it ends with an illegal instruction, exit code
 * 132: https://www.mongodb.com/docs/v7.0/administration/production-notes/
 */

/** By architecture of Node.js, with the flag in /proc/cpuinfo. ARMv8.2-A has none; `atomics` came with ARMv8.1. */
const needs: Record<string, { feature: string; line: RegExp; flag: string }> = {
  x64: { feature: "AVX", line: /^flags\s*:(.*)$/m, flag: "avx" },
  arm64: { feature: "ARMv8.2-A", line: /^Features\s*:(.*)$/m, flag: "atomics" },
};

/** undefined: the server can run, or /proc/cpuinfo does not say. */
export function processorContradiction(
  cpuinfo: string,
  architecture: string,
  { member, node }: { member: string; node: string },
): string | undefined {
  const need = needs[architecture];
  const flags = need?.line.exec(cpuinfo)?.[1]?.trim().split(/\s+/);
  if (need === undefined || flags === undefined || flags.includes(need.flag)) return undefined;
  return (
    `the processor of the node ${node} has no ${need.feature} (no flag ${need.flag} in /proc/cpuinfo), without which MongoDB 5.0 and ` +
    `newer do not run; give ${member} a node that has it, by placement.nodeSelector, or give the virtual machine a processor that has it`
  );
}
