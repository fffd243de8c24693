/**
 * Builds the in-cluster agents: for each service, and for the gateways, one minified file in `dist/agents`, the same bytes for the same
 * sources, and beside it the `AgentBundle` that the component loads. Compression happens here, because it takes longer than the rest of a preview.
 *
 *   npm run build
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import type { AgentBundle } from "./shared/deploy";

export const agents = ["etcd", "vault", "nats", "redis", "mongodb", "mysql", "objectstore", "gateway"] as const;

export async function buildAgents(names: readonly string[] = agents, outdir?: string): Promise<void> {
  const folder = outdir ?? join(__dirname, "..", "dist", "agents");
  await Promise.all(names.map((name) => bundle(name, join(folder, `${name}.js`))));
}

async function bundle(name: string, outfile: string): Promise<void> {
  const source = name === "gateway" ? "./shared/agent/gateway" : `./${name}/agent`;
  await build({
    absWorkingDir: __dirname,
    stdin: {
      contents: `import { commands } from "${source}"; import { run } from "./shared/agent/main"; void run(commands);`,
      resolveDir: __dirname,
      sourcefile: "entry.ts",
    },
    outfile,
    bundle: true,
    minify: true,
    platform: "node",
    // The version in shared/deploy/images.ts.
    target: "node22",
    // Evaluated in the scope of `node -e`, where `require` exists and names should not leak.
    format: "iife",
    // No comments with paths, no source map: nothing that depends on where it was built.
    legalComments: "none",
    sourcemap: false,
    charset: "utf8",
    logLevel: "warning",
  });
  const program = readFileSync(outfile);
  const bundle: AgentBundle = {
    content: gzipSync(program, { level: 9 }).toString("base64"),
    checksum: createHash("sha256").update(program).digest("hex").slice(0, 16),
  };
  writeFileSync(outfile.replace(/\.js$/, ".json"), JSON.stringify(bundle));
}

if (require.main === module) {
  buildAgents().catch((error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
