/**
 * Users and passwords of a running server and its Sentinel: a changed Secret reaches them without a restart. The former
 * password of a user stays valid beside the new one for a while, so clients can take the new one in their own time.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { internalPassword, passwordHash, sentinelUsers } from "./files";
import { paths } from "./settings";

/** For clients to read their Secret again, which takes the kubelet up to two minutes, and to open new connections. */
const overlapSeconds = 600;

export interface Accounts {
  /** `run`: a server that was started anew has read old files, or files that only the start of the pod writes. */
  changed(run: string | undefined): Promise<boolean>;
  apply(run: string | undefined, server: Redis, sentinel: Redis, log: (text: string) => void): Promise<void>;
}

export function createAccounts(name: string, now: () => number = () => performance.now()): Accounts {
  let applied: { files: string; run: string | undefined } | undefined;
  /** When former passwords end. */
  let overlap: number | undefined;
  return {
    async changed(run) {
      if (applied === undefined || (run !== undefined && run !== applied.run)) return true;
      return (await everything()) !== applied.files || (overlap !== undefined && now() > overlap);
    },
    async apply(run, server, sentinel, log) {
      const files = await everything();
      const known = files === applied?.files;
      const final = known && overlap !== undefined && now() > overlap;
      const acl = await readFile(join(paths.users, paths.usersFile), "utf8");
      for (const line of usersOf(acl)) {
        // Rules of a user are given anew, its passwords are added to those it has.
        await server.call("ACL", "SETUSER", ...commandsOf(line, final));
      }
      for (const line of sentinelUsers(acl)) await sentinel.call("ACL", "SETUSER", ...commandsOf(line, final));
      const wanted = new Set(usersOf(acl).map((line) => line.split(" ")[1]));
      for (const user of (await server.call("ACL", "USERS")) as string[]) {
        if (wanted.has(user) || user === "default") continue;
        await server.call("ACL", "DELUSER", user);
        log(`the user ${user} was removed`);
      }
      await server.config("SET", "masterauth", await internalPassword("replication"));
      const forSentinel = await internalPassword("sentinel");
      await sentinel.call("SENTINEL", "CONFIG", "SET", "sentinel-pass", forSentinel);
      await sentinel.call("SENTINEL", "SET", name, "auth-pass", forSentinel).catch((error: Error) => {
        if (!/No such master/i.test(error.message)) throw error;
      });
      if (final) {
        log("former passwords are refused from now on");
        overlap = undefined;
      } else if (applied !== undefined && !known) {
        log("users and passwords were changed");
        overlap = now() + overlapSeconds * 1000;
      }
      applied = { files, run };
    },
  };
}

async function everything(): Promise<string> {
  const files = await Promise.all([
    readFile(join(paths.users, paths.usersFile), "utf8"),
    internalPassword("agent"),
    internalPassword("replication"),
    internalPassword("sentinel"),
  ]);
  return files.join("\n");
}

function usersOf(acl: string): string[] {
  return acl.split("\n").filter((line) => line.startsWith("user ") && !line.startsWith("user default "));
}

/** `reset` would close the connections of the user, and take its password in between. */
export function commandsOf(line: string, final: boolean): string[] {
  const [, user = "", ...rules] = line.split(" ");
  const password = passwordHash(line);
  const others = rules.filter((rule) => rule !== password);
  return [
    user,
    "resetkeys",
    "resetchannels",
    "clearselectors",
    "nocommands",
    ...others,
    ...(final ? ["resetpass"] : []),
    password,
  ];
}
