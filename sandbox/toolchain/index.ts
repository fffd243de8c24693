import { join } from "node:path";
import { cacheHome } from "../paths";
import { step } from "../progress";
import { binariesOf, build, isBuilt } from "./build";
import { type Tool, tools } from "./catalogue";

export { formerTools, kubeScore, nextTools, type Tool, versions } from "./catalogue";

const tool = (name: string): Tool => {
  const found = tools.find((candidate) => candidate.name === name);
  if (!found) throw new Error(`no tool "${name}" in the toolchain`);
  return found;
};

/** The absolute path of a binary of the toolchain. */
export const binary = (toolName: string, name: string = toolName): string => binaryOf(tool(toolName), name);

export const binaryOf = (of: Tool, name: string): string => join(binariesOf(of), name);

/** The folder of a tool's binaries. */
export const toolchainFolder = (name: string): string => binariesOf(tool(name));

/** Folders to put on PATH so that the Pulumi CLI finds its language host. */
export const engineFolders = (): string[] => ["pulumi", "pulumi-language-nodejs"].map(toolchainFolder);

/** Builds what is missing, two at a time: downloads and linking of one overlap the compiling of the other. */
export async function buildToolchain(wanted: Tool[] = tools): Promise<void> {
  const missing = wanted.filter((candidate) => !isBuilt(candidate));
  if (missing.length === 0) {
    await step("toolchain", async () => `${wanted.length} tools cached`);
    return;
  }
  const queue = [...missing];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const current = next;
      const log = join(cacheHome, "logs", `${current.name}-${current.version}.log`);
      await step(`toolchain: ${current.name} ${current.version}`, () => build(current, log));
    }
  };
  await Promise.all([worker(), worker()]);
}
