/** What a server does with a client that speaks its protocol without TLS, seen from the bytes on the wire. */
import { connect } from "node:net";
import { within } from "../core/wait";
import { answerSeconds, type Place } from "./context";

/** The protocol of a service, as far as it shows whether plain text is served. */
export interface PlainText {
  hello: string;
  /** Where the server speaks first: the hello follows this. */
  greeting?: RegExp;
  served: RegExp;
  /** The answer to a client that is refused, where the server says a word before it ends the connection. */
  refused?: RegExp;
}

export interface PlainTextSeen {
  connected: boolean;
  received: string;
  ended: boolean;
}

export async function observePlainText(
  place: Place,
  { hello, greeting, served, refused }: PlainText,
  seconds = answerSeconds,
): Promise<PlainTextSeen> {
  const seen: PlainTextSeen = { connected: false, received: "", ended: false };
  const socket = connect(await place.dial());
  const over = new Promise<void>((resolve) => {
    let asked = false;
    const ask = (): void => {
      if (asked || (greeting !== undefined && !greeting.test(seen.received))) return;
      asked = true;
      socket.write(hello);
    };
    socket.on("connect", () => {
      seen.connected = true;
      ask();
    });
    socket.on("data", (data) => {
      seen.received += data.toString("latin1");
      ask();
      if (served.test(seen.received) || refused?.test(seen.received)) resolve();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      seen.ended = true;
      resolve();
    });
  });
  try {
    // A server that stays silent is judged by its silence.
    await within(over, seconds, "an answer").catch(() => undefined);
    return { ...seen };
  } finally {
    socket.destroy();
  }
}

/** In words; empty when the client was refused. */
export function judgePlainText(
  { connected, received, ended }: PlainTextSeen,
  { greeting, served, refused }: PlainText,
): string[] {
  const neither = "a client without TLS got neither in nor a refusal:";
  if (!connected) return [`${neither} no connection`];
  if (served.test(received)) return ["a client without TLS was let in"];
  if (greeting !== undefined && !greeting.test(received)) return [`${neither} no greeting`];
  if (ended || refused?.test(received)) return [];
  return [`${neither} the connection stays open`];
}
