/**
 * Makes servers read renewed certificates, which they do when they start or are told to. Nobody is told when files have reached
 * a node: so what each server shows is compared with what it should show, until both are the same.
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

/** Certificates are renewed weeks before they end. Files reach a node within two minutes. */
const pauseSeconds = 60;

/** Until the end. A server that does not answer shows nothing that could be wrong. */
export async function keepCertificatesRead(
  { members, files, endpoint }: RenewalOptions,
  signal: AbortSignal,
): Promise<void> {
  const said = new Map<string, string>();
  while (!signal.aborted) {
    for (const [member, url] of Object.entries(members)) {
      const news = await renew(url, files, endpoint).catch(messageOf);
      if (news !== undefined && news !== said.get(member)) log(`certificates of ${member}: ${news}`);
      said.set(member, news ?? "");
    }
    await delay(pauseSeconds * 1000, undefined, { signal }).catch(() => undefined);
  }
}

async function renew(
  url: string,
  files: RenewalOptions["files"],
  endpoint: RenewalOptions["endpoint"],
): Promise<string | undefined> {
  const shown = JSON.parse((await http({ url, timeoutSeconds: 5 })).body) as Shown;
  if (!isBehind(shown, await readFile(files.client), await readFile(files.peer))) return undefined;
  const connection = await open(await endpoint());
  try {
    const subject = `$SYS.REQ.SERVER.${shown.server_id}.RELOAD`;
    const { error } = (await connection.request(subject, "", { timeout: 5_000 })).json<Reloaded>();
    return error === undefined ? "the server was told to read them" : `not read: ${error.description}`;
  } finally {
    await connection.close();
  }
}

interface Reloaded {
  error?: { description: string };
}

/** Of `/varz`. Servers before 2.12.4 do not say when their certificates end. */
export interface Shown {
  server_id: string;
  tls_cert_not_after?: string;
  cluster: { tls_cert_not_after?: string };
}

/** No two certificates end in the same second. */
export function isBehind({ tls_cert_not_after: client, cluster }: Shown, ...wanted: (string | Buffer)[]): boolean {
  const shown = [client, cluster.tls_cert_not_after];
  return wanted.some((pem, index) => {
    return Date.parse(new X509Certificate(pem).validTo) !== Date.parse(shown[index] ?? "");
  });
}
