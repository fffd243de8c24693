/** How agents log in to the members. Files are read for each connection: certificates and passwords may change meanwhile. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { TlsMode } from "../core/check";
import { log } from "../core/log";
import { setupUsers } from "../core/settings";
import type { Credentials, Users } from "../core/users";
import { waitFor } from "../core/wait";

/** From the Secret of the setup. */
export async function readUsers(): Promise<Users> {
  return JSON.parse(await readFile(join(setupUsers.directory, setupUsers.file), "utf8")) as Users;
}

/** From a directory with the keys of a Secret. */
export async function readCredentials(directory: string): Promise<Credentials> {
  const [username, password] = await Promise.all([
    readFile(join(directory, "username"), "utf8"),
    readFile(join(directory, "password"), "utf8"),
  ]);
  return { username, password };
}

/** The trust bundle, PEM; undefined without TLS. */
export async function readTrust(tls: TlsMode, directory: string): Promise<string | undefined> {
  return tls === "off" ? undefined : readFile(join(directory, "ca.crt"), "utf8");
}

export interface Login {
  host: string;
  credentials: Credentials;
  tls?: { ca: string };
}

/** `trust` is a directory. */
export async function readLogin(tls: TlsMode, trust: string, host: string, credentials: Credentials): Promise<Login> {
  const ca = await readTrust(tls, trust);
  return { host, credentials, ...(ca === undefined ? {} : { tls: { ca } }) };
}

/** Each member has its own copy of the users: a member with an old copy would refuse what the others accept. */
export async function verifyLogins(
  members: string[],
  login: (member: string) => Promise<void>,
  deadlineSeconds: number,
): Promise<void> {
  for (const member of members) {
    const attempt = async () => ({ done: await login(member) });
    await waitFor(`authentication on ${member}`, attempt, { deadlineSeconds, intervalSeconds: 3, onError: "wait" });
  }
  log(`all users can log in on ${members.join(", ")}`);
}
