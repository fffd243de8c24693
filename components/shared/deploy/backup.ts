/**
 * The argument `backups`, and what it makes: a CronJob that copies into an object store, one that restores the newest copy into a
 * throw-away server, and a Job that fills a new ensemble from a copy. `agent/jobs.ts` is what they run.
 */
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import type { core, networking } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { type BackupSettings, backupPaths, wantedCopy } from "../core/backup";
import { backupSelector, copyLease, labels, memberNames, namesOf, proofSelector } from "../core/names";
import { settingsOf } from "../core/settings";
import { allow, createAccess, holdLeases } from "./access";
import type { Ensemble } from "./arguments";
import { type AgentBundle, bundleName, createBundle } from "./bundle";
import { createJob, cronJob } from "./jobs";
import { metadata, podIdentityEgress, tcp, toDns } from "./network";
import {
  type AgentJob,
  agentJobSpec,
  allMounts,
  containerProfile,
  type Mounts,
  noMounts,
  secretFiles,
  whenThere,
} from "./pod";
import { httpUrl, isHttpUrl, laterText, laterUrl, portOf, text, together, wholeNumber } from "./schema";

const cron = (example: string) =>
  text(
    /^(@(hourly|daily|weekly|monthly)|([0-9*/,-]+|[A-Za-z]{3}(-[A-Za-z]{3})?)( ([0-9*/,-]+|[A-Za-z]{3}(-[A-Za-z]{3})?)){4})$/,
    "a schedule of five fields, as in a CronJob",
    `use one like "${example}"`,
  );
const nightly = "13 2 * * *";
/** On Sunday, when the copy of the night is there. */
const weekly = "13 4 * * 0";

/** Longer than between two runs by the default schedules. */
const staleAfter = (usual: string) =>
  text(/^[1-9][0-9]*[hdw]$/, "a duration of hours, days or weeks", `use one like "${usual}"`)
    .describe(
      `how old the last good one is when an alert fires, in \`h\`, \`d\` or \`w\`; more with a rarer \`schedule\``,
    )
    .default(usual);

const storeArgument = z
  .strictObject({
    url: laterUrl("give the URL of an object store").describe(
      "of a store that speaks S3, such as `https://s3.eu-central-1.amazonaws.com`",
    ),
    region: laterText("give a region").describe("that requests are signed for").default("us-east-1"),
    bucket: laterText("give the name of a bucket").describe("that exists"),
    prefix: text(
      /^[A-Za-z0-9_.=-]+(\/[A-Za-z0-9_.=-]+)*$/,
      "names with slashes between them",
      'use one like "my-cluster"',
    )
      .describe(
        "what all keys begin with. Two Kubernetes clusters with the same namespaces need different ones in one bucket",
      )
      .optional(),
    credentials: laterText("give the name of a Secret in the namespace")
      .describe(
        "name of a Secret in the namespace: `accessKeyId`, `secretAccessKey` and, for a store with an authority of its own, `ca.crt`. " +
          "This, `serviceAccountAnnotations` or `podIdentity` must be given",
      )
      .optional(),
    serviceAccountAnnotations: z
      .record(z.string(), z.string())
      .describe(
        "instead of it, on AWS: `eks.amazonaws.com/role-arn` with a role that may use the bucket (IRSA), for the ServiceAccounts " +
          "`NAME-backup`, `NAME-backup-proof` and `NAME-restore`",
      )
      .optional(),
    podIdentity: z
      .boolean()
      .describe(
        "instead of both, on AWS, `true`: associations of EKS Pod Identity give these ServiceAccounts a role that may use the bucket",
      )
      .optional(),
  })
  .check(
    together(({ credentials, serviceAccountAnnotations, podIdentity }, problem) => {
      const given = Object.entries({ credentials, serviceAccountAnnotations, podIdentity: podIdentity || undefined })
        .filter(([, value]) => value !== undefined)
        .map(([key]) => key);
      if (given.length === 1) return;
      problem(
        [],
        `must have exactly one way to log in, got ${given.join(" and ") || "none"}; give the name of a Secret in credentials, ` +
          "serviceAccountAnnotations with a role (IRSA), or podIdentity: true with associations of EKS Pod Identity",
      );
    }),
  );

export const backupsArgument = z
  .strictObject({
    schedule: cron(nightly).describe("when a copy is made, as in a CronJob, in UTC").default(nightly),
    keep: wholeNumber(2, 10_000, "use 14")
      .describe("how many good copies stay, and the last one that was proven besides")
      .default(14),
    staleAfter: staleAfter("26h"),
    store: storeArgument,
    proof: z
      .strictObject({
        staleAfter: staleAfter("8d"),
        schedule: cron(weekly)
          .describe("when the newest copy is restored into a throw-away server, as in a CronJob, in UTC")
          .default(weekly),
      })
      .prefault({}),
    restoreFrom: z
      .strictObject({
        copy: text(
          wantedCopy,
          '"latest", the id of a copy or a time in UTC',
          'use one like "20260131T021300Z" or "2026-01-31T02:13:00Z"',
        ).describe(
          "`latest`, the id of a copy, or a time in UTC: the newest copy that began no later. It fills a new ensemble before clients come",
        ),
        namespace: text(/^[a-z0-9-]+$/, "a namespace", 'use one like "cells"')
          .describe("of the component that was copied; default: this one")
          .optional(),
        name: text(/^[a-z0-9-]+$/, "the name of a component", 'use one like "etcd"')
          .describe("of the component that was copied; default: this one")
          .optional(),
      })
      .optional(),
  })
  .optional();
