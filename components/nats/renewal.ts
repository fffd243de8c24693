/**
 * Makes servers read renewed certificates, which they do when they start or are told to. Nobody says when files have reached a
 * node: so servers are told while they show other certificates than they should, and for some minutes after a change.
 */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { http } from "../shared/agent/http";
import { messageOf } from "../shared/core/errors";
import { log } from "../shared/core/log";
import { type Endpoint, open } from "./client";

export interface RenewalOptions {
  /** By name: where the monitoring port of its server says what it shows. Without TLS there are none. */
  members: Record<string, string>;
  /** The certificates that clients and peers should see. */
  files: { client: string; peer: string };
  /** Of the user that may tell servers to read their files. */
  endpoint: () => Promise<Endpoint>;
}

/** Certificates are renewed weeks before they end. */
const pauseSeconds = 60;
/** After a change that does not show, since both certificates end with their authority: files reach a node within two minutes. */
const passesAfterChange = 4;

/** Until the end. A server that does not answer shows nothing that could be wrong. */
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
export async function tellToRead(server: string, endpoint: Endpoint): Promise<string> {
  const connection = await open(endpoint);
  try {
    const answer = await connection.request(`$SYS.REQ.SERVER.${server}.RELOAD`, "", { timeout: 5_000 });
    const { error } = answer.json<{ error?: { description: string } }>();
    return error === undefined ? "the server was told to read them" : `not read: ${error.description}`;
  } finally {
    await connection.close();
  }
}

/** Of `/varz`. Servers before 2.12.4 do not say when their certificates end. */
export interface Shown {
  server_id: string;
  tls_cert_not_after?: string;
  cluster: { tls_cert_not_after?: string };
}

/** Judged by when certificates end, of which servers say no more. */
export function isBehind({ tls_cert_not_after: client, cluster }: Shown, wanted: string[]): boolean {
  const shown = [client, cluster.tls_cert_not_after];
  return wanted.some((pem, index) => {
    return Date.parse(new X509Certificate(pem).validTo) !== Date.parse(shown[index] ?? "");
  });
}
