import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Connection } from "mysql2/promise";
import { describe, expect, it } from "vitest";
import { resolveMysql } from "../../../components/mysql";
import { decideSource, encodeName, proveOn, service } from "../../../components/mysql/backup";
import { parseGtidSet } from "../../../components/mysql/gtid";
import { batches, inAnyOrder, literalOf, programStatements } from "../../../components/mysql/load";
import { backupInputs } from "../../../components/mysql/manifest";
import type { Answer, GroupMember, Server } from "../../../components/mysql/membership";
import { BadCopy, type Manifest } from "../../../components/shared/core/backup";

const group = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa";
const members: GroupMember[] = ["0", "1", "2"].map((uuid) => ({
  uuid,
  host: `mysql-${uuid}.mysql-peers.cells.svc`,
  state: "ONLINE",
  role: uuid === "0" ? "PRIMARY" : "SECONDARY",
}));

function member(ordinal: number, executed: string, changes: Partial<Server> = {}): Answer {
  return {
    member: `mysql-${ordinal}`,
    server: {
      uuid: `${ordinal}`,
      group,
      executed: parseGtidSet(`${group}:${executed}`),
      received: new Map(),
      members,
      superReadOnly: ordinal !== 0,
      offlineMode: false,
      ...changes,
    },
  };
}
const away: Answer = { member: "mysql-1", reason: "ECONNREFUSED" };
const unreachable = members.map((each) => (each.uuid === "1" ? { ...each, state: "UNREACHABLE" as const } : each));

describe("the member that is copied", () => {
  it.each<[string, Answer[], string]>([
    ["a secondary", [member(0, "1-9"), member(1, "1-9"), away], "mysql-1"],
    ["the one that lacks least", [member(0, "1-9"), member(1, "1-7"), member(2, "1-8")], "mysql-2"],
    ["whole", [member(0, "1-9"), member(1, "1-8"), member(2, "1-9", { offlineMode: true })], "mysql-1"],
    ["not one that does not hear another", [member(0, "1-9"), away, member(2, "1-9")], "mysql-2"],
  ])("is %s", (_, answers, chosen) => {
    expect(decideSource(answers)).toMatchObject({ kind: "copy", member: chosen });
  });

  it.each<[string, Answer[], string]>([
    ["there is no primary", [away, member(2, "1-9")], "no member is the primary; mysql-1: ECONNREFUSED"],
    ["only the primary answers", [member(0, "1-9"), away], "no secondary is whole; mysql-1: ECONNREFUSED"],
    ["a member is not heard", [member(0, "1-9"), member(2, "1-9", { members: unreachable })], "no secondary is whole"],
    [
      "it is in another group",
      [member(0, "1-9"), member(1, "1-9", { group: "bbbbbbbb-aaaa-aaaa-aaaa-aaaaaaaaaaaa" })],
      "no secondary is whole",
    ],
    ["it lags", [member(0, "1-30000"), member(1, "1-4999")], "mysql-1 has yet to execute 25001 transactions"],
  ])("is none when %s", (_, answers, reason) => {
    expect(decideSource(answers)).toMatchObject({ kind: "refuse", reason: expect.stringContaining(reason) as string });
  });
});

describe("the names of files", () => {
  it.each([
    ["ibdata1", "ibdata1"],
    ["#innodb_redo/#ib_redo0", "%23innodb_redo/%23ib_redo0"],
    ["cells/every@0020@1o#p#p0.ibd", "cells/every@0020@1o%23p%23p0.ibd"],
    ["a b%ü", "a%20b%25%c3%bc"],
  ])("%j is %j in the store", (file, stored) => {
    expect(encodeName(file)).toBe(stored);
    expect(decodeURIComponent(stored)).toBe(file);
  });

  it("are those of MySQL again before the server starts, beside the folder that the server needs", async () => {
    const work = mkdtempSync(join(tmpdir(), "copy-"));
    const data = join(work, "copy", "data");
    mkdirSync(join(data, "%23innodb_redo"), { recursive: true });
    writeFileSync(join(data, "%23innodb_redo", "%23ib_redo0"), "redo");
    writeFileSync(join(data, "ibdata1"), "data");
    await service.prepare?.(work);
    const found = readdirSync(data, { recursive: true, encoding: "utf8" });
    expect(found).toEqual(expect.arrayContaining(["#innodb_redo/#ib_redo0", "ibdata1", "mysql"]));
    rmSync(work, { recursive: true });
  });
});

