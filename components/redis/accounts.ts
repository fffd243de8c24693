/** Gives changed users and passwords to a running server and its Sentinel, so that no Secret needs a restart. */
import { isDeepStrictEqual } from "node:util";
import type { Redis } from "ioredis";
import { log } from "../shared/core/log";
import type { MarkerAnswer } from "../shared/core/marker";
import { unknownMaster } from "./client";
import {
  formerPassword,
  internalPasswords,
  rotationOfFiles,
  sentinelUsers,
  shownPasswords,
  showPasswords,
  usersFile,
} from "./files";

export function createAccounts(name: string, marker: () => MarkerAnswer) {
  let applied: { files: string; shows: boolean; run: string | undefined } | undefined;
  /** Whether all members have the passwords of this rotation: the setup says so when it has logged in to each. */
  const isAccepted = (rotation: number): boolean => {
    const answer = marker();
    return rotation === 0 || ("members" in answer && (answer.rotation ?? 0) >= rotation);
  };
  const look = async () => {
    const acl = await usersFile();
    const current = await internalPasswords();
    const former = await internalPasswords(formerPassword);
    const files = JSON.stringify([acl, current, former]);
    return { acl, current, former, files, shows: isAccepted(await rotationOfFiles()) };
  };
  return {
    /** `run`: a server that was started anew has read old files, or files that only the start of the pod writes. */
    async changed(run: string | undefined): Promise<boolean> {
      const { files, shows } = await look();
      return applied?.files !== files || applied.shows !== shows || (run !== undefined && run !== applied.run);
    },
    async apply(run: string | undefined, server: Redis, sentinel: Redis): Promise<void> {
      const { acl, current, former, files, shows } = await look();
      for (const line of usersOf(acl)) await server.call("ACL", "SETUSER", ...commandsOf(line));
      for (const line of sentinelUsers(acl)) await sentinel.call("ACL", "SETUSER", ...commandsOf(line));
      const wanted = new Set(usersOf(acl).map((line) => line.split(" ")[1]));
      for (const user of (await server.call("ACL", "USERS")) as string[]) {
        if (wanted.has(user) || user === "default") continue;
        await server.call("ACL", "DELUSER", user);
        log(`the user ${user} was removed`);
      }
      const shown = passwordsToShow(await shownPasswords(), { current, former, shows });
      await showPasswords(shown);
      await server.config("SET", "masterauth", shown.replication);
      await sentinel.call("SENTINEL", "CONFIG", "SET", "sentinel-pass", shown.sentinel);
      await sentinel.call("SENTINEL", "SET", name, "auth-pass", shown.sentinel).catch(unknownMaster);
      if (applied !== undefined && applied.files !== files) log("users and passwords were changed");
      applied = { files, shows, run };
    },
  };
}

/** Older ones than the former, as of a member that started just before a rotation, are no longer accepted by the others. */
export function passwordsToShow<T>(shown: T, { current, former, shows }: { current: T; former: T; shows: boolean }): T {
  if (shows) return current;
  return isDeepStrictEqual(shown, current) ? current : former;
}

function usersOf(acl: string): string[] {
  return acl.split("\n").filter((line) => line.startsWith("user ") && !line.startsWith("user default "));
}

/** In one command, so that no client is refused in between. `reset` would close the connections of the user. */
export function commandsOf(line: string): string[] {
  const [, user = "", ...rules] = line.split(" ");
  return [user, "resetkeys", "resetchannels", "clearselectors", "nocommands", "resetpass", ...rules];
}
