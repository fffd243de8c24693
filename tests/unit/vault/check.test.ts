import { describe, expect, it } from "vitest";
import type { CheckEnvironment } from "../../../components/shared/core/check";
import {
  auditProblems,
  check,
  memberOf,
  mountProblems,
  sealProblems,
  whyNotWhole,
} from "../../../components/vault/check";
import { targetOf, unreachable } from "../../support/check";

const target = targetOf("vault", { clientPort: 8200, metricsPort: 8202 });

const environment = (changes: Partial<CheckEnvironment> = {}): CheckEnvironment =>
  unreachable({ secret: async () => ({ token: "hvs.secret" }), ...changes });

describe("the check when nothing works", () => {
  it("reports every member and does not throw", async () => {
    const findings = await check(target, environment());
    expect(findings.map(({ check: step, ok, detail }) => [step, ok, detail])).toEqual([
      ["credentials", true, "monitoring token and trust bundle found"],
      ["member vault-0", false, "the pod vault-0 is not running"],
      ["member vault-1", false, "the pod vault-1 is not running"],
      ["member vault-2", false, "the pod vault-2 is not running"],
    ]);
    for (const { ok, remedy } of findings) expect(remedy === undefined).toBe(ok);
    expect(JSON.stringify(findings)).not.toContain("hvs.");
  });

  it("looks at the members without a token too", async () => {
    const findings = await check(target, environment({ secret: async () => ({}) }));
    expect(findings[0]).toMatchObject({ ok: false, detail: "token in the Secret vault-admin is missing" });
    expect(findings).toHaveLength(4);
  });

  it("ends without trust", async () => {
    const findings = await check(target, environment({ configMap: async () => ({}) }));
    expect(findings).toMatchObject([{ ok: false, detail: "ca.crt in the ConfigMap vault-ca is missing" }]);
  });
});

describe("the peers", () => {
  const peer = (ordinal: number, changes: object = {}) => ({
    id: `id-${ordinal}`,
    address: `vault-${ordinal}.vault-peers.cells.svc:8201`,
    leader: ordinal === 0,
    voter: true,
    ...changes,
  });
  it.each([
    ["are whole", [peer(0), peer(1), peer(2)], undefined],
    ["miss one", [peer(0), peer(1)], "the peers are vault-0, vault-1, expected vault-0, vault-1, vault-2"],
    [
      "have a dead one",
      [peer(0), peer(1), peer(2), peer(2, { id: "old" })],
      "the peers are vault-0, vault-1, vault-2, vault-2, expected vault-0, vault-1, vault-2",
    ],
    ["have one without a vote", [peer(0), peer(1), peer(2, { voter: false })], "without a vote: vault-2"],
    ["have no leader", [peer(0, { leader: false }), peer(1), peer(2)], "0 peers lead"],
  ])("%s", (_, peers, reason) => {
    expect(whyNotWhole(target, peers)).toBe(reason);
  });

  it("are known by their names, strangers by their addresses", () => {
    expect(memberOf(target, "vault-1.vault-peers.cells.svc:8201")).toBe("vault-1");
    expect(memberOf(target, "10.0.0.1:8201")).toBe("10.0.0.1:8201");
  });
});

describe("the seal", () => {
  it.each<[string, Record<string, string>, string | undefined, string[]]>([
    ["is the one that is deployed", { "vault-0": "awskms", "vault-1": "awskms" }, "awskms", []],
    [
      "is another one",
      { "vault-0": "shamir", "vault-1": "awskms", "vault-2": "shamir" },
      "awskms",
      ["vault-0 has the seal shamir, expected awskms", "vault-2 has the seal shamir, expected awskms"],
    ],
    ["is not known, and the same", { "vault-0": "shamir", "vault-1": "shamir" }, undefined, []],
    [
      "is not known, and differs",
      { "vault-0": "shamir", "vault-1": "awskms" },
      undefined,
      ["vault-1 has the seal awskms, expected shamir"],
    ],
  ])("%s", (_, seals, deployed, problems) => {
    expect(sealProblems(seals, deployed)).toEqual(problems);
  });
});

describe("the record of requests", () => {
  it.each<[string[], "stdout" | "off" | undefined, string[]]>([
    [["stdout/"], "stdout", []],
    [[], "off", []],
    [["stdout/", "syslog/"], "stdout", []],
    [[], "stdout", ["requests are not recorded in stdout, which audit asks for"]],
    [["syslog/"], "stdout", ["requests are not recorded in stdout, which audit asks for"]],
  ])("with the devices %j, of %j", (devices, deployed, problems) => {
    expect(auditProblems(devices, deployed)).toEqual(problems);
  });
});

describe("a mount", () => {
  it("proves nothing where the check may not write", () => {
    expect(mountProblems("secret", ["create", "update", "read", "delete"])).toEqual([]);
    expect(mountProblems("secret", ["read"])).toEqual([
      "not tried: the policy does not allow create, update at secret/data/cells-services-check; add this path to it",
    ]);
  });
});
