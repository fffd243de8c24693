import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

/** The plugins that have a stand-in, with the npm package whose version they must carry. */
export const standIns = [
  { name: "kubernetes", package: "@pulumi/kubernetes" },
  { name: "random", package: "@pulumi/random" },
] as const;

export interface BuiltPlugin {
  name: string;
  version: string;
  file: string;
}

/** Bundles each plugin into one file: the engine starts it for every command, and one file starts in a fraction. */
export async function buildPlugins(outdir: string): Promise<BuiltPlugin[]> {
  await mkdir(outdir, { recursive: true });
  return Promise.all(
    standIns.map(async ({ name, package: packageName }) => {
      const file = join(outdir, `${name}.js`);
      const version = pluginVersion(packageName);
      await build({
        entryPoints: [join(__dirname, name, "index.ts")],
        outfile: file,
        bundle: true,
        minify: true,
        // Classes keep their names for error messages.
        keepNames: true,
        platform: "node",
        target: "node22",
        format: "cjs",
        sourcemap: false,
        logLevel: "error",
        define: { "process.env.PLUGIN_VERSION": JSON.stringify(version) },
      });
      return { name, version, file };
    }),
  );
}

/** The engine asks for the plugin of exactly the version that the program's package has. */
export function pluginVersion(packageName: string): string {
  const manifest = readFileSync(join(__dirname, "..", "..", "node_modules", packageName, "package.json"), "utf8");
  const { version } = JSON.parse(manifest) as { version: string };
  return version.replace(/^v/, "");
}
