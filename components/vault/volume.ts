/** The notes that the agent keeps on a member's volume, beside the data. */
import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { absent } from "../shared/agent/files";
import { paths } from "./layout";

export async function readNote(file: string): Promise<string | undefined> {
  return (await readFile(file, "utf8").catch(absent))?.trim();
}

/** On disk, name and all, before anything is done that relies on it. */
export async function writeNote(file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${text}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncFolder(dirname(file));
}

export async function removeNote(file: string): Promise<void> {
  await rm(file, { force: true });
  await syncFolder(dirname(file));
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The folder that the server wants to find. */
export async function prepareVolume(): Promise<void> {
  await mkdir(paths.data, { recursive: true, mode: 0o700 });
}

/** Whether a server has begun to write here: it makes its id before anything else, and that alone is no data. */
export async function hasData(): Promise<boolean> {
  return (await readdir(join(paths.data, "raft")).catch(absent))?.includes("raft.db") ?? false;
}

/** Only the last one is kept: they hold nothing, and must not fill the volume. */
export async function putDataAside(now: number): Promise<string> {
  const aside = `${paths.discarded}${new Date(now).toISOString().replace(/[:.]/g, "-")}`;
  for (const name of await readdir(paths.volume)) {
    const prefix = basename(paths.discarded);
    if (name.startsWith(prefix)) await rm(join(paths.volume, name), { recursive: true, force: true });
  }
  // Whoever was killed here has left either of the two.
  await rename(paths.data, aside).catch(absent);
  await mkdir(paths.data, { recursive: true, mode: 0o700 });
  await syncFolder(paths.volume);
  return aside;
}

export async function digestOf(file: string): Promise<string | undefined> {
  const content = await readFile(file).catch(absent);
  return content === undefined ? undefined : createHash("sha256").update(content).digest("hex");
}
