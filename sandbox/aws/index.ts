/** The parts of AWS that the services use, emulated by moto on the host, where pods can reach it. Its state lives as long as it runs. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cgroup, hostAddress } from "../cluster/layout";
import { ensureRunning, lastWords, pidOf } from "../cluster/processes";
import { cacheHome } from "../paths";
import { run, until } from "../shell";

const version = "5.2.5";
const port = 5566;
const daemon = "aws";

export const awsEndpoint = `http://${hostAddress}:${port}`;

/** Starts it unless it runs. */
export async function startAws(): Promise<void> {
  const packages = await installMoto();
  const python = (await run("python3", ["-c", "import sys; print(sys.executable)"])).trim();
  const script = "import sys; sys.path.insert(0, sys.argv.pop(1)); from moto.server import main; main(sys.argv[1:])";
  await ensureRunning({
    name: daemon,
    command: python,
    args: ["-c", script, packages, "--host", hostAddress, "--port", String(port)],
    cgroup: `${cgroup}/${daemon}`,
  });
  await until("the emulated AWS to answer", 60, async () =>
    (await fetch(`${awsEndpoint}/moto-api/`)).ok ? true : undefined,
  ).catch((error: Error) => {
    throw new Error(`${error.message}\n${lastWords(daemon)}`);
  });
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
