import { X509Certificate } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, TLSSocket } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { createAuthority, issueLeaf, type KeyPair } from "../../../components/shared/agent/issue";
import {
  certificateProblems,
  greetingOf,
  observeCertificate,
  refusedWithAlert,
  type ShownCertificate,
  trustProblems,
} from "../../../components/shared/check/certificates";
import { beginCheck, everywhere, type Place } from "../../../components/shared/check/context";
import { type Access, administrator, enterAsApplication } from "../../../components/shared/check/logins";
import { judgePlainText, observePlainText, type PlainText } from "../../../components/shared/check/plaintext";
import { checkStrangers, loginStrangers, refusal } from "../../../components/shared/check/strangers";
import type { Validity } from "../../../components/shared/core/certificates";
import type { CheckEnvironment, CheckTarget } from "../../../components/shared/core/check";
import { target as targetOf } from "../checks/target";

const day = 24 * 60 * 60 * 1000;
const now = 1000 * day;

function environment(changes: Partial<CheckEnvironment> = {}): CheckEnvironment {
  return {
    tunnel: {
      dial: async () => ({ host: "127.0.0.1", port: 1 }),
      service: async () => ({ host: "127.0.0.1", port: 2 }),
    },
    secret: async () => ({ username: "admin", password: "secret", "ca.crt": "PEM", url: "https://etcd" }),
    configMap: async () => ({ "ca.crt": "PEM" }),
    clock: () => 0,
    signal: new AbortController().signal,
    ...changes,
  };
}

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listening(server: Server, name = "m-0"): Promise<Place> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(server);
  const { port } = server.address() as { port: number };
  return { name, host: name, dial: async () => ({ host: "127.0.0.1", port }) };
}

describe("a step on several members", () => {
  it("returns the first answer and names all members", async () => {
    expect(await everywhere(["a", "b"], async (member) => `seen by ${member}`)).toBe("seen by a, by a, b");
  });

  it("names every member where it failed, and why", async () => {
    const attempt = everywhere([{ name: "a" }, { name: "b" }, { name: "c" }], async ({ name }) =>
      name === "b" ? "well" : Promise.reject(new Error(`${name} is ill`)),
    );
    await expect(attempt).rejects.toThrow("a: a is ill; c: c is ill");
  });

  it("fails when there is nobody to ask", async () => {
    await expect(everywhere([], async () => "well")).rejects.toThrow("no member answers");
  });
});

describe("logging in", () => {
  const expected = () => ({ url: "https://etcd" });

  it("finds the administrator and the trust bundle", async () => {
    const context = beginCheck(targetOf("etcd"), environment());
    expect(await administrator(context)).toEqual({ auth: { username: "admin", password: "secret" }, ca: "PEM" });
    expect(context.findings).toMatchObject([{ check: "credentials", ok: true }]);
  });

  it("is tried by an application on every place", async () => {
    const context = beginCheck(targetOf("etcd"), environment());
    const places = [context.member("etcd-0"), context.member("etcd-1"), context.address];
    const enter = async ({ name }: Place) =>
      name === "etcd-0" ? undefined : Promise.reject(new Error("authentication failed"));
    expect(await enterAsApplication(context, "cells", { places, expected, enter })).toBeUndefined();
    expect(context.findings[0]).toMatchObject({
      check: "application cells",
      ok: false,
      detail: "etcd-1: authentication failed; etcd.cells.svc: authentication failed",
    });
  });

  it("needs the Secret to say what the component says, and shows no key", async () => {
    const context = beginCheck(targetOf("etcd"), environment());
    const entrance = { places: [context.address], enter: async () => undefined };
    await enterAsApplication(context, "cells", { ...entrance, expected: () => ({ url: "https://other" }) });
    await enterAsApplication(context, "cells", { ...entrance, expected: () => ({ secretAccessKey: "hidden" }) });
    expect(context.findings.map(({ detail }) => detail)).toEqual([
      "url in the Secret etcd-application-cells is https://etcd, expected https://other",
      "secretAccessKey in the Secret etcd-application-cells is missing, expected that of the user",
    ]);
  });
});

