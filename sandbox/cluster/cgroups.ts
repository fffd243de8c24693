import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../shell";

const root = "/sys/fs/cgroup";
/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const cgroup2 = 0x63677270;

/** How a machine arranges its cgroups: v1 has one tree for each controller, v2 has one tree for all. */
export interface Hierarchy {
  version: 1 | 2;
  root: string;
  controllers: string[];
}

/** What kubelet wants to find in the cgroup of a node, where the kernel has it. */
const enabled = ["cpu", "cpuset", "hugetlb", "memory", "pids"];

/** The type of the file system decides: a machine with v1 may have an empty v2 tree beside it. */
export function hierarchyOf(folder = root, type: number = statfsSync(folder).type): Hierarchy {
  if (type === cgroup2) {
    const available = readFileSync(join(folder, "cgroup.controllers"), "utf8").trim().split(/\s+/);
    return { version: 2, root: folder, controllers: enabled.filter((name) => available.includes(name)) };
  }
  const mounted = readdirSync(folder).filter((name) => existsSync(join(folder, name, "cgroup.procs")));
  return { version: 1, root: folder, controllers: mounted.filter((name) => name !== "unified") };
}

/** The folders that a process is entered in so that it belongs to the cgroup. */
export const foldersOf = ({ version, root: top, controllers }: Hierarchy, path: string): string[] =>
  version === 2 ? [join(top, path)] : controllers.map((controller) => join(top, controller, path));

/** The folder that says which process belongs to the cgroup; with v1, every process is entered in all trees. */
export const censusOf = ({ version, root: top }: Hierarchy, path: string): string =>
  version === 2 ? join(top, path) : join(top, "memory", path);

/** The folders above a cgroup that must give their controllers to it, from the top. With v1, nothing has to be given. */
export function givers({ version, root: top }: Hierarchy, path: string): string[] {
  if (version === 1) return [];
  const parts = path.split("/");
  return parts.map((_, index) => join(top, ...parts.slice(0, index)));
}

/** What to write to `cgroup.subtree_control`, given what it says; undefined when nothing is missing. */
export function toGive({ controllers }: Hierarchy, given: string): string | undefined {
  const missing = controllers.filter((name) => !given.split(/\s+/).includes(name));
  return missing.length === 0 ? undefined : missing.map((name) => `+${name}`).join(" ");
}

/** Makes a cgroup. With v2, those above it can then have no processes of their own. */
export function makeCgroup(path: string, hierarchy = hierarchyOf()): void {
  for (const folder of givers(hierarchy, path)) {
    mkdirSync(folder, { recursive: true });
    give(hierarchy, folder);
  }
  for (const folder of foldersOf(hierarchy, path)) mkdirSync(folder, { recursive: true });
  if (hierarchy.controllers.includes("cpuset") && hierarchy.version === 1) fillCpusets(hierarchy, path);
}

function give(hierarchy: Hierarchy, folder: string): void {
  const file = join(folder, "cgroup.subtree_control");
  const change = toGive(hierarchy, readFileSync(file, "utf8").trim());
  if (change === undefined) return;
  try {
    writeFileSync(file, change);
  } catch (error) {
    throw new Error(
      `"${change}" could not be written to ${file}: ${(error as Error).message}; ` +
        "a cgroup with processes of its own gives no controllers: move them to a cgroup below it",
    );
  }
}

/** A cpuset of v1 without cpus and memory nodes takes no process: copy those of the cgroup above. */
function fillCpusets({ root: top }: Hierarchy, path: string): void {
  let parent = join(top, "cpuset");
  for (const part of path.split("/")) {
    const folder = join(parent, part);
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      if (readFileSync(join(folder, file), "utf8").trim() !== "") continue;
      writeFileSync(join(folder, file), readFileSync(join(parent, file), "utf8"));
    }
    parent = folder;
  }
}

function descend(folder: string): string[] {
  if (!existsSync(folder)) return [];
  const children = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [...children.flatMap((child) => descend(join(folder, child.name))), folder];
}

/** The processes of a cgroup and everything below it. */
export function processesIn(path: string): number[] {
  return descend(censusOf(hierarchyOf(), path)).flatMap((folder) => {
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
    if (left.length === 0) return true;
    throw new Error(`processes ${left.join(", ")} are left`);
  });
}

/** What there is of a cgroup, in the v2 tree beside v1 too: runc keeps a record of its own there. */
export function cgroupFolders(path: string): string[] {
  const { version, root: top } = hierarchyOf();
  const trees = version === 2 ? [top] : readdirSync(top).map((name) => join(top, name));
  return trees.map((tree) => join(tree, path)).filter((folder) => existsSync(folder));
}

export function removeCgroup(path: string): void {
  for (const folder of cgroupFolders(path).flatMap(descend)) rmdirSync(folder);
}
