import type { KubeConfig } from "@kubernetes/client-node";
import type { CheckTarget } from "../components/shared/core/check";
import { messageOf } from "../components/shared/core/errors";
import { loadCluster, reachCluster } from "./cluster";
import { exitCodes } from "./failure";
import { chooseCluster, readOutputs, selectTargets } from "./targets";

/** The flags of every command that works on the services of a stack. */
export const selectionFlags = {
  service: { type: "string", multiple: true },
  stack: { type: "string" },
  directory: { type: "string" },
  targets: { type: "string" },
  kubeconfig: { type: "string" },
  context: { type: "string" },
  namespace: { type: "string" },
} as const;

export const selectionUsage = `  --service NAME     only this service; may be repeated
  --stack NAME       default: PULUMI_STACK, then the selected stack
  --directory DIR    of the Pulumi project, default: the current one
  --targets FILE     the output of \`pulumi stack output --json\`, instead of asking Pulumi
  --kubeconfig FILE  default: KUBECONFIG
  --context NAME     default: the output kubeContext of the stack
  --namespace NAME   only the services in this namespace`;

type Flags = { [F in Exclude<keyof typeof selectionFlags, "service">]?: string | undefined } & {
  service?: string[] | undefined;
};

interface Selection {
  targets: CheckTarget[];
  config: KubeConfig;
}

/** What the flags select, in a cluster that answers. */
export async function selected(flags: Flags): Promise<Selection> {
  const outputs = await readOutputs(flags);
  const targets = selectTargets(outputs.checks, flags.service ?? [], flags.namespace);
  const config = loadCluster(chooseCluster(flags, outputs, process.env));
  await reachCluster(config, targets[0]?.namespace ?? "default");
  return { targets, config };
}

/** A command on what its flags select: `run` says whether all went well. What is thrown ends it in one line, as what could not run. */
export async function runOnSelected<Own extends Flags & { help?: boolean | undefined }>(
  { name, usage }: { name: string; usage: string },
  read: () => Own,
  run: (flags: Own, selection: Selection) => Promise<boolean>,
): Promise<number> {
  try {
    const flags = read();
    if (flags.help === true) {
      process.stdout.write(usage);
      return exitCodes.passed;
    }
    return (await run(flags, await selected(flags))) ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    process.stderr.write(`${name}: ${messageOf(error)}\n`);
    return exitCodes.cannotRun;
  }
}

export const toStdout = (text: string): void => void process.stdout.write(text);
export const toStderr = (text: string): void => void process.stderr.write(text);

/** Runs a command of this process, and ends the process with its exit code. */
export function runMain(main: (args: string[]) => Promise<number>): void {
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
    // A client library that keeps a handle must not keep a pipeline waiting. Unreferenced: it delays nobody else.
    setTimeout(() => process.exit(code), 2000).unref();
  });
}
