/**
 * The objects around a StatefulSet: Services, disruption budget, network policy. Pure. A policy names peers by labels, so it holds for
 * all addresses that they have.
 */
import type { core, networking, policy } from "@pulumi/kubernetes/types/input";
import { instanceLabels, labels, namesOf, serverSelector } from "../core/names";
import type { Ensemble, Peer } from "./arguments";

/** The one name that clients use. It leads to the ready members, or to the gateway that follows the writable member. */
export function clientService(
  ensemble: Ensemble,
  port: number,
  selector: Record<string, string> = serverSelector(ensemble.service, ensemble.name),
): core.v1.Service {
  const own = metadata(ensemble, namesOf(ensemble.name).server);
  return {
    // Pulumi would wait ten minutes for a ready pod behind the Service; roll and setup say why there is none.
    metadata: { ...own, annotations: { "pulumi.com/skipAwait": "true" } },
    spec: { type: "ClusterIP", ...families(ensemble), selector, ports: servicePorts({ client: port }) },
  };
}

/** Gives each member a name, which resolves before the member is ready: members must find each other to become ready. */
export function peersService(ensemble: Ensemble, ports: Record<string, number>): core.v1.Service {
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).peers),
    spec: {
      type: "ClusterIP",
      ...families(ensemble),
      clusterIP: "None",
      publishNotReadyAddresses: true,
      selector: serverSelector(ensemble.service, ensemble.name),
      ports: servicePorts(ports),
    },
  };
}

/** The order of the families stays that of the cluster: Kubernetes refuses another first one for a Service that exists. */
function families({ ipFamilyPolicy }: Ensemble): core.v1.ServiceSpec {
  return ipFamilyPolicy === undefined ? {} : { ipFamilyPolicy };
}

/** The containers behind the Service have ports of the same names. */
function servicePorts(ports: Record<string, number>): core.v1.ServicePort[] {
  // A mesh that guesses the protocol waits for the client to speak first. Servers of NATS and MySQL do, and TLS ends in the servers.
  const tcp = { protocol: "TCP", appProtocol: "tcp" };
  return Object.entries(ports).map(([name, port]) => ({ name, port, targetPort: name, ...tcp }));
}

/** One voluntary disruption at a time. */
export function disruptionBudget(ensemble: Ensemble): policy.v1.PodDisruptionBudget {
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).server),
    spec: {
      maxUnavailable: 1,
      // A drain or the roll may have to evict a member that is not ready; the budget protects the members that are.
      unhealthyPodEvictionPolicy: "AlwaysAllow",
      selector: { matchLabels: serverSelector(ensemble.service, ensemble.name) },
    },
  };
}

export interface PolicyPorts {
  client: number;
  /** Between members only. */
  peer: number[];
  /** For `metrics.from`. */
  metrics: number[];
  /** Between all pods of the ensemble: members, agents, gateway. */
  internal?: number[];
  /** Clients reach the gateway, and only pods of the ensemble reach the members. Default: false. */
  gateway?: boolean;
  /** Clients are admitted by `clientPolicy`, which is made when the members ask for passwords. Default: false. */
  clientsLater?: boolean;
}

/** 443 is the port of the Service of the API server, 6443 the one that some network plugins see. */
export const apiServerPorts = [443, 6443];

/** Default deny for all pods of the ensemble. Probes come from the pod's own node, and port forwards end inside the pod: neither needs a rule. */
export function networkPolicy(ensemble: Ensemble, ports: PolicyPorts) {
  const instance = instancePeer(ensemble);
  const { apiServer } = ensemble.egress;
  const servers = { podSelector: { matchLabels: serverSelector(ensemble.service, ensemble.name) } };
  const { server, members } = namesOf(ensemble.name);
  const { gateway = false, clientsLater = false } = ports;
  return {
    metadata: metadata(ensemble, clientsLater ? members : server),
    spec: {
      ...instance,
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        gateway || clientsLater
          ? { from: [instance], ports: [tcp(ports.client)] }
          : fromClients(ensemble, ports.client),
        ...(ports.peer.length > 0 ? [{ from: [servers], ports: ports.peer.map(tcp) }] : []),
        ...(ports.internal === undefined ? [] : [{ from: [instance], ports: ports.internal.map(tcp) }]),
        ...fromMetrics(ensemble, ports.metrics),
      ],
      egress: [
        toDns,
        { to: [instance] },
        {
          ...(apiServer === undefined ? {} : { to: apiServer.map((cidr) => ({ ipBlock: { cidr } })) }),
          ports: apiServerPorts.map(tcp),
        },
      ],
    },
  };
}

/** Admits clients, and nothing else. Policies add up. */
export function clientPolicy(ensemble: Ensemble, port: number) {
  return {
    metadata: metadata(ensemble, namesOf(ensemble.name).server),
    spec: { ...instancePeer(ensemble), policyTypes: ["Ingress"], ingress: [fromClients(ensemble, port)] },
  };
}

/** All pods of the ensemble. */
function instancePeer({ service, name }: Ensemble) {
  return { podSelector: { matchLabels: instanceLabels(service, name) } };
}

/** Clients, and all pods of the ensemble. The list is never empty, which would mean every source. */
export function fromClients(ensemble: Ensemble, port: number): networking.v1.NetworkPolicyIngressRule {
  return { from: [instancePeer(ensemble), ...ensemble.clients.map(networkPeer)], ports: [tcp(port)] };
}

/** No rule without sources: an empty list of sources would mean every source. */
export function fromMetrics(ensemble: Ensemble, ports: number[]): networking.v1.NetworkPolicyIngressRule[] {
  const from = ensemble.metrics.from.map(networkPeer);
  return from.length > 0 && ports.length > 0 ? [{ from, ports: ports.map(tcp) }] : [];
}

export const tcp = (port: number) => ({ protocol: "TCP", port });

/**
 * DNS may be a node-local cache outside the pod network, so its address is left open. The DNS pods of OpenShift listen at 5353, and
 * policies see the port behind the Service.
 */
export const toDns = { ports: [53, 5353].flatMap((port) => [{ protocol: "UDP", port }, tcp(port)]) };

/** To the agent of EKS Pod Identity on each node: IPv4, IPv6. */
export const podIdentityEgress: networking.v1.NetworkPolicyEgressRule = {
  to: ["169.254.170.23/32", "fd00:ec2::23/128"].map((cidr) => ({ ipBlock: { cidr } })),
  ports: [tcp(80)],
};

function networkPeer(peer: Peer): networking.v1.NetworkPolicyPeer {
  return {
    ...(peer.namespaceLabels === undefined ? {} : { namespaceSelector: { matchLabels: peer.namespaceLabels } }),
    ...(peer.podLabels === undefined && peer.namespaceLabels !== undefined
      ? {}
      : { podSelector: { matchLabels: peer.podLabels ?? {} } }),
  };
}

/** For any object of the ensemble. */
export function metadata(ensemble: Ensemble, name: string) {
  return { name, namespace: ensemble.namespace, labels: labels(ensemble.service, ensemble.name) };
}
