/** The data on a member's volume. */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { absent, syncFolder } from "../shared/agent/files";
import { paths } from "./layout";

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
