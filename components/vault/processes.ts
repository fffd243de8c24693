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

/** Which process the server is, also across restarts of the pod, whose first processes have the same numbers each time. */
export async function identifyServer(): Promise<string> {
  const starts = await Promise.all(
    (await findServers()).map(async (id) => {
      // After the name, which may hold blanks, the 20th word is the time of its start. man 5 proc_pid_stat
      const words = (await readFile(`/proc/${id}/stat`, "utf8")).split(") ").at(-1)?.split(" ") ?? [];
      return `${id}-${words[19]}`;
    }),
  );
  return starts.join(" ");
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
