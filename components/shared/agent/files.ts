import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** For `catch`: only what does not exist is absent; a volume that cannot be read is not empty. */
export function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}

/** What an agent keeps on a volume, beside the data. */
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

export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
