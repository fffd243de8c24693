/**
 * Builds the agents: one minified file for each service in `dist/agents`, the same bytes for the same sources, and beside it
 * the same compressed, since that takes longer than all the rest of a preview.
 *
 *   npm run build
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

export const agents = ["etcd", "vault", "nats", "redis", "mongodb", "mysql", "objectstore"] as const;

export async function buildAgents(names: readonly string[] = agents, outdir?: string): Promise<void> {
  const root = join(__dirname, "..");
  const folder = outdir ?? join(root, "dist", "agents");
  await build({
    absWorkingDir: root,
    entryPoints: names.map((name) => ({ in: join("agent", `${name}.ts`), out: name })),
    outdir: folder,
    bundle: true,
    minify: true,
    platform: "node",
    // The version in components/shared/images.ts.
    target: "node22",
    // Evaluated in the scope of `node -e`, where `require` exists and names should not leak.
    format: "iife",
    // No comments with paths, no source map: nothing that depends on where it was built.
    legalComments: "none",
    sourcemap: false,
    charset: "utf8",
    logLevel: "warning",
  });
  for (const name of names) {
    const file = join(folder, `${name}.js`);
    writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
  }
}

if (require.main === module) {
  buildAgents().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
