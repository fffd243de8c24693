import { help, log } from "../core/log";

/** A command of an agent. The arguments are those after its name. */
type Command = (args: string[]) => Promise<void>;
export type Commands = Record<string, Command>;

/**
 * Runs the command that the container's arguments name. Node.js started with `-e` puts the first argument at index 1 of
 * `process.argv`. A failure is one line, because it is read in the status of a pod.
 */
export async function run(commands: Commands, argv: string[] = process.argv.slice(1)): Promise<void> {
  const [name = "", ...args] = argv;
  const command = commands[name];
  if (command === undefined) {
    log(`unknown command ${JSON.stringify(name)}; use one of ${Object.keys(commands).join(", ")}`);
    process.exitCode = 2;
    return;
  }
  // As process 1 of its container it has no default for it. Every command may be killed at any point; what was begun must not
  // keep the pod.
  process.once("SIGTERM", () => process.exit(128 + 15));
  try {
    await command(args);
  } catch (error) {
    log(`${name} failed: ${error instanceof Error ? error.message : String(error)}; ${help}`);
    process.exitCode = 1;
  }
}

/** What the component wrote into SETTINGS for this container. */
export function readSettings<T>(environment: NodeJS.ProcessEnv = process.env): T {
  return JSON.parse(required("SETTINGS", environment)) as T;
}

/** The pod that this process runs in. */
export function readPod(environment: NodeJS.ProcessEnv = process.env): { name: string; namespace: string } {
  return { name: required("POD_NAME", environment), namespace: required("POD_NAMESPACE", environment) };
}

function required(variable: string, environment: NodeJS.ProcessEnv): string {
  const value = environment[variable];
  if (value === undefined || value === "") throw new Error(`the environment variable ${variable} is missing`);
  return value;
}
