import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { writeIfChanged } from "./files";
import { nodeBinary } from "./images";
import { checkout, home, kubeconfig } from "./paths";
import { installStandIns } from "./plugins/install";
import { attach, run } from "./shell";
import { engineFolders } from "./toolchain";

/** Where `pulumi` runs against: which programs, state and cluster. */
export interface Engine {
  stack: string;
  environment: Record<string, string>;
  /** Flags of the commands that read the stack's configuration. */
  configuration: string[];
}

/** The installed pulumi with the user's own login, against a context the user named. */
export async function installedEngine(stack: string, context: string): Promise<Engine> {
  const engine: Engine = { stack, environment: {}, configuration: [] };
  await pulumi(engine, "stack", "select", "--create", stack);
  await pulumi(engine, "config", "set", "kubeContext", context, "--stack", stack);
  return engine;
}

/**
 * The engine that the sandbox built, with state, passphrase and the stack's salt outside the checkout: the stack file
 * in the checkout is read, never written.
 */
export async function sandboxEngine(stack: string): Promise<Engine> {
  const folder = join(home, "pulumi");
  const passphrase = join(folder, "passphrase");
  const state = join(folder, "state");
  mkdirSync(state, { recursive: true, mode: 0o700 });
  if (!existsSync(passphrase)) writeFileSync(passphrase, randomBytes(24).toString("hex"), { mode: 0o600 });
  const engine: Engine = {
    stack,
    environment: {
      PATH: [...engineFolders(), join(checkout, "node_modules", ".bin"), process.env["PATH"] ?? ""].join(":"),
      PULUMI_HOME: join(folder, "home"),
      PULUMI_BACKEND_URL: `file://${state}`,
      PULUMI_CONFIG_PASSPHRASE_FILE: passphrase,
      PULUMI_SKIP_UPDATE_CHECK: "true",
      // The language host that can be built is older than the option that names this file in Pulumi.yaml.
      PULUMI_NODEJS_TSCONFIG_PATH: join(checkout, "tsconfig.pulumi.json"),
      KUBECONFIG: kubeconfig,
    },
    configuration: ["--config-file", join(folder, `Pulumi.${stack}.yaml`)],
  };
  for (const notice of await installStandIns(join(folder, "home"), nodeBinary)) process.stderr.write(`  ${notice}\n`);
  await configure(engine, folder);
  return engine;
}

/** `pulumi stack init` writes the salt of the passphrase into the stack file beside Pulumi.yaml: let it do so elsewhere. */
async function configure(engine: Engine, folder: string): Promise<void> {
  const elsewhere = join(folder, "project");
  const salted = join(elsewhere, `Pulumi.${engine.stack}.yaml`);
  writeIfChanged(join(elsewhere, "Pulumi.yaml"), readFileSync(join(checkout, "Pulumi.yaml"), "utf8"));
  if (!existsSync(salted)) {
    await run("pulumi", ["stack", "init", engine.stack, "--no-select", "--cwd", elsewhere], {
      env: engine.environment,
    });
  }
  const read = (file: string): Record<string, unknown> =>
    (parse(readFileSync(file, "utf8")) ?? {}) as Record<string, unknown>;
  const own = join(checkout, `Pulumi.${engine.stack}.yaml`);
  // A stack without a file of its own is one more dev, beside the first and apart from it.
  const tracked = read(existsSync(own) ? own : join(checkout, "Pulumi.dev.yaml"));
  const config = {
    ...(tracked["config"] as Record<string, unknown>),
    ...(existsSync(own)
      ? {}
      : { "cells-services:environment": "dev", "cells-services:namespace": `cells-${engine.stack}` }),
    "cells-services:kubeconfig": kubeconfig,
    "cells-services:kubeContext": "cells-services",
  };
  const merged = { ...tracked, encryptionsalt: read(salted)["encryptionsalt"], config };
  writeIfChanged(join(folder, `Pulumi.${engine.stack}.yaml`), stringify(merged));
}

/** Runs pulumi in the checkout and returns its output. */
export const pulumi = (engine: Engine, ...args: string[]): Promise<string> =>
  run("pulumi", args, { cwd: checkout, env: engine.environment });

/** Runs a pulumi command that reads the program, on this terminal. */
export const pulumiOnTerminal = (engine: Engine, command: string, ...args: string[]): Promise<number> =>
  attach("pulumi", [command, "--stack", engine.stack, ...engine.configuration, ...args], {
    cwd: checkout,
    env: engine.environment,
  });