export type Backups = NonNullable<z.output<typeof backupsArgument>>;

/** Of a copy, a proof or a restore: some 200 GiB. */
const longestSeconds = 6 * 3600;
/** To list the copies. */
const judgeSeconds = 600;
/** A run that was missed during an outage of the control plane is made up for within a day. */
const startingDeadlineSeconds = 86_400;

const timeZone = "Etc/UTC";

/** A program of the image of the ensemble. It runs until the agent has ended; `once`: to its own end, before the next one starts. */
export interface ThrowAway extends Pick<core.v1.Container, "args"> {
  name: string;
  command: string[];
  env?: core.v1.EnvVar[];
  volumeMounts?: core.v1.VolumeMount[];
  once?: true;
}

/** Throw-away servers beside the agent. */
export interface Workspace {
  /** What the folder takes: what is downloaded or copied, the data of the server and its log. */
  bytes: number;
  /** After the download, in this order. All mount the folder. */
  servers: ThrowAway[];
  /** What the agent needs for these servers alone. */
  login?: Mounts;
  /** Of the ServiceAccount. A cloud reads there which role the account has. */
  annotations?: Record<string, pulumi.Input<string>> | undefined;
  /** What these servers must reach. */
  egress?: networking.v1.NetworkPolicyEgressRule[];
}

/** What differs from service to service. */
export interface BackupInputs {
  bundle: AgentBundle;
  /** Of the copy and of the restore, to log in to the members. */
  login: Mounts;
  /** Which Leases a copy holds beside that of the backups. */
  leases?: string[];
  /** Not given: a copy needs no server of its own. */
  copy?: Pick<Workspace, "bytes" | "servers">;
  proof: Workspace;
}

/** Returns what clients wait for. */
export function createBackups(
  ensemble: Ensemble,
  inputsOf: () => BackupInputs,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const { name, backups } = ensemble;
  if (backups === undefined) return [];
  const inputs = inputsOf();
  const names = namesOf(name);
  const dependsOn = prepareBackups(ensemble, backups, inputs, options);
  const { url, region, bucket, prefix = "", credentials } = backups.store;
  const settings = pulumi
    .output({ url, region, bucket, prefix, credentials })
    .apply((store): BackupSettings => ({ ...settingsOf(ensemble), applications: [], keep: backups.keep, store }));
  const specOf = (job: keyof ReturnType<typeof jobsOf>, given = settings) =>
    given.apply((known) => agentJobSpec(ensemble, jobsOf(ensemble, known, inputs)[job]));

  const { restoreFrom } = backups;
  const restored: pulumi.Resource[] = [];
  if (restoreFrom !== undefined) {
    const given = pulumi.all([settings, ensemble.namespace]).apply(([known, namespace]) => {
      const from = { namespace: restoreFrom.namespace ?? namespace, name: restoreFrom.name ?? name };
      return { ...known, restore: { copy: restoreFrom.copy, from, version: ensemble.version } };
    });
    const run = (job: "judge" | "restore", jobName: string, after: pulumi.Resource[]) => {
      const details = { spec: specOf(job, given), deadlineSeconds: longestSeconds, dependsOn: after };
      return createJob(ensemble, jobName, details, options);
    };
    const judged = run("judge", names.restorePreflight, dependsOn);
    restored.push(run("restore", names.restore, [...dependsOn, judged]));
  }
  // A copy of the empty ensemble would be the latest one, where a restore is tried again.
  const whenRestored = pulumi.mergeOptions(options, { dependsOn: [...dependsOn, ...restored] });
  const create = (job: "copy" | "proof", cronName: string, { schedule }: { schedule: string }) => {
    const details = { schedule, timeZone, startingDeadlineSeconds, spec: specOf(job) };
    return new CronJob(cronName, cronJob(ensemble, cronName, details), whenRestored);
  };
  create("copy", names.backup, backups);
  create("proof", names.proof, backups.proof);
  return restored;
}

