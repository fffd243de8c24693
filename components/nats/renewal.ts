/**
 * Makes servers read renewed certificates. A server reads them when it starts and when it is told to. When the files reach a node is
 * unknown: so each server is told while it shows other certificates than it should, and for some minutes after a change.
 */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { http } from "../shared/agent/http";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { type Endpoint, withConnection } from "./client";

export interface RenewalOptions {
  /** By name: the URL of the monitoring port that says what the server shows. Empty without TLS. */
  members: Record<string, string>;
  /** The certificates that clients and peers should see. */
  files: { client: string; peer: string };
  /** With the user that may tell servers to read their files. */
  endpoint: () => Promise<Endpoint>;
}

/** Certificates are renewed weeks before they end. */
const pauseSeconds = 60;
/** A change does not show when both certificates end with their authority. Files reach a node within two minutes. */
const passesAfterChange = 4;

/** Runs until `signal` aborts. A server that does not answer shows no certificate that could be wrong. */
export async function keepCertificatesRead(
  { members, files, endpoint }: RenewalOptions,
  signal: AbortSignal,
): Promise<void> {
  const said = new Map<string, string>();
  let known: string[] | undefined;
  let passes = 0;
  while (!signal.aborted && Object.keys(members).length > 0) {
    const wanted = await Promise.all([readFile(files.client, "utf8"), readFile(files.peer, "utf8")]);
    if (known !== undefined && known.join() !== wanted.join()) passes = passesAfterChange;
    known = wanted;
    for (const [member, url] of Object.entries(members)) {
      const news = await look(url, wanted, passes > 0).catch(messageOf);
      if (news !== undefined && news !== said.get(member)) log(`certificates of ${member}: ${news}`);
      said.set(member, news ?? "");
    }
    passes = Math.max(0, passes - 1);
    await delay(pauseSeconds * 1000, undefined, { signal }).catch(() => undefined);
  }

  async function look(url: string, wanted: string[], again: boolean): Promise<string | undefined> {
    const shown = JSON.parse((await http({ url, timeoutSeconds: 5 })).body) as Shown;
    return again || isBehind(shown, wanted) ? tellToRead(shown.server_id, await endpoint()) : undefined;
  }
}

/** Makes a server read its files: users and certificates. Returns what came of it. */
export function tellToRead(server: string, endpoint: Endpoint): Promise<string> {
  return withConnection(endpoint, async (connection) => {
    const answer = await connection.request(`$SYS.REQ.SERVER.${server}.RELOAD`, "", { timeout: 5_000 });
    const { error } = answer.json<{ error?: { description: string } }>();
    return error === undefined ? "the server was told to read them" : `not read: ${error.description}`;
  });
}

/** Of `/varz`. Servers before 2.12.4 do not say when their certificates end. */
export interface Shown {
  server_id: string;
  tls_cert_not_after?: string;
  cluster: { tls_cert_not_after?: string };
}

/** Compares the times when the certificates end, since servers say nothing else of their certificates. */
export function isBehind({ tls_cert_not_after: client, cluster }: Shown, wanted: string[]): boolean {
  const shown = [client, cluster.tls_cert_not_after];
  return wanted.some((pem, index) => Date.parse(new X509Certificate(pem).validTo) !== Date.parse(shown[index] ?? ""));
}
