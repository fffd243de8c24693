/** The step `members`, first of each service: whether its pods are there and made of what was deployed last, as Kubernetes sees it. */
import {
  AppsV1Api,
  CoreV1Api,
  type KubeConfig,
  type V1ConfigMap,
  type V1Pod,
  type V1StatefulSet,
} from "@kubernetes/client-node";
import { failIfAny } from "../components/shared/check/context";
import { stalePodsOf } from "../components/shared/core/certificates";
import type { Check, CheckTarget } from "../components/shared/core/check";
import { findingRecorder } from "../components/shared/core/findings";
import { acceptedAnnotation, rotationAnnotation } from "../components/shared/core/marker";
import { instanceLabels, labelKeys, labelSelectorOf, namesOf } from "../components/shared/core/names";
import { readNamed } from "./cluster";

/** The check of a service, with this step before it. */
export function withMembers(config: KubeConfig, check: Check): Check {
  return async (target, environment) => {
    const { findings, step } = findingRecorder(environment);
    const { roll } = namesOf(target.name);
    const remedy =
      `nothing while the roll is under way, or waits for the night after a renewal of certificates; otherwise read the log of the ` +
      `last job ${roll}, mend what it names and run pulumi up again`;
    await step("members", remedy, async () => {
      const { set, pods, marker, stalePods } = await readMembers(config, target);
      return `${describeMembers(target.members, set, pods, stalePods)}; ${describePasswords(marker)}`;
    });
    return [...findings, ...(await check(target, environment))];
  };
}

async function readMembers(config: KubeConfig, target: CheckTarget) {
  const { namespace, service } = target;
  const { server: name, marker: markerName } = namesOf(target.name);
  const api = config.makeApiClient(CoreV1Api);
  const labelSelector = labelSelectorOf(instanceLabels(service, target.name));
  const request = Promise.all([
    config.makeApiClient(AppsV1Api).readNamespacedStatefulSet({ name, namespace }),
    api.listNamespacedPod({ namespace, labelSelector }),
    api.readNamespacedConfigMap({ name: markerName, namespace }),
    target.trust === null ? undefined : api.readNamespacedConfigMap({ name: target.trust, namespace }),
  ]);
  const what = "StatefulSet, pods, marker and trust of";
  const [set, pods, marker, trust] = await readNamed(what, namespace, name, request);
  return { set, pods: pods.items, marker, stalePods: stalePodsOf(trust?.metadata?.annotations) };
}

/** That they are accepted, other steps prove. */
export function describePasswords({ metadata }: V1ConfigMap): string {
  const { [rotationAnnotation]: rotation, [acceptedAnnotation]: since } = metadata?.annotations ?? {};
  return `passwords of rotation ${rotation ?? "unknown"} since ${since ?? "before it was noted"}`;
}

/** Throws when a member is missing or stale. The version is that of the argument: a label. */
export function describeMembers(
  members: string[],
  { metadata, spec, status }: V1StatefulSet,
  pods: V1Pod[],
  stalePods: string[],
): string {
  const { updateRevision, observedGeneration = 0 } = status ?? {};
  if (updateRevision === undefined || observedGeneration < (metadata?.generation ?? 0)) {
    throw new Error("Kubernetes has not looked at the StatefulSet yet");
  }
  const wanted = spec?.template.metadata?.labels?.[labelKeys.version];
  failIfAny(
    members.flatMap((member) => {
      const pod = pods.find((each) => each.metadata?.name === member);
      if (pod === undefined) return [`${member} does not exist`];
      if (pod.metadata?.deletionTimestamp !== undefined) return [`${member} is stopping`];
      const { [labelKeys.revision]: revision, [labelKeys.version]: version } = pod.metadata?.labels ?? {};
      if (revision !== updateRevision) {
        const versions = version === wanted ? "" : `: version ${version}, wanted ${wanted}`;
        return [`${member} is not what was deployed last${versions}`];
      }
      return stalePods.includes(pod.metadata?.uid ?? "") ? [`${member} started before the last certificates`] : [];
    }),
  );
  return `${members.length} of version ${wanted}, as deployed last`;
}
