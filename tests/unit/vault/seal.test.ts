import { describe, expect, it } from "vitest";
import { decoded } from "../../../components/shared/agent/kubernetes";
import { sealContradiction } from "../../../components/vault/agent";
import type { VaultSettings } from "../../../components/vault/layout";
import { whyNotFormed } from "../../../components/vault/setup";
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
  const up = {
    state: "up" as const,
    initialised: true,
    sealed: false,
    standby: true,
    removed: false,
    following: true,
    clusterId: "c1",
    version: "1.21.2",
  };
  it.each<[string, Parameters<typeof whyNotFormed>[0], string | undefined]>([
    [
      "is formed",
      [
        ["vault-0", { ...up, standby: false }],
        ["vault-1", up],
      ],
      undefined,
    ],
    [
      "has no active member",
      [
        ["vault-0", up],
        ["vault-1", up],
      ],
      "no member is active",
    ],
    [
      "has a sealed member",
      [
        ["vault-0", { ...up, standby: false }],
        ["vault-1", { ...up, sealed: true }],
      ],
      "vault-1 is sealed",
    ],
    [
      "has a removed member",
      [
        ["vault-0", { ...up, standby: false }],
        ["vault-1", { ...up, sealed: true, removed: true }],
      ],
      "vault-1 was removed from the cluster",
    ],
    [
      "has an empty member",
      [
        ["vault-0", { ...up, standby: false }],
        ["vault-1", { ...up, sealed: true, initialised: false }],
      ],
      "vault-1 is not initialised",
    ],
    ["misses one", [["vault-0", { state: "away", reason: "gone" }]], "vault-0 does not answer: gone"],
    [
      "is two",
      [
        ["vault-0", { ...up, standby: false }],
        ["vault-1", { ...up, clusterId: "c2" }],
      ],
      "the members belong to different clusters: c1, c2",
    ],
  ])("%s", (_, servers, reason) => {
    expect(whyNotFormed(servers)).toBe(reason);
  });
});
