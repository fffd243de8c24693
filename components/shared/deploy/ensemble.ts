/** What every ensemble creates, beside what only its service has. Each function waits for what it is given in `dependsOn`. */
import { StatefulSet } from "@pulumi/kubernetes/apps/v1/statefulSet";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import { PodDisruptionBudget } from "@pulumi/kubernetes/policy/v1/podDisruptionBudget";
import type { batch } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { createAccess, type Rule, readMarkerRule, setupRules } from "./access";
import type { Ensemble } from "./arguments";
import { type Pace, type StatefulSetInputs, setupDeadlineSeconds } from "./members";
import {
  clientService,
  disruptionBudget,
  jobMetadata,
  metadata,
  networkPolicy,
  type PolicyPorts,
  type Port,
  peersService,
} from "./network";
import { protectable } from "./protection";
import { createRoll, type RollInputs } from "./roll";

/** Of its own for plain text: a member that restarts before TLS is switched finds what its own template can use. */
export function configName({ name, tls }: Pick<Ensemble, "name" | "tls">): string {
  return `${namesOf(name).config}${tls === "off" ? "-plain" : ""}`;
}

/**
 * The configuration that all members have in common; no secrets. It changes in place, after the guard: most contents are known
 * only while the program runs, so their checksum cannot be in a logical name as that of a bundle is.
 */
export function createConfig(
  ensemble: Ensemble,
  data: Record<string, pulumi.Input<string>>,
  options: pulumi.CustomResourceOptions,
  name = configName(ensemble),
): ConfigMap {
  return new ConfigMap(name, { metadata: metadata(ensemble, name), data }, options);
}

export interface Permissions {
  network: PolicyPorts;
  /** Of the members in the API of Kubernetes, beside reading the marker. */
  rules?: Rule[];
  /** Of the ServiceAccount of the members. */
  annotations?: Record<string, pulumi.Input<string>> | undefined;
}

/** Who may connect to whom, and what the members may do. Returns what pods with the account of the members wait for. */
export function createPermissions(
  ensemble: Ensemble,
  { network, rules = [], annotations }: Permissions,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const name = namesOf(ensemble.name).server;
  const policy = new NetworkPolicy(name, networkPolicy(ensemble, network), options);
  return [policy, ...createAccess(ensemble, name, [readMarkerRule(ensemble), ...rules], options, annotations)];
}

export interface MembersInputs {
  statefulSet: StatefulSetInputs;
  pace: Pace;
  roll: RollInputs;
  /** Of the headless Service. */
  peers: Port[];
  /** Of the client Service. Not given: clients go through a gateway, whose Service it is. */
  client?: number;
  dependsOn: pulumi.Resource[];
}

export interface Members {
  peers: Service;
  /** What must run before anybody connects. */
  ready: pulumi.Resource[];
}

export function createMembers(
  ensemble: Ensemble,
  inputs: MembersInputs,
  options: pulumi.CustomResourceOptions,
): Members {
  const names = namesOf(ensemble.name);
  const peers = new Service(names.peers, peersService(ensemble, inputs.peers), options);
  const whenPrepared = pulumi.mergeOptions(options, {
    dependsOn: [peers, ...inputs.dependsOn],
    // It can never change: the preflight grows the claims themselves, and refuses another class.
    ignoreChanges: ["spec.volumeClaimTemplates"],
  });
  const servers = new StatefulSet(names.server, inputs.statefulSet, protectable(whenPrepared));
  new PodDisruptionBudget(names.server, disruptionBudget(ensemble), options);
  const whenThere = pulumi.mergeOptions(options, { dependsOn: [servers] });
  const ready = [servers, createRoll(ensemble, inputs.roll, inputs.statefulSet, inputs.pace, whenThere)];
  if (inputs.client === undefined) return { peers, ready };
  const ports = [{ name: "client", port: inputs.client }];
  return { peers, ready: [...ready, new Service(names.server, clientService(ensemble, ports), options)] };
}

export interface SetupInputs {
  spec: pulumi.Input<batch.v1.JobSpec>;
  /** Beside those that keep the marker. */
  rules?: Rule[];
  dependsOn: pulumi.Resource[];
}

/** After it all users can log in. */
export function createSetup(ensemble: Ensemble, inputs: SetupInputs, options: pulumi.CustomResourceOptions): Job {
  const name = namesOf(ensemble.name).setup;
  const rules = [...setupRules(ensemble), ...(inputs.rules ?? [])];
  const access = createAccess(ensemble, name, rules, options);
  return new Job(
    name,
    { metadata: jobMetadata(ensemble), spec: inputs.spec },
    pulumi.mergeOptions(options, {
      dependsOn: [...access, ...inputs.dependsOn],
      customTimeouts: { create: `${setupDeadlineSeconds + 60}s` },
    }),
  );
}
