/** The proof that others do not get in: the same strangers for each service, on every member and on the Service. */

import { randomBytes } from "node:crypto";
import { createAuthority } from "../agent/issue";
import { messageOf } from "../core/errors";
import { type CheckContext, everywhere, failIfAny, type Place } from "./context";
import type { Access } from "./logins";
import { judgePlainText, observePlainText, type PlainText } from "./plaintext";

export interface Stranger<A> {
  check: string;
  who: string;
  /** Each of them must be refused. */
  access: A[];
  /** What the server says: a broken connection is no refusal. */
  refusal: RegExp;
}

export interface Entrance<A extends { ca: string | undefined }> {
  places: Place[];
  /** Of somebody who is let in. */
  access: A;
  strangers: Stranger<A>[];
  /** Connects, logs in and asks for something that needs rights. */
  enter: (place: Place, access: A) => Promise<unknown>;
  /** Tells whether the server answers at all, where `access` has no rights; default: `enter`. */
  alive?: (place: Place, access: A) => Promise<unknown>;
  /** How a server that requires TLS refuses plain text: in words to its own client, or seen from the bytes on the wire. */
  plainText: RegExp | PlainText;
  remedy: string;
  /** Before the names of the steps that are the same for all services, such as "sentinel ". */
  prefix?: string;
}

export async function checkStrangers<A extends { ca: string | undefined }>(
  { target, step }: CheckContext,
  entrance: Entrance<A>,
): Promise<void> {
  const { places, access, strangers, enter, plainText, remedy, prefix = "" } = entrance;
  const alive = entrance.alive ?? entrance.enter;
  for (const { check, who, access: tries, refusal: reason } of strangers) {
    await step(check, remedy, () =>
      everywhere(places, async (place) => {
        for (const each of tries) await refusal(enter(place, each), reason, who);
        return `${who} is refused`;
      }),
    );
  }
  if (target.tls !== "off") {
    await step(`${prefix}unknown authority`, "a member does not show a certificate of its own authority", async () => {
      const stranger = { ...access, ca: await unrelatedAuthority() };
      return everywhere(places, (place) =>
        refusal(alive(place, stranger), untrusted, "a client that trusts another authority"),
      );
    });
  }
  const plain = { ...access, ca: undefined };
  const look = `tls is ${target.tls}: look at the configuration of the members named`;
  if (target.tls === "required") {
    await step(`${prefix}plain text refused`, look, () =>
      everywhere(places, async (place) => {
        const who = "a client without TLS";
        if (plainText instanceof RegExp) await refusal(enter(place, plain), plainText, who);
        else failIfAny(judgePlainText(await observePlainText(place, plainText), plainText));
        // A server that ends the connection without a word seems to be away: over TLS the same way must be open.
        await alive(place, access);
        return `${who} is refused`;
      }),
    );
    return;
  }
  await step(`${prefix}plain text`, look, () =>
    everywhere(places, (place) => alive(place, plain).then(() => "a client without TLS is let in")),
  );
}

export function loginStrangers(
  access: Access,
  refusals: { anonymous: RegExp; wrongPassword: RegExp },
  prefix = "",
): [anonymous: Stranger<Access>, wrongPassword: Stranger<Access>] {
  const auth = { username: access.auth?.username ?? "", password: randomBytes(16).toString("hex") };
  return [
    {
      check: prefix === "" ? "anonymous access" : `${prefix}without password`,
      who: "a client without a password",
      access: [{ ...access, auth: undefined }],
      refusal: refusals.anonymous,
    },
    {
      check: `${prefix}wrong password`,
      who: "a client with a wrong password",
      access: [{ ...access, auth }],
      refusal: refusals.wrongPassword,
    },
  ];
}

/** The promise must be rejected for the right reason: a broken connection is no refusal. */
export async function refusal(promise: Promise<unknown>, reason: RegExp, who: string): Promise<string> {
  try {
    await promise;
  } catch (error) {
    const message = messageOf(error);
    if (reason.test(message)) return `${who} is refused`;
    throw new Error(`${who} got neither in nor a refusal: ${message}`);
  }
  throw new Error(`${who} was let in`);
}

/** What OpenSSL says of a certificate that is signed by nobody it knows. */
const untrusted = /certificate|self.signed|unable to verify/i;

/** The certificate of an authority that has signed nothing. */
async function unrelatedAuthority(): Promise<string> {
  const now = Date.now();
  return (await createAuthority("unrelated", { notBefore: now - 60_000, notAfter: now + 3_600_000 })).certificate;
}
