import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { awsCredentials, emulatedAws, giveCredentials, startAws } from "./aws";
import { writeIfChanged } from "./files";
import { nodeBinary } from "./images";
import { checkout, home, kubeconfig } from "./paths";
import { installPlugins } from "./plugins/install";
import { attach, run } from "./shell";
import { engineFolders } from "./toolchain";

type Configuration = Record<string, unknown>;

/** Where `pulumi` runs against: which programs, state and cluster. */
export interface Engine {
  stack: string;
  environment: Record<string, string>;
  /** Flags of the commands that read the stack's configuration. */
  configuration: string[];
  /** Namespace whose pods need credentials of the emulated AWS. */
  credentialsFor?: string;
}

/** The installed pulumi with the user's own login and plugins, against a context the user named. */
export async function installedEngine(stack: string, context: string): Promise<Engine> {
  const folder = join(checkout, "dist", "pulumi");
  const engine = await configured({ stack, environment: {} }, folder, () => ({
    "cells-services:kubeContext": context,
  }));
  const deployed = await pulumi(engine, "stack", "output", "kubeContext", "--stack", stack).catch(() => "");
  // The state knows objects by name only: in another cluster it would take them for existing.
  if (deployed.trim() !== "" && deployed.trim() !== context) {
    throw new Error(
      `the stack "${stack}" is deployed to the context "${deployed.trim()}", got KUBE_CONTEXT=${context}; ` +
        "use another stack (STACK=name), or destroy this one where it is",
    );
  }
  return engine;
}

const ownNamespace = (stack: string): string => `cells-${stack}`;

/** The longest that leaves room for the namespaces `cells-STACK` and `cells-STACK-app`. */
const mostCharacters = 53;

/** Namespaces of a stack must not be those of another one. */
export function checkName(stack: string): void {
  if (/(^|-)app$/.test(stack)) {
    throw new Error(
      `STACK must not be "app" or end with "-app", got "${stack}": Cells of another stack is in ${ownNamespace(stack)}`,
    );
  }
  if (stack.length > mostCharacters) {
    throw new Error(`STACK must have at most ${mostCharacters} characters, got "${stack}", which has ${stack.length}`);
  }
}

/** The engine that the sandbox built, with its state and passphrase outside the checkout. */
export async function sandboxEngine(stack: string): Promise<Engine> {
  const folder = join(home, "pulumi");
  const passphrase = join(folder, "passphrase");
  const state = join(folder, "state");
  mkdirSync(state, { recursive: true, mode: 0o700 });
  if (!existsSync(passphrase)) writeIfChanged(passphrase, randomBytes(24).toString("hex"));
  const environment = {
    PATH: [...engineFolders(), join(checkout, "node_modules", ".bin"), process.env["PATH"] ?? ""].join(":"),
    PULUMI_HOME: join(folder, "home"),
    PULUMI_BACKEND_URL: `file://${state}`,
    PULUMI_CONFIG_PASSPHRASE_FILE: passphrase,
    PULUMI_SKIP_UPDATE_CHECK: "true",
    // The language host that can be built is older than the option that names this file in Pulumi.yaml.
    PULUMI_NODEJS_TSCONFIG_PATH: join(checkout, "tsconfig.pulumi.json"),
    KUBECONFIG: kubeconfig,
    // Never those of a real account.
    AWS_ACCESS_KEY_ID: awsCredentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: awsCredentials.secretAccessKey,
  };
  for (const notice of await installPlugins(environment.PULUMI_HOME, nodeBinary)) {
    process.stderr.write(`  ${notice}\n`);
  }
  let aws: Configuration | undefined;
  const engine = await configured({ stack, environment }, folder, (given) => {
    aws = emulatedAws(given, stack);
    return {
      "cells-services:kubeconfig": kubeconfig,
      "cells-services:kubeContext": "cells-services",
      // All stacks are in one cluster.
      ...(stack === "dev" ? {} : { "cells-services:namespace": ownNamespace(stack) }),
      ...aws,
    };
  });
  if (await breakStaleLock(engine, state)) {
    // What the killed update made and did not write into its state has another field manager, whose fields this one takes.
    engine.environment["PULUMI_K8S_ENABLE_PATCH_FORCE"] = "true";
  }
  if (aws === undefined) return engine;
  await startAws();
  return { ...engine, credentialsFor: ownNamespace(stack) };
}

/**
 * The stack file in the checkout is read, never written: `pulumi stack init` puts the salt of the passphrase into the
 * stack file beside Pulumi.yaml, so let it do that elsewhere, and give the commands a copy with what this machine adds.
 */
async function configured(
  engine: Pick<Engine, "stack" | "environment">,
  folder: string,
  own: (given: Configuration) => Configuration,
): Promise<Engine> {
  const { stack, environment } = engine;
  checkName(stack);
  const elsewhere = join(folder, "project");
  const salted = join(elsewhere, `Pulumi.${stack}.yaml`);
  writeIfChanged(join(elsewhere, "Pulumi.yaml"), readFileSync(join(checkout, "Pulumi.yaml"), "utf8"));
  await run("pulumi", ["stack", "select", stack, "--create", "--cwd", elsewhere], { env: environment });

  const read = (file: string): Configuration => (parse(readFileSync(file, "utf8")) ?? {}) as Configuration;
  // A stack without a file of its own is one more prod or dev, beside the first and apart from it.
  const names = [stack, stack.startsWith("prod-") ? "prod" : "dev"];
  const file = names.map((name) => join(checkout, `Pulumi.${name}.yaml`)).find(existsSync) ?? "";
  const base = read(file);
  const apart = file.endsWith(`Pulumi.${stack}.yaml`) ? {} : { "cells-services:namespace": ownNamespace(stack) };
  const given = { ...(base["config"] as Configuration), ...apart };
  const salt = existsSync(salted) ? { encryptionsalt: read(salted)["encryptionsalt"] } : {};
  const merged = { ...salt, ...base, config: { ...given, ...own(given) } };
  const copy = join(folder, `Pulumi.${stack}.yaml`);
  writeIfChanged(copy, stringify(merged));
  return { ...engine, configuration: ["--config-file", copy] };
}

/** An engine that was killed leaves its lock; one whose process is gone protects nothing. Returns whether there was one. */
async function breakStaleLock({ stack, environment }: Engine, state: string): Promise<boolean> {
  const folder = join(state, ".pulumi", "locks", "organization", "cells-services", stack);
  if (!existsSync(folder)) return false;
  const holders = readdirSync(folder).map(
    (file) => (JSON.parse(readFileSync(join(folder, file), "utf8")) as { pid: number }).pid,
  );
  const alive = holders.filter((pid) => existsSync(`/proc/${pid}`));
  if (holders.length === 0 || alive.length > 0) return false;
  await run("pulumi", ["cancel", "--yes", "--stack", stack], { cwd: checkout, env: environment });
  process.stderr.write(`  the lock of the ended process ${holders.join(", ")} on the stack ${stack} was removed\n`);
  return true;
}

/** `pulumi up`, and what nobody else gives to the pods of a stack that uses AWS. */
export async function deploy(engine: Engine, ...args: string[]): Promise<number> {
  const ended = new AbortController();
  const { credentialsFor } = engine;
  const given = credentialsFor === undefined ? undefined : giveCredentials(credentialsFor, ended.signal);
  try {
    return await pulumiOnTerminal(engine, "up", ...args);
  } finally {
    ended.abort();
    await given;
  }
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
