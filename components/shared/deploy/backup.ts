/**
 * The argument `backups`, and what it makes: a CronJob that copies into an object store, and one that restores the newest copy into a
 * throw-away server. `agent/backup.ts` is what they run.
 */
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { NetworkPolicy } from "@pulumi/kubernetes/networking/v1/networkPolicy";
import type { core } from "@pulumi/kubernetes/types/input";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { type BackupSettings, backupPaths, type StoreSettings } from "../core/backup";
import { backupSelector, copyLease, labels, memberNames, namesOf, proofSelector } from "../core/names";
import { settingsOf } from "../core/settings";
import { createAccess, holdLeases } from "./access";
import type { Ensemble } from "./arguments";
import { type AgentBundle, createBundle } from "./bundle";
import { cronJob } from "./jobs";
import { storePolicy } from "./network";
import { type AgentJob, agentJobSpec, type LoginMounts, secretVolume, whenThere } from "./pod";
import { httpUrl, isHttpUrl, laterText, laterUrl, text, wholeNumber } from "./schema";

const cron = (example: string) =>
  text(
    /^(@(hourly|daily|weekly|monthly)|([0-9*/,-]+|[A-Za-z]{3}(-[A-Za-z]{3})?)( ([0-9*/,-]+|[A-Za-z]{3}(-[A-Za-z]{3})?)){4})$/,
    "a schedule of five fields, as in a CronJob",
    `use one like "${example}"`,
  );
const nightly = "13 2 * * *";
/** On Sunday, when the copy of the night is there. */
const weekly = "13 4 * * 0";

export const backupsArgument = z
  .strictObject({
    schedule: cron(nightly).describe("when a copy is made, as in a CronJob, in UTC").default(nightly),
    keep: wholeNumber(2, 10_000, "a whole number from 2 up", "use 14")
      .describe("how many good copies stay, and the last one that was proven besides")
      .default(14),
    store: z.strictObject({
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
      credentials: laterText("give the name of a Secret in the namespace").describe(
        "name of a Secret in the namespace: `accessKeyId`, `secretAccessKey` and, for a store with an authority of its own, `ca.crt`",
      ),
    }),
    proof: z
      .strictObject({
        schedule: cron(weekly)
          .describe("when the newest copy is restored into a throw-away server, as in a CronJob, in UTC")
          .default(weekly),
      })
      .prefault({}),
  })
  .optional();
type Backups = NonNullable<z.output<typeof backupsArgument>>;

/** A copy keeps a member from giving free what it holds: a store that takes longer than this is too slow. */
const copySeconds = 3600;
/** Download, restore and start of 8 GiB. */
const proofSeconds = 3600;
/** A run that was missed during an outage of the control plane is made up for within a day. */
const startingDeadlineSeconds = 86_400;

const timeZone = "Etc/UTC";

/** What differs from service to service. */
export interface BackupInputs {
  bundle: AgentBundle;
  /** For the copy. */
  login: LoginMounts;
  proof: {
    /** What the download, the restored data and its log take together. */
    bytes: number;
    /** After the download: they restore it and start the throw-away server. All mount the folder of the proof. */
    initContainers: (mounts: core.v1.VolumeMount[], ephemeralStorage: string) => core.v1.Container[];
  };
}

