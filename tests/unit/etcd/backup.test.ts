import { createHash, createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import {
  batches,
  contentsAt,
  copyReserved,
  decideSource,
  loadKeys,
  pageKeys,
  partsOf,
  proveAt,
  signToken,
  whole,
  whyDifferent,
} from "../../../components/etcd/backup";
import type { Alarm, Status } from "../../../components/etcd/client";
import type { MemberStatus } from "../../../components/etcd/maintenance";
import { BadCopy, type Manifest } from "../../../components/shared/core/backup";

function member(name: string, changes: Partial<Status> = {}): MemberStatus {
  const status = { clusterId: "77", memberId: name, version: "3.6.16", leader: "etcd-1", learner: false };
  return { name, status: { ...status, dbSize: 1, dbSizeInUse: 1, revision: "100", ...changes } };
}

const [first, leader, third] = [member("etcd-0"), member("etcd-1"), member("etcd-2")];

describe("the member that is copied", () => {
  it.each<[string, MemberStatus[], string]>([
    ["a follower", [first, leader, third], "etcd-0"],
    ["the follower that has seen most", [first, leader, member("etcd-2", { revision: "101" })], "etcd-2"],
    ["the follower that is left", [leader, third], "etcd-2"],
    ["not a learner", [member("etcd-0", { learner: true, revision: "200" }), leader, third], "etcd-2"],
  ])("is %s", (_, members, chosen) => {
    expect(decideSource(members, 3, [])).toEqual({ kind: "copy", member: chosen });
  });

  it.each<[string, MemberStatus[], Alarm[], string]>([
    ["no majority answers", [first], [], "1 of 3 members answer"],
    [
      "there is no leader",
      [member("etcd-0", { leader: "0" }), member("etcd-2", { leader: "0" })],
      [],
      "there is no leader",
    ],
    ["they follow different ones", [first, member("etcd-2", { leader: "etcd-9" })], [], "do not agree on a leader"],
    ["their data is corrupt", [first, leader, third], [{ memberId: "0", alarm: "CORRUPT" }], "data is corrupt"],
    ["the follower is far behind", [member("etcd-0", { revision: "80" }), leader], [], "etcd-0: it is at revision 80"],
  ])("is none when %s", (_, members, alarms, reason) => {
    expect(decideSource(members, 3, alarms)).toMatchObject({
      kind: "refuse",
      reason: expect.stringContaining(reason) as string,
    });
  });

  it("may be of a full cluster", () => {
    expect(decideSource([first, leader], 3, [{ memberId: "etcd-0", alarm: "NOSPACE" }]).kind).toBe("copy");
  });
});

async function* stream(...chunks: (string | Buffer)[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield Buffer.from(chunk as string);
}

async function gathered(parts: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

describe("a snapshot over the JSON gateway", () => {
  const line = (text: string) => `${JSON.stringify({ result: { blob: Buffer.from(text).toString("base64") } })}\n`;

  it("is put together, however its lines are cut", async () => {
    const text = `${line("one ")}${line("two ")}${line("three").trimEnd()}`;
    for (const at of [1, 20, line("one ").length, text.length - 1]) {
      expect((await gathered(partsOf(stream(text.slice(0, at), text.slice(at))))).toString()).toBe("one two three");
    }
  });

  it.each([
    ['{"error":{"message":"member is stopping"}}\n', "etcd ended the snapshot: member is stopping"],
    [line("one").slice(0, 12), "the snapshot of etcd broke off"],
  ])("%j fails", async (text, reason) => {
    await expect(gathered(partsOf(stream(text)))).rejects.toThrow(reason);
  });

  it("says that its connection broke off", async () => {
    const broken = (async function* () {
      yield Buffer.from(line("one"));
      throw new Error("aborted");
    })();
    await expect(gathered(partsOf(broken))).rejects.toThrow("the snapshot of etcd broke off: aborted");
  });

  it("is whole only with its own checksum at its end", async () => {
    const data = Buffer.from("the database");
    const file = Buffer.concat([data, createHash("sha256").update(data).digest()]);
    for (const at of [0, 1, data.length, file.length - 1]) {
      expect(await gathered(whole(stream(file.subarray(0, at), file.subarray(at))))).toEqual(file);
    }
    for (const short of [file.subarray(0, -1), data, Buffer.alloc(0)]) {
      await expect(gathered(whole(stream(short)))).rejects.toThrow("it ended before its checksum");
    }
  });
});

describe("what a server holds", () => {
  const keys = ["a", "b", "c"].map((key) => Buffer.from(key).toString("base64"));
  /** Two keys in each answer. */
  const server = (version: string) => {
    const asked: Record<string, unknown>[] = [];
    const call = async <T>(_: string, body: object): Promise<T> => {
      const { key, count_only } = body as { key: string; count_only?: boolean };
      if (count_only === true) return { count: "3" } as T;
      asked.push(body as Record<string, unknown>);
      const after = keys.filter((each) => Buffer.compare(Buffer.from(each, "base64"), Buffer.from(key, "base64")) >= 0);
      const kvs = after.slice(0, 2).map((each) => ({ key: each, create_revision: "1", mod_revision: "2", version }));
      return { kvs, more: after.length > 2 } as T;
    };
    return { call, asked };
  };

  it("is read page by page at one revision, without values", async () => {
    const { call, asked } = server("1");
    expect((await contentsAt({ call }, 7, 16 * 2 ** 20)).keys).toBe(3);
    expect(asked.map(({ key }) => Buffer.from(String(key), "base64").toString())).toEqual(["\0", "b\0"]);
    expect(asked[1]).toMatchObject({ revision: "7", keys_only: true, serializable: true, limit: 1 });
  });

  it.each([
    ["of the usual size", 100_000, 100 * 2 ** 20, 2000],
    ["that are small", 1_000_000, 100 * 2 ** 20, 10_000],
    ["whose values are large", 10_000, 2 ** 30, 19],
    ["whose values are as large as etcd takes", 1000, 2 ** 30, 1],
    ["that are none", 0, 0, 1],
  ])("is read in pages that a member can hold, with keys %s", (_, count, bytes, limit) => {
    expect(pageKeys(count, bytes)).toBe(limit);
  });

  it("has another hash with another version of a key", async () => {
    const [one, again, other] = await Promise.all(["1", "1", "2"].map((each) => contentsAt(server(each), 7, 1)));
    expect(one).toEqual(again);
    expect(other?.hash).not.toBe(one?.hash);
  });

  it.each([
    [{ revision: 9, keys: 3, hash: "ab" }, undefined],
    [{ revision: 6, keys: 3, hash: "ab" }, "the restored data ends at revision 6, and its manifest says 7"],
    [{ revision: 7, keys: 2, hash: "ab" }, "at revision 7 the restored data has 2 keys, and its manifest says 3"],
    [{ revision: 7, keys: 3, hash: "cd" }, "at revision 7 the restored data has other keys or versions"],
  ])("%j: %s", (restored, reason) => {
    const different = whyDifferent({ position: { revision: 7, keys: 3, hash: "ab" } }, restored);
    if (reason === undefined) expect(different).toBeUndefined();
    else expect(different).toContain(reason);
  });
});

describe("a load", () => {
  const encoded = (text: string) => Buffer.from(text).toString("base64");
  /** With keys of one value each, and what it was told. */
  const server = (kvs: { key: string; value?: string }[]) => {
    const told: object[] = [];
    const call = async <T>(path: string, body: object): Promise<T> => {
      told.push({ path, ...body });
      return ("count_only" in body ? { count: String(kvs.length) } : { kvs }) as T;
    };
    return { told, call, status: async () => member("etcd-0").status };
  };
  const kvs = [{ key: encoded("a"), value: encoded("1") }, { key: encoded("empty") }];

  it("writes all keys and values of the revision, and compares them", async () => {
    const [source, target] = [server(kvs), server(kvs)];
    expect(await loadKeys(source, 7, target)).toBe("2 keys of revision 7");
    expect(source.told[1]).toMatchObject({ revision: "7", limit: 128 });
    expect(target.told[0]).toEqual({
      path: "kv/txn",
      success: [{ request_put: kvs[0] }, { request_put: { key: encoded("empty"), value: "" } }],
    });
  });

  it.each([
    ["other keys", []],
    ["another value", [{ key: encoded("a"), value: encoded("2") }, { key: encoded("empty") }]],
  ])("fails when the members have %s at its end", async (_, held) => {
    await expect(loadKeys(server(kvs), 7, server(held))).rejects.toThrow("the members hold other keys or values");
  });

  it("puts no more bytes into a transaction than etcd takes", () => {
    const value = (mebibytes: number) => ({ key: "", value: "A".repeat((mebibytes * 2 ** 20 * 4) / 3) });
    const sizes = [0.25, 0.5, 0.5, 1.4, 0.1].map(value);
    expect(batches(sizes).map((batch) => batch.length)).toEqual([2, 1, 1, 1]);
  });
});

describe("a copy", () => {
  /** Of a member whose snapshot comes from this URL. */
  const copyAt = (url: string, timeoutSeconds: number) =>
    copyReserved(
      {
        status: async () => member("etcd-0").status,
        call: async <T>() => ({}) as T,
        requestOf: () => ({ url, timeoutSeconds }),
      },
      async () => undefined,
      async () => async () => undefined,
    );

  it("is refused in words when etcd does not give it", async () => {
    await expect(copyAt("http://127.0.0.1:1/v3/maintenance/snapshot", 1)).rejects.toThrow("ECONNREFUSED");
  });

  it("asks its member only while nobody may defragment it, also when it fails", async () => {
    const said: string[] = [];
    const status = async () => {
      said.push("asks");
      throw new Error("no answer");
    };
    const client = { status, call: async <T>() => ({}) as T, requestOf: () => ({ url: "", timeoutSeconds: 1 }) };
    const reserve = async () => {
      said.push("takes it");
      return async () => void said.push("gives it back");
    };
    await expect(copyReserved(client, async () => undefined, reserve)).rejects.toThrow("no answer");
    expect(said).toEqual(["takes it", "asks", "gives it back"]);
  });

  it("that etcd refuses ends at once with its words, although the answer does not", async () => {
    const server = createServer((_, response) => {
      response.statusCode = 503;
      response.write(JSON.stringify({ message: "member is stopping" }).padEnd(70_000));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await expect(copyAt(`http://127.0.0.1:${port}/`, 300)).rejects.toThrow(
      "etcd refused maintenance/snapshot: member is stopping",
    );
    // Nothing is left open.
    await new Promise((resolve) => server.close(resolve));
  });
});

describe("a restored server", () => {
  const manifest = { position: { revision: 7, keys: 1, hash: "ab" } } as unknown as Manifest;
  const proveWith = async (status: number, body: object) => {
    const server = createServer((request, response) => {
      response.statusCode = request.url === "/v3/auth/status" ? 200 : status;
      response.end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const failure: unknown = await proveAt(`http://127.0.0.1:${port}`, Buffer.from("key"), manifest).catch(
      (error: unknown) => error,
    );
    server.close();
    return failure;
  };

  it("with other data is a verdict on the copy", async () => {
    expect(await proveWith(200, { header: { revision: "9" } })).toBeInstanceOf(BadCopy);
  });

  it("that refuses to answer is none", async () => {
    const failure = await proveWith(503, { message: "no space" });
    expect(failure).not.toBeInstanceOf(BadCopy);
    expect(String(failure)).toContain("no space");
  });
});

describe("the token for a throw-away server", () => {
  it("is of root, of this revision of the users, for an hour, and signed with the key", () => {
    const key = Buffer.from("key of the occasion");
    const [head = "", claims = "", signature] = signToken(key, 12, new Date(5_000)).split(".");
    expect(signature).toBe(createHmac("sha256", key).update(`${head}.${claims}`).digest("base64url"));
    expect(JSON.parse(Buffer.from(claims, "base64url").toString())).toEqual({
      username: "root",
      revision: 12,
      exp: 3605,
    });
  });
});
