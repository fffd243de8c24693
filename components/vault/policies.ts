/** Who may do what in Vault: the texts of the policies and the roles, from the arguments. Pure. */
import { namesOf, serviceHost } from "../shared/core/names";
import { type PolicyRule, type SetupSettings, tokensName } from "./layout";

/** Paths with what is allowed there. */
export type Policy = Record<string, string[]>;

/** Prefix of all policies and roles that the setup makes. It changes and removes no others. */
export const prefix = "cells-services-";
export const setupRole = `${prefix}setup`;
export const tokensRole = `${prefix}tokens`;
export const preflightRole = `${prefix}preflight`;
export const monitorRole = `${prefix}monitor`;
export const backupRole = `${prefix}backup`;
export const restoreRole = `${prefix}restore`;

export function applicationRole(application: string): string {
  return `${prefix}application-${application}`;
}

/** Rights of a token on itself. Its holder revokes it when it has leaked; the tokens job makes another one within the hour. */
const sharedToken: Policy = {
  "auth/token/lookup-self": ["read"],
  "auth/token/revoke-self": ["update"],
  "auth/token/renew-self": ["update"],
};

const loginToken: Policy = { "auth/token/revoke-self": ["update"] };

const peers: Policy = {
  "sys/storage/raft/configuration": ["read"],
  "sys/storage/raft/remove-peer": ["update"],
};

const change = ["create", "read", "update"];

/** Mounts, policies, roles and audit devices, but nothing that applications keep. */
export const setupPolicy: Policy = {
  ...loginToken,
  "sys/mounts": ["read"],
  // No right to delete: that would delete the data of the mount.
  "sys/mounts/+": change,
  "sys/mounts/+/tune": change,
  "+/config": change,
  "sys/policies/acl": ["list"],
  "sys/policies/acl/*": [...change, "delete"],
  "auth/token/roles": ["list"],
  "auth/token/roles/*": [...change, "delete"],
  [`auth/token/create/${prefix}*`]: ["create", "update"],
  "sys/auth": ["read"],
  "auth/jwt/config": change,
  "auth/jwt/role/*": change,
  "sys/audit": ["read", "sudo"],
  "sys/audit/*": [...change, "delete", "sudo"],
  "sys/storage/raft/autopilot/configuration": change,
  "sys/storage/raft/autopilot/state": ["read"],
  ...peers,
};

/** To remove the peers of members that leave; one of them may be active. */
export const preflightPolicy: Policy = { ...loginToken, ...peers, "sys/step-down": ["update", "sudo"] };

/** New tokens of known roles, nothing else. */
export const tokensPolicy: Policy = {
  ...loginToken,
  [`auth/token/create/${applicationRole("*")}`]: ["create", "update"],
  [`auth/token/create/${monitorRole}`]: ["create", "update"],
};

/** A snapshot is encrypted with what opens the seal. The rest is what a proof compares. */
export const backupPolicy: Policy = {
  ...loginToken,
  "sys/storage/raft/snapshot": ["read"],
  "sys/mounts": ["read"],
  "sys/auth": ["read"],
  "sys/policies/acl": ["list"],
};

/** It overwrites nothing: what is there already must have the same value. */
export const restorePolicy: Policy = {
  ...loginToken,
  "sys/mounts": ["read"],
  "+/metadata/*": ["list"],
  "+/data/*": ["create", "read", "update"],
};

/** Of a restore, in the throw-away server. */
export const readerPolicy: Policy = { "sys/mounts": ["read"], "+/metadata/*": ["list"], "+/data/*": ["read"] };

/** What a check and a dashboard want to see. */
export const monitorPolicy: Policy = {
  ...sharedToken,
  "sys/storage/raft/autopilot/state": ["read"],
  "sys/storage/raft/autopilot/configuration": ["read"],
  "sys/storage/raft/configuration": ["read"],
  "sys/ha-status": ["read"],
  "sys/mounts": ["read"],
  "sys/audit": ["read", "sudo"],
};

function applicationPolicy(rules: PolicyRule[] = []): Policy {
  const own = Object.fromEntries(rules.map(({ path, capabilities }) => [path, capabilities]));
  return { ...sharedToken, "sys/capabilities-self": ["update"], ...own };
}

/** All policies that there should be. */
export function policies({ applications, policies: rules, restores }: SetupSettings): Record<string, Policy> {
  return {
    [setupRole]: setupPolicy,
    [preflightRole]: preflightPolicy,
    [tokensRole]: tokensPolicy,
    [monitorRole]: monitorPolicy,
    [backupRole]: backupPolicy,
    ...(restores ? { [restoreRole]: restorePolicy } : {}),
    ...Object.fromEntries(applications.map((each) => [applicationRole(each), applicationPolicy(rules[each])])),
  };
}

/** A policy as Vault reads it; JSON is one of its two forms. */
export function policyText(policy: Policy): string {
  const path = Object.fromEntries(Object.entries(policy).map(([each, capabilities]) => [each, { capabilities }]));
  return JSON.stringify({ path });
}

/** Roles of the tokens in Secrets: periodic, so that a token lives as long as it is renewed, and without a parent. */
export function tokenRoles({ applications, tokenPeriodDays }: SetupSettings): Record<string, object> {
  const roles = [monitorRole, ...applications.map(applicationRole)];
  const common = {
    orphan: true,
    renewable: true,
    token_period: tokenPeriodDays * 86_400,
    token_no_default_policy: true,
    token_type: "service",
  };
  return Object.fromEntries(roles.map((role) => [role, { allowed_policies: [role], ...common }]));
}

/** How long a job is logged in. */
export const loginSeconds = 900;

/** As Kubernetes names a ServiceAccount in its tokens. */
export function subjectOf(namespace: string, account: string): string {
  return `system:serviceaccount:${namespace}:${account}`;
}

/** For the service accounts of the jobs that log in. */
export function loginRoles(name: string, namespace: string): Record<string, object> {
  const { setup, preflight, backup, restore } = namesOf(name);
  const accounts = {
    [setupRole]: setup,
    [preflightRole]: preflight,
    [tokensRole]: tokensName(name),
    // Also without backups: a proof logs in to the restored server with the role that is in the copy.
    [backupRole]: backup,
    // Without its policy it may do nothing.
    [restoreRole]: restore,
  };
  return Object.fromEntries(
    Object.entries(accounts).map(([role, account]) => [
      role,
      {
        role_type: "jwt",
        user_claim: "sub",
        bound_subject: subjectOf(namespace, account),
        bound_audiences: [serviceHost(name, namespace)],
        token_policies: [role],
        token_no_default_policy: true,
        token_ttl: loginSeconds,
        token_max_ttl: loginSeconds,
        token_type: "service",
      },
    ]),
  );
}

/** Roles and policies of removed applications, and of a restore. Without them their tokens can be neither used nor renewed. */
export function leftovers(known: string[], settings: SetupSettings): string[] {
  const wanted = Object.keys(policies(settings));
  return known.filter((each) => each.startsWith(prefix) && !wanted.includes(each));
}

/** In words: the mounts that exist already and are not of the key-value engine, version 2. */
export function mountContradictions(
  wanted: string[],
  existing: Record<string, { type: string; version: string | undefined }>,
): string[] {
  return wanted.flatMap((path) => {
    const found = existing[path];
    if (found === undefined || (found.type === "kv" && found.version === "2")) return [];
    const version = found.version === undefined ? "" : ` version ${found.version}`;
    return [
      `the mount ${path} is of type ${found.type}${version}, wanted kv version 2; ` +
        "use another path in mounts, or move what is in it and remove the mount by hand",
    ];
  });
}
