import { describe, expect, it } from "vitest";
import type { SetupSettings } from "../../../components/vault/layout";
import {
  applicationRole,
  leftovers,
  loginRoles,
  mountContradictions,
  type Policy,
  policies,
  policyText,
  preflightPolicy,
  setupPolicy,
  tokenRoles,
  tokensPolicy,
} from "../../../components/vault/policies";

const settings: SetupSettings = {
  service: "vault",
  name: "vault",
  members: 3,
  tls: "required",
  applications: ["cells"],
  deletion: "keep",
  seal: { type: "shamir" },
  mounts: { secret: {} },
  policies: { cells: [{ path: "secret/data/*", capabilities: ["create", "read"] }] },
  audit: "stdout",
  tokenPeriodDays: 30,
  passwords: { rotation: 0 },
};

/** Vault's rule for the paths used here: "+" is one part, "*" at the end is anything. */
function opens(policy: Policy, path: string): boolean {
  return Object.keys(policy).some((each) => {
    const parts = each
      .replace(/\*$/, "")
      .split("+")
      .map((part) => part.replace(/[.]/g, "\\."));
    return new RegExp(`^${parts.join("[^/]+")}${each.endsWith("*") ? "" : "$"}`).test(path);
  });
}

const ofCells = (changes: Partial<SetupSettings> = {}): Policy =>
  policies({ ...settings, ...changes })[applicationRole("cells")] ?? {};

describe("the policies", () => {
  it("let an application do what its rules say, and look after its own token", () => {
    expect(ofCells()).toEqual({
      "auth/token/lookup-self": ["read"],
      "auth/token/renew-self": ["update"],
      "auth/token/revoke-self": ["update"],
      "sys/capabilities-self": ["update"],
      "secret/data/*": ["create", "read"],
    });
  });

  it("give an application without rules nothing", () => {
    const paths = Object.keys(ofCells({ policies: {} }));
    expect(paths.filter((path) => !/^(auth\/token|sys)\/[a-z]+-self$/.test(path))).toEqual([]);
  });

  it("are written as Vault reads them", () => {
    expect(policyText({ "secret/data/*": ["read"] })).toBe('{"path":{"secret/data/*":{"capabilities":["read"]}}}');
  });

  it.each([
    "secret/data/x",
    "secret/metadata/x",
    "secret/delete/x",
    "sys/storage/raft/snapshot",
    "sys/seal",
    "sys/remount",
  ])("keep the setup from %s", (path) => {
    expect(opens(setupPolicy, path)).toBe(false);
  });

  it("let the setup configure mounts, but remove none", () => {
    expect(opens(setupPolicy, "secret/config")).toBe(true);
    expect(setupPolicy["sys/mounts/+"]).not.toContain("delete");
  });

  it("let the job of the tokens make tokens of applications and of the monitor only", () => {
    expect(opens(tokensPolicy, "auth/token/create/cells-services-application-cells")).toBe(true);
    expect(opens(tokensPolicy, "auth/token/create/cells-services-monitor")).toBe(true);
    expect(opens(tokensPolicy, "auth/token/create/cells-services-setup")).toBe(false);
    expect(opens(tokensPolicy, "auth/token/create")).toBe(false);
    expect(opens(tokensPolicy, "sys/policies/acl/x")).toBe(false);
  });
});

it("lets the preflight remove peers and nothing else", () => {
  expect(preflightPolicy).toEqual({
    "auth/token/revoke-self": ["update"],
    "sys/storage/raft/configuration": ["read"],
    "sys/storage/raft/remove-peer": ["update"],
    // Vault asks for both.
    "sys/step-down": ["update", "sudo"],
  });
});

describe("the policy of a copy", () => {
  it("reads snapshots and what a proof compares, and nothing of what is stored", () => {
    const { "cells-services-backup": backup } = policies(settings);
    expect(backup).toEqual({
      "auth/token/revoke-self": ["update"],
      "sys/storage/raft/snapshot": ["read"],
      "sys/mounts": ["read"],
      "sys/auth": ["read"],
      "sys/policies/acl": ["list"],
    });
  });

  it("of a restore is there only while one is wanted, and overwrites nothing", () => {
    expect(policies(settings)).not.toHaveProperty("cells-services-restore");
    const { "cells-services-restore": restore } = policies({ ...settings, restores: true });
    expect(restore?.["+/data/*"]).toEqual(["create", "read", "update"]);
  });
});

describe("the roles", () => {
  it("make periodic orphans without the default policy", () => {
    expect(tokenRoles(settings)[applicationRole("cells")]).toEqual({
      allowed_policies: ["cells-services-application-cells"],
      orphan: true,
      renewable: true,
      token_period: 2_592_000,
      token_no_default_policy: true,
      token_type: "service",
    });
  });

  it("let in one service account each, with a token made for this Vault", () => {
    const roles = loginRoles("vault", "cells");
    expect(roles["cells-services-setup"]).toMatchObject({
      bound_subject: "system:serviceaccount:cells:vault-setup",
      bound_audiences: ["vault.cells.svc"],
      token_policies: ["cells-services-setup"],
      token_max_ttl: 900,
    });
  });

  it("find what belongs to removed applications, and nothing else", () => {
    const known = [
      "cells-services-monitor",
      "cells-services-application-old",
      "cells-services-application-cells",
      "cells-services-restore",
      "own",
    ];
    expect(leftovers(known, settings)).toEqual(["cells-services-application-old", "cells-services-restore"]);
    expect(leftovers(known, { ...settings, restores: true })).toEqual(["cells-services-application-old"]);
  });
});

it("takes no mount from others", () => {
  const existing = {
    secret: { type: "kv", version: "2" },
    old: { type: "kv", version: "1" },
    pki: { type: "pki", version: undefined },
  };
  const advice = "use another path in mounts, or move what is in it and remove the mount by hand";
  expect(mountContradictions(["secret", "caddycerts", "old", "pki"], existing)).toEqual([
    `the mount old is of type kv version 1, wanted kv version 2; ${advice}`,
    `the mount pki is of type pki, wanted kv version 2; ${advice}`,
  ]);
});
