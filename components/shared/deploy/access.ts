/** Service accounts and what they may do. */
import { ServiceAccount } from "@pulumi/kubernetes/core/v1/serviceAccount";
import { Role } from "@pulumi/kubernetes/rbac/v1/role";
import { RoleBinding } from "@pulumi/kubernetes/rbac/v1/roleBinding";
import type * as pulumi from "@pulumi/pulumi";
import { applicationSecretName, claimNames, memberNames, namesOf, possibleMembers, rollLease } from "../core/names";
import type { SecretReference } from "../core/settings";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";

export interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
  resourceNames?: string[];
}

/** Group "" is the core of Kubernetes. Without names the rule is for all objects of the kind. */
export function allow(apiGroup: string, resource: string, verbs: string[], resourceNames?: string[]): Rule {
  const named = resourceNames === undefined ? {} : { resourceNames };
  return { apiGroups: [apiGroup], resources: [resource], verbs, ...named };
}

/** For an agent with metrics: when copies were made and proven. Also without backups, which then change no member. */
export function seeBackups({ name }: Ensemble): Rule {
  const { backup, proof } = namesOf(name);
  return allow("batch", "cronjobs", ["get"], [backup, proof]);
}

/** To hold Leases. Kubernetes cannot restrict by name what is created. */
export function holdLeases(names: string[]): Rule[] {
  const [group, resource] = ["coordination.k8s.io", "leases"];
  return [allow(group, resource, ["create"]), allow(group, resource, ["get", "patch", "delete"], names)];
}

/** A ServiceAccount; without rules it may do nothing. Returns what a pod with this account must wait for. */
export function createAccess(
  ensemble: Ensemble,
  name: string,
  rules: Rule[],
  options: pulumi.CustomResourceOptions,
  /** Of the ServiceAccount. A cloud reads there which role the account has. */
  annotations?: Record<string, pulumi.Input<string>>,
): pulumi.Resource[] {
  const own = metadata(ensemble, name);
  const annotated = annotations === undefined ? own : { ...own, annotations };
  const account = new ServiceAccount(name, { metadata: annotated, automountServiceAccountToken: false }, options);
  if (rules.length === 0) return [account];
  const role = new Role(name, { metadata: own, rules }, options);
  const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name };
  const subjects = [{ kind: "ServiceAccount", name, namespace: ensemble.namespace }];
  const binding = new RoleBinding(name, { metadata: own, roleRef, subjects }, options);
  return [account, role, binding];
}

/** The Secrets of applications that run in other namespaces, there. */
export function secretsElsewhere({ name, applications, applicationNamespaces }: Ensemble): SecretReference[] {
  return applications.flatMap((application) => {
    const namespace = applicationNamespaces[application];
    return namespace === undefined ? [] : [{ namespace, name: applicationSecretName(name, application) }];
  });
}

/** Lets an account keep these Secrets up to date. `create` by name works because the agents create by server-side apply. */
export function createAccessElsewhere(
  ensemble: Ensemble,
  account: string,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const secrets = secretsElsewhere(ensemble);
  const namespaces = [...new Set(secrets.map(({ namespace }) => namespace))];
  return namespaces.flatMap((namespace) => {
    const names = secrets.filter((each) => each.namespace === namespace).map(({ name }) => name);
    const own = { ...metadata(ensemble, account), namespace };
    const rules = [allow("", "secrets", ["create", "patch"], names)];
    const role = new Role(`${namespace}/${account}`, { metadata: own, rules }, options);
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name };
    const subjects = [{ kind: "ServiceAccount", name: account, namespace: ensemble.namespace }];
    return [role, new RoleBinding(`${namespace}/${account}`, { metadata: own, roleRef, subjects }, options)];
  });
}

/** The preflight compares with what is there, grows volumes and counts members; the roll replaces pods of members. */
export function changeRules(ensemble: Ensemble): Rule[] {
  const { marker, server, trust } = namesOf(ensemble.name);
  // The members that are to leave, and those that have left, are among them.
  const possible = possibleMembers(ensemble.members);
  const members = memberNames(ensemble.name, possible);
  return [
    allow("", "configmaps", ["get", "patch"], [marker]),
    // Which members started with another authority.
    allow("", "configmaps", ["get"], [trust]),
    allow("apps", "statefulsets", ["get"], [server]),
    allow("", "pods", ["get", "delete"], members),
    allow("", "pods/eviction", ["create"], members),
    allow("", "persistentvolumeclaims", ["get", "patch"], claimNames(ensemble.name, possible)),
    ...holdLeases([rollLease]),
  ];
}

/** The setup creates the marker with a POST, which never overwrites; Kubernetes cannot restrict a POST by name. */
export function setupRules(ensemble: Ensemble): Rule[] {
  const { marker, setup } = namesOf(ensemble.name);
  const left = claimNames(ensemble.name, possibleMembers(ensemble.members)).slice(ensemble.members);
  return [
    ...(ensemble.deletion === "keep" || left.length === 0
      ? []
      : [allow("", "persistentvolumeclaims", ["get", "delete"], left)]),
    allow("", "configmaps", ["get", "patch"], [marker]),
    allow("", "configmaps", ["create"]),
    allow("", "serviceaccounts", ["get"], [setup]),
  ];
}
