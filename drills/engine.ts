/** Runs pulumi as the environment says that `make bench` gives, and makes stacks that are thrown away. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";

const checkout = join(__dirname, "..");
const stepMilliseconds = 100;

export interface Run {
  stdout: string;
  seconds: number;
  /** The most memory that the engine had, without plugins and program. */
  engineMiB: number;
}

export async function pulumi(...args: string[]): Promise<Run> {
  const started = performance.now();
  const child = spawn("pulumi", args, { cwd: checkout, stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)];
  let engineMiB = 0;
  const timer = setInterval(() => {
    engineMiB = Math.max(engineMiB, peakMiB(child));
  }, stepMilliseconds);
  try {
    const code = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
    if (code !== 0) throw new Error(`pulumi ${args.join(" ")} failed:\n${stdout()}${stderr()}`);
  } finally {
    clearInterval(timer);
  }
  return { stdout: stdout(), seconds: (performance.now() - started) / 1000, engineMiB };
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString("utf8");
}

/** 0 when the process is gone. */
function peakMiB({ pid }: ChildProcess): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

/** A stack by the flags that name it in each command. */
export interface ThrowAway {
  flags: string[];
  /** With everything that it has made. */
  remove(): Promise<void>;
}

/** A program of the files given, in a folder of its own, that finds the packages and the code of this checkout. */
export async function openProgram(name: string, files: Record<string, string>): Promise<ThrowAway> {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  const shared = ["node_modules", "components", "drills", "tsconfig.json", "tsconfig.pulumi.json", "package.json"];
  for (const each of shared) symlinkSync(join(checkout, each), join(folder, each));
  const options = { typescript: true, tsconfig: "tsconfig.pulumi.json", packagemanager: "npm" };
  const project = { name, main: "index.ts", runtime: { name: "nodejs", options } };
  // JSON is YAML too.
  writeFileSync(join(folder, "Pulumi.yaml"), JSON.stringify(project));
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  const flags = ["--stack", name, "--cwd", folder];
  await pulumi("stack", "init", name, "--no-select", "--cwd", folder);
  return { flags, remove: () => remove(flags, folder) };
}

/**
 * The program of this checkout as another stack. The stack file in the checkout is read, never written: `pulumi stack init`
 * puts the salt of the passphrase beside Pulumi.yaml, so it does that in a folder of its own.
 */
export async function openCopy(stack: string, configFile: string, changes: object): Promise<ThrowAway> {
  const folder = mkdtempSync(join(tmpdir(), `${stack}-`));
  writeFileSync(join(folder, "Pulumi.yaml"), readFileSync(join(checkout, "Pulumi.yaml")));
  await pulumi("stack", "init", stack, "--no-select", "--cwd", folder);
  const file = join(folder, `Pulumi.${stack}.yaml`);
  const { encryptionsalt } = parse(readFileSync(file, "utf8")) as { encryptionsalt?: string };
  const { config } = parse(readFileSync(configFile, "utf8")) as { config: object };
  writeFileSync(file, stringify({ encryptionsalt, config: { ...config, ...changes } }));
  const flags = ["--stack", stack, "--config-file", file];
  return { flags, remove: () => remove(flags, folder) };
}

async function remove(flags: string[], folder: string): Promise<void> {
  const named = flags.filter((_, index) => flags[index - 1] !== "--config-file" && flags[index] !== "--config-file");
  try {
    await pulumi("destroy", "--yes", "--skip-preview", "--non-interactive", ...flags);
    await pulumi("stack", "rm", "--yes", ...named);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
