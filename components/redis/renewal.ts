/** Makes the server read renewed certificates, and restarts Sentinel, which reads its files only when it starts. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Redis } from "ioredis";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { mostMembers } from "../shared/core/names";
import { shownCertificate } from "./client";
import { paths } from "./layout";
import type { Sentinel } from "./membership";

export type Process = "server" | "sentinel";
type ByProcess<T> = Record<Process, T>;
/** Of a certificate that is shown; undefined: nothing is known of it. */
type Shown = { fingerprint: string; ended: boolean } | undefined;

const folders: ByProcess<string> = { server: paths.serverTls, sentinel: paths.peerTls };

/** What does not take its files is told again after this time: certificates are renewed weeks before they end. */
const pauseSeconds = 60;
/** By the clock, one member after the other: two Sentinels never start at once, also while their number changes. */
const turnSeconds = 20;

export function isTurn(ordinal: number, milliseconds: number): boolean {
  return Math.floor(milliseconds / 1000 / turnSeconds) % mostMembers === ordinal;
}

/**
 * Which process shows another certificate than its file, and may be renewed now. A Sentinel that starts does not vote,
 * so all others must, and no election be under way; one whose certificate has ended has nobody to vote with.
 */
export function whatToRenew(
  shown: ByProcess<Shown>,
  files: ByProcess<string>,
  sentinels: Record<string, Sentinel>,
  turn: boolean,
): Process | undefined {
  const isBehind = (which: Process) => shown[which] !== undefined && shown[which].fingerprint !== files[which];
  if (isBehind("server")) return "server";
  const allVote = Object.values(sentinels).every(
    (each) => each.state === "up" && each.master !== undefined && !each.failover,
  );
  return isBehind("sentinel") && turn && (allVote || shown.sentinel?.ended === true) ? "sentinel" : undefined;
}

export function createRenewal(ordinal: number, now: () => number = Date.now) {
  let tried = Number.NEGATIVE_INFINITY;
  let said = "";
  const look = async (own: ByProcess<Redis>, sentinels: Record<string, Sentinel>): Promise<Process | undefined> => {
    const shown = (client: Redis): Shown => {
      const certificate = shownCertificate(client);
      return certificate && { fingerprint: certificate.fingerprint256, ended: Date.parse(certificate.validTo) < now() };
    };
    return whatToRenew(
      { server: shown(own.server), sentinel: shown(own.sentinel) },
      { server: await fingerprint("server"), sentinel: await fingerprint("sentinel") },
      sentinels,
      isTurn(ordinal, now()),
    );
  };
  return {
    /** `own`: connections that were made since the last renewal. A file that cannot be read is said once, and changes nothing. */
    async wanted(own: ByProcess<Redis>, sentinels: Record<string, Sentinel>): Promise<Process | undefined> {
      if (now() - tried < pauseSeconds * 1000) return undefined;
      try {
        return await look(own, sentinels);
      } catch (error) {
        const news = `the certificates cannot be read: ${messageOf(error)}`;
        if (news !== said) log(news);
        said = news;
        return undefined;
      }
    },
    /** `findAll` fails unless each member has an address. */
    async renew(which: Process, client: Redis, findAll: () => Promise<unknown>): Promise<void> {
      tried = now();
      if (which === "server") {
        // Applied although the names are what they were.
        const [certificate, key] = [`${folders.server}/tls.crt`, `${folders.server}/tls.key`];
        await client.config("SET", "tls-cert-file", certificate, "tls-key-file", key);
        return;
      }
      // It starts with what it has written down, which is wrong when it could not find the others then.
      await findAll();
      await client.call("SENTINEL", "FLUSHCONFIG");
      // It goes without an answer, and its container is started again.
      await client.call("SHUTDOWN").catch((error: Error) => {
        if (!/closed/i.test(error.message)) throw error;
      });
    },
  };
}

async function fingerprint(which: Process): Promise<string> {
  return new X509Certificate(await readFile(`${folders[which]}/tls.crt`)).fingerprint256;
}
