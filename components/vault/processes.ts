/** The server's process: the containers of the pod share one process namespace, so that the agent may signal it. */
import { readdir, readFile } from "node:fs/promises";

/** As the kernel shows it. */
const serverName = "vault";

/** Returns the processes that got the signal. */
export async function signalServer(signal: "SIGHUP" | "SIGTERM"): Promise<number[]> {
  const found = await findServers();
  for (const id of found) process.kill(id, signal);
  return found;
}

export async function findServers(): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    // Processes end while one looks at them.
    const name = await readFile(`/proc/${entry}/comm`, "utf8").catch(() => "");
    if (name.trim() === serverName) found.push(Number(entry));
  }
  return found;
}
