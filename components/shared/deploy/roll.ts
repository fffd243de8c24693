/**
 * The Pulumi side of the roll: a Job after the StatefulSet that runs whenever the definition of the members changes, and a CronJob for
 * changes without a deployment: renewed certificates of servers that read them only when they start, and the claim of a lost volume.
 */
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import type { Job } from "@pulumi/kubernetes/batch/v1/job";
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import { turnSeconds } from "../core/roll";
import { memberSettings, type RollSettings } from "../core/settings";
import type { Ensemble } from "./arguments";
import { digest } from "./bundle";
import { createJob, cronJob } from "./jobs";
import { type Pace, type StatefulSetInputs, stepSeconds } from "./members";
import { agentJobSpec, type Mounts } from "./pod";

/** Half an hour after the CronJob of the certificates. */
const schedule = "47 3 * * *";
/** A run that was missed during an outage of the control plane is made up for within a day. */
const startingDeadlineSeconds = 86_400;

/** When the Job that is returned has succeeded, all members are whole. */
export function createRoll(
  ensemble: Ensemble,
  { spec }: StatefulSetInputs,
  pace: Pace,
  login: Mounts,
  options: pulumi.CustomResourceOptions,
): Job {
  const name = namesOf(ensemble.name).roll;
  // One step for each member, and one each before and after the roll waits for its turn.
  const deadlineSeconds = turnSeconds + (ensemble.members + 2) * stepSeconds(pace);
  const jobSpec = (run: "now" | "nightly") =>
    pulumi.output([spec, ensemble.certificates] as const).apply(([{ template }, certificates]) => {
      const settings: RollSettings = {
        ...memberSettings(ensemble),
        storage: { size: ensemble.storage.size },
        stepSeconds: stepSeconds(pace),
        watchSeconds: pace.watchSeconds,
      };
      // A change of the certificates makes members stale without a change of their template.
      const wanted = digest(JSON.stringify([template, ensemble.tls, certificates]));
      return agentJobSpec(ensemble, {
        name: "roll",
        command: ["roll"],
        settings,
        // The roll has the rights of the guard: both carry out changes.
        serviceAccount: namesOf(ensemble.name).preflight,
        deadlineSeconds,
        ...(run === "now" ? { annotations: { "cells-services/members": wanted } } : {}),
        ...login,
      });
    });
  new CronJob(name, cronJob(ensemble, name, { schedule, startingDeadlineSeconds, spec: jobSpec("nightly") }), options);
  return createJob(ensemble, name, { spec: jobSpec("now"), deadlineSeconds, dependsOn: [] }, options);
}
