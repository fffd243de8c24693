/** The objects around a StatefulSet: Services, disruption budget, network policy, Jobs. Pure. */
import type { batch, core, networking, policy } from "@pulumi/kubernetes/types/input";
import { instanceLabels, labels, namesOf, serverSelector } from "../core/names";
import type { Ensemble, Peer } from "./arguments";

export interface Port {
  name: string;
  port: number;
}

/** The one name that clients use; behind it are the ready members, or the gateway that follows the writable one. */
export function clientService(
  ensemble: Ensemble,
  ports: Port[],
  selector: Record<string, string> = serverSelector(ensemble.service, ensemble.name),
): core.v1.Service {
  return {
    // Pulumi would wait ten minutes for a ready pod behind it; roll and setup say why there is none.
    metadata: {
      ...metadata(ensemble, namesOf(ensemble.name).server),
      annotations: { "pulumi.com/skipAwait": "true" },
    },
    spec: {
      type: "ClusterIP",
      selector,
      ports: ports.map(servicePort),
    },
  };
}

/** Names of single members. They resolve before a member is ready: members must find each other to become ready. */
export function peersService(ensemble: Ensemble, ports: Port[]): core.v1.Service {
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).peers),
    spec: {
      type: "ClusterIP",
      clusterIP: "None",
      publishNotReadyAddresses: true,
      selector: serverSelector(ensemble.service, ensemble.name),
      ports: ports.map(servicePort),
    },
  };
}

function servicePort({ name, port }: Port): core.v1.ServicePort {
  return { name, port, targetPort: name, protocol: "TCP" };
}

/** One voluntary disruption at a time; the default policy for unhealthy pods protects a member that is recovering. */
export function disruptionBudget(ensemble: Ensemble): policy.v1.PodDisruptionBudget {
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).server),
    spec: {
      maxUnavailable: 1,
      // A member that is not ready may be what a drain or the roll must get rid of; those that are ready keep the budget.
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchLabels: serverSelector(ensemble.service, ensemble.name) },
    },
  };
}

export interface PolicyPorts {
  client: number;
  /** Between members only. */
  peer: number[];
  metrics: number;
  /** For all pods of the ensemble, such as the gateway. */
  internal?: number[];
  /** Clients reach the gateway, and only the gateway reaches the members. Default: false. */
  gateway?: boolean;
}

/**
 * Default deny for all pods of the ensemble. Probes of the kubelet need no rule: traffic from a pod's own node is always
 * allowed. Port forwards end inside the pod's network namespace and need none either.
 */
export function networkPolicy(ensemble: Ensemble, ports: PolicyPorts): networking.v1.NetworkPolicy {
  const instance = { podSelector: { matchLabels: instanceLabels(ensemble.service, ensemble.name) } };
  const servers = { podSelector: { matchLabels: serverSelector(ensemble.service, ensemble.name) } };
  const tcp = (port: number) => ({ protocol: "TCP", port });
  const metricsFrom = ensemble.metrics.from.map(networkPeer);
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).server),
    spec: {
      podSelector: { matchLabels: instanceLabels(ensemble.service, ensemble.name) },
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: ports.gateway === true ? [instance] : [instance, ...ensemble.clients.map(networkPeer)],
          ports: [tcp(ports.client)],
        },
        ...(ports.peer.length > 0 ? [{ from: [servers], ports: ports.peer.map(tcp) }] : []),
        ...(ports.internal === undefined ? [] : [{ from: [instance], ports: ports.internal.map(tcp) }]),
        // An empty list of sources would mean everybody: without sources there is no rule.
        ...(metricsFrom.length > 0 ? [{ from: metricsFrom, ports: [tcp(ports.metrics)] }] : []),
      ],
      egress: [
        // DNS may be a node-local cache outside the pod network, so its address is left open.
        {
          ports: [
            { protocol: "UDP", port: 53 },
            { protocol: "TCP", port: 53 },
          ],
        },
        { to: [instance] },
        // The API server, for the agent: behind its Service (443) or, where policies see the real address, at 6443.
        { ports: [tcp(443), tcp(6443)] },
      ],
    },
  };
}

export function networkPeer(peer: Peer): networking.v1.NetworkPolicyPeer {
  return {
    ...(peer.namespaceLabels === undefined ? {} : { namespaceSelector: { matchLabels: peer.namespaceLabels } }),
    ...(peer.podLabels === undefined && peer.namespaceLabels !== undefined
      ? {}
      : { podSelector: { matchLabels: peer.podLabels ?? {} } }),
  };
}

/** Name, namespace and labels of any object of the ensemble. */
export function metadata(ensemble: Ensemble, name: string) {
  return { name, namespace: ensemble.namespace, labels: labels(ensemble.service, ensemble.name) };
}

/**
 * For Jobs that run once for each change: without a name of their own, so that a changed template makes a new Job before the
 * old one is removed, and replaced by the next `pulumi up` when they have failed.
 */
export function jobMetadata(ensemble: Ensemble) {
  const { namespace, labels: given } = metadata(ensemble, "");
  return { namespace, labels: given, annotations: { "pulumi.com/replaceUnready": "true" } };
}

export interface Schedule {
  schedule: string;
  /** A run that was missed is made up for within this time. */
  startingDeadlineSeconds: number;
  spec: batch.v1.JobSpec;
}

/**
 * One run at a time. A run that is retried after `up` deleted its bundle cannot start; its deadline ends it, and the next run
 * has the new one.
 */
export function cronJob(ensemble: Ensemble, name: string, inputs: Schedule) {
  const { schedule, startingDeadlineSeconds, spec } = inputs;
  return {
    metadata: metadata(ensemble, name),
    spec: {
      schedule,
      concurrencyPolicy: "Forbid",
      startingDeadlineSeconds,
      successfulJobsHistoryLimit: 1,
      failedJobsHistoryLimit: 2,
      jobTemplate: { metadata: { labels: metadata(ensemble, name).labels }, spec },
    },
  };
}
