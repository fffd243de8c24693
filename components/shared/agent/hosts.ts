/** Keeps the hosts file of a pod, see `core/hosts.ts`. */
import { lookup, Resolver } from "node:dns/promises";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../core/errors";
import { type Answer, clusterDomain, followAnswers, hostsPaths } from "../core/hosts";
import { log } from "../core/log";
import { memberHost, memberNames } from "../core/names";
import type { EnsembleSettings } from "../core/settings";
import type { Pod } from "./main";

/** How long one question may take, and how long a file is good at least. */
const lookSeconds = 1;
const hostsFile = join(hostsPaths.directory, hostsPaths.file);

/** The file that the kubelet wrote, with the member itself under the name that the others use. */
export async function beginHosts({ name }: EnsembleSettings, pod: Pod): Promise<void> {
  const own = new Map([[memberHost(name, pod.namespace, pod.name), await ownAddress(pod)]]);
  await writeFile(hostsFile, followAnswers(await readFile(hostsPaths.mounted, "utf8"), own, await readDomain(pod)));
}

/** As long as the agent lives. */
export async function keepHosts(settings: EnsembleSettings, pod: Pod): Promise<never> {
  for (;;) {
    await Promise.all([
      look(settings, pod).catch((error: unknown) => log(`the hosts file is as it was: ${messageOf(error)}`)),
      delay(lookSeconds * 1000),
    ]);
  }
}

async function look(settings: EnsembleSettings, pod: Pod): Promise<void> {
  const { family } = await ownAddress(pod);
  const domain = await readDomain(pod);
  const others = memberNames(settings.name, settings.members).filter((member) => member !== pod.name);
  const hosts = others.map((member) => memberHost(settings.name, pod.namespace, member));
  const ask = async (host: string) => [host, await askDns(`${host}.${domain}`, family)] as const;
  const answers = new Map(await Promise.all(hosts.map(ask)));
  const before = await readFile(hostsFile, "utf8");
  const now = followAnswers(before, answers, domain);
  if (now !== before) await overwrite(now);
}

/** In place, because the file is mounted, and never empty in between. */
async function overwrite(text: string): Promise<void> {
  const handle = await open(hostsFile, "r+");
  try {
    await handle.write(text, 0);
    await handle.truncate(Buffer.byteLength(text));
  } finally {
    await handle.close();
  }
}

/** The first line about this pod is the kubelet's. */
const ownAddress = ({ name }: Pod): Promise<{ address: string; family: number }> => lookup(name);

const readDomain = async ({ namespace }: Pod): Promise<string> =>
  clusterDomain(await readFile("/etc/resolv.conf", "utf8"), namespace);

async function askDns(name: string, family: number): Promise<Answer> {
  // A new one each time: a resolver keeps its port, and the node sends all that comes from one port to the same DNS server,
  // also when that is away.
  const resolver = new Resolver({ timeout: lookSeconds * 1000, tries: 1 });
  try {
    const [address] = await (family === 6 ? resolver.resolve6(name) : resolver.resolve4(name));
    return address === undefined ? "none" : { address };
  } catch (error) {
    return toAnswer((error as NodeJS.ErrnoException).code);
  }
}

/** That a name has no address is an answer too. */
export function toAnswer(code: string | undefined): "none" | "silent" {
  return code === "ENOTFOUND" || code === "ENODATA" ? "none" : "silent";
}
