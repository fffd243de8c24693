/** The agents' bundles leave parts of libraries out: what is left must do what the agents need. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { runInThisContext } from "node:vm";
import { build } from "esbuild";
import { createServer } from "mysql2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { agents, bundleOptions } from "../../../components/build";
import { agentContainer } from "../../../components/shared/deploy/pod";
import { builtBundle, ensureAgentBundles } from "../../support/stacks";

const root = join(__dirname, "..", "..", "..");

/** The library's own server, whose types lack most of it. */
interface MysqlServer {
  on(event: "connection", listener: (connection: ServerSide) => void): void;
  listen(port: number, listener: () => void): void;
  close(): void;
  _server: { address(): { port: number } };
}

interface ServerSide {
  sequenceId: number;
  serverHandshake(greeting: object): void;
  writeTextResult(rows: object[], columns: object[]): void;
  writeError(error: { code: number; message: string }): void;
  on(event: "query" | "error", listener: (sql: string) => void): void;
}

/** A VAR_STRING. */
const column = (name: string, characterSet: number): object => ({
  catalog: "def",
  schema: "",
  table: "",
  orgTable: "",
  name,
  orgName: name,
  characterSet,
  columnLength: 100,
  columnType: 253,
  flags: 0,
  decimals: 0,
});
/** utf8mb4_general_ci and utf8mb3_general_ci. */
const columns = [column("text", 45), column("name", 33)];

/** The value of an expression, evaluated in a bundle that is made as those of the agents are. */
async function evaluate<T>(imports: string, expression: string): Promise<T> {
  const { outputFiles } = await build({
    ...bundleOptions,
    stdin: { contents: `${imports}\nglobalThis.bundled = ${expression};`, resolveDir: __dirname },
    write: false,
  });
  const scope = globalThis as { bundled?: unknown };
  const run = runInThisContext(`(require) => {${outputFiles[0]?.text ?? ""}}`) as (load: NodeJS.Require) => void;
  run(require);
  const value = scope.bundled as T;
  delete scope.bundled;
  return value;
}

describe("a bundle", () => {
  const folder = mkdtempSync(join(tmpdir(), "cells-services-bundles-"));
  beforeAll(() => ensureAgentBundles());
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(agents)("of %s is unpacked and started by the command of its container", async (agent) => {
    const { command = [] } = agentContainer({ name: "agent", command: ["none"], settings: {} });
    const [, ...flags] = command as string[];
    const file = join(folder, `${agent}.js.br`);
    writeFileSync(file, Buffer.from(builtBundle(agent).content, "base64"));
    const args = flags.map((each) => each.replace("/agent/agent.js.br", file));
    const run = promisify(execFile)(process.execPath, [...args, "none"]);
    // The loader has evaluated the whole bundle to know the commands.
    const known = agent === "gateway" ? "gateway" : agent.endsWith("-backup") ? "backup, .*prove" : ".*certificates";
    const stdout: unknown = expect.stringMatching(new RegExp(`use one of ${known}`));
    await expect(run).rejects.toMatchObject({ code: 2, stdout });
  });

  it("of MySQL reads utf8mb4 and utf8mb3, and gives errors their names", async () => {
    const server = (createServer as unknown as () => MysqlServer)();
    server.on("connection", (connection) => {
      connection.serverHandshake({
        protocolVersion: 10,
        serverVersion: "8.4.0",
        connectionId: 1,
        statusFlags: 2,
        characterSet: 255,
        capabilityFlags: 0xffffff,
      });
      // The client goes without a word.
      connection.on("error", () => undefined);
      connection.on("query", (sql) => {
        // The question was packet 0.
        connection.sequenceId = 1;
        if (sql === "SELECT text") connection.writeTextResult([{ text: "Zürich 🏔", name: "Zürich" }], columns);
        else connection.writeError({ code: 1045, message: "Access denied" });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, resolve));
    try {
      const { open, rows } = await evaluate<typeof import("../../../components/mysql/client")>(
        `import * as client from ${JSON.stringify(join(root, "components", "mysql", "client.ts"))};`,
        "client",
      );
      const { port } = server._server.address();
      const connection = await open({ host: "127.0.0.1", port });
      expect(await rows(connection, "SELECT text")).toEqual([{ text: "Zürich 🏔", name: "Zürich" }]);
      await expect(rows(connection, "SELECT denied")).rejects.toMatchObject({
        code: "ER_ACCESS_DENIED_ERROR",
        errno: 1045,
      });
      connection.destroy();
    } finally {
      server.close();
    }
  });

  it("of MongoDB reads addresses with the URL class of Node.js", async () => {
    const options = 'new MongoClient("mongodb://member-0.peers.cells.svc:27017,[::1]:27018/?replicaSet=rs").options';
    const { hosts, replicaSet } = await evaluate<{ hosts: { host: string; port: number }[]; replicaSet: string }>(
      'import { MongoClient } from "mongodb";',
      options,
    );
    expect(hosts.map(({ host, port }) => [host, port])).toEqual([
      ["member-0.peers.cells.svc", 27017],
      ["::1", 27018],
    ]);
    expect(replicaSet).toBe("rs");
  });

  it("of NATS logs in with a name and a password", async () => {
    const login = await evaluate<() => unknown>(
      'import { usernamePasswordAuthenticator } from "@nats-io/nats-core";',
      'usernamePasswordAuthenticator("cells", "word")',
    );
    expect(login()).toEqual({ user: "cells", pass: "word" });
  });
});
