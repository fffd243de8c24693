/** Keeps the hosts file of a pod, see `core/hosts.ts`. */

import { Resolver } from "node:dns/promises";
import { open, readFile, writeFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Answer, clusterDomain, followAnswers, hostsPaths, ownAddress } from "../core/hosts";
import { newsOf } from "../core/log";
import { memberHost, memberNames } from "../core/names";
import type { EnsembleSettings } from "../core/settings";
import type { Pod } from "./main";

/** Between two rounds of questions, and how long one question may take. */
const askSeconds = 1;
const hostsFile = join(hostsPaths.directory, hostsPaths.file);

/** Before the servers start: what the kubelet wrote, this member under the name that the others use, and who else is there. */
export async function beginHosts(settings: EnsembleSettings, pod: Pod): Promise<void> {
  const kubelet = await readFile(hostsPaths.mounted, "utf8");
  const own = { address: ownAddress(kubelet, pod.name) };
  const name = memberHost(settings.name, pod.namespace, pod.name);
  await writeFile(hostsFile, followAnswers(kubelet, new Map([[name, own]]), await readDomain(pod)));
  await askForOthers(settings, pod);
}

/** Never ends by itself, and keeps no process alive. */
export async function keepHosts(settings: EnsembleSettings, pod: Pod): Promise<never> {
  const report = newsOf("the hosts file is as it was");
  for (;;) {
    await Promise.all([
      askForOthers(settings, pod).then(() => report(undefined), report),
      delay(askSeconds * 1000, undefined, { ref: false }),
    ]);
  }
}

async function askForOthers(settings: EnsembleSettings, pod: Pod): Promise<void> {
  const domain = await readDomain(pod);
  const before = await readFile(hostsFile, "utf8");
  const own = ownAddress(before, pod.name);
  const others = memberNames(settings.name, settings.members).filter((member) => member !== pod.name);
  const hosts = others.map((member) => memberHost(settings.name, pod.namespace, member));
  // Each resolver has a port of its own. A node sends all that comes from one port to the same DNS server, also when that one is
  // away.
  const resolver = new Resolver({ timeout: askSeconds * 1000, tries: 1 });
  const ask = async (host: string) => [host, await askDns(resolver, `${host}.${domain}`, own)] as const;
  const now = followAnswers(before, new Map(await Promise.all(hosts.map(ask))), domain);
  if (now !== before) await overwrite(hostsFile, now, before.length);
}

/** In place, because the file is mounted. Whoever reads it meanwhile finds no half of a former line behind the new ones. */
export async function overwrite(file: string, text: string, formerLength: number): Promise<void> {
  const handle = await open(file, "r+");
  try {
    await handle.write(text.padEnd(formerLength, "\n"), 0);
    await handle.truncate(Buffer.byteLength(text));
  } finally {
    await handle.close();
  }
}

const readDomain = async ({ namespace }: Pod): Promise<string> =>
  clusterDomain(await readFile("/etc/resolv.conf", "utf8"), namespace);

/** Of the family of the own address. That another member has the own address is an answer from before. */
async function askDns(resolver: Resolver, name: string, own: string): Promise<Answer> {
  try {
    const [address] = await (isIPv6(own) ? resolver.resolve6(name) : resolver.resolve4(name));
    return address === undefined || address === own ? "none" : { address };
  } catch (error) {
    return toAnswer((error as NodeJS.ErrnoException).code);
  }
}

/** That a name has no address is an answer too. */
export function toAnswer(code: string | undefined): "none" | "silent" {
  return code === "ENOTFOUND" || code === "ENODATA" ? "none" : "silent";
}
