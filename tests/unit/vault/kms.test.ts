import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as agentHttp from "../../../components/shared/agent/http";
import { type AwsCredentials, findCredentials, kms, proveKey, readProfile } from "../../../components/vault/kms";

afterEach(() => vi.restoreAllMocks());

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

describe("the credentials of a pod", () => {
  /** Answers every request, and tells what was asked and with which token. */
  async function withAgent<T>(
    answer: { status: number; body: string },
    use: (url: string, asked: { path?: string | undefined; authorization?: string | undefined }) => Promise<T>,
  ): Promise<T> {
    const asked: { path?: string | undefined; authorization?: string | undefined } = {};
    const server = createServer((request, response) => {
      Object.assign(asked, { path: request.url, authorization: request.headers.authorization });
      response.writeHead(answer.status).end(answer.body);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/credentials`, asked);
    } finally {
      server.close();
    }
  }

  async function withFile<T>(content: string, use: (file: string) => Promise<T>): Promise<T> {
    const folder = await mkdtemp(join(tmpdir(), "kms-"));
    try {
      await writeFile(join(folder, "file"), content);
      return await use(join(folder, "file"));
    } finally {
      await rm(folder, { recursive: true });
    }
  }

  const podIdentity = (url: string, file: string) => ({
    AWS_CONTAINER_CREDENTIALS_FULL_URI: url,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file,
  });
  const webIdentity = (file: string) => ({
    AWS_ROLE_ARN: "arn:aws:iam::1:role/vault",
    AWS_WEB_IDENTITY_TOKEN_FILE: file,
  });

  it("come from the agent of EKS Pod Identity, which is asked with the token in the file", async () => {
    const body = JSON.stringify({
      AccessKeyId: "A",
      SecretAccessKey: "S",
      Token: "T",
      Expiration: "2030-01-01T00:00:00Z",
    });
    await withFile("token\n", (file) =>
      withAgent({ status: 200, body }, async (url, asked) => {
        const found = await findCredentials("eu-central-1", podIdentity(url, file));
        expect(found).toEqual({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "T" });
        expect(asked).toEqual({ path: "/v1/credentials", authorization: "token" });
      }),
    );
  });

  it.each([
    [
      404,
      "[r-1]: (ResourceNotFoundException): no association found",
      "status 404: [r-1]: (ResourceNotFoundException): no association found",
    ],
    [500, "", "status 500: no reason given"],
    [200, '{"SecretAccessKey":"hidden"}', "status 200: the answer has no key"],
  ])("are missing when the agent answers %i, and no part of a key is repeated", async (status, body, reason) => {
    await withFile("token", (file) =>
      withAgent({ status, body }, async (url) => {
        const refused = findCredentials("eu-central-1", podIdentity(url, file));
        await expect(refused).rejects.toThrow(`AWS gave no credentials for the ServiceAccount of this pod: ${reason}`);
        await expect(refused).rejects.not.toThrow("hidden");
      }),
    );
  });

  it("are those of the file before those of a role, as the server takes them", async () => {
    await withFile("[default]\naws_access_key_id = A\naws_secret_access_key = S\n", async (file) => {
      const environment = {
        AWS_SHARED_CREDENTIALS_FILE: file,
        ...webIdentity("/nowhere"),
        ...podIdentity("http://127.0.0.1:1/", "/nowhere"),
      };
      expect(await findCredentials("eu-central-1", environment)).toEqual({ accessKeyId: "A", secretAccessKey: "S" });
    });
  });

  const assumed = {
    AssumeRoleWithWebIdentityResponse: {
      AssumeRoleWithWebIdentityResult: {
        Credentials: { AccessKeyId: "A", SecretAccessKey: "S", SessionToken: "T" },
      },
    },
  };

  it.each([
    ["eu-central-1", "sts.eu-central-1.amazonaws.com"],
    ["cn-north-1", "sts.cn-north-1.amazonaws.com.cn"],
    ["us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"],
  ])("come from the host of STS in %s with the role of an annotation, before Pod Identity", async (region, host) => {
    const http = vi.spyOn(agentHttp, "http").mockResolvedValue({ status: 200, body: JSON.stringify(assumed) });
    await withFile("token", async (file) => {
      const environment = { ...webIdentity(file), ...podIdentity("http://127.0.0.1:1/", "/nowhere") };
      const found = await findCredentials(region, environment);
      expect(found).toEqual({ accessKeyId: "A", secretAccessKey: "S", sessionToken: "T" });
    });
    expect(new URL(http.mock.calls[0]?.[0].url ?? "").host).toBe(host);
  });

  it.each([
    ["nothing", {}],
    ["a role without a token", { AWS_ROLE_ARN: "arn:aws:iam::1:role/vault" }],
    ["an agent without a token", { AWS_CONTAINER_CREDENTIALS_FULL_URI: "http://169.254.170.23/v1/credentials" }],
  ])("are missing with %s", async (_, environment) => {
    await expect(findCredentials("eu-central-1", environment)).rejects.toThrow(
      "there are no AWS credentials: AWS has put no role into this pod; check the association of seal.podIdentity or " +
        "seal.serviceAccountAnnotations, or give seal.credentialsSecret",
    );
  });
});

describe("the key service", () => {
  it.each([
    ["eu-central-1", "kms.eu-central-1.amazonaws.com"],
    ["cn-north-1", "kms.cn-north-1.amazonaws.com.cn"],
    ["us-gov-west-1", "kms.us-gov-west-1.amazonaws.com"],
  ])("of %s is asked at its own host", async (region, host) => {
    const http = vi.spyOn(agentHttp, "http").mockResolvedValue({ status: 200, body: "{}" });
    await kms({ region }, { accessKeyId: "A", secretAccessKey: "S" }, "X", {});
    expect(new URL(http.mock.calls[0]?.[0].url ?? "").host).toBe(host);
  });
});
