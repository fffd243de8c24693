/** The Pulumi side of the preflight: a Job before everything that a refused change would alter. */
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { preflightSettings } from "../core/settings";
import { createAccess, preflightRules } from "./access";
import type { Ensemble } from "./arguments";
import type { AgentBundle } from "./bundle";
import { jobMetadata } from "./network";
import { agentJobSpec } from "./pod";

/** Needs nothing of the ensemble but the ConfigMap of the agent. Returns the options of everything that it judges. */
export function createPreflight(
  ensemble: Ensemble,
  details: { bundle: AgentBundle; agent: pulumi.Resource },
  options: pulumi.CustomResourceOptions,
): pulumi.CustomResourceOptions {
  const name = namesOf(ensemble.name).preflight;
  const access = createAccess(ensemble, name, preflightRules(ensemble), options);
  // The class of the volumes may be an output of a StorageClass that the same program makes.
  const spec = pulumi.output(ensemble.storage.class).apply((storageClass) =>
    agentJobSpec(ensemble, {
      name: "preflight",
      command: ["preflight"],
      settings: preflightSettings({ ...ensemble, storage: { ...ensemble.storage, class: storageClass } }),
      serviceAccount: name,
      checksum: details.bundle.checksum,
      deadlineSeconds: 180,
      // A refusal does not pass by trying again.
      retries: 1,
    }),
  );
  const dependsOn = [details.agent, ...access.ready];
  const job = new Job(name, { metadata: jobMetadata(ensemble), spec }, pulumi.mergeOptions(options, { dependsOn }));
  return pulumi.mergeOptions(options, { dependsOn: [job] });
}
