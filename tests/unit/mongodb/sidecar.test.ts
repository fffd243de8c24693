import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Endpoint } from "../../../components/mongodb/client";
import type * as sidecarOfMongodb from "../../../components/mongodb/sidecar";
import type { MarkerAnswer } from "../../../components/shared/core/marker";

const fake = vi.hoisted(() => ({
  files: new Map<string, string>(),
  hello: {},
  logins: [] as string[],
  config: undefined as object | undefined,
  writes: 0,
  loads: 0,
}));

// Test files share modules: this one must not get those that read real files, and the next one not those that read these.
let loaded: typeof sidecarOfMongodb;
beforeAll(async () => {
  vi.resetModules();
  loaded = await vi.importActual<typeof sidecarOfMongodb>("../../../components/mongodb/sidecar");
});
afterAll(() => vi.resetModules());

vi.mock("node:fs/promises", () => ({
  readFile: async (path: string) => fake.files.get(path) ?? path,
  writeFile: async () => void fake.writes++,
  rename: async () => undefined,
}));

vi.mock("../../../components/shared/agent/logins", () => ({
  readCredentials: async (directory: string) => ({
    username: "admin",
    password: fake.files.get(`${directory}/password`) ?? "first",
  }),
  readTrust: async () => "authority",
}));

/** One server that takes every password, and refuses to read certificates. */
vi.mock("../../../components/mongodb/client", async (original) => {
  const client = { close: async () => undefined };
  return {
    ...(await original<object>()),
    direct: () => client,
    withClient: async (endpoint: Endpoint, use: (given: object) => Promise<unknown>) => {
      if (endpoint.auth?.source === "admin") fake.logins.push(endpoint.auth.password);
      return use(client);
    },
    readStoredConfig: async () => fake.config,
    readCompatibility: async () => "6.0",
    command: async (_: object, document: object) => {
      if ("hello" in document) return fake.hello;
      if ("serverStatus" in document) return { connections: { current: ++fake.loads, available: 9 } };
      if ("rotateCertificates" in document) throw new Error("no key in the file");
      return { members: [] };
    },
  };
});

const primary = { setName: "mongodb", isWritablePrimary: true, primary: "mongodb-0.mongodb-peers.cells.svc:27017" };
const secondary = { ...primary, isWritablePrimary: false, secondary: true };

function sidecar(askMarker = async (): Promise<MarkerAnswer> => ({ formed: false })) {
  return loaded.createSidecar(
    { service: "mongodb", name: "mongodb", members: 3, tls: "required", applications: [], deletion: "keep" },
    { name: "mongodb-0", namespace: "cells" },
    askMarker,
  );
}

beforeEach(() => {
  fake.logins = [];
  fake.hello = primary;
  fake.config = undefined;
});

describe("the sidecar of MongoDB", () => {
  it("tries the administrator's password once for each time that its server is primary", async () => {
    const agent = sidecar();
    await agent.observe();
    await agent.observe();
    expect(fake.logins).toHaveLength(1);
    fake.hello = secondary;
    await agent.observe();
    fake.hello = primary;
    await agent.observe();
    expect(fake.logins).toHaveLength(2);
  });

  it("remembers that its server did not read its certificates, until they change", async () => {
    const agent = sidecar();
    const { certificate } = await agent.observe();
    await expect(agent.act({ kind: "reload", certificate: certificate.file, reason: "" })).rejects.toThrow(
      "no key in the file",
    );
    expect((await agent.observe()).certificate).toMatchObject({
      loaded: undefined,
      failed: { reason: "no key in the file" },
    });
    fake.files.set("/etc/mongodb-server-tls/tls.crt", "another");
    expect((await agent.observe()).certificate.failed).toBeUndefined();
  });

  it("asks its server for what no decision needs once in 15 seconds", async () => {
    const agent = sidecar();
    fake.loads = 0;
    const clock = vi.spyOn(performance, "now");
    for (const [seconds, connections] of [
      [100, 1],
      [114, 1],
      [115, 2],
    ] as const) {
      clock.mockReturnValue(seconds * 1000);
      expect((await agent.observe()).metrics).toMatchObject({ connections, connections_available: 9 });
    }
    clock.mockRestore();
  });

  it("writes the files of its server in its observations only", async () => {
    const agent = sidecar();
    fake.writes = 0;
    await expect(agent.act({ kind: "reload", certificate: "a", reason: "" })).rejects.toThrow();
    expect(fake.writes).toBe(0);
  });
});
