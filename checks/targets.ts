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
});

const outputs = z.object({
  checks: z.array(target),
  kubeContext: z.string().min(1).nullish(),
  kubeconfig: z.string().min(1).nullish(),
});

/** What the stack says about itself: what to check, and which cluster it is in. */
export interface StackOutputs {
  checks: CheckTarget[];
  kubeContext?: string;
  kubeconfig?: string;
}

/** Accepts the outputs of a stack, or a bare list of targets. `origin` names the source in errors. */
export function parseOutputs(text: string, origin: string): StackOutputs {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CannotRun(`${origin} is not JSON: ${messageOf(error)}`);
  }
  const parsed = outputs.safeParse(Array.isArray(value) ? { checks: value } : value);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ");
    throw new CannotRun(`${origin} has no usable list of check targets (output "checks"): ${problems}`);
  }
  const { checks, kubeContext, kubeconfig } = parsed.data;
  if (checks.length === 0) {
    throw new CannotRun(`${origin} names no services to check; nothing was proven, so this is not a success`);
  }
  return {
    checks,
    ...(kubeContext == null ? {} : { kubeContext }),
    ...(kubeconfig == null ? {} : { kubeconfig }),
  };
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
    const words = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
    throw new CannotRun(`cannot read the outputs of ${origin} in ${directory}: ${words || messageOf(error)}`);
  }
}

/** Only the named services, by kind or by name of the ensemble. */
export function selectTargets(checks: CheckTarget[], wanted: string[]): CheckTarget[] {
  const unknown = wanted.filter((each) => !checks.some((target) => matches(target, each)));
  if (unknown.length > 0) {
    const known = [...new Set(checks.flatMap((target) => [target.service, target.name]))].join(", ");
    throw new CannotRun(
      `no service ${unknown.map((each) => JSON.stringify(each)).join(", ")} in the stack; it has ${known}`,
    );
  }
  return wanted.length === 0 ? checks : checks.filter((target) => wanted.some((each) => matches(target, each)));
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
