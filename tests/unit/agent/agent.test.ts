import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { buildAgents } from "../../../components/build";
import {
  impatient,
  inClusterEndpoint,
  kubernetesApi,
  type Patience,
} from "../../../components/shared/agent/kubernetes";
import { readSettings, run } from "../../../components/shared/agent/main";
import { waitFor } from "../../../components/shared/core/wait";

let server: Server | undefined;
afterEach(() => {
  server?.close();
  server = undefined;
  process.exitCode = undefined;
});

interface Seen {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage["headers"];
  body: string;
}

/** Answers with the given statuses, one after the other. */
async function answering(...answers: [number, object][]) {
  return answeringTo(undefined, ...answers);
}

async function answeringTo(patience: Patience | undefined, ...answers: [number, object][]) {
  const seen: Seen[] = [];
  const listening = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      seen.push({ method: request.method, url: request.url, headers: request.headers, body });
      const [status, answer] = answers[Math.min(seen.length, answers.length) - 1] ?? [500, {}];
      response.writeHead(status).end(JSON.stringify(answer));
    });
  });
  server = listening;
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  const { port } = listening.address() as { port: number };
  const api = kubernetesApi(
    {
      server: `http://127.0.0.1:${port}`,
      token: async () => "token\n",
      ca: async () => undefined,
    },
    patience,
  );
  return { api, seen };
}

describe("the Kubernetes client", () => {
  it.each([
    ["10.96.0.1", "https://10.96.0.1:443"],
    ["fd00:10:96::1", "https://[fd00:10:96::1]:443"],
  ])("reaches the API server at %s", (host, server) => {
    vi.stubEnv("KUBERNETES_SERVICE_HOST", host);
    vi.stubEnv("KUBERNETES_SERVICE_PORT", "443");
    expect(inClusterEndpoint().server).toBe(server);
    vi.unstubAllEnvs();
  });

  it("sends the token of the pod and reads objects", async () => {
    const { api, seen } = await answering([200, { metadata: { name: "a" } }]);
    expect(await api.get("/api/v1/namespaces/n/secrets/a")).toEqual({ metadata: { name: "a" } });
    expect(seen[0]?.headers.authorization).toBe("Bearer token");
  });

  it("tells a missing object from a refusal", async () => {
    expect(await (await answering([404, { message: "not found" }])).api.get("/x")).toBeUndefined();
    server?.close();
    const { api } = await answering([400, { message: "the name is invalid" }]);
    await expect(api.get("/x")).rejects.toThrow("kubernetes refused to get /x: the name is invalid");
  });

  it("creates only what does not exist", async () => {
    const { api, seen } = await answering([201, {}], [409, { message: "exists" }]);
    expect(await api.create("/x", { kind: "ConfigMap" })).toBe("created");
    expect(await api.create("/x", { kind: "ConfigMap" })).toBe("exists");
    expect(seen.map(({ method }) => method)).toEqual(["POST", "POST"]);
  });

  it("applies with its field manager", async () => {
    const { api, seen } = await answering([200, {}]);
    await api.apply("/x", { kind: "Secret" }, "me");
    expect(seen[0]).toMatchObject({ method: "PATCH", url: "/x?fieldManager=me&force=true", body: '{"kind":"Secret"}' });
    expect(seen[0]?.headers["content-type"]).toBe("application/apply-patch+yaml");
  });

  it("waits while the API server is overloaded", async () => {
    const { api, seen } = await answering([503, {}], [200, { kind: "Secret" }]);
    expect(await api.get("/x")).toEqual({ kind: "Secret" });
    expect(seen).toHaveLength(2);
  });
});

describe("the Kubernetes client of a Job", () => {
  it("waits for a right that was given a moment ago", async () => {
    const { api, seen } = await answering(
      [403, { message: 'secrets "a" is forbidden: User "x" cannot get resource "secrets" in the namespace "cells"' }],
      [200, { kind: "Secret" }],
    );
    expect(await api.get("/x")).toEqual({ kind: "Secret" });
    expect(seen).toHaveLength(2);
  });
});