export function createBackups(
  ensemble: Ensemble,
  backups: Backups,
  inputs: BackupInputs,
  options: pulumi.CustomResourceOptions,
): void {
  const { service, name } = ensemble;
  const { backup, proof } = namesOf(name);
  const bundle = createBundle(ensemble, backup, inputs.bundle, options);
  const port = pulumi.output(backups.store.url).apply(portOf);
  const pods = { copy: backupSelector(service, name), proof: proofSelector(service, name) };
  const prepared: pulumi.Resource[] = [
    bundle,
    ...createAccess(ensemble, backup, holdLeases([backup, ...copyLeases(ensemble)]), options),
    ...createAccess(ensemble, proof, [], options),
    // Beside that of the ensemble, which lets the copy reach the members.
    new NetworkPolicy(backup, storePolicy(ensemble, backup, { selector: pods.copy, port, types: ["Egress"] }), options),
    new NetworkPolicy(
      proof,
      storePolicy(ensemble, proof, { selector: pods.proof, port, types: ["Ingress", "Egress"] }),
      options,
    ),
  ];
  const whenPrepared = pulumi.mergeOptions(options, { dependsOn: prepared });
  const store = pulumi.output({ ...backups.store, prefix: backups.store.prefix ?? "" });
  const create = (cronName: string, schedule: string, spec: Parameters<typeof cronJob>[2]["spec"]) =>
    new CronJob(
      cronName,
      cronJob(ensemble, cronName, { schedule, timeZone, startingDeadlineSeconds, spec }),
      whenPrepared,
    );
  create(
    backup,
    backups.schedule,
    store.apply((known) => agentJobSpec(ensemble, copyJob(ensemble, backups.keep, known, inputs))),
  );
  create(
    proof,
    backups.proof.schedule,
    store.apply((known) => agentJobSpec(ensemble, proofJob(ensemble, backups.keep, known, inputs))),
  );
}

/** The Leases of whoever copies a member. */
export function copyLeases({ name, members }: Ensemble): string[] {
  return memberNames(name, members).map((member) => copyLease(name, member));
}

/** What both have in common: the program, the settings, the keys of the store. */
function storeJob(ensemble: Ensemble, keep: number, store: StoreSettings, bundle: AgentBundle) {
  const settings: BackupSettings = { ...settingsOf(ensemble), applications: [], keep, store };
  return {
    settings,
    program: namesOf(ensemble.name).backup,
    bundle,
    // A pod would wait for a missing Secret without a word; the agent says what is missing.
    ...whenThere({
      volumeMounts: [{ name: "store", mountPath: backupPaths.credentials, readOnly: true }],
      volumes: [secretVolume("store", store.credentials)],
    }),
  };
}

function copyJob(ensemble: Ensemble, keep: number, store: StoreSettings, { bundle, login }: BackupInputs): AgentJob {
  const job = storeJob(ensemble, keep, store, bundle);
  const { service, name } = ensemble;
  return {
    ...job,
    name: "copy",
    command: ["backup"],
    serviceAccount: namesOf(name).backup,
    labels: { ...labels(service, name), ...backupSelector(service, name) },
    deadlineSeconds: copySeconds,
    // An election, or a compaction, during the copy.
    retries: 2,
    volumeMounts: [...job.volumeMounts, ...login.volumeMounts],
    volumes: [...job.volumes, ...login.volumes],
  };
}

function proofJob(ensemble: Ensemble, keep: number, store: StoreSettings, { bundle, proof }: BackupInputs): AgentJob {
  const job = storeJob(ensemble, keep, store, bundle);
  const { service, name } = ensemble;
  const work = { name: "work", mountPath: backupPaths.work };
  const size = `${Math.ceil(proof.bytes / 2 ** 20)}Mi`;
  // What is written counts against the limit of the pod, which is that of its containers.
  const ephemeralStorage = `${Math.ceil((proof.bytes + 2 ** 30) / 2 ** 20)}Mi`;
  return {
    ...job,
    name: "prove",
    command: ["prove"],
    before: "fetch",
    serviceAccount: namesOf(name).proof,
    labels: { ...labels(service, name), ...proofSelector(service, name) },
    deadlineSeconds: proofSeconds,
    initContainers: proof.initContainers([work], ephemeralStorage),
    volumeMounts: [...job.volumeMounts, work],
    volumes: [...job.volumes, { name: work.name, emptyDir: { sizeLimit: size } }],
  };
}

function portOf(url: string): number {
  if (!isHttpUrl(url)) throw new pulumi.RunError(`backups.store.url must be ${httpUrl}, got ${JSON.stringify(url)}`);
  const { port, protocol } = new URL(url);
  return port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
}
