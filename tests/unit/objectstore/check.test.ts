import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { check, refusedInPlainText } from "../../../components/objectstore/check";
import type { CheckEnvironment, CheckTarget } from "../../../components/shared/core/check";

const target: CheckTarget = {
  service: "objectstore",
  name: "s3",
  namespace: "cells",
  members: ["s3-0"],
  peersService: "s3-peers",
  clientPort: 9000,
  metricsPort: 9000,
  host: "s3.cells.svc",
  tls: "required",
  trust: "s3-ca",
  adminSecret: "s3-admin",
  durability: null,
  applications: { cells: "s3-application-cells" },
};

const store = JSON.stringify({ region: "us-east-1", buckets: ["files"], applicationBuckets: { cells: ["files"] } });

function environment(changes: Partial<CheckEnvironment> = {}): CheckEnvironment {
  return {
    tunnel: {
      dial: async (pod) => Promise.reject(new Error(`the pod ${pod} is not running`)),
      service: async (name) => Promise.reject(new Error(`no pod is ready behind ${name}`)),
    },
    secret: async () => ({ username: "admin", password: "hidden-value" }),
    configMap: async () => ({ "ca.crt": "PEM", "store.json": store }),
    clock: () => 0,
    signal: new AbortController().signal,
    ...changes,
  };
}

describe("the check when nothing works", () => {
  it("says what it could not reach and does not throw", async () => {
    const findings = await check(target, environment());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "administrator admin and trust bundle found"],
      ["member s3-0", false, "the pod s3-0 is not running"],
      ["buckets", false, "no pod is ready behind s3"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain("hidden-value");
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
      { check: "credentials", ok: false, detail: "store.json in the ConfigMap s3-config is missing" },
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
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  async function attempt(serve: (socket: Socket) => void): Promise<string> {
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      serve(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    servers.push(server);
    const { port } = server.address() as { port: number };
    const way = async () => ({ host: "127.0.0.1", port });
    return refusedInPlainText(target, environment({ tunnel: { dial: way, service: way } }));
  }

  it("is refused by the end of the connection, or by an error in plain text", async () => {
    const closed = attempt((socket) => socket.on("data", () => socket.destroy()));
    expect(await closed).toMatch(/refused/);
    const told = attempt((socket) =>
      socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\nthis is an HTTPS server\r\n")),
    );
    expect(await told).toMatch(/refused/);
  });

  it("is found when it is let in", async () => {
    const served = attempt((socket) => socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nOK")));
    await expect(served).rejects.toThrow("a client without TLS was let in");
  });

  it("is not refused by a server that is not there", async () => {
    const way = async () => ({ host: "127.0.0.1", port: 1 });
    const refused = refusedInPlainText(target, environment({ tunnel: { dial: way, service: way } }));
    await expect(refused).rejects.toThrow(/no connection/);
  });
});
