import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { home, logs } from "../paths";
import { until } from "../shell";

const cgroupRoot = "/sys/fs/cgroup";
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
  // The unified hierarchy too, in which runc keeps a record of its own.
  for (const controller of readdirSync(cgroupRoot)) {
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
  /** Folders that come before the system's on its PATH. */
  path?: string[];
  umask?: string;
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
    ...controllers().map((controller) => `echo $$ > ${join(cgroupRoot, controller, path, "cgroup.procs")}`),
    `echo $$ > ${pidFile(name)}`,
    `umask ${daemon.umask ?? "022"}`,
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
  await until(`${name} to start`, 10, async () => (pidOf(name) === undefined ? undefined : true), 20).catch(
    (error: Error) => {
      throw new Error(`${error.message}\n${lastWords(name)}`);
    },
  );
  return true;
}

/** Says why a daemon is not there, with its last words. */
export function lastWords(name: string): string {
  const file = logOf(name);
  const tail = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n").slice(-3).join("\n") : "no log";
  return `${name} ${pidOf(name) === undefined ? "is not running" : "runs"}; log ${file}:\n${tail}`;
}
