/** The Pulumi side of the guard: a Job, the preflight, before everything that a refused change would alter. */
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { preflightSettings } from "../core/settings";
import { changeRules, createAccess } from "./access";
import type { Ensemble } from "./arguments";
import { type AgentBundle, bundleName, createBundle } from "./bundle";
import { jobMetadata } from "./network";
import { agentJobSpec, type LoginMounts, whenThere } from "./pod";

export interface GuardInputs {
  bundle: AgentBundle;
  /** For a service whose members can leave. */
  login?: LoginMounts;
  /** How long members that leave may take until the others have forgotten them, at most. */
  releaseSeconds?: number;
}

/** The image of the agent, and members that become whole in a moment. */
const judgeSeconds = 240;

/**
 * Creates the program of the agent and the guard that runs it. Returns the options of everything else: a refused change must
 * not alter what the living members read.
 */
export function createGuard(
  ensemble: Ensemble,
  { bundle, login, releaseSeconds = 180 }: GuardInputs,
  options: pulumi.CustomResourceOptions,
): pulumi.CustomResourceOptions {
  const names = namesOf(ensemble.name);
  const name = names.preflight;
  // A release begins twice, see `changeMembers`; the second time nothing is left to do.
  const deadlineSeconds = judgeSeconds + releaseSeconds;
  const program = createBundle(ensemble, names.agent, bundle, options);
  const access = createAccess(ensemble, name, changeRules(ensemble), options);
  // The class of the volumes may be an output of a StorageClass that the same program makes.
  const spec = pulumi.output(ensemble.storage.class).apply((storageClass) =>
    agentJobSpec(ensemble, {
      name: "preflight",
      command: ["preflight"],
      settings: preflightSettings(
        { ...ensemble, storage: { ...ensemble.storage, class: storageClass } },
        bundleName(names.agent, bundle),
      ),
      serviceAccount: name,
      bundle,
      deadlineSeconds,
      // Before the first start there are no passwords, and nobody to log in to.
      ...(login === undefined ? {} : whenThere(login)),
    }),
  );
  const dependsOn = [program, ...access];
  const job = new Job(
    name,
    { metadata: jobMetadata(ensemble), spec },
    pulumi.mergeOptions(options, { dependsOn, customTimeouts: { create: `${deadlineSeconds + 60}s` } }),
  );
  return pulumi.mergeOptions(options, { dependsOn: [job] });
}
