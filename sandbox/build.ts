import { join } from "node:path";
import { build } from "esbuild";
import { checkout } from "./paths";

/** Bundles what the sandbox runs as processes of its own, so that they start fast and stay small. */
async function buildSandbox(): Promise<void> {
  await build({
    entryPoints: Object.fromEntries(
      ["networkpolicy", "volumes"].map((name) => [name, join(checkout, "sandbox", name, "main.ts")]),
    ),
    outdir: join(checkout, "dist", "sandbox"),
    bundle: true,
    platform: "node",
    target: "node22",
    format: "cjs",
    logLevel: "warning",
  });
}

buildSandbox().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
