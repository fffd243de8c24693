import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type Endpoint, openAdmin, openBuckets } from "../../../components/objectstore/api";

const credentials = { accessKeyId: "admin", secretAccessKey: "of-admin" };
let server: ReturnType<typeof createServer> | undefined;

/** A server that gives one answer, and what it was asked. */
async function serve(status: number, answer: string, region = "us-east-1") {
  const asked: {
    method?: string | undefined;
    url?: string | undefined;
    headers: IncomingMessage["headers"];
    body: string;
  }[] = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (data: Buffer) => {
      body += data.toString();
    });
    request.on("end", () => {
      asked.push({ method: request.method, url: request.url, headers: request.headers, body });
      response.writeHead(status).end(answer);
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const endpoint: Endpoint = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region,
    credentials,
  };
  return { asked, endpoint };
}

afterEach(() => server?.close());

describe("the calls of the object store's agent", () => {
  it("are signed for S3, with the body", async () => {
    const { asked, endpoint } = await serve(200, "");
    await openBuckets(endpoint).putPolicy("files", "{}");
    const [request] = asked;
    expect([request?.method, request?.url, request?.body]).toEqual(["PUT", "/files?policy=", "{}"]);
    expect(request?.headers.authorization).toMatch(
      /^AWS4-HMAC-SHA256 Credential=admin\/\d{8}\/us-east-1\/s3\/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, /,
    );
    // Of "{}".
    expect(request?.headers["x-amz-content-sha256"]).toBe(
      "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    );
  });

  it("name the region where a bucket is made, but for the first, which S3 does not take", async () => {
    const first = await serve(200, "");
    await openBuckets(first.endpoint).create("files");
    expect(first.asked[0]?.body).toBe("");
    server?.close();
    const other = await serve(200, "", "eu-central-1");
    await openBuckets(other.endpoint).create("files");
    expect(other.asked[0]?.body).toContain("<LocationConstraint>eu-central-1</LocationConstraint>");
  });

  it("see the names of buckets", async () => {
    const xml =
      "<Owner><ID>admin</ID></Owner><Buckets><Bucket><Name>a</Name></Bucket><Bucket><Name>b</Name></Bucket></Buckets>";
    const { endpoint } = await serve(200, xml);
    expect(await openBuckets(endpoint).list()).toEqual(["a", "b"]);
  });

  it("tell a bucket without a policy from one that must not be read", async () => {
    const none = await serve(404, "<Error><Code>NoSuchBucketPolicy</Code><Message>none</Message></Error>");
    expect(await openBuckets(none.endpoint).policy("files")).toBeUndefined();
    server?.close();
    const refused = await serve(403, "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>");
    await expect(openBuckets(refused.endpoint).policy("files")).rejects.toThrow(
      "policy of files: AccessDenied: not you",
    );
  });

  it("reach the admin API with PATCH", async () => {
    const { asked, endpoint } = await serve(200, "<Buckets><Name>files</Name><Owner>cells</Owner></Buckets>");
    expect(await openAdmin(endpoint).owners()).toEqual(new Map([["files", "cells"]]));
    await openAdmin(endpoint).changeOwner("files", "admin");
    expect(asked.map(({ method, url }) => [method, url])).toEqual([
      ["PATCH", "/list-buckets"],
      ["PATCH", "/change-bucket-owner?bucket=files&owner=admin"],
    ]);
  });
});
