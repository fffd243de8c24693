/** The resources that every ensemble has. What a function creates waits for what the caller gives in `dependsOn`. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import type { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import type { batch } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { allow, createAccess, type Rule, setupRules } from "./access";
import type { Ensemble } from "./arguments";
import { createJob } from "./jobs";
import { type Pace, type StatefulSetInputs, setupDeadlineSeconds } from "./members";
import { clientService, disruptionBudget, metadata, peersService } from "./network";
import { type Mounts, noMounts } from "./pod";
import { protectable } from "./protection";
import { createRoll } from "./roll";

/** Without TLS the ConfigMap has another name: a member that restarts before the switch finds what its template can use. */
export function configName({ name, tls }: Pick<Ensemble, "name" | "tls">): string {
  return `${namesOf(name).config}${tls === "off" ? "-plain" : ""}`;
}

/**
 * The configuration that all members have in common; no secrets. The ConfigMap changes in place, after the guard: most contents
 * are outputs, so their checksum cannot be in a logical name, as the checksum of a bundle is.
 */
export function createConfig(
  ensemble: Ensemble,
  data: Record<string, pulumi.Input<string>>,
  options: pulumi.CustomResourceOptions,
  name = configName(ensemble),
): ConfigMap {
  return new ConfigMap(name, { metadata: metadata(ensemble, name), data }, options);
}

/** What the members may do, beside reading the marker. Returns what pods with their account wait for. */
export function createPermissions(
  ensemble: Ensemble,
  options: pulumi.CustomResourceOptions,
  /** `annotations`: of the ServiceAccount of the members. */
  details: { rules?: Rule[]; annotations?: Record<string, pulumi.Input<string>> | undefined } = {},
): pulumi.Resource[] {
  const { rules = [], annotations } = details;
  const { server, marker } = namesOf(ensemble.name);
  const all = [allow("", "configmaps", ["get"], [marker]), ...rules];
  return createAccess(ensemble, server, all, options, annotations);
}

/** `peers` is the headless Service; `ready` is what must run before a client connects. */
export function createMembers(
  ensemble: Ensemble,
  inputs: {
    statefulSet: StatefulSetInputs;
    pace: Pace;
    /** Of the roll, for a server that shows its state to an administrator only. */
    login?: Mounts;
    /** Ports of the headless Service. */
    peers: Record<string, number>;
    /** Port of the client Service; without it the Service is that of the gateway. */
    client?: number;
    dependsOn: pulumi.Resource[];
  },
  options: pulumi.CustomResourceOptions,
): { peers: Service; ready: pulumi.Resource[] } {
  const names = namesOf(ensemble.name);
  const peers = new Service(names.peers, peersService(ensemble, inputs.peers), options);
  const whenPrepared = pulumi.mergeOptions(options, {
    dependsOn: [peers, ...inputs.dependsOn],
    // Kubernetes refuses any change of it: the preflight grows the claims themselves, and refuses another class.
    ignoreChanges: ["spec.volumeClaimTemplates"],
  });
  const servers = new StatefulSet(names.server, inputs.statefulSet, protectable(whenPrepared));
  new PodDisruptionBudget(names.server, disruptionBudget(ensemble), options);
  const whenThere = pulumi.mergeOptions(options, { dependsOn: [servers] });
  const ready = [servers, createRoll(ensemble, inputs.statefulSet, inputs.pace, inputs.login ?? noMounts, whenThere)];
  if (inputs.client === undefined) return { peers, ready };
  return { peers, ready: [...ready, new Service(names.server, clientService(ensemble, inputs.client), options)] };
}

/** When this Job has succeeded, all users can log in. `rules`: beside those for the marker. */
export function createSetup(
  ensemble: Ensemble,
  details: { spec: pulumi.Input<batch.v1.JobSpec>; rules?: Rule[]; dependsOn: pulumi.Resource[] },
  options: pulumi.CustomResourceOptions,
): Job {
  const { spec, rules = [], dependsOn } = details;
  const name = namesOf(ensemble.name).setup;
  const access = createAccess(ensemble, name, [...setupRules(ensemble), ...rules], options);
  const job = { spec, deadlineSeconds: setupDeadlineSeconds, dependsOn: [...access, ...dependsOn] };
  return createJob(ensemble, name, job, options);
}
