/** The Pulumi side of the guard: the preflight, a Job that runs before everything that a refused change would alter. */
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { preflightSettings } from "../core/settings";
import { changeRules, createAccess } from "./access";
import type { Ensemble } from "./arguments";
import { createBundle } from "./bundle";
import { createJob } from "./jobs";
import { networkPolicy, type PolicyPorts } from "./network";
import { agentJobSpec, agentProgram, type Mounts, whenThere } from "./pod";
import { childOptions } from "./protection";

/** To pull the image of the agent, and for members that are not whole yet. */
const judgeSeconds = 240;

/** Returns the options for all other resources, which wait for the guard: a refused change must not alter what living members read. */
export function createGuard(
  component: pulumi.ComponentResource,
  ensemble: Ensemble,
  details: {
    network: PolicyPorts;
    /** For a service whose members can leave. */
    login?: Mounts;
    /** How long the others may take to remove members that leave, default 180. */
    releaseSeconds?: number;
  },
): pulumi.CustomResourceOptions {
  const { network, login, releaseSeconds = 180 } = details;
  const options = childOptions(component);
  const names = namesOf(ensemble.name);
  const name = names.preflight;
  // `changeMembers` releases twice; the second time nothing is left to do.
  const deadlineSeconds = judgeSeconds + releaseSeconds;
  const program = createBundle(ensemble, names.agent, ensemble.bundle(), options);
  const access = createAccess(ensemble, name, changeRules(ensemble), options);
  const policy = networkPolicy(ensemble, network);
  // The guard reaches the API of Kubernetes only where the policy lets it: after a guard, a wrong range could not be corrected.
  const reach = new NetworkPolicy(policy.metadata.name, policy, options);
  // The StorageClass may be a resource of the same program, and its name an output.
  const spec = pulumi.output(ensemble.storage.class).apply((storageClass) =>
    agentJobSpec(ensemble, {
      name: "preflight",
      command: ["preflight"],
      settings: preflightSettings(
        { ...ensemble, storage: { ...ensemble.storage, class: storageClass } },
        agentProgram(ensemble),
      ),
      serviceAccount: name,
      deadlineSeconds,
      // Before the first start there are neither passwords nor members.
      ...(login === undefined ? {} : whenThere(login)),
    }),
  );
  const job = createJob(ensemble, name, { spec, deadlineSeconds, dependsOn: [program, ...access, reach] }, options);
  return pulumi.mergeOptions(options, { dependsOn: [job] });
}
