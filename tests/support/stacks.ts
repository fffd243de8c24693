/** Runs the real program of a stack with its tracked configuration. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { agents, buildAgents } from "../../components/build";
import type { AgentBundle } from "../../components/shared/deploy";
import { serviceNames } from "../../stacks/config";
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

/** The tracked configuration of each service with further arguments. */
export function ofEachService(stack: StackName, args: object): Record<string, string> {
  const tracked = trackedConfig(stack);
  const configOf = (service: string) => ({
    ...(JSON.parse(tracked[`cells-services:${service}`] ?? "{}") as object),
    ...args,
  });
  return Object.fromEntries(serviceNames.map((service) => [service, JSON.stringify(configOf(service))]));
}

/** The configuration given here comes on top of the tracked one. */
export async function recordStack(stack: StackName, options: RecordOptions = {}): Promise<Graph> {
  await ensureAgentBundles();
  // The Kubernetes SDK takes it for the default of its provider; the graph must not depend on who records it.
  delete process.env["KUBECONFIG"];
  return record(deployStack, { stack, ...options, config: { ...trackedConfig(stack), ...options.config } });
}

/** The components read the bundles of their agents from `dist`. Another test file may be doing the same right now. */
export async function ensureAgentBundles(): Promise<void> {
  const missing = agents.filter((agent) => !existsSync(join(bundles, `${agent}.json`)));
  if (missing.length === 0) return;
  mkdirSync(bundles, { recursive: true });
  const directory = mkdtempSync(join(root, "dist", "agents-"));
  try {
    await buildAgents(missing, directory);
    for (const file of missing.flatMap((agent) => [`${agent}.js`, `${agent}.json`])) {
      renameSync(join(directory, file), join(bundles, file));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What `npm run build` made of an agent, as its component loads it. */
export function builtBundle(agent: (typeof agents)[number]): AgentBundle {
  return JSON.parse(readFileSync(join(bundles, `${agent}.json`), "utf8")) as AgentBundle;
}
