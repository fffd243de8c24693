import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  input?: string;
  /** Append stdout and stderr to this file instead of returning them. */
  log?: string;
}

/** Runs a command to its end and returns its standard output; throws with the command's last words when it fails. */
export async function run(command: string, args: string[], options: RunOptions = {}): Promise<string> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  const ended = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  if (options.log !== undefined) {
    mkdirSync(dirname(options.log), { recursive: true });
    const file = createWriteStream(options.log, { flags: "a" });
    child.stdout.pipe(file, { end: false });
    child.stderr.pipe(file, { end: false });
    const [code, signal] = await ended;
    await new Promise((resolve) => file.end(resolve));
    if (code !== 0) throw new Error(`${command} ${args[0] ?? ""} failed (${signal ?? code}); see ${options.log}`);
    return "";
  }
  const [stdout, stderr, [code, signal]] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  if (code !== 0) {
    const words = (stderr.trim() || stdout.trim()).split("\n").slice(-5).join("\n");
    throw new Error(`${command} ${args.join(" ")} failed (${signal ?? code}): ${words}`);
  }
  return stdout;
}

/** Runs a command and tells whether it succeeded. */
export async function succeeds(command: string, args: string[]): Promise<boolean> {
  return run(command, args).then(
    () => true,
    () => false,
  );
}

/** Runs a command on this terminal and returns its exit code. */
export async function attach(command: string, args: string[], options: RunOptions = {}): Promise<number> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: "inherit",
  });
  // Ctrl+C reaches the child too, which ends as it sees fit.
  const patient = () => undefined;
  process.on("SIGINT", patient);
  const [code] = (await once(child, "close")) as [number | null];
  process.off("SIGINT", patient);
  return code ?? 1;
}

export interface Wait {
  intervalMilliseconds?: number;
  /** Asked once, when the time is over: the reasons, to be printed below the error. */
  why?: () => string[] | Promise<string[]>;
}

/**
 * Asks again until the answer is there. The one place where the sandbox waits: the error says what was awaited, what
 * was seen last, and why.
 */
export async function until<T>(
  what: string,
  timeoutSeconds: number,
  ask: () => Promise<T | undefined>,
  { intervalMilliseconds = 250, why = () => [] }: Wait = {},
): Promise<T> {
  const deadline = Date.now() + timeoutSeconds * 1000;
  let last = "no answer";
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (Date.now() > deadline) {
      throw new Error([`waited ${timeoutSeconds} s for ${what}; last seen: ${last}`, ...(await why())].join("\n"));
    }
    await new Promise((resolve) => setTimeout(resolve, intervalMilliseconds));
  }
}
