import { describe, expect, it } from "vitest";
import type { SetupSettings } from "../../../components/vault/layout";
import {
  applicationRole,
  leftovers,
  loginRoles,
  mountActions,
  policies,
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
function opens(policy: { path: Record<string, unknown> }, path: string): boolean {
  return Object.keys(policy.path).some((each) => {
    const parts = each
      .replace(/\*$/, "")
      .split("+")
      .map((part) => part.replace(/[.]/g, "\\."));
    return new RegExp(`^${parts.join("[^/]+")}${each.endsWith("*") ? "" : "$"}`).test(path);
  });
}

describe("the policies", () => {
  it("let an application do what its rules say, and look after its own token", () => {
    expect(policies(settings)[applicationRole("cells")]).toEqual({
      path: {
        "auth/token/lookup-self": { capabilities: ["read"] },
        "auth/token/renew-self": { capabilities: ["update"] },
        "auth/token/revoke-self": { capabilities: ["update"] },
        "sys/capabilities-self": { capabilities: ["update"] },
        "secret/data/*": { capabilities: ["create", "read"] },
      },
    });
  });

  it("give an application without rules nothing", () => {
    const paths = Object.keys(policies({ ...settings, policies: {} })[applicationRole("cells")]?.path ?? {});
    expect(paths.filter((path) => !/^(auth\/token|sys)\/[a-z]+-self$/.test(path))).toEqual([]);
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
    expect(setupPolicy.path["sys/mounts/+"]?.capabilities).not.toContain("delete");
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
  expect(preflightPolicy.path).toEqual({
    "auth/token/revoke-self": { capabilities: ["update"] },
    "sys/storage/raft/configuration": { capabilities: ["read"] },
    "sys/storage/raft/remove-peer": { capabilities: ["update"] },
    // Vault asks for both.
    "sys/step-down": { capabilities: ["update", "sudo"] },
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
    const roles = loginRoles("vault", "cells", { "cells-services-setup": "vault-setup" });
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
      "own",
    ];
    expect(leftovers(known, ["cells"])).toEqual(["cells-services-application-old"]);
  });
});

describe("mounts", () => {
  it("are made when they are missing, configured when they are there, and never taken from others", () => {
    const actions = mountActions(
      { secret: {}, caddycerts: { maxVersions: 5 }, old: {} },
      {
        secret: { type: "kv", version: "2" },
        old: { type: "kv", version: "1" },
        sys: { type: "system", version: undefined },
      },
    );
    expect(actions).toEqual([
      { kind: "configure", path: "secret", mount: {} },
      { kind: "enable", path: "caddycerts", mount: { maxVersions: 5 } },
      {
        kind: "refuse",
        reason:
          "the mount old is of type kv version 1, wanted kv version 2; use another path in mounts, or move what is in it " +
          "and remove the mount by hand",
      },
    ]);
  });
});
