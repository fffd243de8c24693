import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { processorContradiction } from "../../../components/mongodb/processor";

const judge = (cpuinfo: string, architecture: string) =>
  processorContradiction(cpuinfo, architecture, { member: "mongodb-1", node: "n2" });

const x64 = (flags: string) => `processor\t: 0\nmodel name\t: any\nflags\t\t: ${flags}\nbugs\t\t: avx\n`;
const arm64 = (features: string) => `processor\t: 0\nFeatures\t: ${features}\nCPU part\t: 0xd08\n`;

describe("the processor of a node", () => {
  it.each([
    ["with AVX", x64("fpu sse4_2 avx f16c"), "x64"],
    ["with AVX as its last flag", x64("fpu avx"), "x64"],
    ["of ARM with atomics, such as a Graviton 2", arm64("fp asimd evtstrm aes crc32 atomics fphp asimdhp"), "arm64"],
    ["that says nothing", "", "x64"],
    ["of an architecture without a known need", x64("fpu"), "s390x"],
  ])("is accepted: %s", (_, cpuinfo, architecture) => {
    expect(judge(cpuinfo, architecture)).toBeUndefined();
  });

  it("is accepted where these tests run", () => {
    expect(judge(readFileSync("/proc/cpuinfo", "utf8"), process.arch)).toBeUndefined();
  });

  it.each([
    ["without AVX", x64("fpu sse4_2"), "x64", "AVX", "avx"],
    ["with other flags that begin like it", x64("fpu avx2 avx_vnni"), "x64", "AVX", "avx"],
    ["of a Raspberry Pi 4", arm64("fp asimd evtstrm crc32 cpuid"), "arm64", "ARMv8.2-A", "atomics"],
  ])("is refused: %s", (_, cpuinfo, architecture, feature, flag) => {
    expect(judge(cpuinfo, architecture)).toBe(
      `the processor of the node n2 has no ${feature} (no flag ${flag} in /proc/cpuinfo), without which MongoDB 5.0 and newer do not run; ` +
        "give mongodb-1 a node that has it, by placement.nodeSelector, or give the virtual machine a processor that has it",
    );
  });
});
