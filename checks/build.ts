/**
 * Bundles the checks with all clients into one file of the package: who installs it needs no client of a database, in no version.
 *
 *   npm run build:package
 */
import { cpSync } from "node:fs";
import { dirname, join } from "node:path";
import { build } from "esbuild";

const lib = join(__dirname, "..", "lib");

async function buildChecks(): Promise<void> {
  await build({
    entryPoints: [join(__dirname, "bin.ts")],
    outfile: join(lib, "check", "index.js"),
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
  });
  // The client of etcd reads its protocol from `../proto`.
  cpSync(join(dirname(require.resolve("etcd3/package.json")), "proto"), join(lib, "proto"), { recursive: true });
}

buildChecks().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
