/** How agents reach the members as the administrator. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { absent } from "../shared/agent/files";
import type { Turn } from "../shared/agent/lease";
import { readCredentials, readTrust } from "../shared/agent/logins";
import { copyLease, memberNames } from "../shared/core/names";
import type { EnsembleSettings } from "../shared/core/settings";
import { type EtcdClient, etcdClient, refusedPassword } from "./client";
import { adminUsername, clientUrl, paths } from "./layout";
import type { MemberStatus } from "./maintenance";

/** A defragmentation waits for the copy of the same member, and the member meanwhile answers nobody, not even its probe. */
export function memberTurn(name: string, member: string): Turn {
  return { lease: copyLease(name, member), among: `who copies or defragments ${member}`, does: "is at it" };
}

export type Members = ReturnType<typeof membersOf>;

/** As the administrator sees them. */
export function membersOf({ name, members, tls }: EnsembleSettings, namespace: string) {
  const names = memberNames(name, members);
  const client = async (member: string): Promise<EtcdClient> => {
    const admin = await readCredentials(paths.admin);
    const kept = (await keptPasswords()).map((password) => ({ ...admin, password }));
    const url = clientUrl({ name, tls }, namespace, member);
    return etcdClient({ url, ca: await readTrust(tls, paths.trust), credentials: [admin, ...kept] });
  };
  return { names, client, first: () => client(names[0] ?? ""), ask: () => askStatuses(names, client) };
}

/** A member that does not answer may be back soon; one that refuses the password of the administrator never is. */
export async function askStatuses(names: string[], connect: (member: string) => Promise<Pick<EtcdClient, "status">>) {
  const members: MemberStatus[] = [];
  const unreachable: string[] = [];
  for (const name of names) {
    const client = await connect(name);
    try {
      members.push({ name, status: await client.status() });
    } catch (error) {
      const { message } = error as Error;
      if (message.includes(refusedPassword)) throw new Error(foreignPassword);
      unreachable.push(`${name}: ${message}`);
    }
  }
  return { members, unreachable };
}

/** The data may accept other passwords of the administrator than its Secret says: after a rotation, or on kept volumes deployed anew. */
export async function keptPasswords(): Promise<string[]> {
  const text = await readFile(join(paths.kept, paths.keptFile), "utf8").catch(absent);
  if (text === undefined) return [];
  try {
    return JSON.parse(text) as string[];
  } catch {
    // Without the words of the parser, which repeat a part of the text.
    throw new Error(
      `${paths.keptFile} in the Secret of the kept passwords must be a JSON list of passwords; restore it`,
    );
  }
}

export const foreignPassword =
  `etcd does not accept the password of ${adminUsername}, nor those in the Secret that is kept with the data; restore that Secret, ` +
  "or the state of the deployment that made the data, or delete the volume claims when their data is not needed";
