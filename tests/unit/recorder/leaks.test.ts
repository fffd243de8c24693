import { generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import { leaks, secretValues } from "../../support/leaks";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const values = (data: Record<string, string>) =>
  secretValues([
    {
      metadata: { name: "s" },
      data: Object.fromEntries(Object.entries(data).map(([key, text]) => [key, base64(text)])),
    },
  ]);

const pem = generateKeyPairSync("ec", {
  namedCurve: "P-256",
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
}).privateKey;
const accounts =
  'users: [\n  { user: "a", password: "first-password" }\n  { user: "b", password: "other-password" }\n]\n';

describe("the search for leaked secrets", () => {
  it("takes every value but public ones", () => {
    const data = { password: "p", anything: "a", username: "u", "ca.crt": "c", "tls.crt": "t", "tls.key": "k" };
    expect(values(data).map((each) => each.where)).toEqual(["s/password", "s/anything", "s/tls.key"]);
    expect(secretValues([{ metadata: { name: "empty" } }])).toEqual([]);
  });

  it("takes a url only when it holds a password", () => {
    expect(values({ url: "https://etcd.cells.svc:2379" })).toEqual([]);
    const found = values({ url: "nats://cells:url-password@nats.cells.svc:4222" });
    expect(leaks(found, { log: "with url-password" })).toEqual(["s/url is in log"]);
  });

  it.each([
    ["the value", "a-password\n", "say a-password"],
    ["its base64", "a-password", base64("a-password")],
    ["the base64 of its untrimmed bytes", "a-password\n", base64("a-password\n")],
    ["the base64 of its trimmed bytes", "a-password\n", base64("a-password")],
    ["it inside JSON", 'a-"quoted"\npassword', JSON.stringify({ a: 'a-"quoted"\npassword' })],
    ["a key as one line of JSON", pem, JSON.stringify({ pem })],
    ["one line of a key", pem, `  ${pem.split("\n")[1] ?? ""}`],
    ["one password of several", accounts, "other-password"],
    ["the base64 of one password of several", accounts, base64("first-password")],
  ])("finds %s", (_, secret, content) => {
    const found = leaks(values({ key: secret }), { clean: "nothing", log: `before ${content} after` });
    expect(found).toEqual(["s/key is in log"]);
  });
});
