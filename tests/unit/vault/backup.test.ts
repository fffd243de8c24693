import { createHash, generateKeyPairSync, verify } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { resolveVault, VaultCluster, type VaultClusterArguments } from "../../../components/vault";
import {
  contentsOf,
  copyFrom,
  decideSource,
  keyMounts,
  lasting,
  loadKeys,
  proofConfig,
  signLogin,
  whole,
  whyDifferent,
} from "../../../components/vault/backup";
import { type Health, type Server, VaultError } from "../../../components/vault/client";
import { backupInputs } from "../../../components/vault/manifest";
import { at, inputs, listAt } from "../../support/graph";
import { record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

const member = (changes: Partial<Omit<Health, "clusterId">> & { clusterId?: string | undefined } = {}): Server => ({
  state: "up",
  initialised: true,
  sealed: false,
  standby: true,
  removed: false,
  following: true,
  clusterId: "77",
  version: "1.21.2",
  ...changes,
});
const active = member({ standby: false });
const away: Server = { state: "away", reason: "ECONNREFUSED" };
const named = (...servers: Server[]): [string, Server][] => servers.map((each, index) => [`vault-${index}`, each]);

describe("the member that is copied", () => {
  it("is the active one, with a majority", () => {
    const expected = { kind: "copy", member: "vault-1", clusterId: "77", version: "1.21.2" };
    expect(decideSource(named(member(), active, away), 3)).toEqual(expected);
  });

  it.each<[string, Server[], string]>([
    ["no majority is open", [active, member({ sealed: true }), away], "1 of 3 members are unsealed; vault-0 is active"],
    ["one was removed", [active, member({ removed: true }), away], "vault-1 was removed from the cluster"],
    ["nobody is active", [member(), member(), member()], "no member is active"],
    ["two call themselves active", [active, active, member()], "vault-0 and vault-1 are active"],
    ["its cluster is not known", [member({ standby: false, clusterId: undefined }), member(), away], "does not know"],
  ])("is none when %s", (_, servers, reason) => {
    expect(decideSource(named(...servers), 3)).toMatchObject({
      kind: "refuse",
      reason: expect.stringContaining(reason) as string,
    });
  });
});

/** As `tar` writes it. */
function packed(files: Record<string, string>): Buffer {
  const blocks = Object.entries(files).flatMap(([name, text]) => {
    const header = Buffer.alloc(512);
    header.write(name);
    header.write(Buffer.byteLength(text).toString(8).padStart(11, "0"), 124);
    return [header, Buffer.from(text), Buffer.alloc((512 - (Buffer.byteLength(text) % 512)) % 512)];
  });
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
}

const sum = (text: string): string => createHash("sha256").update(text).digest("hex");
const state = "values that are encrypted ".repeat(5000);
const files = {
  "meta.json": "{}",
  "state.bin": state,
  SHA256SUMS: `${sum(state)}  state.bin\n${sum("{}")}  meta.json\n`,
  "SHA256SUMS.sealed": "encrypted",
};

async function* stream(...chunks: Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks;
}

async function gathered(parts: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

describe("a snapshot", () => {
  const snapshot = packed(files);

  it("passes as it is, however it is cut", async () => {
    for (const cut of [0, 1, 20, snapshot.length - 1]) {
      expect(await gathered(whole(stream(snapshot.subarray(0, cut), snapshot.subarray(cut))))).toEqual(snapshot);
    }
  });

  const { "SHA256SUMS.sealed": sealed, ...unsealed } = files;
  it.each<[string, Buffer, string]>([
    ["ends early", snapshot.subarray(0, -9), "unexpected end of file"],
    ["ends between two files", packed({ "meta.json": "{}", "state.bin": state }), "it has no SHA256SUMS"],
    ["ends with an error in words", Buffer.concat([snapshot.subarray(0, 200), Buffer.from('{"errors":[]}')]), ""],
    ["is empty", Buffer.alloc(0), ""],
    ["has other data", packed({ ...files, "state.bin": state.replace("v", "w") }), "the checksum of state.bin differs"],
    ["has another description", packed({ ...files, "meta.json": "[]" }), "the checksum of meta.json differs"],
    ["lacks the encrypted checksums", packed(unsealed), "it has no SHA256SUMS.sealed"],
    ["is something else", packed({ "passwd.txt": sealed }), "it is no snapshot"],
  ])("that %s is none", async (_, bytes, reason) => {
    await expect(gathered(whole(stream(bytes)))).rejects.toThrow(`the snapshot of vault is not whole: ${reason}`);
  });

  it("whose connection breaks off is none", async () => {
    const broken = (async function* () {
      yield snapshot.subarray(0, 100);
      throw new Error("aborted");
    })();
    await expect(gathered(whole(broken))).rejects.toThrow("the snapshot of vault is not whole: aborted");
  });
});

/** A server with these tables, which may change. */
function tables(policies: string[] = ["default", "root"]) {
  const known: Record<string, object> = {
    "sys/mounts": { "secret/": { type: "kv", uuid: "1" }, "sys/": { type: "system", uuid: "2" } },
    "sys/auth": { "jwt/": { type: "jwt", uuid: "3" } },
  };
  return { known, policies, read: async <T>(path: string) => known[path] as T, list: async () => [...policies] };
}

describe("what can be compared", () => {
  it("is the number and the identity of mounts, logins and policies, in any order", async () => {
    const contents = await contentsOf(tables());
    expect(contents).toMatchObject({ mounts: 2, logins: 1, policies: 2 });
    expect(await contentsOf(tables(["root", "default"]))).toEqual(contents);
    expect((await contentsOf(tables(["default", "other"]))).hash).not.toBe(contents.hash);
    const other = tables();
    other.known["sys/auth"] = { "jwt/": { type: "jwt", uuid: "4" } };
    expect((await contentsOf(other)).hash).not.toBe(contents.hash);
  });

  const contents = { mounts: 4, logins: 2, policies: 7, hash: "ab" };
  const manifest = { lineage: "77", position: { index: 10, ...contents } };
  it.each([
    [{ clusterId: "77", index: 12, contents }, undefined],
    [{ clusterId: "78", index: 12, contents }, "the restored data is of the cluster 78, and its manifest says 77"],
    [{ clusterId: "77", index: 9, contents }, "the restored data ends at index 9, and its manifest says 10"],
    [{ clusterId: "77", index: 12, contents: { ...contents, mounts: 3 } }, "has 3 mounts, and its manifest says 4"],
    [{ clusterId: "77", index: 12, contents: { ...contents, hash: "cd" } }, "other mounts, logins or policies"],
  ])("%j: %s", (restored, reason) => {
    const different = whyDifferent(manifest, restored);
    if (reason === undefined) expect(different).toBeUndefined();
    else expect(different).toContain(reason);
  });
});

describe("a copy", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vault-backup-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const copyOf = async (bytes: Buffer, change: (server: ReturnType<typeof tables>) => void = () => undefined) => {
    const server = tables();
    const said: string[] = [];
    const client = {
      ...server,
      appliedIndex: async () => 10,
      revokeSelf: async () => void said.push("logged out"),
      snapshot: async () => {
        change(server);
        return stream(bytes);
      },
    };
    const written: Record<string, Buffer> = {};
    const position = await copyFrom(client, join(folder, "raft.snap"), async (name, parts) => {
      said.push("writes");
      written[name] = await gathered(parts as AsyncIterable<Buffer>);
    }).catch((error: unknown) => String(error));
    return { position, written, said };
  };

  it("is taken from Vault before the store gets it, and says what is compared later", async () => {
    const { position, written, said } = await copyOf(packed(files));
    expect(position).toMatchObject({ index: 10, mounts: 2, logins: 1, policies: 2 });
    expect(written["raft.snap"]).toEqual(packed(files));
    expect(said).toEqual(["logged out", "writes"]);
  });

  it("that is not whole never reaches the store", async () => {
    const { position, written } = await copyOf(packed(files).subarray(0, -9));
    expect(position).toContain("is not whole");
    expect(written).toEqual({});
  });

  it("is none when what is compared later has changed meanwhile", async () => {
    const { position, written } = await copyOf(packed(files), ({ policies }) => policies.push("new"));
    expect(position).toContain("were changed during the copy");
    expect(written).toEqual({});
  });
});

describe("the login to a throw-away server", () => {
  it("is a token of the ServiceAccount that was copied, for ten minutes", () => {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const token = signLogin(privateKey, "backup", { name: "vault", namespace: "cells" }, new Date(5_000));
    const [head = "", claims = "", signature = ""] = token.split(".");
    const signed = Buffer.from(`${head}.${claims}`);
    expect(verify("sha256", signed, publicKey, Buffer.from(signature, "base64url"))).toBe(true);
    expect(JSON.parse(Buffer.from(claims, "base64url").toString())).toEqual({
      sub: "system:serviceaccount:cells:vault-backup",
      aud: ["vault.cells.svc"],
      iat: 5,
      exp: 605,
    });
  });

  it("is made anew in time, and no more often", async () => {
    let [time, logins] = [0, 0];
    const login = lasting(
      async () => ++logins,
      () => time,
    );
    expect([await login(), await login()]).toEqual([1, 1]);
    time = 451_000;
    expect([await login(), await login()]).toEqual([2, 2]);
  });
});

describe("a restore", () => {
  const kv = { type: "kv", version: "2" };
  const system = { type: "system", version: undefined };
  type Keys = Record<string, object | null>;

  /** Values by path; null was deleted. */
  const vault = (
    keys: Keys,
    mounts: Record<string, { type: string; version: string | undefined }> = { secret: kv },
  ) => {
    const data = (path: string) => decodeURIComponent(path.replace("/data/", "/metadata/"));
    const server = {
      mounts: async () => ({ sys: system, ...mounts }),
      list: async (path: string) => {
        const under = Object.keys(keys).filter((key) => key.startsWith(`${decodeURIComponent(path)}/`));
        const names = under.map((key) => key.slice(decodeURIComponent(path).length + 1).replace(/\/.*/, "/"));
        return [...new Set(names)];
      },
      read: async <T>(path: string) => {
        const found = keys[data(path)];
        return (found ? { data: found } : undefined) as T;
      },
      write: async <T>(path: string, body: object): Promise<T | undefined> => {
        const { data: value, options } = body as { data: object; options: object };
        expect(options).toEqual({ cas: 0 });
        if (keys[data(path)] !== undefined) {
          throw new VaultError(path, 400, ["check-and-set parameter did not match the current version"]);
        }
        keys[data(path)] = value;
        return undefined;
      },
    };
    return async () => server;
  };
  const copied: Keys = {
    "secret/metadata/a": { v: 1 },
    "secret/metadata/a/b c?/é%": { v: 2 },
    "secret/metadata/gone": null,
  };

  it("writes what is there in the copy, whatever its name is, and says what it left out", async () => {
    const held: Keys = {};
    const source = vault(copied, { secret: kv, pki: { type: "pki", version: undefined } });
    expect(await loadKeys(source, vault(held))).toBe(
      "the newest version of 2 keys in secret, 1 deleted ones left out; not the mounts pki, which are of another kind",
    );
    expect(held).toEqual({ "secret/metadata/a": { v: 1 }, "secret/metadata/a/b c?/é%": { v: 2 } });
  });

  it("goes on after an interruption, and overwrites nothing", async () => {
    const held: Keys = { "secret/metadata/a": { v: 1 } };
    await loadKeys(vault(copied), vault(held));
    expect(held["secret/metadata/a/b c?/é%"]).toEqual({ v: 2 });
  });

  it("fails where somebody else has written, and leaves it as it is", async () => {
    const held: Keys = { "secret/metadata/a": { v: "of a client" } };
    await expect(loadKeys(vault(copied), vault(held))).rejects.toThrow("secret/data/a was written by somebody else");
    expect(held["secret/metadata/a"]).toEqual({ v: "of a client" });
  });

  it("is refused before the first key when a mount is missing", async () => {
    const held: Keys = {};
    await expect(loadKeys(vault(copied, { secret: kv, certs: kv }), vault(held))).rejects.toThrow(
      "the copy has the mounts certs; add them to mounts",
    );
    expect(held).toEqual({});
  });

  it("knows mounts that it can fill", () => {
    const old = { type: "kv", version: "1" };
    expect(keyMounts({ sys: system, secret: kv, old, "team/own": kv })).toEqual({
      mounts: ["secret"],
      others: ["old", "team/own"],
    });
  });
});

describe("the pods", () => {
  const backups: NonNullable<VaultClusterArguments["backups"]> = {
    store: { url: "https://s3.example.com", bucket: "backups", credentials: "keys" },
  };
  const kms: VaultClusterArguments["seal"] = {
    type: "awskms",
    region: "eu-central-1",
    keyId: "alias/vault",
    endpoint: "http://kms.example.com:4000",
    credentialsSecret: "aws",
    recovery: "none",
  };
  const bundle = { content: "", checksum: "" };
  const ensemble = (args: Partial<VaultClusterArguments> = {}) =>
    resolveVault("vault", { namespace: "cells", seal: { type: "shamir" }, backups, ...args });
  const proofOf = (args: Partial<VaultClusterArguments> = {}) => {
    const { proof } = backupInputs(ensemble(args), bundle);
    const [server] = proof.servers;
    const env = server?.env as { name: string; value?: string }[];
    const secrets = proof.login?.volumes.map((volume) => at(volume, "secret.secretName"));
    return { server, secrets, env: Object.fromEntries(env.map(({ name, value }) => [name, value])) };
  };

  it("of a proof has a server of the seal of the ensemble, which unpacks where it may write", () => {
    const { server, env, secrets } = proofOf({ seal: kms });
    expect(env).toMatchObject({
      VAULT_SEAL_TYPE: "awskms",
      VAULT_AWSKMS_SEAL_KEY_ID: "alias/vault",
      AWS_REGION: "eu-central-1",
      AWS_KMS_ENDPOINT: "http://kms.example.com:4000",
      AWS_SHARED_CREDENTIALS_FILE: "/etc/vault/aws/credentials",
      TMPDIR: "/backup/tmp",
    });
    expect(server?.command).toEqual(["/bin/vault", "server", "-config=/backup/vault.json"]);
    expect(secrets).toEqual(["aws"]);
    expect(proofOf().env).not.toHaveProperty("VAULT_SEAL_TYPE");
  });

  it("of a proof has the key shares, and in a restore those of the copy too", () => {
    expect(proofOf().secrets).toEqual(["vault-unseal"]);
    const restoreFrom = { copy: "latest" };
    expect(proofOf({ backups: { ...backups, restoreFrom } }).secrets).toEqual(["vault-unseal", "vault-former-unseal"]);
  });

  it("of a proof reaches the key service", () => {
    const portsOf = (changes: Parameters<typeof ensemble>[0]) =>
      (backupInputs(ensemble(changes), bundle).proof.egress ?? []).flatMap((rule) =>
        listAt(rule, "ports").map(({ port }) => port),
      );
    expect(portsOf({})).toEqual([]);
    expect(portsOf({ seal: kms })).toEqual([443, 4000]);
  });

  it("have a role of AWS where the members have one, and the setup knows whether keys are written", async () => {
    await ensureAgentBundles();
    const role = { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/vault" };
    const graph = await record(
      () =>
        void new VaultCluster("vault", {
          namespace: "cells",
          seal: { ...kms, serviceAccountAnnotations: role },
          backups: { ...backups, restoreFrom: { copy: "latest" } },
        }),
    );
    for (const account of ["vault-backup-proof", "vault-restore"]) {
      expect(at(inputs(graph, "kubernetes:core/v1:ServiceAccount", account), "metadata.annotations")).toMatchObject(
        role,
      );
    }
    const copy = at(
      inputs(graph, "kubernetes:batch/v1:CronJob", "vault-backup"),
      "spec.jobTemplate.spec.template.spec",
    );
    expect(at(listAt(copy, "containers")[0], "resources.limits.ephemeral-storage")).toBe("5120Mi");
    expect(JSON.stringify(graph)).toContain('\\"restores\\":true');
  });

  it("start a server that only its own pod reaches", async () => {
    expect(proofConfig("/backup")).toMatchObject({
      storage: { raft: { path: "/backup/data" } },
      listener: [{ tcp: { address: "127.0.0.1:8200", cluster_address: "127.0.0.1:8201" } }],
    });
  });
});
