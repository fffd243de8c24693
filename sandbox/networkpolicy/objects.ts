/** The parts of Kubernetes objects that decide who may talk to whom, as the API server sends them (JSON, untouched). */
export interface Metadata {
  name: string;
  namespace?: string;
  labels?: Record<string, string>;
  creationTimestamp?: string;
}

export interface Pod {
  metadata: Metadata;
  spec: {
    hostNetwork?: boolean;
    containers: Container[];
    initContainers?: (Container & { restartPolicy?: string })[];
  };
  status?: { phase?: string; podIP?: string };
}

interface Container {
  ports?: { name?: string; containerPort: number; protocol?: string }[];
}

export interface Namespace {
  metadata: Metadata;
}

export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface PolicyPeer {
  podSelector?: LabelSelector;
  namespaceSelector?: LabelSelector;
  ipBlock?: { cidr: string; except?: string[] };
}

export interface PolicyPort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}

export interface NetworkPolicy {
  metadata: Metadata;
  spec?: {
    podSelector?: LabelSelector;
    policyTypes?: string[];
    ingress?: { from?: PolicyPeer[]; ports?: PolicyPort[] }[];
    egress?: { to?: PolicyPeer[]; ports?: PolicyPort[] }[];
  };
}

/** What a watch delivers is whole objects with status and managed fields; only this is kept in memory. */
export const leanPod = ({ metadata, spec, status }: Pod): Pod => ({
  metadata: leanMetadata(metadata),
  spec: {
    ...(spec.hostNetwork === undefined ? {} : { hostNetwork: spec.hostNetwork }),
    containers: spec.containers.map(leanContainer),
    initContainers: (spec.initContainers ?? []).map((container) => ({
      ...leanContainer(container),
      ...(container.restartPolicy === undefined ? {} : { restartPolicy: container.restartPolicy }),
    })),
  },
  status: {
    ...(status?.phase === undefined ? {} : { phase: status.phase }),
    ...(status?.podIP === undefined ? {} : { podIP: status.podIP }),
  },
});

export const leanNamespace = ({ metadata }: Namespace): Namespace => ({ metadata: leanMetadata(metadata) });

export const leanPolicy = ({ metadata, spec }: NetworkPolicy): NetworkPolicy => ({
  metadata: leanMetadata(metadata),
  ...(spec === undefined ? {} : { spec }),
});

const leanMetadata = ({ name, namespace, labels, creationTimestamp }: Metadata): Metadata => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  ...(labels === undefined ? {} : { labels }),
  ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
});

const leanContainer = ({ ports }: Container): Container => ({
  ports: (ports ?? []).map(({ name, containerPort, protocol }) => ({
    containerPort,
    ...(name === undefined ? {} : { name }),
    ...(protocol === undefined ? {} : { protocol }),
  })),
});
