import { join } from "node:path";
import { describe, kubectl, nodeActions, removeData, startCluster, stopCluster } from "./cluster";
import { nodes } from "./cluster/layout";
import { deploy, type Engine, installedEngine, pulumiOnTerminal, sandboxEngine } from "./engine";
import { makeImages } from "./images";
import { checkout, home, kubeconfig, logs, nodeCommand } from "./paths";
import { buildServers } from "./servers";
import { attach } from "./shell";
import { binary, buildToolchain } from "./toolchain";

const stack = process.env["STACK"] ?? "dev";
/** An existing cluster, named by the user. Without it everything happens in the sandbox, never in a current context. */
const context = process.env["KUBE_CONTEXT"] || undefined;

const usage = `usage: sandbox <command>
  up                          boot the cluster, deploy the stack, check it
  preview | destroy           pulumi preview | destroy of the stack
  check [flags]               check the deployed services
  top [flags]                 watch the state of the services
  backups [flags]             list the copies of the services
  backup [flags]              make a copy now, or prove the newest one
  cells values|patches|env|install
                              print a file for Pydio Cells, with its secrets
  cluster                     boot the cluster only
  status                      what runs, and where things are
  kubectl ...                 kubectl against the sandbox cluster
  node stop|start|cut|heal N  kill, revive, partition, heal node 1, 2 or 3
  down                        end everything; data stays
  clean                       end everything and remove the data
  drill | bench [flags]       faults with a ledger; measurements
`;

/** What breaks things on purpose, or is about this machine, has no business on somebody's cluster. */
const sandboxOnly = ["cluster", "status", "kubectl", "node", "down", "clean", "drill", "bench"];

const engineOf = (): Promise<Engine> => (context ? installedEngine(stack, context) : sandboxEngine(stack));

async function tsx(engine: Engine, script: string, args: string[]): Promise<number> {
  return attach(join(checkout, "node_modules", ".bin", "tsx"), [join(checkout, script), ...args], {
    env: { ...engine.environment, PULUMI_STACK: stack, BENCH_CONFIG_FILE: engine.configuration.at(-1) ?? "" },
  });
}

async function boot(): Promise<void> {
  // The downloads of one overlap the compiling of the other.
  await Promise.all([buildToolchain(), buildServers()]);
  await makeImages();
  await startCluster();
}

async function up(): Promise<number> {
  if (!context) await boot();
  const engine = await engineOf();
  const deployed = await deploy(engine, ...withoutAsking("--skip-preview"), "--suppress-outputs");
  if (deployed !== 0) return deployed;
  const checked = await tsx(engine, "checks/cli.ts", ["--wait", "120"]);
  process.stdout.write(context ? nextSteps([]) : nextSteps([`export KUBECONFIG=${kubeconfig}`]));
  return checked;
}

/** On somebody's cluster, pulumi shows what it would do and asks whoever sits at the terminal. */
const withoutAsking = (...more: string[]): string[] => (context && process.stdin.isTTY ? [] : ["--yes", ...more]);

const nextSteps = (first: string[]): string =>
  `\n${[
    "What next:",
    ...first,
    "make check      check the services again",
    "make top        watch the services",
    "make preview    what the next deployment would change",
    ...(context ? [] : ["make status     what runs, and where", 'make kubectl ARGS="get pods -A"']),
    "make test       all tests, on the sandbox",
    "make destroy    remove the services" + (context ? "" : ";  make down: stop the cluster"),
  ].join("\n  ")}\n`;

async function status(): Promise<number> {
  const parts = await describe();
  const width = Math.max(...parts.map(([part]) => part.length));
  for (const [part, state] of parts) process.stdout.write(`${part.padEnd(width)}  ${state}\n`);
  process.stdout.write(
    `\nkubeconfig  ${kubeconfig}\nlogs        ${logs}\nstate       ${join(home, "pulumi", "state")}\n`,
  );
  const runs = parts.every(([, state]) => state.startsWith("runs"));
  if (runs) process.stdout.write(`\n${await kubectl("get", "pods", "-A", "-o", "wide")}`);
  return runs ? 0 : 1;
}

async function node(action: string | undefined, number: string | undefined): Promise<number> {
  const act = action === undefined ? undefined : nodeActions[action];
  const target = nodes.find((candidate) => [String(candidate.number), candidate.name].includes(number ?? ""));
  if (!act || !target) {
    process.stderr.write(
      `node ${action ?? ""} ${number ?? ""}: accepted are ${Object.keys(nodeActions).join(", ")} and ${nodes.map((candidate) => candidate.name).join(", ")} or the number of one\n`,
    );
    return 2;
  }
  await act(target);
  return 0;
}

async function main([command = "", ...args]: string[]): Promise<number> {
  if (context && sandboxOnly.includes(command)) {
    process.stderr.write(`${command} works on the sandbox only, got KUBE_CONTEXT=${context}; unset it\n`);
    return 2;
  }
  switch (command) {
    case "up":
      return up();
    case "cluster":
      await boot();
      return 0;
    case "preview":
      return pulumiOnTerminal(await engineOf(), "preview", ...args);
    case "destroy":
      return pulumiOnTerminal(await engineOf(), "destroy", ...withoutAsking(), ...args);
    case "check":
      return tsx(await engineOf(), "checks/cli.ts", args);
    case "top":
      return tsx(await engineOf(), "checks/top.ts", args);
    case "backups":
      return tsx(await engineOf(), "checks/backups.ts", args);
    case "backup":
      return tsx(await engineOf(), "checks/backup.ts", args);
    case "cells":
      return tsx(await engineOf(), "stacks/cells/cli.ts", args);
    case "drill":
      return tsx(await engineOf(), "drills/cli.ts", ["--node-command", nodeCommand, ...args]);
    case "bench":
      return tsx(await engineOf(), "drills/bench.ts", args);
    case "status":
      return status();
    case "kubectl":
      return attach(binary("kubernetes", "kubectl"), ["--kubeconfig", kubeconfig, ...args]);
    case "node":
      return node(args[0], args[1]);
    case "down":
      await stopCluster();
      return 0;
    case "clean":
      await stopCluster();
      removeData();
      return 0;
    default:
      process.stderr.write(usage);
      return 2;
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  },
);
