import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { home, logs } from "../paths";
import { until } from "../shell";
import { foldersOf, hierarchyOf, makeCgroup } from "./cgroups";

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export interface Daemon {
  name: string;
  command: string;
  args: string[];
  cgroup: string;
  /** Run inside this network namespace; the mount namespace stays the host's, which kubelet and containerd share. */
  networkNamespace?: string;
  /** Files whose content is part of what the daemon runs with. */
  configuration?: string[];
  /** Folders that come before the system's on its PATH. */
  path?: string[];
}

const runFolder = join(home, "run");
const identityFile = (name: string): string => join(runFolder, `${name}.identity`);
const pidFile = (name: string): string => join(runFolder, `${name}.pid`);
export const logOf = (name: string): string => join(logs, `${name}.log`);

function identity(daemon: Daemon): string {
  const files = (daemon.configuration ?? []).map((file) => readFileSync(file, "utf8"));
  return createHash("sha256")
    .update(JSON.stringify([daemon, files]))
    .digest("hex");
}

/** The process id of a daemon that this sandbox started and that still runs. */
export function pidOf(name: string): number | undefined {
  if (!existsSync(pidFile(name))) return undefined;
  const pid = Number(readFileSync(pidFile(name), "utf8"));
  try {
    // A process id is used again; the cgroup that the daemon was started in is its own.
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`/${name}\n`) ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function stop(name: string): Promise<void> {
  const pid = pidOf(name);
  if (pid === undefined) return;
  process.kill(pid, "SIGTERM");
  await until(`${name} to end`, 15, async () => (pidOf(name) === undefined ? true : undefined)).catch(() =>
    process.kill(pid, "SIGKILL"),
  );
}

/**
 * Starts a daemon unless it runs with exactly this command and configuration. It outlives this command; its output goes
 * to a log file. Returns whether it had to be started.
 */
export async function ensureRunning(daemon: Daemon): Promise<boolean> {
  const wanted = identity(daemon);
  const { name } = daemon;
  if (pidOf(name) !== undefined) {
    if (existsSync(identityFile(name)) && readFileSync(identityFile(name), "utf8") === wanted) return false;
    await stop(name);
  }
  const path = `${daemon.cgroup}/${name}`;
  makeCgroup(path);
  mkdirSync(runFolder, { recursive: true });
  mkdirSync(logs, { recursive: true });
  writeFileSync(identityFile(name), wanted);
  // The shell that becomes the daemon writes its own id down, so that no daemon runs without a record.
  const script = [
    ...foldersOf(hierarchyOf(), path).map((folder) => `echo $$ > ${join(folder, "cgroup.procs")}`),
    `echo $$ > ${pidFile(name)}`,
    "umask 022",
    'exec "$@"',
  ].join(" && ");
  const inside = daemon.networkNamespace ? ["nsenter", `--net=/var/run/netns/${daemon.networkNamespace}`, "--"] : [];
  const output = openSync(logOf(name), "a");
  const child = spawn("/bin/sh", ["-c", script, "sh", ...inside, daemon.command, ...daemon.args], {
    detached: true,
    stdio: ["ignore", output, output],
    cwd: "/",
    // Nothing of the caller's environment: the daemon is the same whoever starts it.
    env: { PATH: [...(daemon.path ?? []), systemPath].join(":"), HOME: "/root" },
  });
  closeSync(output);
  child.unref();
  await until(`${name} to start`, 10, async () => (pidOf(name) === undefined ? undefined : true), {
    intervalMilliseconds: 20,
    why: () => [lastWords(name)],
  });
  return true;
}

/** As klog, logrus and zap mark an error. */
const errorLine = /^[EF]\d{4} |\blevel=(error|fatal|panic)\b|"level":"(error|fatal|panic)"|^panic: /;

/** The last lines of a log that report an error; its last lines when none does. */
export function errorLines(log: string, count: number): string[] {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const errors = lines.filter((line) => errorLine.test(line));
  return (errors.length > 0 ? errors : lines).slice(-count);
}

/** Says why a daemon is not there, with its last words. */
export function lastWords(name: string): string {
  const file = logOf(name);
  const tail = existsSync(file) ? errorLines(readFileSync(file, "utf8"), 3).join("\n") : "no log";
  return `${name} ${pidOf(name) === undefined ? "is not running" : "runs"}; log ${file}:\n${tail}`;
}
