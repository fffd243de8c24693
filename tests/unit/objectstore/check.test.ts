import { describe, expect, it } from "vitest";
import { check, plainText } from "../../../components/objectstore/check";
import { judgePlainText } from "../../../components/shared/check/plaintext";
import type { CheckEnvironment } from "../../../components/shared/core/check";
import { password, targetOf, unreachable } from "../../support/check";

const target = targetOf("objectstore", { clientPort: 9000, metricsPort: 9000, name: "s3", members: ["s3-0"] });

const store = JSON.stringify({ region: "us-east-1", buckets: ["files"], applicationBuckets: { cells: ["files"] } });

const environment = (changes: Partial<CheckEnvironment> = {}): CheckEnvironment =>
  unreachable({ configMap: async () => ({ "ca.crt": "PEM", "store.json": store }), ...changes });

describe("the check when nothing works", () => {
  it("says what it could not reach and does not throw", async () => {
    const findings = await check(target, environment());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "administrator admin and trust bundle found"],
      ["configuration", true, "1 buckets in us-east-1"],
      ["member s3-0", false, "the pod s3-0 is not running"],
      ["buckets", false, "no pod is ready behind s3"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain(password);
  });

  it("ends where credentials are missing, and names the Secret", async () => {
    const findings = await check(target, environment({ secret: async () => ({ username: "admin" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: false, detail: "username or password in the Secret s3-admin is missing" },
    ]);
  });

  it("ends where nobody says which buckets there are, and names the ConfigMap", async () => {
    const findings = await check(target, environment({ configMap: async () => ({ "ca.crt": "PEM" }) }));
    expect(findings).toMatchObject([
      { check: "credentials", ok: true },
      { check: "configuration", ok: false, detail: "store.json in the ConfigMap s3-config is missing" },
    ]);
  });

  it("says when it was stopped", async () => {
    const signal = AbortSignal.abort(new Error("stopped after 60 seconds"));
    expect(await check(target, environment({ signal }))).toMatchObject([
      { check: "credentials", ok: false, detail: "stopped after 60 seconds" },
    ]);
  });
});

describe("plain text against a server that requires TLS", () => {
  const seen = (received: string) => judgePlainText({ connected: true, received, ended: true }, plainText);

  it("is refused by the end of the connection, or by an error in plain text", () => {
    expect(seen("")).toEqual([]);
    expect(seen("HTTP/1.1 400 Bad Request\r\n\r\nthis is an HTTPS server\r\n")).toEqual([]);
  });

  it("is found when it is let in", () => {
    expect(seen("HTTP/1.1 200 OK\r\n\r\nOK")).toEqual(["a client without TLS was let in"]);
  });
});