describe("the Kubernetes client, of a change that is not allowed", () => {
  it("says so at once, in the words of Kubernetes", async () => {
    const message = 'persistentvolumeclaims "data-etcd-0" is forbidden: the storageclass must support resize';
    const { api, seen } = await answering([403, { message }]);
    await expect(api.apply("/x", {}, "me")).rejects.toThrow(`kubernetes refused to apply /x: ${message}`);
    expect(seen).toHaveLength(1);
  });
});

describe("the Kubernetes client of a sidecar", () => {
  it("does not keep it from looking at its server while the API server is away", async () => {
    const { api } = await answeringTo(impatient, [503, {}]);
    await expect(api.get("/x")).rejects.toThrow("the Kubernetes API did not come within 1 seconds");
  });
});

describe("waiting", () => {
  it("returns what was awaited", async () => {
    let attempts = 0;
    const attempt = async () => (++attempts < 3 ? { waiting: "not yet" } : { done: attempts });
    expect(await waitFor("three", attempt, { deadlineSeconds: 5, intervalSeconds: 0.01 })).toBe(3);
  });

  it("says what was awaited and what was seen last", async () => {
    const attempt = async () => ({ waiting: "2 of 3 members answer" });
    await expect(waitFor("a leader", attempt, { deadlineSeconds: 0.02, intervalSeconds: 0.01 })).rejects.toThrow(
      "a leader did not come within 0.02 seconds; last seen: 2 of 3 members answer",
    );
  });
});

describe("commands", () => {
  it("fail with an exit code, never with an unhandled error", async () => {
    await run({ setup: () => Promise.reject(new Error("no")) }, ["setup"]);
    expect(process.exitCode).toBe(1);
    await run({}, ["setup"]);
    expect(process.exitCode).toBe(2);
  });

  it("leave exactly the sentence of a failure as the termination message of the container", async () => {
    const directory = await mkdtemp(join(tmpdir(), "termination-"));
    try {
      const file = join(directory, "termination-log");
      const refuse = () => Promise.reject(new Error("the cluster has 3 members, got members 5"));
      await run({ preflight: refuse }, ["preflight"], file);
      await expect(readFile(file, "utf8")).rejects.toThrow("ENOENT");
      await writeFile(file, "");
      await run({ preflight: refuse }, ["preflight"], file);
      expect(await readFile(file, "utf8")).toBe(
        "preflight failed: the cluster has 3 members, got members 5; what to do: docs/refusals.md of cells-services",
      );
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it.each([
    ["setup", 0, [143]],
    // So long a gateway hears from it that its server is no longer the primary.
    ["sidecar", 900, []],
    ["sidecar", 1000, [143]],
  ])(
    "end when they are told to, which process 1 of a container does not by itself: %s in %d ms",
    (name, time, codes) => {
      vi.useFakeTimers();
      const once = vi.spyOn(process, "once");
      const exit = vi.spyOn(process, "exit").mockReturnValue(undefined as never);
      void run({ [name]: () => new Promise(() => undefined) }, [name]);
      once.mock.calls.find(([event]) => event === "SIGTERM")?.[1]();
      vi.advanceTimersByTime(time);
      expect(exit.mock.calls.flat()).toEqual(codes);
      vi.restoreAllMocks();
      vi.useRealTimers();
    },
  );

  it("need their settings", () => {
    expect(readSettings<{ a: number }>({ SETTINGS: '{"a":1}' })).toEqual({ a: 1 });
    expect(() => readSettings({})).toThrow("the environment variable SETTINGS is missing");
  });
});

describe("the bundle", () => {
  it("is the same for the same sources, fits a ConfigMap, and names no path of this machine", async () => {
    const directory = await mkdtemp(join(tmpdir(), "agents-"));
    try {
      const build = async (): Promise<Buffer> => {
        await buildAgents(["etcd"], directory);
        return readFile(join(directory, "etcd.js"));
      };
      const first = await build();
      expect((await build()).equals(first)).toBe(true);
      expect(first.length).toBeLessThan(700_000);
      expect(first.includes(join(__dirname, "..", "..", ".."))).toBe(false);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