describe("a restored server", () => {
  const position = { executed: `${group}:1-9`, transactions: 9, tables: 2 };
  const prove = (executed: string, tables: number, says: string) => {
    const answer = (sql: string): object[] => {
      if (sql.includes("gtid_executed")) return [{ executed: `${group}:${executed}` }];
      if (sql.startsWith("CHECK TABLE")) return [{ Msg_text: says }];
      return Array.from({ length: tables }, (_, index) => ({ db: "cells", name: `t${index}` }));
    };
    const restored = { query: async ({ sql }: { sql: string }) => [answer(sql)] } as unknown as Connection;
    return proveOn(restored, { position } as unknown as Manifest);
  };

  it.each([
    ["1-8", 2, "OK", `lacks transactions: ${group}:9`],
    ["1-9", 1, "OK", "has 1 tables, and its manifest says at least 2"],
    ["1-9", 2, "Corrupt", "cells.t0 is corrupt: Corrupt"],
  ])("with %s, %i tables and %s is a verdict on the copy", async (executed, tables, says, reason) => {
    const failure: unknown = await prove(executed, tables, says).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BadCopy);
    expect(String(failure)).toContain(reason);
  });

  it("may have more than the member had before", async () => {
    expect(await prove("1-12", 3, "OK")).toContain("12 transactions");
  });

  it("that does not answer is no verdict", async () => {
    const silent = { query: async () => Promise.reject(new Error("gone")) } as unknown as Connection;
    expect(
      await proveOn(silent, { position } as unknown as Manifest).catch((error: unknown) => error),
    ).not.toBeInstanceOf(BadCopy);
  });
});

describe("a value as a literal", () => {
  it.each([
    ["bigint", "QUOTE(`c``d`)"],
    ["timestamp", "QUOTE(`c``d`)"],
    // FLOAT as text has six digits.
    ["float", "QUOTE(CAST(`c``d` AS DOUBLE))"],
    ["set", "IFNULL(CAST(`c``d` AS UNSIGNED), 'NULL')"],
    ["varchar", "IFNULL(CONCAT('x''', HEX(`c``d`), ''''), 'NULL')"],
    // A type that is not known is read as bytes.
    ["vector", "IFNULL(CONCAT('x''', HEX(`c``d`), ''''), 'NULL')"],
    ["json", "IFNULL(CONCAT('_utf8mb4 x''', HEX(`c``d`), ''''), 'NULL')"],
  ])("of %s is %s", (type, expression) => {
    expect(literalOf({ name: "c`d", type })).toBe(expression);
  });
});

describe("a load", () => {
  it("writes rows together, about a mebibyte at once", async () => {
    const row = "x".repeat(400_000);
    const source = (async function* () {
      for (let index = 0; index < 4; index++) yield row;
    })();
    const sizes: number[] = [];
    for await (const batch of batches(source)) sizes.push(batch.length);
    expect(sizes).toEqual([3, 1]);
  });

  it("makes a view after those that it needs", async () => {
    const made: string[] = [];
    await inAnyOrder(["a", "b", "c"], async (each) => {
      if (each === "a" && !made.includes("c")) throw new Error("a needs c");
      made.push(each);
    });
    expect(made).toEqual(["b", "c", "a"]);
  });

  it("says why a view cannot be made at all", async () => {
    const make = async (each: string) => {
      if (each !== "b") throw new Error(`${each} needs a table`);
    };
    await expect(inAnyOrder(["a", "b", "c"], make)).rejects.toThrow("a needs a table");
  });

  it("makes a routine with the modes of its creation, in place of one of its name", () => {
    const shown = {
      sql_mode: "ANSI_QUOTES",
      collation_connection: "latin1_swedish_ci",
      "Create Procedure": "CREATE x",
    };
    expect(programStatements("PROCEDURE", "p", shown)).toEqual([
      "SET sql_mode = 'ANSI_QUOTES', collation_connection = latin1_swedish_ci, time_zone = '+00:00'",
      "DROP PROCEDURE IF EXISTS `p`",
      "CREATE x",
    ]);
  });
});

describe("the throw-away servers", () => {
  const ensemble = resolveMysql("mysql", { namespace: "cells" });
  const { copy, proof } = backupInputs(ensemble, { content: "", checksum: "" });

  it("are reached by their own pod alone", () => {
    const servers = [...(copy?.servers ?? []), ...proof.servers];
    expect(servers).toHaveLength(3);
    for (const { command } of servers) expect(command).toContain("--skip-networking");
  });

  it("start with a copy whose passwords nobody knows, and verify the member that they clone", () => {
    expect(proof.servers[0]?.command).toContain("--skip-grant-tables");
    expect(copy?.servers[1]?.volumeMounts).toContainEqual({
      name: "trust",
      mountPath: "/etc/mysql-trust",
      readOnly: true,
    });
  });
});
