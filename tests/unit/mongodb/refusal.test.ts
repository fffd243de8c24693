import { EventEmitter } from "node:events";
import { describe, expect, it, vi } from "vitest";
import { check } from "../../../components/mongodb/check";

const server = vi.hoisted(() => ({ plain: "", tls: "", dies: false }));

/** A driver whose members say what the test wants: nothing is an answer, anything else an error: over plain text of the first heartbeat, over TLS of the command. */
vi.mock("mongodb", () => ({
  MongoClient: class extends EventEmitter {
    private readonly tls: boolean;
    constructor(_: string, options: { tls: boolean }) {
      super();
      this.tls = options.tls;
    }
    db() {
      const message = this.tls ? server.tls : server.plain;
      if (!this.tls && server.dies) server.tls = "connection 1 to m:27017 closed";
      const failure = new Error(message);
      const connects = this.tls || message === "";
      if (!connects) setImmediate(() => this.emit("serverHeartbeatFailed", { failure }));
      const command = (): Promise<unknown> => (message === "" ? Promise.resolve({}) : Promise.reject(failure));
      return { command: connects ? command : () => new Promise(() => undefined) };
    }
    close() {
      return Promise.resolve();
    }
  },
}));

async function plainTextRefused() {
  const findings = await check(
    {
      service: "mongodb",
      name: "mongodb",
      namespace: "cells",
      members: ["mongodb-0"],
      peersService: "mongodb-peers",
      clientPort: 27017,
      metricsPort: 8008,
      host: "mongodb.cells.svc",
      tls: "required",
      trust: "mongodb-ca",
      adminSecret: "mongodb-admin",
      durability: null,
      applications: {},
    },
    {
      tunnel: { dial: () => Promise.reject(new Error("unused")), service: () => Promise.reject(new Error("unused")) },
      secret: async () => ({ username: "admin", password: "secret" }),
      configMap: async () => ({ "ca.crt": "PEM" }),
      clock: () => 0,
      signal: new AbortController().signal,
    },
  );
  return findings.find(({ check: step }) => step === "plain text refused")?.ok;
}

/** The words of the driver, by way of the proxy, to a real mongod 6.0.27 and to ports that are none. */
describe("the check that plain text is refused", () => {
  it.each([
    ["connection <monitor> to m:27017 closed", true],
    ["Server selection timed out after 2000 ms", false],
    ["Socket closed", false],
  ])("takes %j for a refusal: %s", async (plain, refused) => {
    Object.assign(server, { plain, tls: "", dies: false });
    expect(await plainTextRefused()).toBe(refused);
  });

  it("takes no word of a server that has died meanwhile", async () => {
    Object.assign(server, { plain: "connection <monitor> to m:27017 closed", tls: "", dies: true });
    expect(await plainTextRefused()).toBe(false);
  });
});
