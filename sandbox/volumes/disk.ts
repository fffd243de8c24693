/** Volumes as a cloud has them: each is a file system of the size that its claim asks for, which fills up and grows. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { volumes as folder } from "../paths";

const suffix = ".ext4";
/** A sparse file: it takes as much of this machine's disk as was ever written to the volume. */
const imageOf = (name: string): string => join(folder, `${name}${suffix}`);
export const pathOf = (name: string): string => join(folder, name);

const run = (program: string, ...args: string[]): string => execFileSync(program, args, { encoding: "utf8" });
/** undefined: nothing is mounted there. */
const deviceOf = (path: string): string | undefined =>
  readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .find(([, folder]) => folder === path)?.[0];

/** Makes the volume, or mounts it again. */
export function openDisk(name: string, bytes: number): void {
  const image = imageOf(name);
  if (!existsSync(image)) {
    mkdirSync(folder, { recursive: true });
    const unfinished = `${image}.new`;
    writeFileSync(unfinished, "");
    truncateSync(unfinished, bytes);
    // Without a journal, which would write all of it twice: after a crash the check before the mount repairs it.
    run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1", unfinished);
    renameSync(unfinished, image);
  }
  mount(name);
}

function mount(name: string): void {
  const path = pathOf(name);
  mkdirSync(path, { recursive: true });
  if (deviceOf(path) !== undefined) return;
  // 1: it had errors, and has none now.
  const { status, stdout } = spawnSync("e2fsck", ["-p", imageOf(name)], { encoding: "utf8" });
  if (status !== 0 && status !== 1) throw new Error(`the file system of ${name} cannot be repaired: ${stdout}`);
  run("mount", "-o", "loop,noatime", imageOf(name), path);
  // Open to all: the kubelet changes the owner of no host path, whatever fsGroup the pod asks for.
  chmodSync(path, 0o777);
}

/** Before the first node starts: a pod must never find an empty folder in the place of its volume. */
export function openDisks(): void {
  if (!existsSync(folder)) return;
  for (const file of readdirSync(folder)) if (file.endsWith(suffix)) mount(basename(file, suffix));
}

/** Larger only, while it is in use: the kernel asks for CAP_SYS_RESOURCE, which root may lack in a virtual machine. */
export function growDisk(name: string, bytes: number): void {
  mount(name);
  // Each step may be done already: a growth that was interrupted is finished.
  if (statSync(imageOf(name)).size < bytes) truncateSync(imageOf(name), bytes);
  const device = deviceOf(pathOf(name)) ?? "";
  run("losetup", "-c", device);
  run("resize2fs", device);
}

export function removeDisk(name: string): void {
  if (deviceOf(pathOf(name)) !== undefined) run("umount", "-l", pathOf(name));
  rmSync(pathOf(name), { recursive: true, force: true });
  rmSync(imageOf(name), { force: true });
}