describe("strangers", () => {
  const access: Access = { ca: "PEM", auth: { username: "admin", password: "secret" } };
  const refusals = { anonymous: /no password/, wrongPassword: /wrong password/ };

  /** Says who was let in where, as servers do. */
  type Server = (place: string, access: Access) => string | undefined;
  const strict: Server = (_, { ca, auth }) => {
    if (ca === undefined) return "TLS is required";
    if (ca !== "PEM") return "unable to verify the certificate";
    if (auth === undefined) return "no password";
    return auth.password === "secret" ? undefined : "wrong password";
  };

  async function findings(tls: CheckTarget["tls"], server: Server) {
    const context = beginCheck({ ...targetOf("etcd"), tls }, environment());
    await checkStrangers(context, {
      places: [context.member("etcd-0"), context.member("etcd-1"), context.address],
      access,
      strangers: loginStrangers(access, refusals),
      enter: async ({ name }, as) => {
        const words = server(name, as);
        if (words !== undefined) throw new Error(words);
      },
      plainText: /TLS is required/,
      remedy: "look",
    });
    return context.findings.map(({ check, ok, detail }) => [check, ok, detail]);
  }
  const everyone = "by etcd-0, etcd-1, etcd.cells.svc";

  it("are refused everywhere", async () => {
    expect(await findings("required", strict)).toEqual([
      ["anonymous access", true, `a client without a password is refused, ${everyone}`],
      ["wrong password", true, `a client with a wrong password is refused, ${everyone}`],
      ["unknown authority", true, `a client that trusts another authority is refused, ${everyone}`],
      ["plain text refused", true, `a client without TLS is refused, ${everyone}`],
    ]);
  });

  it.each(["etcd-1", "etcd.cells.svc"])("are found where %s alone lets everybody in", async (open) => {
    const lax: Server = (place, as) => (place === open ? undefined : strict(place, as));
    expect(await findings("required", lax)).toEqual([
      ["anonymous access", false, `${open}: a client without a password was let in`],
      ["wrong password", false, `${open}: a client with a wrong password was let in`],
      ["unknown authority", false, `${open}: a client that trusts another authority was let in`],
      ["plain text refused", false, `${open}: a client without TLS was let in`],
    ]);
  });

  it("are not refused by a server that is away", async () => {
    const away: Server = (place, as) => (place === "etcd-0" ? "connection refused" : strict(place, as));
    for (const [, ok, detail] of await findings("required", away)) {
      expect(ok).toBe(false);
      expect(detail).toMatch(/^etcd-0: a client .* got neither in nor a refusal: connection refused$/);
    }
  });

  it("may come in plain text where TLS is optional or off", async () => {
    const open: Server = (place, as) => (as.ca === undefined ? undefined : strict(place, as));
    const words = `a client without TLS is let in, ${everyone}`;
    expect((await findings("optional", open)).at(-1)).toEqual(["plain text", true, words]);
    expect((await findings("off", open)).at(-1)).toEqual(["plain text", true, words]);
    expect((await findings("optional", strict)).at(-1)?.slice(0, 2)).toEqual(["plain text", false]);
  });

  it("must get the right refusal", async () => {
    await expect(refusal(Promise.reject(new Error("no")), /yes/, "x")).rejects.toThrow(
      "x got neither in nor a refusal: no",
    );
  });
});

describe("plain text on the wire", () => {
  const protocol: PlainText = { hello: "PING\r\n", served: /^\+PONG/, refused: /^-ERR/ };

  it.each([
    ["the end of the connection", { connected: true, received: "", ended: true }, []],
    ["a word", { connected: true, received: "-ERR no", ended: false }, []],
    ["an answer", { connected: true, received: "+PONG", ended: true }, ["a client without TLS was let in"]],
    [
      "silence",
      { connected: true, received: "", ended: false },
      ["a client without TLS got neither in nor a refusal: the connection stays open"],
    ],
    [
      "nobody",
      { connected: false, received: "", ended: true },
      ["a client without TLS got neither in nor a refusal: no connection"],
    ],
  ])("is judged by %s", (_, seen, problems) => {
    expect(judgePlainText(seen, protocol)).toEqual(problems);
  });

  it("is seen as it is", async () => {
    const answering = (serve: (socket: Socket) => void) => listening(createServer(serve));
    const served = await answering((socket) => socket.on("data", () => socket.end("+PONG\r\n")));
    expect(await observePlainText(served, protocol)).toMatchObject({ connected: true, received: "+PONG\r\n" });
    const closing = await answering((socket) => socket.on("data", () => socket.destroy()));
    expect(await observePlainText(closing, protocol)).toEqual({ connected: true, received: "", ended: true });
    const silent = await answering((socket) => socket.resume());
    expect(await observePlainText(silent, protocol, 0.05)).toEqual({ connected: true, received: "", ended: false });
    const nobody = { name: "x", host: "x", dial: async () => ({ host: "127.0.0.1", port: 1 }) };
    expect(await observePlainText(nobody, protocol)).toEqual({ connected: false, received: "", ended: true });
  });
});

