/** Service accounts and what they may do. */
import { ServiceAccount } from "@pulumi/kubernetes/core/v1/serviceAccount";
import { Role } from "@pulumi/kubernetes/rbac/v1/role";
import { RoleBinding } from "@pulumi/kubernetes/rbac/v1/roleBinding";
import type * as pulumi from "@pulumi/pulumi";
import { claimNames, memberNames, mostMembers, namesOf, rollLease } from "../core/names";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";

export interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
  resourceNames?: string[];
}

/**
 * A ServiceAccount with the given rules in the namespace of the ensemble; without rules it may do nothing. Returns what a pod
 * with this account must wait for.
 */
export function createAccess(
  ensemble: Ensemble,
  name: string,
  rules: Rule[],
  options: pulumi.CustomResourceOptions,
  /** Of the ServiceAccount, which a cloud gives a role by. */
  annotations?: Record<string, pulumi.Input<string>>,
): pulumi.Resource[] {
  const serviceAccount = new ServiceAccount(
    name,
    {
      metadata: { ...metadata(ensemble, name), ...(annotations === undefined ? {} : { annotations }) },
      automountServiceAccountToken: false,
    },
    options,
  );
  if (rules.length === 0) return [serviceAccount];
  const role = new Role(name, { metadata: metadata(ensemble, name), rules }, options);
  const binding = new RoleBinding(
    name,
    {
      metadata: metadata(ensemble, name),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: role.metadata.name },
      subjects: [{ kind: "ServiceAccount", name, namespace: ensemble.namespace }],
    },
    options,
  );
  return [serviceAccount, role, binding];
}

/** A member, and the guard, read the marker. */
export function readMarkerRule(ensemble: Ensemble): Rule {
  const { marker } = namesOf(ensemble.name);
  return { apiGroups: [""], resources: ["configmaps"], verbs: ["get"], resourceNames: [marker] };
}

/** The preflight compares with what is there, grows volumes and counts members; the roll replaces pods of members. */
export function changeRules(ensemble: Ensemble): Rule[] {
  // Also of those that are to leave, or were there before.
  const members = memberNames(ensemble.name, mostMembers);
  return [
    { ...readMarkerRule(ensemble), verbs: ["get", "patch"] },
    {
      apiGroups: ["apps"],
      resources: ["statefulsets"],
      verbs: ["get"],
      resourceNames: [namesOf(ensemble.name).server],
    },
    { apiGroups: [""], resources: ["pods"], verbs: ["get", "delete"], resourceNames: members },
    { apiGroups: [""], resources: ["pods/eviction"], verbs: ["create"], resourceNames: members },
    {
      apiGroups: [""],
      resources: ["persistentvolumeclaims"],
      verbs: ["get", "patch"],
      resourceNames: claimNames(ensemble.name, mostMembers),
    },
    // Kubernetes cannot restrict by name what is created.
    { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
    {
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      verbs: ["get", "patch", "delete"],
      resourceNames: [rollLease],
    },
  ];
}

/**
 * The marker must be created and never overwritten, which only a POST does; Kubernetes cannot restrict that by name. Its
 * owner is set by server-side apply. The claims are those of members that have left.
 */
export function setupRules(ensemble: Ensemble): Rule[] {
  const { marker, setup } = namesOf(ensemble.name);
  const left = claimNames(ensemble.name, mostMembers).slice(ensemble.members);
  return [
    ...(ensemble.deletion === "keep" || left.length === 0
      ? []
      : [
          {
            apiGroups: [""],
            resources: ["persistentvolumeclaims"],
            verbs: ["get", "delete"],
            resourceNames: left,
          },
        ]),
    { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "patch"], resourceNames: [marker] },
    { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
    { apiGroups: [""], resources: ["serviceaccounts"], verbs: ["get"], resourceNames: [setup] },
  ];
}
