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

/** Whether a server has written data. A server makes its id first, which alone is no data. */
export async function hasData(): Promise<boolean> {
  return (await readdir(join(paths.data, "raft")).catch(absent))?.includes("raft.db") ?? false;
}

/** Moves the data to another folder. Only the last such folder is kept: it holds nothing of value, and must not fill the volume. */
export async function putDataAside(now: number): Promise<string> {
  const aside = `${paths.discarded}${new Date(now).toISOString().replace(/[:.]/g, "-")}`;
  const former = (await readdir(paths.volume)).filter((name) => name.startsWith(basename(paths.discarded)));
  for (const name of former) await rm(join(paths.volume, name), { recursive: true, force: true });
  // An agent that was killed between the two steps has left no data folder.
  await rename(paths.data, aside).catch(absent);
  await prepareVolume();
  await syncFolder(paths.volume);
  return aside;
}

export async function digestOf(file: string): Promise<string | undefined> {
  const content = await readFile(file).catch(absent);
  return content === undefined ? undefined : createHash("sha256").update(content).digest("hex");
}
