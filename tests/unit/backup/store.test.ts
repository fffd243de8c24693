/** An upload against a server that refuses parts: whose failure it was, and that nothing is left. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { openStore, storeWith } from "../../../components/shared/agent/store";

const asked: string[] = [];
const signedBy: (string | undefined)[] = [];
let server: Server;

beforeAll(async () => {
  server = createServer((request, response) => {
    const { method = "", url = "" } = request;
    asked.push(`${method} ${new URL(url, "http://store").search}`);
    signedBy.push(/Credential=(\w+)/.exec(request.headers.authorization ?? "")?.[1]);
    request.resume().on("end", () => {
      if (method === "PUT") {
        response.statusCode = 507;
        response.end("<Error><Code>InsufficientStorage</Code><Message>no space left.</Message></Error>");
      } else if (method === "POST") {
        response.end("<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>");
      } else if (method === "GET") {
        response.statusCode = url.includes("gone") ? 404 : 403;
        response.end(`<Error><Code>${url.includes("gone") ? "NoSuchKey" : "AccessDenied"}</Code></Error>`);
      } else {
        response.statusCode = 204;
        response.end();
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterAll(() => server.close());

const settings = () => ({
  url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  region: "us-east-1",
  bucket: "backups",
  prefix: "",
  credentials: "keys",
});
const login = { credentials: { accessKeyId: "a", secretAccessKey: "b" }, ca: undefined };

/** More than one part of an upload. */
async function* parts(failure?: Error): AsyncGenerator<Buffer> {
  for (let number = 0; number < 5; number += 1) {
    yield Buffer.alloc(4 * 2 ** 20);
    if (failure !== undefined) throw failure;
  }
}

describe("an upload", () => {
  it("that the store refuses says so in one sentence, and is given up", async () => {
    asked.length = 0;
    const { url } = settings();
    await expect(storeWith(settings(), login).upload("key", parts())).rejects.toThrow(
      new Error(`the store ${url}/backups failed to write key: InsufficientStorage: no space left`),
    );
    expect(asked[0]).toContain("POST ?uploads");
    expect(asked.at(-1)).toContain("DELETE ?uploadId=7");
  });

  it("whose parts break off fails with their words, and writes nothing", async () => {
    asked.length = 0;
    const broken = parts(new Error("the snapshot broke off"));
    await expect(storeWith(settings(), login).upload("key", broken)).rejects.toThrow("the snapshot broke off");
    expect(asked.filter((each) => each.startsWith("PUT"))).toEqual([]);
  });
});

describe("an object", () => {
  it("that was deleted since it was listed is missing", async () => {
    expect(await storeWith(settings(), login).text("gone")).toBeUndefined();
  });

  it("that may not be read is an error", async () => {
    await expect(storeWith(settings(), login).text("key")).rejects.toThrow("failed to read key: AccessDenied");
  });
});

describe("a store", () => {
  const folder = mkdtempSync(join(tmpdir(), "keys-"));
  for (const key of ["accessKeyId", "secretAccessKey"]) writeFileSync(join(folder, key), "word\n");
  afterAll(() => rmSync(folder, { recursive: true }));

  it("is used when it answers, whatever it says", async () => {
    await openStore(settings(), folder, 0);
  });

  it("that is away is awaited", async () => {
    const away = { ...settings(), url: "http://127.0.0.1:1" };
    await expect(openStore(away, folder, 0)).rejects.toThrow(
      /an answer of the store http:\/\/127.0.0.1:1 did not come within 0 seconds; last seen: .*ECONNREFUSED/,
    );
  });
});

describe("the keys of a store", () => {
  it("are missed by name", async () => {
    await expect(openStore(settings(), "/nowhere")).rejects.toThrow(
      "the Secret keys must have accessKeyId, got nothing; write it there",
    );
  });
});

describe("a role of AWS", () => {
  const byRole = () => ({ ...settings(), credentials: undefined });
  /** What an agent of the node says to a pod. */
  const answering = async (status: number, body: string, use: () => Promise<void>) => {
    const agent = createServer((request, response) => {
      response.statusCode = request.headers.authorization === "token" ? status : 401;
      response.end(body);
    });
    await new Promise<void>((resolve) => agent.listen(0, "127.0.0.1", resolve));
    const token = join(mkdtempSync(join(tmpdir(), "token-")), "token");
    writeFileSync(token, "token");
    vi.stubEnv("AWS_CONTAINER_CREDENTIALS_FULL_URI", `http://127.0.0.1:${(agent.address() as AddressInfo).port}/`);
    vi.stubEnv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    await use().finally(() => agent.close());
  };
  afterEach(() => vi.unstubAllEnvs());

  it("that no pod has been given is missed at once, and that of the node is not taken", async () => {
    await expect(openStore(byRole())).rejects.toThrow(
      new Error(
        "there are no AWS credentials: AWS has put no role into this pod; check the associations of backups.store.podIdentity or " +
          "backups.store.serviceAccountAnnotations, or give backups.store.credentials",
      ),
    );
  });

  it("comes from the agent of EKS Pod Identity, and signs requests", async () => {
    const keys = { AccessKeyId: "ASIAROLE", SecretAccessKey: "word", Token: "t", Expiration: "2100-01-01T00:00:00Z" };
    signedBy.length = 0;
    await answering(200, JSON.stringify(keys), async () => void (await openStore(byRole(), "/nowhere", 0)));
    expect(signedBy).toEqual(["ASIAROLE"]);
  });

  it("comes by IRSA first, from the token service", async () => {
    vi.stubEnv("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token");
    vi.stubEnv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/backups");
    await answering(200, "{}", async () => {
      await expect(openStore(byRole(), "/nowhere", 0)).rejects.toThrow("'/nowhere/token'");
    });
  });

  it.each([
    [403, "not allowed", "Server responded with status: 403"],
    [200, "AKIASECRET", "the answer is not JSON"],
  ])(
    "that the agent does not give, with %i %s, is awaited, and no answer is repeated",
    async (status, body, reason) => {
      await answering(status, body, async () => {
        const refused = openStore(byRole(), "/nowhere", 0);
        await expect(refused).rejects.toThrow(
          `last seen: AWS gave no credentials for the ServiceAccount of this pod: ${reason}; check its role, and whom that trusts`,
        );
        await expect(refused).rejects.not.toThrow(body);
      });
    },
  );
});
