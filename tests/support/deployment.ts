/** A stack of the tests' own on the sandbox cluster, by the commands that a user has. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { kubectl } from "../../sandbox/cluster";
import { type Engine, pulumi, sandboxEngine } from "../../sandbox/engine";
import { checkout, home } from "../../sandbox/paths";

export interface Result {
  code: number;
  /** Of both streams, as it came. */
  output: string;
  stdout: string;
}

export interface Deployment {
  engine: Engine;
  execute(command: string, args: string[], environment?: Record<string, string>): Promise<Result>;
  /** A command of pulumi with the configuration of the stack, or with the one in a file. */
  deploy(command: string, ...args: string[]): Promise<Result>;
  /** `up` with the configuration in a file. */
  up(file: string): Promise<Result>;
  /** The same, killed without a word when something has happened. */
  upKilled(file: string, happened: () => Promise<unknown>): Promise<void>;
  tsx(script: string, ...args: string[]): Promise<Result>;
  /** What a fault has left behind may need a moment: the checks are repeated for so long. Throws what they say in the end. */
  checksPass(seconds: number, ...flags: string[]): Promise<void>;
  /** Writes the configuration of the stack with other values of some keys to a file, and returns its path. */
  configurationWith(name: string, values: Record<string, unknown>): string;
  /** Removes what a run that was killed may have left. */
  clear(): Promise<void>;
}

/** With other values of some keys than those of the stack file. */
export async function openDeployment(stack: string, values: Record<string, unknown> = {}): Promise<Deployment> {
  const sandbox = await sandboxEngine(stack);
  const engine = { ...sandbox, configuration: ["--config-file", configurationWith(sandbox, "tested", values)] };
  Object.assign(process.env, engine.environment);
  const execute: Deployment["execute"] = async (command, args, environment = {}) => {
    const child = spawn(command, args, {
      cwd: checkout,
      env: { ...process.env, ...engine.environment, PULUMI_STACK: stack, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => {
      stdout += part;
      output += part;
    });
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      output += part;
    });
    const [code] = (await once(child, "close")) as [number | null];
    return { code: code ?? 1, output, stdout };
  };
  const deploy: Deployment["deploy"] = (command, ...args) => {
    const configuration = args.includes("--config-file") ? [] : engine.configuration;
    return execute("pulumi", [command, "--stack", stack, ...configuration, "--non-interactive", ...args]);
  };
  const tsx: Deployment["tsx"] = (script, ...args) => execute("tsx", [script, ...args]);
  return {
    engine,
    execute,
    deploy,
    up: (file) => deploy("up", "--yes", "--skip-preview", "--config-file", file),
    async upKilled(file, happened) {
      const args = ["up", "--yes", "--skip-preview", "--stack", stack, "--config-file", file];
      const child = spawn("pulumi", args, {
        cwd: checkout,
        env: { ...process.env, ...engine.environment },
        stdio: "ignore",
        detached: true,
      });
      const ended = once(child, "close").catch(() => undefined);
      try {
        await happened();
      } finally {
        // The process group of the engine, without a chance to finish its state or to give back its lock. Its plugins have
        // groups of their own: that nobody waits for them any more is for them to notice.
        if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
          process.kill(-child.pid, "SIGKILL");
        }
        await ended;
        // As each command of the sandbox does after such an end: breaks the lock, and takes what the state does not know.
        Object.assign(engine.environment, (await sandboxEngine(stack)).environment);
      }
    },
    tsx,
    async checksPass(seconds, ...flags) {
      const { code, output } = await tsx("checks/cli.ts", "--wait", `${seconds}`, ...flags);
      if (code !== 0) throw new Error(output);
    },
    configurationWith: (name, values) => configurationWith(engine, name, values),
    async clear() {
      await pulumi(engine, "cancel", "--yes", "--stack", stack).catch(() => undefined);
      await deploy("destroy", "--yes", "--skip-preview", "--refresh");
      const namespaces = [`cells-${stack}`, `cells-${stack}-app`];
      await kubectl("delete", "namespace", ...namespaces, "--ignore-not-found", "--timeout=120s");
    },
  };
}

function configurationWith({ stack, configuration }: Engine, name: string, values: Record<string, unknown>): string {
  const given = parse(readFileSync(configuration[1] ?? "", "utf8")) as { config: object };
  const file = join(home, `${stack}-${name}.yaml`);
  writeFileSync(file, stringify({ ...given, config: { ...given.config, ...values } }));
  return file;
}
