import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { cacheHome } from "../paths";
import { run } from "../shell";
import type { Image } from "./catalogue";

const sha256 = (content: Buffer | string): string => createHash("sha256").update(content).digest("hex");

/** Changes when the image would change: by the recipe, and by size and time of the files that go in. */
function digest(image: Image): string {
  const sources = Object.values(image.files).map((file) => {
    const { size, mtimeMs } = statSync(realpathSync(file));
    return [file, size, mtimeMs];
  });
  return sha256(JSON.stringify([image, sources])).slice(0, 16);
}

/** Makes the image as a Docker archive unless it is there, and returns its path. */
export async function makeArchive(image: Image): Promise<string> {
  const name = (image.reference.split("/").at(-1) ?? "").replace(":", "-");
  const archive = join(cacheHome, "images", `${name}-${digest(image)}.tar`);
  if (existsSync(archive)) return archive;
  mkdirSync(dirname(archive), { recursive: true });
  const work = mkdtempSync(join(cacheHome, "images", ".work-"));
  try {
    const root = join(work, "rootfs");
    await fill(root, image);
    const layer = join(work, "layer.tar");
    await tar(root, layer, ["."]);
    const config = JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: {
        ...(image.entrypoint ? { Entrypoint: image.entrypoint } : {}),
        ...(image.command ? { Cmd: image.command } : {}),
        Env: Object.entries(image.environment ?? {}).map(([key, value]) => `${key}=${value}`),
        WorkingDir: image.workingFolder ?? "/",
        ...(image.user ? { User: image.user } : {}),
        ...(image.stopSignal ? { StopSignal: image.stopSignal } : {}),
      },
      rootfs: { type: "layers", diff_ids: [`sha256:${sha256(readFileSync(layer))}`] },
    });
    writeFileSync(join(work, "config.json"), config);
    writeFileSync(
      join(work, "manifest.json"),
      JSON.stringify([{ Config: "config.json", RepoTags: [image.reference], Layers: ["layer.tar"] }]),
    );
    const whole = join(work, "image.tar");
    await tar(work, whole, ["manifest.json", "config.json", "layer.tar"]);
    renameSync(whole, archive);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return archive;
}

async function fill(root: string, image: Image): Promise<void> {
  const place = (target: string): string => {
    const file = join(root, target);
    mkdirSync(dirname(file), { recursive: true });
    return file;
  };
  mkdirSync(root);
  for (const folder of image.folders ?? []) {
    mkdirSync(join(root, folder), { recursive: true });
    if (folder === "/tmp") chmodSync(join(root, folder), 0o1777);
  }
  for (const [target, text] of Object.entries(image.texts ?? {})) writeFileSync(place(target), text);
  for (const [target, file] of Object.entries(image.files)) {
    if (statSync(file).isDirectory()) {
      cpSync(file, join(root, target), { recursive: true, verbatimSymlinks: true });
      continue;
    }
    copyFileSync(realpathSync(file), place(target));
    chmodSync(join(root, target), 0o755);
    if (image.sharedLibraries) {
      for (const library of await sharedLibraries(file)) copyFileSync(realpathSync(library), place(library));
    }
  }
}

async function sharedLibraries(file: string): Promise<string[]> {
  const listing = await run("ldd", [file]);
  return [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path ?? "");
}

// Same content, same bytes: names sorted, one time, one owner.
const tar = (folder: string, archive: string, names: string[]): Promise<string> =>
  run("tar", [
    "--sort=name",
    "--mtime=@0",
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "-C",
    folder,
    "-cf",
    archive,
    ...names,
  ]);
