import { readFileSync, statSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { build } from "esbuild";

/** The plugins that have a stand-in, with the npm package whose version they must carry. */
export const standIns = [
  { name: "aws", package: "@pulumi/aws" },
  { name: "random", package: "@pulumi/random" },
] as const;

export interface BuiltPlugin {
  name: string;
  version: string;
  file: string;
}

/**
 * Bundles each plugin into one file: the engine starts it for every command, and one file starts in a fraction. One whose
 * sources are as they were is left alone, since every command of the engine comes by here.
 */
export async function buildPlugins(outdir: string): Promise<BuiltPlugin[]> {
  await mkdir(outdir, { recursive: true });
  return Promise.all(
    standIns.map(async ({ name, package: packageName }) => {
      const file = join(outdir, `${name}.js`);
      const version = pluginVersion(packageName);
      if (isBuilt(file, version)) return { name, version, file };
      const began = Date.now();
      const { metafile } = await build({
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
        metafile: true,
        logLevel: "error",
        define: { "process.env.PLUGIN_VERSION": JSON.stringify(version) },
      });
      // esbuild names its sources from the folder that it runs in.
      const sources = Object.keys(metafile.inputs).map((source) => resolve(source));
      // One that was written meanwhile may be in the bundle as it was before: then the next command builds again.
      if (sources.every((source) => statSync(source).mtimeMs < began)) {
        const made: Made = { version, bundle: stamp(file), sources: stamps(sources) };
        await writeFile(`${madeFrom(file)}.new`, JSON.stringify(made));
        await rename(`${madeFrom(file)}.new`, madeFrom(file));
      }
      return { name, version, file };
    }),
  );
}

/** What a bundle was made from, written beside it. */
interface Made {
  version: string;
  bundle: string;
  sources: Record<string, string>;
}

const madeFrom = (file: string): string => `${file}.sources.json`;

/** Changes whenever the file does. */
function stamp(file: string): string {
  const { mtimeMs, size } = statSync(file);
  return `${mtimeMs} ${size}`;
}

const stamps = (files: string[]): Record<string, string> =>
  Object.fromEntries(files.map((file) => [file, stamp(file)]));

function isBuilt(file: string, version: string): boolean {
  try {
    const made = JSON.parse(readFileSync(madeFrom(file), "utf8")) as Made;
    if (made.version !== version || made.bundle !== stamp(file)) return false;
    return Object.entries(made.sources).every(([source, before]) => stamp(source) === before);
  } catch {
    return false;
  }
}

/** The engine asks for the plugin of exactly the version that the program's package has. */
export function pluginVersion(packageName: string): string {
  const manifest = readFileSync(join(__dirname, "..", "..", "node_modules", packageName, "package.json"), "utf8");
  const { version } = JSON.parse(manifest) as { version: string };
  return version.replace(/^v/, "");
}