describe("certificates", () => {
  const lasting = (from: number, to: number) => ({ notBefore: now + from * day, notAfter: now + to * day });

  it.each<[string, Partial<ShownCertificate> & Validity, string[]]>([
    [
      "renewed, and not shown",
      { ...lasting(-61, 29), fingerprint: "A1" },
      ["its certificate was renewed, and it still shows another one"],
    ],
    ["new", lasting(-1, 89), []],
    ["to be renewed tonight", lasting(-61, 29), []],
    [
      "not renewed for weeks",
      lasting(-75, 15),
      ["its certificate ends in 15.0 days of 90.0: it should have been renewed"],
    ],
    ["short-lived", lasting(-2, 1), []],
    [
      "short-lived, and not renewed",
      lasting(-2.5, 0.5),
      ["its certificate ends in 0.5 days of 3.0: it should have been renewed"],
    ],
    [
      "of another authority",
      { ...lasting(-1, 89), refused: "SELF_SIGNED_CERT_IN_CHAIN" },
      ["its certificate is not accepted: SELF_SIGNED_CERT_IN_CHAIN"],
    ],
  ])("that are %s", (_, shown, problems) => {
    const issued = ["B2", "C3"];
    expect(certificateProblems({ fingerprint: "C3", refused: undefined, ...shown }, issued, now)).toEqual(problems);
  });

  it("have an authority that stays", () => {
    expect(trustProblems([lasting(-3000, 1), lasting(-1, 3649)], now)).toEqual([]);
    expect(trustProblems([lasting(-3000, 1)], now)).toEqual([
      "the authority in the trust bundle ends in 1.0 days of 3001.0: it should have been renewed",
    ]);
    expect(trustProblems([lasting(-10, -1)], now)).toEqual(["the authority in the trust bundle ended 1.0 days ago"]);
    expect(trustProblems([], now)).toEqual(["the trust bundle holds no certificate"]);
  });

  const validity = { notBefore: Date.now() - day, notAfter: Date.now() + 89 * day };
  async function leafOf(authority: KeyPair, subject: string) {
    const { certificate: cert, key } = await issueLeaf(authority, {
      ...validity,
      commonName: subject,
      dns: [subject],
      ip: [],
    });
    return { cert, key };
  }

  it("are seen on the wire: authority, name and time", async () => {
    const [own, other] = [await createAuthority("own", validity), await createAuthority("other", validity)];
    const leaf = await leafOf(own, "m-0");
    const place = await listening(createTlsServer(leaf));
    const seen = await observeCertificate(place, own.certificate);
    expect(seen.refused).toBeUndefined();
    expect(seen.fingerprint).toBe(new X509Certificate(leaf.cert).fingerprint256);
    expect(Math.abs(seen.notAfter - validity.notAfter)).toBeLessThan(2000);
    expect((await observeCertificate(place, other.certificate)).refused).toMatch(/VERIFY|SIGNED|ISSUER/);
    expect((await observeCertificate({ ...place, host: "m-1" }, own.certificate)).refused).toMatch(/ALTNAME/);
  });

  it("are seen where the server wants to see one too", async () => {
    const own = await createAuthority("own", validity);
    const mutual = { ...(await leafOf(own, "m-0")), requestCert: true, ca: own.certificate };
    const place = await listening(createTlsServer(mutual).on("tlsClientError", () => undefined));
    expect((await observeCertificate(place, own.certificate)).refused).toBeUndefined();
  });

  it("are seen after the greeting of a protocol, and not where there is no TLS", async () => {
    const own = await createAuthority("own", validity);
    const leaf = await leafOf(own, "m-0");
    const greeting = createServer((socket) => {
      socket.write("INFO\r\n");
      new TLSSocket(socket, { isServer: true, ...leaf }).on("error", () => undefined);
    });
    const place = await listening(greeting);
    const startTls = (socket: Socket) => greetingOf(socket, (received) => received.includes("\r\n"));
    expect((await observeCertificate({ ...place, startTls }, own.certificate)).refused).toBeUndefined();
    const plain = await listening(createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")));
    await expect(observeCertificate(plain, own.certificate)).rejects.toThrow();
  });

  it("are kept from strangers by an alert of TLS, which plain text and an open port have not", async () => {
    const own = await createAuthority("own", validity);
    const leaf = await leafOf(own, "m-0");
    // No cipher of this list fits a certificate with an elliptic curve.
    const secret = { ...leaf, maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } as const;
    const refusing = await listening(createTlsServer(secret).on("tlsClientError", () => undefined));
    expect(await refusedWithAlert(refusing, own.certificate)).toBe("a stranger is refused by an alert of TLS");
    const open = await listening(createTlsServer(leaf));
    await expect(refusedWithAlert(open, own.certificate)).rejects.toThrow(/expected an alert of TLS/);
    const plain = await listening(createServer((socket) => socket.destroy()));
    await expect(refusedWithAlert(plain, own.certificate)).rejects.toThrow(/got no alert of TLS/);
  });
});
