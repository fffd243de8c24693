/** The files of the agent: passwords that it reads, configurations that it writes. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { absent, writeNote } from "../shared/agent/files";
import { type InternalPasswords, type Member, memberConfig, sentinelConfig } from "./configuration";
import { formerKey, type InternalUser, paths, rotationKey } from "./layout";

export function internalPassword(user: InternalUser): Promise<string> {
  return readFile(join(paths.internal, user), "utf8");
}

/** Before the last rotation, if there was one: all members accept it, also those that do not know the current one yet. */
export async function formerPassword(user: InternalUser): Promise<string> {
  return (await readFile(join(paths.internal, formerKey(user)), "utf8").catch(absent)) ?? internalPassword(user);
}

export async function internalPasswords(find = internalPassword): Promise<InternalPasswords> {
  return { agent: await find("agent"), replication: await find("replication"), sentinel: await find("sentinel") };
}

export async function rotationOfFiles(): Promise<number> {
  return Number((await readFile(join(paths.internal, rotationKey), "utf8").catch(absent)) ?? 0);
}

export async function shownPasswords(): Promise<InternalPasswords> {
  return JSON.parse(await readFile(paths.shownPasswords, "utf8")) as InternalPasswords;
}

export async function showPasswords(passwords: InternalPasswords): Promise<void> {
  await writeNote(paths.shownPasswords, JSON.stringify(passwords));
}

export async function usersFile(): Promise<string> {
  return readFile(join(paths.users, paths.usersFile), "utf8");
}

/** Before each start of the pod. */
export async function writeMemberFiles(self: Member): Promise<void> {
  const passwords = await internalPasswords(formerPassword);
  await showPasswords(passwords);
  await mkdir(paths.serverData, { recursive: true });
  await mkdir(paths.sentinelData, { recursive: true });
  await writeNote(paths.memberConfig, memberConfig(self, passwords));
  const former = await readFile(paths.sentinelConfig, "utf8").catch(absent);
  const users = sentinelUsers(await usersFile());
  await writeNote(paths.sentinelConfig, sentinelConfig(self, passwords, users, former ?? ""));
}

/** Of all users, those that may talk to a Sentinel, with the same passwords: there they may do everything. */
export function sentinelUsers(acl: string): string[] {
  return acl
    .split("\n")
    .filter((line) => /^user (admin|agent|sentinel) /.test(line))
    .map((line) => {
      const [, user = ""] = line.split(" ");
      const digests = line.split(" ").filter((word) => word.startsWith("#"));
      return `user ${user} on ${digests.join(" ")} ~* &* +@all`;
    });
}
