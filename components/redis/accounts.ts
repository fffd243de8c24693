/**
 * Users and passwords of a running server and its Sentinel: a changed Secret reaches them without a restart. The former
 * password of a user stays valid beside the new one for a while, so clients can take the new one in their own time.
 */
import type { Redis } from "ioredis";
import { internalPasswords, passwordHash, sentinelUsers, shownPasswords, showPasswords, usersFile } from "./files";

/** How far a member is with the passwords of its Secret. */
export type Stage = "accept" | "show" | "refuse former";

/** The kubelet brings a Secret to all members within two minutes: before that, some would refuse what this one shows. */
const showSeconds = 240;
/** Then for clients to read their Secret again and to open new connections, and for the last member to show the new ones. */
const overlapSeconds = 600;

export function stageAt(seconds: number): Stage {
  if (seconds < showSeconds) return "accept";
  return seconds < overlapSeconds ? "show" : "refuse former";
}

export interface Accounts {
  /** `run`: a server that was started anew has read old files, or files that only the start of the pod writes. */
  changed(run: string | undefined): Promise<boolean>;
  apply(run: string | undefined, server: Redis, sentinel: Redis, log: (text: string) => void): Promise<void>;
}

export function createAccounts(name: string, now: () => number = () => performance.now()): Accounts {
  let applied: { files: string; stage: Stage; run: string | undefined } | undefined;
  /** An agent that has just started may be in the midst of an overlap, and begins it again. */
  let seen = { files: "", at: 0 };
  const look = async () => {
    const [acl, passwords] = await Promise.all([usersFile(), internalPasswords()]);
    const files = JSON.stringify([acl, passwords]);
    if (files !== seen.files) seen = { files, at: now() };
    return { acl, passwords, files, stage: stageAt((now() - seen.at) / 1000) };
  };
  return {
    async changed(run) {
      const { files, stage } = await look();
      return applied?.files !== files || applied.stage !== stage || (run !== undefined && run !== applied.run);
    },
    async apply(run, server, sentinel, log) {
      const { acl, passwords, files, stage } = await look();
      const final = stage === "refuse former";
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
      if (stage !== "accept") await showPasswords(passwords);
      const shown = await shownPasswords();
      await server.config("SET", "masterauth", shown.replication);
      await sentinel.call("SENTINEL", "CONFIG", "SET", "sentinel-pass", shown.sentinel);
      await sentinel.call("SENTINEL", "SET", name, "auth-pass", shown.sentinel).catch((error: Error) => {
        if (!/No such master/i.test(error.message)) throw error;
      });
      if (applied !== undefined && applied.files !== files) log("users and passwords were changed");
      if (applied !== undefined && applied.stage !== stage && final) log("former passwords are refused from now on");
      applied = { files, stage, run };
    },
  };
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
