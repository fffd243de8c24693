import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readNote, writeNote } from "../../../components/shared/agent/files";
import { type SealStatus, VaultError } from "../../../components/vault/client";
import { startOf } from "../../../components/vault/processes";
import { giveShares } from "../../../components/vault/unseal";

const sealed: SealStatus = { type: "shamir", sealed: true, progress: 0, migration: false };
const refused = new VaultError("sys/unseal", 400, ["no expected answer for the server id provided"]);

function server(...answers: (SealStatus | Error)[]) {
  const given: string[] = [];
  return {
    given,
    forgetProgress: async () => undefined,
    sealStatus: async () => sealed,
    unseal: async (share: string) => {
      given.push(share);
      const answer = answers.shift() ?? sealed;
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
}

describe("the shares of the key", () => {
  let folder: string;
  let note: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "unseal-"));
    note = join(folder, "given");
  });
  afterEach(() => rm(folder, { recursive: true }));

  it("are given to a server that joins once, and it is known which process got them", async () => {
    const joins = server();
    expect(await giveShares(joins, ["a"], { server: "7-100", note })).toBe("at work");
    expect(await readNote(note)).toBe("7-100");
    expect(await giveShares(joins, ["a"], { server: "7-100", note })).toBe("at work");
    expect(joins.given).toEqual(["a"]);
  });

  it("are given to the next process", async () => {
    await writeNote(note, "7-100");
    const next = server();
    await giveShares(next, ["a"], { server: "7-200", note });
    expect(next.given).toEqual(["a"]);
  });

  it.each([
    ["again after a refusal", refused, ["a", "a"]],
    ["once when the answer did not come", new Error("no answer within 60 seconds"), ["a"]],
  ])("are given %s", async (_, error, given) => {
    const joins = server(error);
    await expect(giveShares(joins, ["a"], { server: "7-100", note })).rejects.toThrow(error.message);
    await giveShares(joins, ["a"], { server: "7-100", note });
    expect(joins.given).toEqual(given);
  });

  it("are given until there are enough of them", async () => {
    const joins = server({ ...sealed, progress: 1 }, sealed);
    expect(await giveShares(joins, ["a", "b", "c", "d"], { server: "7-100", note })).toBe("at work");
    expect(joins.given).toEqual(["a", "b"]);
    const opens = server({ ...sealed, progress: 1 }, { ...sealed, sealed: false });
    expect(await giveShares(opens, ["a", "b", "c"], undefined)).toBe("open");
    expect(opens.given).toEqual(["a", "b"]);
  });
});

it("reads when a process began, whatever its name", () => {
  const after = "S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 9 0 4711 1000";
  expect(startOf(`7 (vault) ${after}`)).toBe(4711);
  expect(startOf(`7 (a) b (c) ${after}`)).toBe(4711);
});
