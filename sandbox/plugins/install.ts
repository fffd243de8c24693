import { existsSync } from "node:fs";
import { access, chmod, constants, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { binary, versions } from "../toolchain";
import { type BuiltPlugin, buildPlugins } from "./build";

// Beside the binary of a stand-in, and never beside that of an official plugin.
const marker = "STAND-IN";

const folderOf = (pulumiHome: string, name: string, version: string): string =>
  join(pulumiHome, "plugins", `resource-${name}-v${version}`);

/**
 * Puts the plugins where the engine looks for them: the official one for Kubernetes, which the toolchain built, and a
 * stand-in for each that cannot be built and is not installed. Returns one line for each stand-in in use.
 */
export async function installPlugins(pulumiHome: string, nodeBinary: string): Promise<string[]> {
  await linkKubernetes(pulumiHome);
  const bundles = join(__dirname, "..", "..", "dist", "plugins");
  const notices: string[] = [];
  for (const plugin of await buildPlugins(bundles)) {
    const folder = folderOf(pulumiHome, plugin.name, plugin.version);
    if (await isOfficial(plugin.name, folder)) continue;
    await install(plugin, folder, nodeBinary);
    notices.push(`stand-in for the official ${plugin.name} plugin v${plugin.version}`);
  }
  return notices;
}

async function linkKubernetes(pulumiHome: string): Promise<void> {
  const folder = folderOf(pulumiHome, "kubernetes", versions.pulumiKubernetes);
  await mkdir(folder, { recursive: true });
  const link = join(folder, "pulumi-resource-kubernetes");
  await rm(`${link}.new`, { force: true });
  await symlink(binary("pulumi-kubernetes", "pulumi-resource-kubernetes"), `${link}.new`);
  await rename(`${link}.new`, link);
}

/** An official plugin is on the PATH, or in the folder without our marker. */
export async function isOfficial(name: string, folder: string, path = process.env["PATH"] ?? ""): Promise<boolean> {
  const binary = `pulumi-resource-${name}`;
  for (const directory of path.split(delimiter)) {
    if (directory !== "" && (await isExecutable(join(directory, binary)))) return true;
  }
  return !existsSync(join(folder, marker)) && (await isExecutable(join(folder, binary)));
}

async function isExecutable(file: string): Promise<boolean> {
  return access(file, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/** Writes the folder under another name and renames it, so that no engine ever sees half of it. */
async function install(plugin: BuiltPlugin, folder: string, nodeBinary: string): Promise<void> {
  const script = `#!/bin/sh\nexec ${quoted(nodeBinary)} ${quoted(join(folder, "plugin.js"))} "$@"\n`;
  const bundle = await readFile(plugin.file);
  if (await isInstalled(folder, plugin, script, bundle)) return;
  await mkdir(dirname(folder), { recursive: true });
  const fresh = await mkdtemp(join(dirname(folder), `.stand-in-${plugin.name}-`));
  const binary = join(fresh, `pulumi-resource-${plugin.name}`);
  await writeFile(join(fresh, "plugin.js"), bundle);
  await writeFile(binary, script);
  await writeFile(join(fresh, marker), `stand-in for the official ${plugin.name} plugin v${plugin.version}\n`);
  await chmod(binary, 0o755);
  await chmod(fresh, 0o755);
  await rm(folder, { recursive: true, force: true });
  await rename(fresh, folder);
  // The engine takes a download for unfinished while this file exists.
  await rm(`${folder}.partial`, { force: true });
}

async function isInstalled(folder: string, plugin: BuiltPlugin, script: string, bundle: Buffer): Promise<boolean> {
  try {
    await access(join(folder, marker));
    const present = await readFile(join(folder, `pulumi-resource-${plugin.name}`), "utf8");
    return present === script && bundle.equals(await readFile(join(folder, "plugin.js")));
  } catch {
    return false;
  }
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
