/**
 * A Job that issues certificates before the members start, a CronJob that renews them, and the rights of both. With a cert-manager issuer
 * the authority is an intermediate one that cert-manager keeps; the agent issues all server certificates in either case.
 */
import { CustomResource } from "@pulumi/kubernetes/apiextensions/customResource";
import { CronJob } from "@pulumi/kubernetes/batch/v1/cronJob";
import { Job } from "@pulumi/kubernetes/batch/v1/job";
import * as pulumi from "@pulumi/pulumi";
import { type CertificateSettings, leafSecretNames } from "../core/certificates";
import { applicationSecretName, memberNames, namesOf, possibleMembers } from "../core/names";
import { allow, createAccess, createAccessElsewhere, type Rule, secretsElsewhere } from "./access";
import type { Ensemble } from "./arguments";
import { cronJob, jobMetadata } from "./jobs";
import { metadata } from "./network";
import { agentJobSpec } from "./pod";

/** At 03:17, a minute at which few other jobs start. Daily is often enough: leaf certificates live for 3 days at least. */
const schedule = "17 3 * * *";
/** The Job issues within seconds; the rest is for pulling the image on a new node. */
const deadlineSeconds = 300;

/** Returns the Job that the StatefulSet must wait for; nothing without TLS. */
export function createCertificates(
  ensemble: Ensemble,
  details: {
    /** Default: another trusted authority, for servers that read renewed certificates while they run. */
    restartOn?: CertificateSettings["restartOn"];
    /** Secrets that receive `ca.crt`. Those of the applications may not exist yet: the agent then creates them. */
    dependsOn: pulumi.Resource[];
  },
  options: pulumi.CustomResourceOptions,
): pulumi.Resource[] {
  if (ensemble.tls === "off") return [];
  const name = namesOf(ensemble.name).certificates;
  const access = [
    ...createAccess(ensemble, name, accessRules(ensemble), options),
    ...createAccessElsewhere(ensemble, name, options),
  ];
  const issued = createIntermediate(ensemble, options);
  const spec = agentJobSpec(ensemble, {
    name: "certificates",
    command: ["certificates"],
    settings: certificateSettings(ensemble, details.restartOn ?? "authority"),
    serviceAccount: name,
    deadlineSeconds,
  });
  const whenPrepared = pulumi.mergeOptions(options, { dependsOn: [...access, ...issued, ...details.dependsOn] });
  const job = new Job(name, { metadata: jobMetadata(ensemble), spec }, whenPrepared);
  // A run that was missed during an outage of the control plane is made up for within a day.
  const daily = { schedule, startingDeadlineSeconds: 86_400, spec: { ...spec, backoffLimit: 3 } };
  new CronJob(name, cronJob(ensemble, name, daily), whenPrepared);
  return [job];
}

function certificateSettings(ensemble: Ensemble, restartOn: CertificateSettings["restartOn"]): CertificateSettings {
  const { service, name, members } = ensemble;
  const { issuerRef, lifetimeDays, authorityLifetimeDays, rotation } = ensemble.certificates;
  const issuer = issuerRef === undefined ? "own" : "cert-manager";
  const publishTo = [namesOf(name).admin, ...applicationSecrets(ensemble)];
  const publishElsewhere = secretsElsewhere(ensemble);
  const elsewhere = publishElsewhere.length === 0 ? {} : { publishElsewhere };
  const lifetimes = { lifetimeDays, authorityLifetimeDays, rotation };
  return { service, name, members, issuer, ...lifetimes, restartOn, publishTo, ...elsewhere };
}

function applicationSecrets({ name, applications }: Ensemble): string[] {
  return applications.map((application) => applicationSecretName(name, application));
}

/** All by name. `create` by name works because server-side apply carries the name; a POST would be refused. */
function accessRules(ensemble: Ensemble): Rule[] {
  const names = namesOf(ensemble.name);
  const own = [names.authority, ...leafSecretNames(ensemble.service, ensemble.name)];
  const applications = applicationSecrets(ensemble);
  const issued =
    ensemble.certificates.issuerRef === undefined ? [] : [allow("", "secrets", ["get", "patch"], [names.intermediate])];
  return [
    allow("", "secrets", ["get", "create", "patch"], own),
    ...(applications.length === 0 ? [] : [allow("", "secrets", ["create", "patch"], applications)]),
    allow("", "secrets", ["patch"], [names.admin]),
    ...issued,
    allow("", "configmaps", ["get", "create", "patch"], [names.trust]),
    allow("", "serviceaccounts", ["get"], [names.certificates]),
    allow("apps", "statefulsets", ["get"], [names.server]),
    allow("", "pods", ["get"], memberNames(ensemble.name, possibleMembers(ensemble.members))),
  ];
}

/** The intermediate authority, which cert-manager issues and renews; nothing without an issuer. */
function createIntermediate(ensemble: Ensemble, options: pulumi.CustomResourceOptions): pulumi.Resource[] {
  const { issuerRef, authorityLifetimeDays } = ensemble.certificates;
  if (issuerRef === undefined) return [];
  const name = namesOf(ensemble.name).intermediate;
  const hours = authorityLifetimeDays * 24;
  const own = metadata(ensemble, name);
  const certificate = {
    apiVersion: "cert-manager.io/v1",
    kind: "Certificate",
    // By default the provider does not wait for custom resources.
    metadata: { ...own, annotations: { "pulumi.com/waitFor": "condition=Ready" } },
    spec: {
      isCA: true,
      secretName: name,
      secretTemplate: { labels: own.labels },
      duration: `${hours}h`,
      renewBefore: `${Math.floor(hours / 3)}h`,
      privateKey: { algorithm: "ECDSA", size: 256, encoding: "PKCS8", rotationPolicy: "Always" },
      commonName: ensemble.name,
      usages: ["digital signature", "cert sign", "crl sign"],
      issuerRef,
    },
  };
  return [new CustomResource(name, certificate, options)];
}
