import { byAddress, canonical, inRange, isEverything, parseRange } from "./addresses";
import type { LabelSelector, Namespace, NetworkPolicy, Pod, PolicyPeer, PolicyPort } from "./objects";

export const tableName = "cells_networkpolicy";

export interface PolicyNode {
  name: string;
  /** Addresses of the node's pods. A node enforces for its own pods only: egress at the source, ingress at the target. */
  podRange: string;
  /** Sources that ingress policies never stop: the node itself (probes) and the host with the control plane. */
  trusted: string[];
}

export interface ClusterState {
  pods: Pod[];
  namespaces: Namespace[];
  policies: NetworkPolicy[];
}

type Direction = "ingress" | "egress";
const protocols = ["TCP", "UDP", "SCTP"];

/** A pod that has an address of its own, with what policies can say about it. */
interface Endpoint {
  namespace: string;
  name: string;
  labels: Record<string, string>;
  namespaceLabels: Record<string, string>;
  address: string;
  ports: { name: string; protocol: string; port: number }[];
}

export function matches(selector: LabelSelector | undefined, labels: Record<string, string>): boolean {
  const plain = Object.entries(selector?.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  const expressions = (selector?.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "Exists":
        return value !== undefined;
      case "DoesNotExist":
        return value === undefined;
      default:
        // The API server refuses other operators; a selector that is not understood must not open anything.
        return false;
    }
  });
  return plain && expressions;
}

/**
 * Pods that hold an address now. A terminating pod still holds it and drains; a finished one has given it back. Pods on
 * the host network share the node's address, which selectors cannot mean.
 */
