import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { z } from "zod";
import type { CheckTarget } from "../components/shared/core/check";
import { messageOf } from "../components/shared/core/errors";
import { serviceKinds } from "../components/shared/core/names";
import { CannotRun } from "./failure";

const port = z.number().int().min(1).max(65535);

const target = z.object({
  service: z.enum(serviceKinds),
  name: z.string().min(1),
  namespace: z.string().min(1),
  members: z.array(z.string().min(1)).min(1),
  peersService: z.string().min(1),
  clientPort: port,
  metricsPort: port,
  host: z.string().min(1),
  tls: z.enum(["required", "optional", "off"]),
  trust: z.string().nullable(),
  adminSecret: z.string().min(1),
  durability: z.enum(["fsync", "replicated", "everysecond"]).nullable(),
  applications: z.record(z.string(), z.string()),
  seal: z.enum(["shamir", "awskms"]).exactOptional(),
  audit: z.enum(["stdout", "off"]).exactOptional(),
});

/** A name or a path, in one line. Pulumi shows a secret as `[secret]`. */
const word = z.string().regex(/^[^\n{[]+$/);

/** What the stack says about itself: what to check, and which cluster it is in. */
export interface StackOutputs {
  checks: CheckTarget[];
  kubeContext?: string;
  kubeconfig?: string;
}

/** Finds each `checkTarget` among the outputs, at any depth and under any name. `origin` names the source in errors. */
export function parseOutputs(text: string, origin: string): StackOutputs {
  let outputs: unknown;
  try {
    outputs = JSON.parse(text);
  } catch (error) {
    throw new CannotRun(`${origin} is not JSON: ${messageOf(error)}`);
  }
  const found = candidates(outputs, []);
  const parsed = found.map(({ path, value }) => ({ path, result: target.safeParse(value) }));
  const problems = parsed.flatMap(({ path, result }) =>
    (result.error?.issues ?? []).map((issue) => `${[...path, ...issue.path].join(".")}: ${issue.message}`),
  );
  if (problems.length > 0) {
    throw new CannotRun(
      `${origin} has check targets of another version of cells-services: ${problems.join("; ")}; ` +
        "use the checks of the version that the stack was deployed with",
    );
  }
  // The same component may be in several outputs.
  const checks = new Map<string, CheckTarget>();
  for (const { result } of parsed) {
    const { data } = result;
    if (data !== undefined) checks.set(JSON.stringify([data.service, data.namespace, data.name]), data);
  }
  if (checks.size === 0) throw new CannotRun(noTargets(outputs, origin));
  return { checks: [...checks.values()], ...clusterOf(outputs) };
}

interface Candidate {
  path: string[];
  value: unknown;
}

/** No other output has these keys together. */
function candidates(value: unknown, path: string[]): Candidate[] {
  if (typeof value !== "object" || value === null) return [];
  if ("service" in value && "members" in value && "peersService" in value) return [{ path, value }];
  return Object.entries(value).flatMap(([key, each]) => candidates(each, [...path, key]));
}

function noTargets(outputs: unknown, origin: string): string {
  const entries = typeof outputs === "object" && outputs !== null ? Object.entries(outputs) : [];
  const secret = entries.filter(([, value]) => value === "[secret]").map(([key]) => key);
  return (
    `${origin} has no check target among its outputs (${entries.map(([key]) => key).join(", ") || "none"}), so nothing ` +
    "can be proven; export the checkTarget of each component, for example: export const checks = [etcd.checkTarget]" +
    (secret.length === 0 ? "" : `; secret outputs are not read: ${secret.join(", ")}`)
  );
}

/** Outputs that many stacks have. A kubeconfig by its content is not used: only a path, or the name of a context. */
function clusterOf(outputs: unknown): Pick<StackOutputs, "kubeContext" | "kubeconfig"> {
  const known = z.object({
    kubeContext: word.optional().catch(undefined),
    kubeconfig: word.optional().catch(undefined),
  });
  const { kubeContext, kubeconfig } = known.catch({}).parse(outputs);
  return { ...(kubeContext === undefined ? {} : { kubeContext }), ...(kubeconfig === undefined ? {} : { kubeconfig }) };
}

export interface OutputsSource {
  /** A file with the outputs instead of a stack. */
  targets?: string | undefined;
  /** Default: PULUMI_STACK, then the stack that is selected. */
  stack?: string | undefined;
  directory?: string | undefined;
}

export async function readOutputs(source: OutputsSource): Promise<StackOutputs> {
  if (source.targets !== undefined) {
    try {
      return parseOutputs(readFileSync(source.targets, "utf8"), source.targets);
    } catch (error) {
      throw error instanceof CannotRun ? error : new CannotRun(`cannot read the targets: ${messageOf(error)}`);
    }
  }
  const directory = source.directory ?? process.cwd();
  const stack = source.stack ?? process.env["PULUMI_STACK"];
  // Without --show-secrets: targets hold no secrets, and what is not read cannot be printed.
  const args = ["stack", "output", "--json", "--non-interactive", "--cwd", directory];
  if (stack !== undefined) args.push("--stack", stack);
  const origin = stack === undefined ? "the selected stack" : `stack ${JSON.stringify(stack)}`;
  try {
    const { stdout } = await promisify(execFile)("pulumi", args, { maxBuffer: 16 * 1024 * 1024, timeout: 60_000 });
    return parseOutputs(stdout, origin);
  } catch (error) {
    if (error instanceof CannotRun) throw error;
    if ((error as { code?: unknown }).code === "ENOENT") {
      throw new CannotRun(
        "the command pulumi is not found; install it, or give --targets with the outputs of the stack",
      );
    }
    const words = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
    throw new CannotRun(`cannot read the outputs of ${origin} in ${directory}: ${words || messageOf(error)}`);
  }
}

/** Only the named services, by kind or by name of the ensemble, and only those of the namespace. */
export function selectTargets(checks: CheckTarget[], wanted: string[], namespace?: string): CheckTarget[] {
  const here = namespace === undefined ? checks : checks.filter((target) => target.namespace === namespace);
  if (here.length === 0) {
    const known = [...new Set(checks.map((target) => target.namespace))].join(", ");
    throw new CannotRun(`the stack has no service in the namespace ${JSON.stringify(namespace)}; it has ${known}`);
  }
  const unknown = wanted.filter((each) => !here.some((target) => matches(target, each)));
  if (unknown.length > 0) {
    const known = [...new Set(here.flatMap((target) => [target.service, target.name]))].join(", ");
    throw new CannotRun(
      `no service ${unknown.map((each) => JSON.stringify(each)).join(", ")} in the stack; it has ${known}`,
    );
  }
  return wanted.length === 0 ? here : here.filter((target) => wanted.some((each) => matches(target, each)));
}

function matches(target: CheckTarget, wanted: string): boolean {
  return target.service === wanted || target.name === wanted;
}

export interface ClusterChoice {
  /** Paths of kubeconfig files, merged in this order. */
  files: string[];
  /** Absent when the files hold exactly one context. */
  context?: string;
}

export interface ClusterFlags {
  kubeconfig?: string | undefined;
  context?: string | undefined;
}

/**
 * Which cluster to talk to. Somebody has to have named it, by a flag, by KUBECONFIG or by the stack: the context that
 * kubectl happens to point at may be another cluster with services of the same name.
 */
export function chooseCluster(
  flags: ClusterFlags,
  stack: Pick<StackOutputs, "kubeContext" | "kubeconfig">,
  environment: { KUBECONFIG?: string | undefined; HOME?: string | undefined },
): ClusterChoice {
  const context = flags.context ?? stack.kubeContext;
  const named = flags.kubeconfig ?? (environment.KUBECONFIG || undefined) ?? stack.kubeconfig;
  if (named === undefined && context === undefined) {
    throw new CannotRun(
      "no cluster is named and the current context of kubectl is not used silently; " +
        "set KUBECONFIG, give --kubeconfig or --context, or let the stack have an output kubeContext",
    );
  }
  const files = (named ?? join(environment.HOME ?? "", ".kube", "config"))
    .split(delimiter)
    .filter((each) => each !== "");
  for (const file of files) {
    if (!existsSync(file))
      throw new CannotRun(`the kubeconfig ${file} does not exist; set KUBECONFIG or give --kubeconfig`);
  }
  return { files, ...(context === undefined ? {} : { context }) };
}
