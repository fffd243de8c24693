/**
 * Builds the agents: one minified file for each service in `dist/agents`, the same bytes for the same sources.
 *
 *   npm run build
 */
import { join } from "node:path";
import { build } from "esbuild";

export const agents = ["etcd", "nats"] as const;

export async function buildAgents(names: readonly string[] = agents, outdir?: string): Promise<void> {
  const root = join(__dirname, "..");
  await build({
    absWorkingDir: root,
    entryPoints: names.map((name) => ({ in: join("agent", `${name}.ts`), out: name })),
    outdir: outdir ?? join(root, "dist", "agents"),
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
}

if (require.main === module) {
  buildAgents().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
