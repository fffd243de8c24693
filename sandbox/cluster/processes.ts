import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { home, logs } from "../paths";
import { until } from "../shell";
import { cgroup } from "./layout";

const cgroupRoot = "/sys/fs/cgroup";

/** The mounted cgroup v1 controllers (a controller may share its mount with another). */
const controllers = (): string[] =>
  readdirSync(cgroupRoot).filter((name) => name !== "unified" && existsSync(join(cgroupRoot, name, "cgroup.procs")));

/** The controller whose tree says which process belongs to what; every process of the sandbox is entered in it. */
const census = "memory";

/** Makes a cgroup in every controller. A cpuset without cpus and memory nodes takes no process: copy the parent's. */
export function makeCgroup(path: string): void {
  for (const controller of controllers()) {
    let parent = join(cgroupRoot, controller);
    for (const part of path.split("/")) {
      const folder = join(parent, part);
      if (!existsSync(folder)) mkdirSync(folder);
      if (controller === "cpuset") {
        for (const file of ["cpuset.cpus", "cpuset.mems"]) {
          if (readFileSync(join(folder, file), "utf8").trim() === "") {
            writeFileSync(join(folder, file), readFileSync(join(parent, file), "utf8"));
          }
        }
      }
      parent = folder;
    }
  }
}

function descend(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const children = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...children.flatMap((child) => descend(join(folder, child.name))), folder];
}

/** The processes of a cgroup and everything below it. */
export function processesIn(path: string): number[] {
  return descend(join(cgroupRoot, census, path)).flatMap((folder) => {
    try {
      return readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
    } catch {
      return []; // the container ended while we looked
    }
  });
}

/** Kills everything in a cgroup, containers and shims included. Like pulling the plug: nobody is asked first. */
export async function killCgroup(path: string): Promise<void> {
  await until(`the processes of ${path} to end`, 30, async () => {
    const left = processesIn(path).filter((pid) => pid !== process.pid);
    for (const pid of left) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended by itself
      }
    }
    return left.length === 0 ? true : undefined;
  });
}

export function removeCgroup(path: string): void {
  for (const controller of controllers()) {
    for (const folder of descend(join(cgroupRoot, controller, path))) rmdirSync(folder);
  }
}

export interface Daemon {
  name: string;
  command: string;
  args: string[];
  cgroup: string;
  /** Run inside this network namespace; the mount namespace stays the host's, which kubelet and containerd share. */
  networkNamespace?: string;
  /** Files whose content is part of what the daemon runs with. */
  configuration?: string[];
  environment?: Record<string, string>;
  umask?: string;
}

const recordOf = (name: string): string => join(home, "run", `${name}.json`);
export const logOf = (name: string): string => join(logs, `${name}.log`);

function identity(daemon: Daemon): string {
  const files = (daemon.configuration ?? []).map((file) => readFileSync(file, "utf8"));
  return createHash("sha256")
    .update(JSON.stringify([daemon, files]))
    .digest("hex");
}

/** The process id of a daemon that this sandbox started and that still runs. */
export function pidOf(name: string): number | undefined {
  try {
    const { pid } = JSON.parse(readFileSync(recordOf(name), "utf8")) as { pid: number };
    // A process id is used again after a reboot; membership in our cgroup is not.
    return processesIn(cgroup).includes(pid) ? pid : undefined;
  } catch {
    return undefined;
  }
}

export async function stop(name: string): Promise<void> {
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
  if (pidOf(daemon.name) !== undefined) {
    const record = JSON.parse(readFileSync(recordOf(daemon.name), "utf8")) as { identity: string };
    if (record.identity === wanted) return false;
    await stop(daemon.name);
  }
  makeCgroup(daemon.cgroup);
  mkdirSync(join(home, "run"), { recursive: true });
  mkdirSync(logs, { recursive: true });
  const enter = controllers().map(
    (controller) => `echo $$ > ${join(cgroupRoot, controller, daemon.cgroup, "cgroup.procs")}`,
  );
  const script = [...enter, ...(daemon.umask ? [`umask ${daemon.umask}`] : []), 'exec "$@"'].join(" && ");
  const inside = daemon.networkNamespace ? ["nsenter", `--net=/var/run/netns/${daemon.networkNamespace}`, "--"] : [];
  const output = openSync(logOf(daemon.name), "a");
  const child = spawn("/bin/sh", ["-c", script, "sh", ...inside, daemon.command, ...daemon.args], {
    detached: true,
    stdio: ["ignore", output, output],
    cwd: "/",
    env: { PATH: process.env["PATH"] ?? "", HOME: "/root", ...daemon.environment },
  });
  closeSync(output);
  child.unref();
  if (child.pid === undefined) throw new Error(`${daemon.name} could not be started: ${daemon.command}`);
  writeFileSync(recordOf(daemon.name), JSON.stringify({ pid: child.pid, identity: wanted }));
  return true;
}

/** Says why a daemon is not there, with its last words. */
export function lastWords(name: string): string {
  const file = logOf(name);
  const tail = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n").slice(-3).join("\n") : "no log";
  return `${name} ${pidOf(name) === undefined ? "is not running" : "runs"}; log ${file}:\n${tail}`;
}