function endpoints({ pods, namespaces }: ClusterState): Endpoint[] {
  const labelsOf = new Map(namespaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  const byIp = new Map<string, Pod>();
  for (const pod of pods) {
    const { phase, podIP } = pod.status ?? {};
    if (podIP === undefined || parseRange(podIP) === undefined) continue;
    if (pod.spec.hostNetwork === true || phase === "Succeeded" || phase === "Failed") continue;
    // The same address twice: the older pod is a leftover that its node has not reported yet.
    const other = byIp.get(podIP)?.metadata.creationTimestamp ?? "";
    if (other <= (pod.metadata.creationTimestamp ?? "")) byIp.set(podIP, pod);
  }
  return [...byIp]
    .sort(([left], [right]) => byAddress(left, right))
    .map(([address, { metadata, spec }]) => {
      const namespace = metadata.namespace ?? "default";
      const sidecars = (spec.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === "Always");
      return {
        namespace,
        name: metadata.name,
        labels: metadata.labels ?? {},
        // Every namespace carries this label; its object may arrive after the pod's.
        namespaceLabels: labelsOf.get(namespace) ?? { "kubernetes.io/metadata.name": namespace },
        address,
        ports: [...spec.containers, ...sidecars].flatMap(({ ports = [] }) =>
          ports.flatMap(({ name, containerPort, protocol = "TCP" }) =>
            name === undefined ? [] : [{ name, protocol, port: containerPort }],
          ),
        ),
      };
    });
}

/** Kubernetes' default: always ingress, egress when there are egress rules. */
export function directions(policy: NetworkPolicy): Direction[] {
  const types = policy.spec?.policyTypes ?? [];
  if (types.length > 0)
    return (["ingress", "egress"] as const).filter((one) => types.some((t) => t.toLowerCase() === one));
  return (policy.spec?.egress ?? []).length > 0 ? ["ingress", "egress"] : ["ingress"];
}

const selects = (policy: NetworkPolicy, pod: Endpoint): boolean =>
  (policy.metadata.namespace ?? "default") === pod.namespace && matches(policy.spec?.podSelector, pod.labels);

function peerPods(peer: PolicyPeer, policyNamespace: string, all: Endpoint[]): Endpoint[] {
  if (peer.ipBlock !== undefined) return [];
  return all.filter(
    (pod) =>
      (peer.namespaceSelector === undefined
        ? pod.namespace === policyNamespace
        : matches(peer.namespaceSelector, pod.namespaceLabels)) && matches(peer.podSelector, pod.labels),
  );
}

const anyOf = (elements: string[]): string =>
  elements.length === 1 ? (elements[0] ?? "") : `{ ${elements.join(", ")} }`;
const unique = <T>(elements: T[]): T[] => [...new Set(elements)];

/** nftables refuses overlapping intervals in a set, so ranges are joined first. */
function joinRanges(ranges: [first: number, last: number][]): string[] {
  const joined: [number, number][] = [];
  for (const [first, last] of ranges.toSorted((left, right) => left[0] - right[0])) {
    const previous = joined.at(-1);
    if (previous !== undefined && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else joined.push([first, last]);
  }
  return joined.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`));
}

/** Alternatives that match the numbered ports, one per protocol. Named ports are resolved by the caller. */
function portMatches(ports: PolicyPort[], resolve: (name: string, protocol: string) => number[]): string[] {
  return protocols.flatMap((protocol) => {
    const own = ports.filter((one) => (one.protocol ?? "TCP") === protocol);
    if (own.some(({ port }) => port === undefined)) return [`meta l4proto ${protocol.toLowerCase()}`];
    const ranges = own.flatMap(({ port, endPort }): [number, number][] =>
      typeof port === "number"
        ? [[port, endPort ?? port]]
        : resolve(port ?? "", protocol).map((number) => [number, number]),
    );
    return ranges.length === 0 ? [] : [`${protocol.toLowerCase()} dport ${anyOf(joinRanges(ranges))}`];
  });
}

function blockMatch(field: string, { cidr, except = [] }: { cidr: string; except?: string[] }): string[] {
  const range = canonical(cidr);
  if (range === undefined) return [];
  const exceptions = except.flatMap((one) => canonical(one) ?? []);
  // nftables has no match for "every address" but the protocol.
  const inside = isEverything(cidr) ? "meta nfproto ipv4" : `${field} ${range}`;
  return [[inside, ...exceptions.map((one) => `${field} != ${one}`)].join(" ")];
}

const inBlock = (address: string, { cidr, except = [] }: { cidr: string; except?: string[] }): boolean =>
  inRange(address, cidr) && !except.some((one) => inRange(address, one));

/** Everything one policy lets a pod do in one direction: nftables matches, any of which is enough. */
function allowances(policy: NetworkPolicy, direction: Direction, pod: Endpoint, all: Endpoint[]): string[] {
  const rules = (direction === "ingress" ? policy.spec?.ingress : policy.spec?.egress) ?? [];
  const field = direction === "ingress" ? "ip saddr" : "ip daddr";
  const namespace = policy.metadata.namespace ?? "default";
  return rules.flatMap((rule): string[] => {
    const peers = ("from" in rule ? rule.from : "to" in rule ? rule.to : undefined) ?? [];
    const ports = rule.ports ?? [];
    const blocks = peers.flatMap(({ ipBlock }) => ipBlock ?? []);
    const chosen = peers.flatMap((peer) => peerPods(peer, namespace, all));
    const addresses = unique(chosen.map(({ address }) => address)).sort(byAddress);
    const from =
      peers.length === 0
        ? [""]
        : [
            ...(addresses.length === 0 ? [] : [`${field} ${anyOf(addresses)}`]),
            ...blocks.flatMap((block) => blockMatch(field, block)),
          ];
    if (ports.length === 0) return from.map((source) => source || "meta nfproto ipv4");

    // A named port is a name on the target: the pod itself for ingress, each peer for egress.
    const portsOf = (target: Endpoint, name: string, protocol: string): number[] =>
      target.ports.filter((one) => one.name === name && one.protocol === protocol).map(({ port }) => port);
    const here = portMatches(ports, (name, protocol) => (direction === "ingress" ? portsOf(pod, name, protocol) : []));
    const numbered = from.flatMap((source) => here.map((port) => `${source} ${port}`.trim()));
    if (direction === "ingress") return numbered;

    const targets =
      peers.length === 0
        ? all
        : all.filter((one) => chosen.includes(one) || blocks.some((block) => inBlock(one.address, block)));
    const named = ports.flatMap(({ port, protocol = "TCP" }) => {
      if (typeof port !== "string") return [];
      const numbers = unique(targets.flatMap((target) => portsOf(target, port, protocol)));
      return numbers.map((number) => {
        const holders = targets.filter((target) => portsOf(target, port, protocol).includes(number));
        return `${field} ${anyOf(holders.map(({ address }) => address))} ${protocol.toLowerCase()} dport ${number}`;
      });
    });
    return [...numbered, ...named];
  });
}

/** Comments are limited to 127 bytes by nftables. */
const comment = (text: string): string => `comment "${text.slice(0, 120)}"`;

/** Slashes are allowed in chain names; names longer than 255 bytes are not. */
function chainName(direction: Direction, pod: Endpoint): string {
  const name = `${direction}/${pod.namespace}/${pod.name}`;
  return name.length <= 200 ? name : `${direction}/${pod.address}`;
}

function podChain(direction: Direction, pod: Endpoint, policies: NetworkPolicy[], all: Endpoint[]): string[] {
  const field = direction === "ingress" ? "ip saddr" : "ip daddr";
  return [
    `chain ${chainName(direction, pod)} {`,
    // A pod may always talk to itself, also through a service.
    `  ${field} ${pod.address} return`,
    ...policies.flatMap((policy) =>
      unique(allowances(policy, direction, pod, all)).map(
        (match) => `  ${match} return ${comment(policy.metadata.name)}`,
      ),
    ),
    `  counter drop ${comment(`allowed by none of ${policies.map(({ metadata }) => metadata.name).join(", ")}`)}`,
    "}",
  ];
}

const elements = (lines: string[]): string[] =>
  lines.length === 0 ? [] : [`  elements = { ${lines.join(",\n    ")} }`];

export interface Ruleset {
  text: string;
  /** For the log. */
  pods: number;
  isolated: number;
}

/**
 * The whole table of one node, replaced in one transaction.
 *
 * `return` in the chain of a pod means "this pod's policies allow it", so that a packet between two pods of one node is
 * judged by both, the source's egress first.
 *
 * Packets of the direction that opened a connection are judged one by one, answers pass: a connection that a new policy
 * denies is cut, not only the next one.
 */
export function ruleset(state: ClusterState, node: PolicyNode): Ruleset {
  const all = endpoints(state);
  const own = all.filter(({ address }) => inRange(address, node.podRange));
  const policies = state.policies.toSorted((left, right) => (nameOf(left) < nameOf(right) ? -1 : 1));
  const isolated = (direction: Direction): { pod: Endpoint; policies: NetworkPolicy[] }[] =>
    own
      .map((pod) => ({
        pod,
        policies: policies.filter((policy) => directions(policy).includes(direction) && selects(policy, pod)),
      }))
      .filter((one) => one.policies.length > 0);
  const ingress = isolated("ingress");
  const egress = isolated("egress");
  const verdicts = (direction: Direction, those: typeof ingress): string[] => [
    `map ${direction}_of {`,
    "  type ipv4_addr : verdict",
    ...elements(those.map(({ pod }) => `${pod.address} : jump ${chainName(direction, pod)}`)),
    "}",
  ];
  const body = [
    comment(`NetworkPolicies, ${node.name}`),
    "set pods {",
    "  type ipv4_addr",
    ...elements(own.map(({ address }) => address)),
    "}",
    ...egress.flatMap((one) => podChain("egress", one.pod, one.policies, all)),
    ...ingress.flatMap((one) => podChain("ingress", one.pod, one.policies, all)),
    ...verdicts("egress", egress),
    ...verdicts("ingress", ingress),
    "chain forward {",
    "  type filter hook forward priority filter; policy accept",
    // Pods have no IPv6 address, but link-local ones would lead around the policies.
    "  meta nfproto ipv6 drop",
    "  ct state related accept",
    "  ct state established ct direction reply accept",
    "  ip saddr vmap @egress_of",
    `  ip saddr ${anyOf(node.trusted)} accept`,
    // A pod may run for about a second before the kubelet reports its address. Until then nobody has a reason to call it,
    // so that is refused; its own calls pass (refusing them would cost each new pod a DNS time-out), except to pods that
    // only admit certain peers.
    `  ip daddr ${node.podRange} ip daddr != @pods counter drop ${comment("a pod not known yet")}`,
    "  ip daddr vmap @ingress_of",
    "}",
  ];
  const text = [
    // Created if missing so that the deletion cannot fail; all in one transaction, so there is no gap.
    `table inet ${tableName}`,
    `delete table inet ${tableName}`,
    `table inet ${tableName} {`,
    ...body.map((line) => `  ${line}`),
    "}",
    "",
  ].join("\n");
  return { text, pods: own.length, isolated: new Set([...ingress, ...egress].map(({ pod }) => pod)).size };
}

const nameOf = ({ metadata }: NetworkPolicy): string => `${metadata.namespace ?? "default"}/${metadata.name}`;
