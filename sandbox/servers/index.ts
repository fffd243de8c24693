import { join } from "node:path";
import { cacheHome } from "../paths";
import { step } from "../progress";
import { build, folderOf, isBuilt } from "./build";
import { type Server, servers } from "./catalogue";

export { folderOf } from "./build";
export { formerServers, type Server, versions } from "./catalogue";

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
    missing.map((server) => {
      const log = join(cacheHome, "logs", `${server.name}-${server.version}.log`);
      return step(`server: ${server.name} ${server.version}`, () => build(server, log));
    }),
  );
}
