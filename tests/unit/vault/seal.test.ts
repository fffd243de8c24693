import { describe, expect, it } from "vitest";
import { decoded } from "../../../components/shared/agent/kubernetes";
import { sealContradiction } from "../../../components/vault/agent";
import type { Server } from "../../../components/vault/client";
import type { VaultSettings } from "../../../components/vault/layout";
import { formedCluster } from "../../../components/vault/setup";
import { initBody, toData, toKept } from "../../../components/vault/sidecar";

const common = {
  service: "vault" as never,
  name: "vault",
  members: 3,
  tls: "required",
  applications: [],
  deletion: "keep",
} satisfies Partial<VaultSettings>;
const shamir: VaultSettings = { ...common, seal: { type: "shamir" } };
const kms = { type: "awskms", region: "r", keyId: "k" } as const;
const nobody: VaultSettings = { ...common, seal: { ...kms, recovery: "none" } };
const persons: VaultSettings = { ...common, seal: { ...kms, recovery: { pgpKeys: ["p1", "p2"], threshold: 2 } } };

describe("the initialisation", () => {
  it("asks for what the seal wants", () => {
    expect(initBody(shamir)).toEqual({ secret_shares: 1, secret_threshold: 1 });
    expect(initBody(nobody)).toEqual({ recovery_shares: 1, recovery_threshold: 1 });
    expect(initBody(persons)).toEqual({ recovery_shares: 2, recovery_threshold: 2, recovery_pgp_keys: ["p1", "p2"] });
  });

  it("keeps the share of a shamir seal", () => {
    expect(toKept(toData(shamir, "a1", ["s1"]))).toEqual({ attempt: "a1", shares: ["s1"] });
  });

  it("reads what a release with several shares has kept", () => {
    const [attempt, shares, threshold] = ["a1", '["s1","s2","s3"]', "2"].map((each) =>
      Buffer.from(each).toString("base64"),
    );
    const kept = toKept({ attempt, shares, threshold } as Record<string, string>);
    expect(kept).toEqual({ attempt: "a1", shares: ["s1", "s2", "s3"] });
  });

  it("keeps recovery keys only as their owners can read them", () => {
    expect(decoded(toData(nobody, "a1", ["plain"]))).toEqual({ attempt: "a1" });
    expect(decoded(toData(persons, "a1", ["e1", "e2"]))).toEqual({
      attempt: "a1",
      threshold: "2",
      encrypted: '["e1","e2"]',
    });
  });

  it("counts a Secret that a person has restored, whatever it holds", () => {
    expect(toKept(undefined)).toBeUndefined();
    expect(toKept({})).toEqual({ attempt: "", shares: [] });
  });
});

describe("the seal of a cluster that was formed", () => {
  it.each<[string, Parameters<typeof sealContradiction>[0], "shamir" | "awskms", RegExp | undefined]>([
    ["none yet", { formed: false, shamir: false, awskms: false }, "shamir", undefined],
    ["the same", { formed: true, shamir: true, awskms: false }, "shamir", undefined],
    ["the same", { formed: true, shamir: false, awskms: true }, "awskms", undefined],
    [
      "another",
      { formed: true, shamir: true, awskms: false },
      "awskms",
      /^the cluster was initialised with the seal shamir, got seal.type "awskms"; .*; set seal.type to "shamir"$/,
    ],
    [
      "shares deleted",
      { formed: true, shamir: false, awskms: false },
      "shamir",
      /^the Secret vault-unseal with the key shares is missing, .*; restore it from a copy; the data is kept$/,
    ],
    ["recovery keys taken away", { formed: true, shamir: false, awskms: false }, "awskms", undefined],
  ])("%s: %#", (_, observed, wanted, reason) => {
    const found = sealContradiction(observed, wanted, "vault");
    if (reason === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(reason);
  });
});

describe("a cluster", () => {
  const standby: Server = {
    state: "up",
    initialised: true,
    sealed: false,
    standby: true,
    removed: false,
    following: true,
    clusterId: "c1",
    version: "1.21.2",
  };
  const active: Server = { ...standby, standby: false };
  it.each<[string, Server, Server, ReturnType<typeof formedCluster>]>([
    ["is formed", active, standby, { done: "c1" }],
    ["has no active member", standby, standby, { waiting: "no member is active" }],
    ["has two active members", active, active, { waiting: "vault-0 and vault-1 are active" }],
    ["has a sealed member", active, { ...standby, sealed: true }, { waiting: "vault-1 is sealed" }],
    [
      "has a removed member",
      active,
      { ...standby, sealed: true, removed: true },
      { waiting: "vault-1 was removed from the cluster" },
    ],
    [
      "has an empty member",
      active,
      { ...standby, sealed: true, initialised: false },
      { waiting: "vault-1 is not initialised" },
    ],
    ["misses one", active, { state: "away", reason: "gone" }, { waiting: "vault-1 does not answer: gone" }],
    [
      "is two",
      active,
      { ...standby, clusterId: "c2" },
      { waiting: "the members belong to different clusters: c1, c2" },
    ],
  ])("%s", (_, first, second, expected) => {
    expect(
      formedCluster([
        ["vault-0", first],
        ["vault-1", second],
      ]),
    ).toEqual(expected);
  });
});
