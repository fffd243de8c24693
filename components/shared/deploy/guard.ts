/** The Pulumi side of the guard: a Job, the preflight, before everything that a refused change would alter. */
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { preflightSettings } from "../core/settings";
import { changeRules, createAccess } from "./access";
import type { Ensemble } from "./arguments";
import { type AgentBundle, createBundle } from "./bundle";
import { jobMetadata } from "./network";
import { agentJobSpec } from "./pod";

/**
 * Creates the program of the agent and the guard that runs it. Returns the options of everything else: a refused change must
 * not alter what the living members read.
 */
export function createGuard(
  ensemble: Ensemble,
  bundle: AgentBundle,
  options: pulumi.CustomResourceOptions,
): pulumi.CustomResourceOptions {
  const names = namesOf(ensemble.name);
  const name = names.preflight;
  const program = createBundle(ensemble, names.agent, bundle, options);
  const access = createAccess(ensemble, name, changeRules(ensemble), options);
  // The class of the volumes may be an output of a StorageClass that the same program makes.
  const spec = pulumi.output(ensemble.storage.class).apply((storageClass) =>
    agentJobSpec(ensemble, {
      name: "preflight",
      command: ["preflight"],
      settings: preflightSettings({ ...ensemble, storage: { ...ensemble.storage, class: storageClass } }),
      serviceAccount: name,
      bundle,
      deadlineSeconds: 180,
    }),
  );
  const dependsOn = [program, ...access];
  const job = new Job(name, { metadata: jobMetadata(ensemble), spec }, pulumi.mergeOptions(options, { dependsOn }));
  return pulumi.mergeOptions(options, { dependsOn: [job] });
}
