/** Runs the real program of a stack with its tracked configuration. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { agents, buildAgents } from "../../components/build";
import { deployStack } from "../../stacks/stack";
import { type Graph, type RecordOptions, record } from "./recorder";

export const stackNames = ["dev", "prod"] as const;
export type StackName = (typeof stackNames)[number];

const root = join(__dirname, "..", "..");
const bundles = join(root, "dist", "agents");

/** The configuration in Pulumi.<stack>.yaml, as the engine passes it. */
function trackedConfig(stack: StackName): Record<string, string> {
  const file = parse(readFileSync(join(root, `Pulumi.${stack}.yaml`), "utf8")) as { config: Record<string, unknown> };
  const asText = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return Object.fromEntries(Object.entries(file.config).map(([key, value]) => [key, asText(value)]));
}

/** The configuration given here comes on top of the tracked one. */
export async function recordStack(stack: StackName, options: RecordOptions = {}): Promise<Graph> {
  await ensureAgentBundles();
  // The Kubernetes SDK takes it for the default of its provider; the graph must not depend on who records it.
  delete process.env["KUBECONFIG"];
  return record(deployStack, { ...options, stack, config: { ...trackedConfig(stack), ...options.config } });
}

/** The components read the bundles of their agents from `dist`. Another test file may be doing the same right now. */
export async function ensureAgentBundles(): Promise<void> {
  const missing = agents.filter((agent) => !existsSync(join(bundles, `${agent}.js.br`)));
  if (missing.length === 0) return;
  mkdirSync(bundles, { recursive: true });
  const directory = mkdtempSync(join(root, "dist", "agents-"));
  try {
    await buildAgents(missing, directory);
    for (const file of missing.flatMap((agent) => [`${agent}.js`, `${agent}.js.br`])) {
      renameSync(join(directory, file), join(bundles, file));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
