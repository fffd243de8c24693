/** The server's process. The containers of the pod share one process namespace, so the agent can signal the server. */
import { readdir, readFile } from "node:fs/promises";

/** Returns the processes that got the signal. */
export async function signalServer(signal: "SIGHUP" | "SIGTERM"): Promise<number[]> {
  const found = await findServers();
  for (const id of found) process.kill(id, signal);
  return found;
}

/**
 * Identifies the process of the server by its number and its start, because the first processes of a restarted pod have the same numbers
 * again. A process of the same name that a person starts in the container began later.
 */
export async function identifyServer(): Promise<string> {
  const starts: { id: number; ticks: number }[] = [];
  for (const id of await findServers()) {
    const stat = await readFile(`/proc/${id}/stat`, "utf8").catch(() => undefined);
    if (stat !== undefined) starts.push({ id, ticks: startOf(stat) });
  }
  const [first] = starts.sort((a, b) => a.ticks - b.ticks);
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
    // A process may end between the two calls.
    const name = await readFile(`/proc/${entry}/comm`, "utf8").catch(() => "");
    if (name.trim() === "vault") found.push(Number(entry));
  }
  return found;
}
