/** The argument `pod`, and the template of every pod of a component, which it completes: pure. */
import type { core } from "@pulumi/kubernetes/types/input";
import type { Input } from "@pulumi/pulumi";
import { z } from "zod";
import { logFormat } from "../core/log";
import { labelKeys } from "../core/names";
import { parseCpu } from "../core/quantity";
import type { Ensemble } from "./arguments";
import { agentImage, gatewayImage, mirrored } from "./images";
import {
  type AddProblem,
  imageText,
  laterText,
  rule,
  type Sound,
  says,
  shown,
  text,
  together,
  wholeNumber,
} from "./schema";

/** The user "node" of the agent image. Servers run as the same user: none of their images needs a user of its own. */
const defaultUserId = 1000;
const largestUserId = 2 ** 31 - 1;
const userWords = `a number from 1 (0 is root) to ${largestUserId}, or "namespace"`;
const userAdvice = `use ${defaultUserId}, or "namespace" where the namespace has a range of users`;

/** The largest CPU request of the containers that it is for. Kubernetes refuses a limit below the request. */
const leastCpuLimit = "20m";

const pullSecret = laterText("give the name of a Secret in the namespace");

/** What a platform team sets on every pod of a component. */
export const podArgument = z
  .strictObject({
    labels: z
      .record(z.string(), z.string())
      .check(together(checkLabels))
      .describe("of every pod, beside those that the component and Kubernetes set")
      .default({}),
    annotations: z
      .record(z.string(), z.string())
      .check(together(checkAnnotations))
      .describe("of every pod, beside those that the component sets")
      .default({}),
    imagePullSecrets: z
      .array(pullSecret, says("a list of names", 'use a list like ["registry"]'))
      .describe("names of Secrets in the namespace, to pull the images with")
      .default([]),
    priorityClassName: laterText("give the name of a PriorityClass")
      .describe("name of a PriorityClass, which must exist")
      .optional(),
    imageRegistry: text(
      /^(localhost|(?=[^/]*[.:])[a-z0-9]([-.a-z0-9]*[a-z0-9])?)(:[0-9]+)?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/,
      "the host of a registry, which may have a port and a path",
      'use one like "registry.example.com/mirror"',
    )
      .describe(
        "of a mirror, instead of `docker.io` and `gcr.io`: a host, which may have a port and a path; an image that is given itself stays as it is",
      )
      .optional(),
    agentImage: imageText()
      .describe(
        "full reference of the image of the agents, as `image` for that of the server; the version stays that of this release",
      )
      .optional(),
    gatewayImage: imageText()
      .describe("full reference of the image of HAProxy, which only Redis and MySQL use")
      .optional(),
    userId: z
      .union([wholeNumber(1, largestUserId, userAdvice, userWords), z.enum(["namespace"])], says(userWords, userAdvice))
      .describe(
        "of all processes, and the group of their volumes (`fsGroup`); not 0; cannot be changed later. With `namespace` pods name no user: OpenShift gives them " +
          "one of the range of the namespace, and other clusters start none of them",
      )
      .default(defaultUserId),
    agentLogs: z
      .enum(["text", "json"])
      .describe("of the agents: `text` for people, `json` for machines: an object per line, with `time` and `message`")
      .default("text"),
    agentCpuLimit: z
      .string(says("a Kubernetes quantity", 'use one like "500m"'))
      .check(rule(cpuLimitProblem))
      .describe(
        `of each container that \`resources\` does not apply to: agents, HAProxy, Sentinel; at least \`${leastCpuLimit}\`. Without need ` +
          "none, because agents that are throttled miss probes",
      )
      .optional(),
  })
  .prefault({});

/** The prefixes and keys of the components, and of Kubernetes for the pods of StatefulSets, Deployments and Jobs. */
const reservedPrefixes = [
  "cells-services/",
  "app.kubernetes.io/",
  "apps.kubernetes.io/",
  "batch.kubernetes.io/",
  "statefulset.kubernetes.io/",
];
const reservedKeys: string[] = [labelKeys.revision, "pod-template-hash", "controller-uid", "job-name"];

const isName = (name: string): boolean => name.length <= 63 && /^[a-z0-9]([-a-z0-9_.]*[a-z0-9])?$/i.test(name);
const isDnsName = (name: string): boolean =>
  name.length <= 253 && name.split(".").every((label) => /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(label));
const characters = "at most 63 letters, digits, hyphens, underscores and dots, with a letter or digit at both ends";

function checkKeys(keys: string[], problem: AddProblem): void {
  for (const key of keys) {
    const slash = key.indexOf("/");
    if (!isName(key.slice(slash + 1)) || (slash >= 0 && !isDnsName(key.slice(0, slash)))) {
      const accepted = `must have keys of ${characters}, after a DNS name and a slash or without them`;
      problem([], `${accepted}, got ${shown(key)}; use one like "example.com/team"`);
    }
    if (reservedKeys.includes(key) || reservedPrefixes.some((prefix) => key.startsWith(prefix))) {
      problem([], `must not contain ${shown(key)}, which the component or Kubernetes sets; use another key`);
    }
  }
}

