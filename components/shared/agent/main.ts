import { writeFile } from "node:fs/promises";
import { messageOf } from "../core/errors";
import { help, log } from "../core/log";
import type { EnsembleSettings } from "../core/settings";

export type Commands = Record<string, () => Promise<void>>;

/** The kubelet mounts it writable in every container and shows its content in the status of the pod. */
const terminationLog = "/dev/termination-log";

/**
 * Runs the command that the first argument of the container names. A failure is one line, which also becomes the
 * termination message: `pulumi up` prints it.
 */
export async function run(
  commands: Commands,
  [name = ""]: string[] = process.argv.slice(1),
  messageFile: string = terminationLog,
): Promise<void> {
  const fail = async (exitCode: number, sentence: string): Promise<void> => {
    log(sentence);
    process.exitCode = exitCode;
    // Outside a container there is no such file, and none is made. The sentence is in the log in any case.
    await writeFile(messageFile, sentence, { flag: "r+" }).catch(() => undefined);
  };
  const command = commands[name];
  if (command === undefined) {
    await fail(2, `unknown command ${JSON.stringify(name)}; use one of ${Object.keys(commands).join(", ")}`);
    return;
  }
  // Process 1 of a container has no default handler for SIGTERM. Every command may be killed at any point, so what it has
  // begun must not keep the pod. The agent beside a server is stopped after the server: a gateway asks it four times a second,
  // and must have heard "down", since silence changes nothing there.
  process.once("SIGTERM", () => setTimeout(() => process.exit(128 + 15), name === "sidecar" ? 1000 : 0));
  try {
    await command();
  } catch (error) {
    await fail(1, `${name} failed: ${messageOf(error)}; ${help}`);
  }
}

export interface Pod {
  name: string;
  namespace: string;
}

/** What an agent needs to reach the members of its ensemble. */
export interface Ensemble extends EnsembleSettings {
  namespace: string;
}

/** What the component wrote into SETTINGS for this container. */
export function readSettings<T>(environment: NodeJS.ProcessEnv = process.env): T {
  return JSON.parse(required("SETTINGS", environment)) as T;
}

/** The pod that this process runs in. */
export function readPod(environment: NodeJS.ProcessEnv = process.env): Pod {
  return { name: required("POD_NAME", environment), namespace: required("POD_NAMESPACE", environment) };
}

function required(variable: string, environment: NodeJS.ProcessEnv): string {
  const value = environment[variable];
  if (value === undefined || value === "") throw new Error(`the environment variable ${variable} is missing`);
  return value;
}
