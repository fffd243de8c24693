import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { type AwsCredentials, kms, proveKey, readProfile } from "../../../components/vault/kms";

describe("requests to the key service", () => {
  const credentials = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
  /** The headers of one request with these credentials. */
  async function headersOf(given: AwsCredentials): Promise<IncomingHttpHeaders> {
    let headers: IncomingHttpHeaders = {};
    const server = createServer((request, response) => {
      headers = request.headers;
      response.end("{}");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await kms({ region: "eu-central-1", endpoint }, given, "X", {}).finally(() => server.close());
    return headers;
  }

  it("are signed as AWS wants it", async () => {
    const headers = await headersOf(credentials);
    expect(headers["x-amz-date"]).toMatch(/^[0-9]{8}T[0-9]{6}Z$/);
    expect(headers["x-amz-target"]).toBe("TrentService.X");
    expect(headers["content-type"]).toBe("application/x-amz-json-1.1");
    expect(headers.authorization).toMatch(
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/[0-9]{8}\/eu-central-1\/kms\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=[0-9a-f]{64}$/,
    );
  });

  it("carry the token of a session, signed too", async () => {
    const headers = await headersOf({ ...credentials, sessionToken: "session" });
    expect(headers["x-amz-security-token"]).toBe("session");
    expect(headers.authorization).toContain("x-amz-security-token");
  });
});

describe("a file of credentials", () => {
  it("is read for the profile default", () => {
    const text = "[other]\naws_access_key_id = X\n\n[default]\naws_access_key_id = A\naws_secret_access_key=S/+=\n";
    expect(readProfile(text)).toEqual({ accessKeyId: "A", secretAccessKey: "S/+=" });
  });

  it("is refused without that profile, and not repeated", () => {
    expect(() => readProfile("[other]\naws_access_key_id = X\naws_secret_access_key = hidden\n")).toThrow(
      'the key "credentials" of seal.credentialsSecret must have the profile [default]',
    );
    expect(() => readProfile("hidden")).not.toThrow("hidden");
  });
});

describe("the proof of a key", () => {
  const credentials = { accessKeyId: "A", secretAccessKey: "S" };
  /** A key service with one key; what it closes carries the key's name. */
  async function withService<T>(arn: string, use: (endpoint: string) => Promise<T>): Promise<T> {
    const server = createServer((request, response) => {
      const target = String(request.headers["x-amz-target"]).split(".")[1];
      void text(request).then((body) => {
        const { Plaintext, CiphertextBlob = "" } = JSON.parse(body) as { Plaintext?: string; CiphertextBlob?: string };
        const [key = "", plain = ""] = CiphertextBlob.split("|");
        const answers: Record<string, object> = {
          Encrypt: { CiphertextBlob: `${arn}|${Plaintext ?? ""}` },
          Decrypt: { Plaintext: plain, KeyId: key },
          DescribeKey: { KeyMetadata: { Arn: arn } },
        };
        response.end(JSON.stringify(answers[target ?? ""]));
      });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    } finally {
      server.close();
    }
  }
  const prove = (arn: string, former?: string) =>
    withService(arn, (endpoint) => proveKey({ region: "r", keyId: "alias/x", endpoint }, credentials, former));

  it("is opened by the key that made it", async () => {
    const proof = await prove("arn:a");
    expect(proof).toMatch(/^arn:a\|/);
    await expect(prove("arn:a", proof)).resolves.toMatch(/^arn:a\|/);
  });

  it("is not that of another key, although the other one serves as well", async () => {
    const proof = await prove("arn:a");
    await expect(prove("arn:b", proof)).rejects.toThrow("it is arn:b, and the data were made with arn:a");
  });
});