function checkLabels(labels: Sound<Record<string, string>>, problem: AddProblem): void {
  checkKeys(Object.keys(labels), problem);
  for (const [key, value = ""] of Object.entries(labels)) {
    if (value === "" || isName(value)) continue;
    problem([key], `must be empty or ${characters}, got ${shown(value)}; use one like "platform"`);
  }
}

/** Kubernetes takes upper case in the prefix of an annotation too. */
function checkAnnotations(annotations: Sound<Record<string, string>>, problem: AddProblem): void {
  const keys = Object.keys(annotations).map((key) => key.toLowerCase());
  checkKeys(keys, problem);
}

function cpuLimitProblem(limit: string): string | undefined {
  const cores = parseCpu(limit);
  if (cores === undefined) return `must be a Kubernetes quantity, got ${shown(limit)}; use one like "500m"`;
  if (cores >= (parseCpu(leastCpuLimit) ?? 0)) return undefined;
  return `must be at least ${leastCpuLimit}, which one of the containers requests, got ${shown(limit)}; use "500m"`;
}

/** Pod Security "restricted"; fsGroup makes volumes, Secrets and tokens readable without root. */
function podSecurityContext({ userId }: Ensemble["pod"]): core.v1.PodSecurityContext {
  return {
    runAsNonRoot: true,
    ...(userId === "namespace" ? {} : { runAsUser: userId, runAsGroup: userId, fsGroup: userId }),
    // Otherwise the kubelet would walk a volume with millions of files at every start.
    fsGroupChangePolicy: "OnRootMismatch",
    seccompProfile: { type: "RuntimeDefault" },
  };
}

/**
 * Of every pod: no token but the one of the agent container, no variables with the addresses of Services, and a lookup that asks
 * again soon: the default waits 5 s for a DNS server that is lost with its node, although another one answers.
 */
function podProfile(pod: Ensemble["pod"], serviceAccountName: string): Partial<core.v1.PodSpec> {
  const { imagePullSecrets, priorityClassName } = pod;
  return {
    serviceAccountName,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    dnsConfig: {
      options: [
        { name: "timeout", value: "1" },
        { name: "attempts", value: "4" },
      ],
    },
    securityContext: podSecurityContext(pod),
    ...(imagePullSecrets.length > 0 ? { imagePullSecrets: imagePullSecrets.map((name) => ({ name })) } : {}),
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
  };
}

/**
 * The image, except of servers, which have it by the argument `image`; how agents log; and the CPU limit, unless the argument `resources`
 * sets it.
 */
function completed({ resources, pod }: Ensemble, container: core.v1.Container): core.v1.Container {
  const given = { [agentImage]: pod.agentImage, [gatewayImage]: pod.gatewayImage };
  const chosen = Object.keys(given).find((each) => each === container.image);
  const own = container.resources as core.v1.ResourceRequirements;
  return {
    ...container,
    ...(chosen === undefined ? {} : { image: given[chosen] ?? mirrored(chosen, pod.imageRegistry) }),
    ...(container.image === agentImage && pod.agentLogs !== "text"
      ? { env: [...((container.env ?? []) as core.v1.EnvVar[]), { name: logFormat, value: pod.agentLogs }] }
      : {}),
    ...(own === resources || pod.agentCpuLimit === undefined
      ? {}
      : { resources: { ...own, limits: { cpu: pod.agentCpuLimit, ...(own.limits as Record<string, string>) } } }),
  };
}

export interface PodInputs extends Omit<core.v1.PodSpec, "containers" | "initContainers" | "serviceAccountName"> {
  /** Name of the ServiceAccount. */
  account: string;
  labels: Record<string, string>;
  /** Such as a checksum of what the pod reads: another one makes another pod. */
  annotations?: Record<string, Input<string>> | undefined;
  /** Where the pod runs, and what else only pods of this service have. */
  placement: Partial<core.v1.PodSpec>;
  initContainers?: core.v1.Container[];
  containers: core.v1.Container[];
}

/** The template of every pod of a component. The order of the fields is part of the digest that runs the roll again. */
export function podTemplate(ensemble: Ensemble, inputs: PodInputs): core.v1.PodTemplateSpec {
  const { account, labels, annotations, placement, containers, ...spec } = inputs;
  const { pod } = ensemble;
  const allAnnotations = { ...annotations, ...pod.annotations };
  const complete = (each: core.v1.Container): core.v1.Container => completed(ensemble, each);
  return {
    metadata: {
      labels: { ...labels, ...pod.labels },
      ...(Object.keys(allAnnotations).length > 0 ? { annotations: allAnnotations } : {}),
    },
    spec: {
      containers: containers.map(complete),
      ...placement,
      ...podProfile(pod, account),
      ...spec,
      ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(complete) }),
    },
  };
}
