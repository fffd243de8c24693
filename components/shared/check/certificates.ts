/** The certificates that servers show: those that were issued last, by the right authority, for the right name. */
import { X509Certificate } from "node:crypto";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { readAuthority, splitPem } from "../agent/issue";
import { leafSecretNames, type Validity } from "../core/certificates";
import { messageOf } from "../core/errors";
import { within } from "../core/wait";
import { answerSeconds, type CheckContext, everywhere, failIfAny, type Place } from "./context";

/** Whatever the protocol wants before the first byte of TLS. */
export type StartTls = (socket: Socket) => Promise<unknown>;

/** What the server says first, once it is complete. */
export async function greetingOf(socket: Socket, complete: (received: Buffer) => boolean): Promise<void> {
  let received = Buffer.alloc(0);
  await new Promise<void>((resolve) => {
    const listen = (data: Buffer): void => {
      received = Buffer.concat([received, data]);
      if (!complete(received)) return;
      socket.off("data", listen);
      resolve();
    };
    socket.on("data", listen);
  });
}

export interface TlsPort extends Place {
  startTls?: StartTls;
}

export interface ShownCertificate extends Validity {
  fingerprint: string;
  /** Why a client that trusts the authority refuses it: its signature, its name or its time; undefined: it does not. */
  refused: string | undefined;
}

const day = 24 * 60 * 60 * 1000;
/** The agent renews a certificate in the last third of its life, daily: with less than a fifth it has failed for days. */
const leastShareOfLife = 1 / 5;

/** The step `certificates`, for all ports of all members and the Service. */
export async function checkCertificates(
  { step, target, environment }: CheckContext,
  ca: string | undefined,
  ports: TlsPort[],
): Promise<void> {
  if (ca === undefined) return;
  const remedy = "look at the log of the certificates job; the members named read what it issued within five minutes";
  await step("certificates", remedy, async () => {
    const now = Date.now();
    failIfAny(trustProblems(splitPem(ca).map(readAuthority), now));
    const leaves = leafSecretNames(target.service, target.name).map(async (name) => {
      const { "tls.crt": certificate = "" } = await environment.secret(name);
      if (!certificate.includes("BEGIN CERTIFICATE"))
        throw new Error(`the Secret ${name} has no certificate in tls.crt`);
      return new X509Certificate(certificate).fingerprint256;
    });
    const issued = await Promise.all(leaves);
    let soonest = Number.POSITIVE_INFINITY;
    const shown = await everywhere(ports, async (port) => {
      const certificate = await observeCertificate(port, ca);
      failIfAny(certificateProblems(certificate, issued, now));
      soonest = Math.min(soonest, certificate.notAfter);
      return "TLS of the own authority";
    });
    return `${shown}; the first certificate ends in ${Math.floor((soonest - now) / day)} days`;
  });
}

export async function observeCertificate(port: TlsPort, ca: string): Promise<ShownCertificate> {
  const socket = connectTcp(await port.dial());
  let secured: TLSSocket | undefined;
  try {
    const shake = async (): Promise<ShownCertificate> => {
      // What goes wrong before the handshake ends it too.
      const broken = new Promise<never>((_, reject) => socket.on("error", reject));
      broken.catch(() => undefined);
      if (port.startTls !== undefined) await Promise.race([port.startTls(socket), broken]);
      // The certificate is looked at below, so that every reason against it can be told.
      const connection = connectTls({ socket, ca, servername: port.host, rejectUnauthorized: false });
      secured = connection;
      await new Promise<void>((resolve, reject) => {
        connection.once("secureConnect", resolve);
        // A port for members may end the connection of a stranger, once it has shown its certificate.
        connection.on("error", reject);
        connection.once("close", () => reject(new Error("the connection ended during the handshake")));
      });
      const { valid_from: from, valid_to: to, fingerprint256: fingerprint } = connection.getPeerCertificate();
      const reason = connection.authorizationError as unknown as string | null | undefined;
      return { fingerprint, refused: reason ?? undefined, notBefore: Date.parse(from), notAfter: Date.parse(to) };
    };
    return await within(shake(), answerSeconds, "a TLS handshake");
  } finally {
    secured?.destroy();
    socket.destroy();
  }
}

export function certificateProblems(
  { fingerprint, refused, ...validity }: ShownCertificate,
  issued: readonly string[],
  now: number,
): string[] {
  if (refused !== undefined) return [`its certificate is not accepted: ${refused}`];
  if (!issued.includes(fingerprint)) return ["its certificate was renewed, and it still shows another one"];
  return isSpent(validity, now) ? [`its certificate ${ending(validity, now)}`] : [];
}

/** Of several authorities one comes and one goes: the one that stays longest counts. */
export function trustProblems(authorities: Validity[], now: number): string[] {
  const [last] = [...authorities].sort((a, b) => b.notAfter - a.notAfter);
  if (last === undefined) return ["the trust bundle holds no certificate"];
  return isSpent(last, now) ? [`the authority in the trust bundle ${ending(last, now)}`] : [];
}

function isSpent({ notBefore, notAfter }: Validity, now: number): boolean {
  return notAfter - now < (notAfter - notBefore) * leastShareOfLife;
}

function ending({ notBefore, notAfter }: Validity, now: number): string {
  const days = (time: number): string => (time / day).toFixed(1);
  const left = notAfter - now;
  if (left <= 0) return `ended ${days(-left)} days ago`;
  return `ends in ${days(left)} days of ${days(notAfter - notBefore)}: it should have been renewed`;
}

/** Where a port shows no certificate to strangers: it ends the handshake with an alert of TLS, which plain text has not. */
export async function refusedWithAlert(port: TlsPort, ca: string): Promise<string> {
  const answer = await observeCertificate(port, ca).catch(messageOf);
  if (typeof answer !== "string") throw new Error("a stranger is shown a certificate, expected an alert of TLS");
  if (!/\balert\b/i.test(answer)) throw new Error(`a stranger got no alert of TLS: ${answer}`);
  return "a stranger is refused by an alert of TLS";
}
