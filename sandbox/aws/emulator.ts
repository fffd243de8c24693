/**
 * The parts of AWS that the services use, emulated by moto on the host, where pods can reach it. What KMS, S3 and IAM
 * keep outlives the process: Vault can only be opened with the key that it was sealed with.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroup, hostAddress } from "../cluster/layout";
import { ensureRunning, lastWords, pidOf } from "../cluster/processes";
import { cacheHome, checkout, home } from "../paths";
import { run, until } from "../shell";

const version = "5.2.5";
const port = 5566;
const daemon = "aws";
const emulator = join(checkout, "sandbox", "aws", "emulator.py");

export const awsEndpoint = `http://${hostAddress}:${port}`;
/** It takes any. */
export const awsCredentials = { accessKeyId: "sandbox", secretAccessKey: "sandbox-only" };

/** Where an emulator listens, and the file that it keeps its state in. */
export interface AwsPlace {
  host: string;
  port: number;
  state: string;
}

/** Starts it unless it runs. */
export async function startAws(): Promise<void> {
  await ensureRunning({
    name: daemon,
    ...(await awsCommand({ host: hostAddress, port, state: join(home, "aws.state") })),
    cgroup: `${cgroup}/${daemon}`,
    configuration: [emulator],
  });
  await awsAnswers(awsEndpoint).catch((error: Error) => {
    throw new Error(`${error.message}\n${lastWords(daemon)}`);
  });
}

/** What runs an emulator; tests have one of their own. */
export async function awsCommand({ host, port, state }: AwsPlace): Promise<{ command: string; args: string[] }> {
  const packages = await installMoto();
  const python = (await run("python3", ["-c", "import sys; print(sys.executable)"])).trim();
  return { command: python, args: [emulator, packages, "--host", host, "--port", String(port), "--state", state] };
}

export async function awsAnswers(endpoint: string): Promise<void> {
  await until("the emulated AWS to answer", 60, async () =>
    (await fetch(`${endpoint}/moto-api/`)).ok ? true : undefined,
  );
}

/** Signals it, such as SIGSTOP for a service that does not answer and SIGCONT for one that does again. */
export function signalAws(signal: NodeJS.Signals): void {
  const pid = pidOf(daemon);
  if (pid === undefined) throw new Error("the emulated AWS does not run");
  process.kill(pid, signal);
}

/** Appears by one rename, so that an interrupted installation is never taken for a whole one. */
async function installMoto(): Promise<string> {
  const folder = join(cacheHome, "python", `moto-${version}`);
  if (existsSync(folder)) return folder;
  mkdirSync(join(cacheHome, "python"), { recursive: true });
  const work = mkdtempSync(join(cacheHome, "python", ".moto-"));
  try {
    const log = join(cacheHome, "logs", `moto-${version}.log`);
    await run("python3", ["-m", "pip", "install", "--retries", "5", "--target", work, `moto[server]==${version}`], {
      log,
    });
    renameSync(work, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return folder;
}
