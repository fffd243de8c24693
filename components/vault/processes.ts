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

/**
 * Which process the server is, also across restarts of the pod, whose first processes have the same numbers each time. What a
 * person starts in its container has the same name, and began later.
 */
export async function identifyServer(): Promise<string> {
  const starts = await Promise.all(
    (await findServers()).map(async (id) => {
      const stat = await readFile(`/proc/${id}/stat`, "utf8").catch(() => undefined);
      return stat === undefined ? [] : [{ id, ticks: startOf(stat) }];
    }),
  );
  const [first] = starts.flat().sort((a, b) => a.ticks - b.ticks);
  if (first === undefined) throw new Error("the server does not run");
  return `${first.id}-${first.ticks}`;
}

/** Ticks from the start of the machine to that of the process. man 5 proc_pid_stat */
export function startOf(stat: string): number {
  // After the name, which may hold blanks and brackets, it is the 20th word.
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
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
