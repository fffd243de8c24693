/** Connections of one check: a fresh one for each attempt, so that each proves that the way is open now; all end with the check. */
import { randomBytes } from "node:crypto";
import { within } from "../core/wait";
import { answerSeconds, type Place } from "./context";
import type { Access } from "./logins";

export interface Connections<C> {
  open: (place: Place, access: Access, database?: string) => Promise<C>;
  close: () => Promise<void>;
}

export function connections<C>(
  connect: (place: Place, access: Access, database?: string) => Promise<C>,
  end: (client: C) => unknown,
): Connections<C> {
  const opened: C[] = [];
  return {
    async open(place, access, database) {
      const client = await within(connect(place, access, database), answerSeconds, `a connection to ${place.name}`);
      opened.push(client);
      return client;
    },
    async close() {
      const ending = Promise.allSettled(opened.map(async (client) => end(client)));
      await within(ending, answerSeconds, "closing").catch(() => undefined);
    },
  };
}

/** Where a client connects, and with what: the same words for all clients of this project. */
export async function endpointOf(place: Place, { ca, auth }: Access) {
  return {
    ...(await place.dial()),
    ...(ca === undefined ? {} : { tls: { ca, servername: place.host } }),
    ...(auth === undefined ? {} : { credentials: auth }),
  };
}

/** A name that no other run uses. */
export function probeName(prefix: string): string {
  return prefix + randomBytes(6).toString("hex");
}