/** What the pods of backups wait for: their program, their accounts, and the way to the store. */
function prepareBackups(
  ensemble: Ensemble,
  { store, restoreFrom }: Backups,
  inputs: BackupInputs,
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  const { service, name } = ensemble;
  const { backup, proof, restore, marker } = namesOf(name);
  const annotations = store.serviceAccountAnnotations;
  // A pod has one role: that of the store must also do what the throw-away server wants.
  const proving = annotations ?? (store.podIdentity === true ? undefined : inputs.proof.annotations);
  // A restore, whose pod has the labels of a copy, proves too.
  const egress = [toDns, ...storeEgress(store), ...(inputs.proof.egress ?? [])];
  const policy = (policyName: string, matchLabels: Record<string, string>, policyTypes: ("Ingress" | "Egress")[]) => {
    const spec = { podSelector: { matchLabels }, policyTypes, egress };
    return new NetworkPolicy(policyName, { metadata: metadata(ensemble, policyName), spec }, options);
  };
  return [
    createBundle(ensemble, backup, inputs.bundle, options),
    ...createAccess(
      ensemble,
      backup,
      [...holdLeases([backup, ...(inputs.leases ?? [])]), allow("", "configmaps", ["get"], [marker])],
      options,
      annotations,
    ),
    ...createAccess(ensemble, proof, [], options, proving),
    ...(restoreFrom === undefined
      ? []
      : createAccess(
          ensemble,
          restore,
          [...holdLeases([backup]), allow("", "configmaps", ["get", "patch"], [marker])],
          options,
          proving,
        )),
    // Beside that of the ensemble, which lets the copy reach the members.
    policy(backup, backupSelector(service, name), ["Egress"]),
    policy(proof, proofSelector(service, name), ["Ingress", "Egress"]),
  ];
}

/** The Leases of whoever copies a member. */
export function copyLeases({ name, members }: Ensemble): string[] {
  return memberNames(name, members).map((member) => copyLease(name, member));
}

/** Of every pod: the keys of the store, logins, and the folder with throw-away servers beside it. */
function storePod(
  ensemble: Ensemble,
  settings: BackupSettings,
  workspace: BackupInputs["copy"],
  logins: (Mounts | undefined)[],
): Pick<AgentJob, "volumes" | "volumeMounts" | "initContainers" | "ephemeralStorage"> {
  // A pod would wait for a missing Secret without a word; the agent says what is missing.
  const { credentials } = settings.store;
  const keys =
    credentials === undefined ? noMounts : whenThere(secretFiles("store", backupPaths.credentials, credentials));
  const own = allMounts(keys, ...logins.filter((each) => each !== undefined));
  if (workspace === undefined) return own;
  const work = { name: "work", mountPath: backupPaths.work };
  const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)}Mi`;
  // What is written counts against the limit of the pod, which is that of its containers.
  const ephemeralStorage = mebibytes(workspace.bytes + 2 ** 30);
  const { requests, limits } = ensemble.resources;
  return {
    ephemeralStorage,
    initContainers: workspace.servers.map(({ once, volumeMounts = [], ...program }) => ({
      image: ensemble.image,
      ...containerProfile,
      ...program,
      resources: { requests, limits: { ...limits, "ephemeral-storage": ephemeralStorage } },
      volumeMounts: [work, ...volumeMounts],
      ...(once ? {} : { restartPolicy: "Always" }),
    })),
    volumeMounts: [...own.volumeMounts, work],
    volumes: [...own.volumes, { name: work.name, emptyDir: { sizeLimit: mebibytes(workspace.bytes) } }],
  };
}

function jobsOf(ensemble: Ensemble, settings: BackupSettings, { bundle, login, copy, proof }: BackupInputs) {
  const { service, name } = ensemble;
  const names = namesOf(name);
  const inEnsemble = { ...labels(service, name), ...backupSelector(service, name) };
  const apart = { ...labels(service, name), ...proofSelector(service, name) };
  const storeJob = (workspace: BackupInputs["copy"], ...logins: (Mounts | undefined)[]) => ({
    ...storePod(ensemble, settings, workspace, logins),
    settings,
    program: bundleName(names.backup, bundle),
    deadlineSeconds: longestSeconds,
  });
  return {
    copy: {
      ...storeJob(copy, login),
      name: "copy",
      command: ["backup"],
      serviceAccount: names.backup,
      labels: inEnsemble,
      // An election, or a compaction, during the copy.
      retries: 2,
    },
    proof: {
      ...storeJob(proof, proof.login),
      name: "prove",
      command: ["prove"],
      before: "fetch",
      serviceAccount: names.proof,
      labels: apart,
    },
    judge: {
      ...storeJob(undefined, login),
      name: "judge",
      command: ["judge"],
      serviceAccount: names.restore,
      labels: inEnsemble,
      deadlineSeconds: judgeSeconds,
    },
    /** A proof in a pod that reaches the members, which it then fills. */
    restore: {
      ...storeJob(proof, login, proof.login),
      name: "load",
      command: ["restore"],
      before: "fetch",
      serviceAccount: names.restore,
      labels: inEnsemble,
    },
  } satisfies Record<string, AgentJob>;
}

/** The store; and, for a role of AWS, what gives it to a pod: the token service at 443, or the agent of the node. */
function storeEgress({
  url,
  serviceAccountAnnotations,
  podIdentity,
}: Backups["store"]): networking.v1.NetworkPolicyEgressRule[] {
  const ports = pulumi.output(url).apply((known) => {
    if (!isHttpUrl(known)) {
      throw new pulumi.RunError(`backups.store.url must be ${httpUrl}, got ${JSON.stringify(known)}`);
    }
    const wanted = new Set([portOf(known), ...(serviceAccountAnnotations === undefined ? [] : [443])]);
    return [...wanted].map(tcp);
  });
  return [{ ports }, ...(podIdentity ? [podIdentityEgress] : [])];
}
