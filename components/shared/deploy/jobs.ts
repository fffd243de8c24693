/** Jobs that run once for each change, and Jobs on a schedule. */
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import type { batch } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { labels } from "../core/names";
import type { Ensemble } from "./arguments";
import { metadata } from "./network";

/** A Job that `pulumi up` waits for. Its own deadline ends it a minute before Pulumi would stop waiting. */
export function createJob(
  ensemble: Ensemble,
  name: string,
  details: { spec: pulumi.Input<batch.v1.JobSpec>; deadlineSeconds: number; dependsOn: pulumi.Resource[] },
  options: pulumi.CustomResourceOptions,
): Job {
  const { spec, deadlineSeconds, dependsOn } = details;
  const customTimeouts = { create: `${deadlineSeconds + 60}s` };
  const whenPrepared = pulumi.mergeOptions(options, { dependsOn, customTimeouts });
  return new Job(name, { metadata: jobMetadata(ensemble), spec }, whenPrepared);
}

/**
 * For Jobs that run once for each change. They have no fixed name, so Pulumi makes a new Job for a changed template before it
 * deletes the old one. The next `pulumi up` replaces a Job that failed.
 */
export function jobMetadata({ namespace, service, name }: Ensemble) {
  return { namespace, labels: labels(service, name), annotations: { "pulumi.com/replaceUnready": "true" } };
}

/**
 * One run at a time. A run that is retried after `up` deleted its bundle cannot start; its deadline ends it, and the next run
 * has the new bundle.
 */
export function cronJob(
  ensemble: Ensemble,
  name: string,
  /** `startingDeadlineSeconds`: a run that was missed is made up for within this time. `timeZone`: default that of the cluster. */
  details: {
    schedule: string;
    timeZone?: string;
    startingDeadlineSeconds: number;
    spec: pulumi.Input<batch.v1.JobSpec>;
  },
) {
  const { schedule, timeZone, startingDeadlineSeconds, spec } = details;
  const own = metadata(ensemble, name);
  return {
    metadata: own,
    spec: {
      schedule,
      ...(timeZone === undefined ? {} : { timeZone }),
      concurrencyPolicy: "Forbid",
      startingDeadlineSeconds,
      successfulJobsHistoryLimit: 1,
      failedJobsHistoryLimit: 2,
      jobTemplate: { metadata: { labels: own.labels }, spec },
    },
  };
}
