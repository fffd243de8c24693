import { join } from "node:path";
import { cacheHome } from "../paths";
import { step } from "../progress";
import { build, folderOf, isBuilt } from "./build";
import { prometheus, type Server, servers } from "./catalogue";

export { folderOf } from "./build";
export { formerServers, prometheus, type Server, versions } from "./catalogue";

/** The folder that holds a server and its libraries at their paths in the image. */
export function serverFolder(name: string): string {
  const found = servers.find((candidate) => candidate.name === name);
  if (!found) throw new Error(`no server "${name}" in the catalogue`);
  return folderOf(found);
}

/** Makes what is missing, all at once: most of it is waiting for downloads. */
export async function buildServers(wanted: Server[] = servers): Promise<void> {
  const missing = wanted.filter((candidate) => !isBuilt(candidate));
  if (missing.length === 0) {
    await step("servers", async () => `${wanted.length} cached`);
    return;
  }
  await Promise.all(
    missing.map((server) => step(`server: ${server.name} ${server.version}`, () => build(server, logOf(server)))),
  );
}

const logOf = ({ name, version }: Server): string => join(cacheHome, "logs", `${name}-${version}.log`);

/** The absolute path of promtool on this machine; takes it out of its package first unless that is done. */
export async function promtool(): Promise<string> {
  await build(prometheus, logOf(prometheus)).catch((error: unknown) => {
    // Another process was faster.
    if (!isBuilt(prometheus)) throw error;
  });
  return join(folderOf(prometheus), "bin", "promtool");
}
