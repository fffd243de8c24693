/** Who may do what in Vault: the texts of the policies and the roles, from the arguments. Pure. */
import { audience, type Mount, type PolicyRule, type SetupSettings } from "./layout";

/** Vault's policies as it reads them; JSON is one of its two forms. */
export interface Policy {
  path: Record<string, { capabilities: string[] }>;
}

/** Prefix of all policies and roles that the setup makes. It changes and removes no others. */
export const prefix = "cells-services-";
export const setupRole = `${prefix}setup`;
export const tokensRole = `${prefix}tokens`;
export const preflightRole = `${prefix}preflight`;
export const monitorRole = `${prefix}monitor`;

export function applicationRole(application: string): string {
  return `${prefix}application-${application}`;
}

/** Rights of a token on itself. Its holder revokes it when it has leaked; the tokens job makes another one within the hour. */
const sharedToken: Policy["path"] = {
  "auth/token/lookup-self": { capabilities: ["read"] },
  "auth/token/revoke-self": { capabilities: ["update"] },
  "auth/token/renew-self": { capabilities: ["update"] },
};

const loginToken: Policy["path"] = { "auth/token/revoke-self": { capabilities: ["update"] } };

const peers: Policy["path"] = {
  "sys/storage/raft/configuration": { capabilities: ["read"] },
  "sys/storage/raft/remove-peer": { capabilities: ["update"] },
};

const change = ["create", "read", "update"];

/** Mounts, policies, roles and audit devices, but nothing that applications keep. */
export const setupPolicy: Policy = {
  path: {
    ...loginToken,
    "sys/mounts": { capabilities: ["read"] },
    // No right to delete: that would delete the data of the mount.
    "sys/mounts/+": { capabilities: change },
    "sys/mounts/+/tune": { capabilities: change },
    "+/config": { capabilities: change },
    "sys/policies/acl": { capabilities: ["list"] },
    "sys/policies/acl/*": { capabilities: [...change, "delete"] },
    "auth/token/roles": { capabilities: ["list"] },
    "auth/token/roles/*": { capabilities: [...change, "delete"] },
    [`auth/token/create/${prefix}*`]: { capabilities: ["create", "update"] },
    "sys/auth": { capabilities: ["read"] },
    "auth/jwt/config": { capabilities: change },
    "auth/jwt/role/*": { capabilities: change },
    "sys/audit": { capabilities: ["read", "sudo"] },
    "sys/audit/*": { capabilities: [...change, "delete", "sudo"] },
    "sys/storage/raft/autopilot/configuration": { capabilities: change },
    "sys/storage/raft/autopilot/state": { capabilities: ["read"] },
    ...peers,
  },
};

/** To remove the peers of members that leave; one of them may be active. */
export const preflightPolicy: Policy = {
  path: { ...loginToken, ...peers, "sys/step-down": { capabilities: ["update", "sudo"] } },
};

/** New tokens of known roles, nothing else. */
export const tokensPolicy: Policy = {
  path: {
    ...loginToken,
    [`auth/token/create/${applicationRole("*")}`]: { capabilities: ["create", "update"] },
    [`auth/token/create/${monitorRole}`]: { capabilities: ["create", "update"] },
  },
};

/** What a check and a dashboard want to see. */
export const monitorPolicy: Policy = {
  path: {
    ...sharedToken,
    "sys/storage/raft/autopilot/state": { capabilities: ["read"] },
    "sys/storage/raft/autopilot/configuration": { capabilities: ["read"] },
    "sys/storage/raft/configuration": { capabilities: ["read"] },
    "sys/ha-status": { capabilities: ["read"] },
    "sys/mounts": { capabilities: ["read"] },
    "sys/audit": { capabilities: ["read", "sudo"] },
  },
};

export function applicationPolicy(rules: PolicyRule[]): Policy {
  return {
    path: {
      ...sharedToken,
      "sys/capabilities-self": { capabilities: ["update"] },
      ...Object.fromEntries(rules.map(({ path, capabilities }) => [path, { capabilities }])),
    },
  };
}

/** All policies that there should be. */
export function policies({ applications, policies: rules }: SetupSettings): Record<string, Policy> {
  return {
    [setupRole]: setupPolicy,
    [preflightRole]: preflightPolicy,
    [tokensRole]: tokensPolicy,
    [monitorRole]: monitorPolicy,
    ...Object.fromEntries(
      applications.map((application) => [applicationRole(application), applicationPolicy(rules[application] ?? [])]),
    ),
  };
}

/** Roles of the tokens in Secrets: periodic, so that a token lives as long as it is renewed, and without a parent. */
export function tokenRoles({ applications, tokenPeriodDays }: SetupSettings): Record<string, object> {
  return Object.fromEntries(
    [monitorRole, ...applications.map(applicationRole)].map((role) => [
      role,
      {
        allowed_policies: [role],
        orphan: true,
        renewable: true,
        token_period: tokenPeriodDays * 86_400,
        token_no_default_policy: true,
        token_type: "service",
      },
    ]),
  );
}

/** How long a job is logged in. */
const loginSeconds = 900;

/** Service accounts of the jobs that log in. */
export function loginRoles(name: string, namespace: string, accounts: Record<string, string>): Record<string, object> {
  return Object.fromEntries(
    Object.entries(accounts).map(([role, account]) => [
      role,
      {
        role_type: "jwt",
        user_claim: "sub",
        bound_subject: `system:serviceaccount:${namespace}:${account}`,
        bound_audiences: [audience(name, namespace)],
        token_policies: [role],
        token_no_default_policy: true,
        token_ttl: loginSeconds,
        token_max_ttl: loginSeconds,
        token_type: "service",
      },
    ]),
  );
}

/** Roles and policies of removed applications. Without them their tokens can be neither used nor renewed. */
export function leftovers(known: string[], applications: string[]): string[] {
  const wanted = applications.map(applicationRole);
  return known.filter((each) => each.startsWith(applicationRole("")) && !wanted.includes(each));
}

export type MountAction =
  | { kind: "enable" | "configure"; path: string; mount: Mount }
  | { kind: "refuse"; reason: string };

export function mountActions(
  wanted: Record<string, Mount>,
  existing: Record<string, { type: string; version: string | undefined }>,
): MountAction[] {
  return Object.entries(wanted).map(([path, mount]) => {
    const found = existing[path];
    if (found === undefined) return { kind: "enable", path, mount };
    if (found.type === "kv" && found.version === "2") return { kind: "configure", path, mount };
    const version = found.version === undefined ? "" : ` version ${found.version}`;
    return {
      kind: "refuse",
      reason:
        `the mount ${path} is of type ${found.type}${version}, wanted kv version 2; ` +
        "use another path in mounts, or move what is in it and remove the mount by hand",
    };
  });
}
