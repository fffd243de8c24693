/**
 * Bundles the checks with all clients into one file of the package: who installs it needs no client of a database, in no version.
 *
 *   npm run build:package
 */
import { join } from "node:path";
import { build } from "esbuild";

const root = join(__dirname, "..");

build({
  absWorkingDir: root,
  entryPoints: ["checks/bin.ts"],
  outfile: "lib/check.js",
  bundle: true,
  minify: true,
  platform: "node",
  // Old enough to parse everywhere and to say which version is needed.
  target: "node20",
  format: "cjs",
  // The package depends on it.
  external: ["zod"],
  legalComments: "none",
  logLevel: "warning",
}).catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
