import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cacheHome } from "../paths";
import { run } from "../shell";
import type { Tool } from "./catalogue";

const digest = (tool: Tool): string =>
  createHash("sha256")
    .update(JSON.stringify([recipe, tool]))
    .digest("hex")
    .slice(0, 12);

/** Raise it when the way of building changes, so that what was built the old way is not taken for the new. */
const recipe = 1;

/** The folder that holds the tool's binaries once it is built. */
export const binariesOf = (tool: Tool): string =>
  join(cacheHome, "toolchain", `${tool.name}-${tool.version}-${digest(tool)}`);

export const isBuilt = (tool: Tool): boolean => existsSync(binariesOf(tool));

/**
 * Builds a tool unless it is there. The result appears by one rename, so an interrupted build is never taken for a good
 * one; Go's own build cache lets the next attempt go on where this one stopped.
 */
export async function build(tool: Tool, log: string): Promise<string> {
  if (isBuilt(tool)) return "cached";
  mkdirSync(join(cacheHome, "toolchain"), { recursive: true });
  const work = mkdtempSync(join(cacheHome, "toolchain", `.${tool.name}-`));
  try {
    await writeModule(tool, work, log);
    const output = join(work, "bin");
    mkdirSync(output);
    for (const [binary, source] of Object.entries(tool.binaries)) {
      await run("go", ["build", ...flags(tool), "-o", join(output, binary), source], {
        cwd: work,
        env: { GOWORK: "off", ...(tool.static ? { CGO_ENABLED: "0" } : {}) },
        log,
      });
    }
    renameSync(output, binariesOf(tool));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return "built";
}

function flags(tool: Tool): string[] {
  const variables = Object.entries(tool.variables ?? {}).map(([name, value]) => `-X ${name}=${value}`);
  return [
    "-mod=mod",
    "-trimpath",
    "-buildvcs=false",
    "-ldflags",
    ["-s", "-w", ...variables].join(" "),
    ...(tool.tags ? ["-tags", tool.tags.join(",")] : []),
  ];
}

async function writeModule(tool: Tool, folder: string, log: string): Promise<void> {
  const require = Object.entries(tool.modules).map(([module, version]) => `require ${module} ${version}`);
  const replace = Object.entries(tool.replacements ?? {}).map(([module, other]) => `replace ${module} => ${other}`);
  const staged = tool.staging ? await stagingReplacements(tool.staging, tool.modules) : [];
  const lines = [`module cells-services.local/${tool.name}`, "go 1.26", ...require, ...replace, ...staged, ""];
  writeFileSync(join(folder, "go.mod"), lines.join("\n"));
  if (tool.embedded !== undefined) {
    const { Dir } = await downloaded(tool.embedded.module, tool.modules);
    for (const [name, path] of Object.entries(tool.embedded.files)) copyFileSync(join(Dir, path), join(folder, name));
  }
  if (tool.main !== undefined) {
    writeFileSync(join(folder, "main.go"), tool.main);
    if (require.length > 0) await run("go", ["mod", "tidy"], { cwd: folder, env: { GOWORK: "off" }, log });
  }
}

async function stagingReplacements(
  staging: NonNullable<Tool["staging"]>,
  modules: Record<string, string>,
): Promise<string[]> {
  const { GoMod } = await downloaded(staging.module, modules);
  const replaced = [...readFileSync(GoMod, "utf8").matchAll(/^\s*(?:replace )?(\S+) => \.\/staging\//gm)];
  if (replaced.length > 0) return replaced.map(([, name]) => `replace ${name} => ${name} ${staging.version}`);
  // Published without its replacements: the staging modules are the ones required at the placeholder version.
  const required = [...readFileSync(GoMod, "utf8").matchAll(/^\s*(\S+) v0\.0\.0(?:\s|$)/gm)];
  return required.map(([, name]) => `replace ${name} => ${name} ${staging.version}`);
}

/** The unpacked folder of a module, and its go.mod. */
async function downloaded(module: string, modules: Record<string, string>): Promise<{ Dir: string; GoMod: string }> {
  const answer = await run("go", ["mod", "download", "-json", `${module}@${modules[module]}`]);
  return JSON.parse(answer) as { Dir: string; GoMod: string };
}
