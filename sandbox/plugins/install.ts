import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { writeIfChanged } from "../files";
import { checkout } from "../paths";
import { binary, versions } from "../toolchain";

const standIns = ["aws", "random"];

/**
 * Puts the plugins where the engine looks for them: the official one for Kubernetes, which the toolchain built, and the
 * stand-ins. Returns one line for each stand-in in use.
 */
export async function installPlugins(pulumiHome: string, nodeBinary: string): Promise<string[]> {
  const folderOf = (name: string, version: string) => join(pulumiHome, "plugins", `resource-${name}-v${version}`);
  await linkKubernetes(folderOf("kubernetes", versions.pulumiKubernetes));
  const notices = standIns.map(async (name) => {
    // The engine asks for the plugin of exactly the version that the program's package has.
    const manifest = readFileSync(join(checkout, "node_modules", "@pulumi", name, "package.json"), "utf8");
    const version = (JSON.parse(manifest) as { version: string }).version.replace(/^v/, "");
    const isStandIn = await installStandIn(name, version, folderOf(name, version), nodeBinary);
    return isStandIn ? [`stand-in for the official ${name} plugin v${version}`] : [];
  });
  return (await Promise.all(notices)).flat();
}

async function linkKubernetes(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const link = join(folder, "pulumi-resource-kubernetes");
  await rm(`${link}.new`, { force: true });
  await symlink(binary("pulumi-kubernetes", "pulumi-resource-kubernetes"), `${link}.new`);
  await rename(`${link}.new`, link);
}

/** False when the official plugin is there, which is left alone. */
async function installStandIn(name: string, version: string, folder: string, nodeBinary: string): Promise<boolean> {
  const bundle = join(folder, "plugin.js");
  const program = join(folder, `pulumi-resource-${name}`);
  if (existsSync(program) && !existsSync(bundle)) return false;
  // Every command of the engine comes by here, so a bundle that is newer than its sources is not made again.
  if (!existsSync(bundle) || statSync(bundle).mtimeMs < newestSource()) {
    const fresh = `${bundle}.${process.pid}`;
    await build({
      entryPoints: [join(__dirname, name, "index.ts")],
      outfile: fresh,
      bundle: true,
      minify: true,
      // Errors are known by the names of their classes.
      keepNames: true,
      platform: "node",
      target: "node22",
      format: "cjs",
      logLevel: "error",
    });
    await rename(fresh, bundle);
  }
  const script = `#!/bin/sh\nPLUGIN_VERSION=${version} exec '${nodeBinary}' '${bundle}' "$@"\n`;
  writeIfChanged(program, script, 0o755);
  return true;
}

function newestSource(): number {
  const sources = readdirSync(__dirname, { recursive: true, encoding: "utf8" }).map((file) => join(__dirname, file));
  return Math.max(...[...sources, join(checkout, "package-lock.json")].map((file) => statSync(file).mtimeMs));
}
