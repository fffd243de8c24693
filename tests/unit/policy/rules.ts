/** What must hold for every stack, checked on its recorded resources. A rule returns one line for each violation. */
import { parseCpu } from "../../../components/shared/core/quantity";
import { agentImage, agentPorts, imageReference, images, parseQuantity } from "../../../components/shared/deploy";
import type { Graph, Recorded } from "../../support/recorder";
import { isObject, type Properties } from "../../support/values";

export type Subject = Pick<Graph, "resources" | "secrets" | "outputs">;

export interface Rule {
  name: string;
  violations(subject: Subject): string[];
}

type Labels = Record<string, string>;

interface Pod {
  owner: Recorded;
  /** Runs until it is stopped, unlike the pods of Jobs. */
  serves: boolean;
  labels: Labels;
  spec: Properties;
}

const templates: Record<string, { path: string[]; serves: boolean }> = {
  StatefulSet: { path: ["spec", "template"], serves: true },
  Deployment: { path: ["spec", "template"], serves: true },
  DaemonSet: { path: ["spec", "template"], serves: true },
  Job: { path: ["spec", "template"], serves: false },
  CronJob: { path: ["spec", "jobTemplate", "spec", "template"], serves: false },
};

/** Some providers let a kubelet keep five files of 50 MiB of the log of one container. It evicts a pod that exceeds its limit. */
const logBytes = 5 * 50 * 2 ** 20;

/** The DNS pods of OpenShift listen at 5353, and a policy sees the port behind the Service. */
const dnsPorts = ["UDP 53", "TCP 53", "UDP 5353", "TCP 5353"];

const anyVerb = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate"];
const change = ["create", "update", "patch"];
const controllers = [
  "jobs",
  "cronjobs",
  "deployments",
  "statefulsets",
  "daemonsets",
  "replicasets",
  "replicationcontrollers",
];

/**
 * With one of these an account could run a program of its own, act as another account, or read all secrets. To delete or evict a pod
 * is not among them: the roll does both, and the controller of the pod starts the same program again.
 */
const forbidden: { resource: string; verbs: string[] }[] = [
  ...["pods", ...controllers].map((resource) => ({ resource, verbs: change })),
  ...["deployments", "statefulsets", "replicasets", "replicationcontrollers"].map((resource) => ({
    resource: `${resource}/scale`,
    verbs: change,
  })),
  { resource: "pods/ephemeralcontainers", verbs: change },
  // The API server also takes "get" for a command in a container.
  ...["exec", "attach", "portforward", "proxy"].map((each) => ({ resource: `pods/${each}`, verbs: anyVerb })),
  { resource: "serviceaccounts/token", verbs: anyVerb },
  ...["users", "groups", "serviceaccounts"].map((resource) => ({ resource, verbs: ["impersonate"] })),
  { resource: "secrets", verbs: ["list", "watch"] },
  ...["roles", "rolebindings", "clusterroles", "clusterrolebindings"].map((resource) => ({ resource, verbs: anyVerb })),
];

export const rules: Rule[] = [
  rulePerPod("pods are restricted: no root, a seccomp profile, no mounted token", (pod) => {
    const context = at(pod.spec, "securityContext");
    return [
      at(context, "runAsNonRoot") === true ? "" : "runAsNonRoot is not true",
      isPositive(at(context, "runAsUser")) ? "" : "runAsUser is not a user other than root",
      at(context, "seccompProfile", "type") === "RuntimeDefault" ? "" : "seccompProfile is not RuntimeDefault",
      at(pod.spec, "automountServiceAccountToken") === false ? "" : "automountServiceAccountToken is not false",
      ...["hostNetwork", "hostPID", "hostIPC"].map((key) => (at(pod.spec, key) === true ? `${key} is set` : "")),
      ...list(at(pod.spec, "volumes")).map((volume) =>
        at(volume, "hostPath") === undefined ? "" : "a hostPath volume",
      ),
    ];
  }),
  rulePerContainer("containers are restricted: no capabilities, no privilege escalation", (container) => {
    const context = at(container, "securityContext");
    const capabilities = at(context, "capabilities");
    return [
      at(context, "allowPrivilegeEscalation") === false ? "" : "allowPrivilegeEscalation is not false",
      list(at(capabilities, "drop")).includes("ALL") ? "" : "capabilities.drop lacks ALL",
      list(at(capabilities, "add")).length === 0 ? "" : "capabilities.add is not empty",
      at(context, "privileged") === true ? "privileged is set" : "",
    ];
  }),
  rulePerContainer("root file systems are read-only", (container) => [
    at(container, "securityContext", "readOnlyRootFilesystem") === true ? "" : "readOnlyRootFilesystem is not true",
  ]),
  {
    name: "ports of Services say that they are TCP: a mesh must not wait for a client to speak first",
    violations: ({ resources }) =>
      ofKind(resources, "Service").flatMap(({ urn, inputs }) =>
        list(at(inputs, "spec", "ports"))
          .filter((port) => at(port, "appProtocol") !== "tcp")
          .map((port) => `${urn}: port ${String(at(port, "name"))} has no appProtocol tcp`),
      ),
  },
  {
    name: "no input names 0.0.0.0, for which most servers listen on IPv4 alone",
    violations: ({ resources }) =>
      resources
        .filter(({ inputs }) => texts(inputs).some((text) => /\b0\.0\.0\.0\b/.test(text)))
        .map(({ urn }) => `${urn}: an input names 0.0.0.0`),
  },
  rulePerContainer("resources are set: requests for both, a limit for memory", (container) =>
    [
      ["requests", "cpu"],
      ["requests", "memory"],
      ["limits", "memory"],
    ].map((path) =>
      typeof at(container, "resources", ...path) === "string" ? "" : `resources.${path.join(".")} is missing`,
    ),
  ),
  rulePerContainer("the limit of ephemeral-storage holds the log that a kubelet may keep", (container) => {
    const limit = at(container, "resources", "limits", "ephemeral-storage");
    const bytes = parseQuantity(String(limit)) ?? 0;
    return [bytes >= logBytes ? "" : `limits.ephemeral-storage is ${String(limit)}, less than ${logBytes} bytes`];
  }),
  rulePerContainer("images are those of the catalogue, by exact version", (container) => {
    const image = at(container, "image");
    const known = [agentImage, ...Object.values(images).map((each) => imageReference(each))];
    return [
      known.some((each) => each === image) ? "" : `image ${JSON.stringify(image)} is not in components/shared/images`,
    ];
  }),
  rulePerContainer("commands are explicit", (container) => [
    list(at(container, "command")).length > 0 ? "" : "command is missing: the entrypoint of the image would decide",
  ]),
  {
    name: "containers that serve have readiness and liveness probes",
    violations: ({ resources }) =>
      podsOf(resources)
        .filter((pod) => pod.serves)
        .flatMap((pod) =>
          list(at(pod.spec, "containers")).flatMap((container) =>
            // The agent beside a server may say whether it is ready: then it is asked, and restarted, by itself.
            (isReadyBySidecar(pod) ? ["livenessProbe"] : ["readinessProbe", "livenessProbe"])
              .filter((probe) => at(container, probe) === undefined)
              .map((probe) => `${containerText(pod, container)}: ${probe} is missing`),
          ),
        ),
  },
  rulePerEnsemble("each ensemble has one disruption budget that lets one member go", (ensemble, resources) => {
    const budgets = ofKind(resources, "PodDisruptionBudget").filter((each) =>
      selects(each, ["spec", "selector"], ensemble),
    );
    return [
      budgets.length === 1 ? "" : `${budgets.length} PodDisruptionBudgets select its pods`,
      ...budgets.map((each) => (at(each.inputs, "spec", "maxUnavailable") === 1 ? "" : "maxUnavailable is not 1")),
    ];
  }),
  rulePerEnsemble("each ensemble has a network policy that denies by default", (ensemble, resources) => {
    const policies = ofKind(resources, "NetworkPolicy").filter((each) =>
      selects(each, ["spec", "podSelector"], ensemble),
    );
    return [
      policies.some((each) => list(at(each.inputs, "spec", "policyTypes")).includes("Ingress"))
        ? ""
        : "no NetworkPolicy of type Ingress selects its pods",
      // A rule without "from" admits everybody.
      ...policies
        .flatMap((each) => list(at(each.inputs, "spec", "ingress")))
        .map((rule) => (list(at(rule, "from")).length > 0 ? "" : "an ingress rule admits everybody")),
    ];
  }),
  rulePerPolicy("no network policy admits anybody to the hand-over, which is for the kubelet alone", (policy) =>
    list(at(policy.inputs, "spec", "ingress")).map((rule) => {
      const ports = list(at(rule, "ports"));
      if (ports.length === 0) return "an ingress rule without ports admits to all of them";
      return ports.some((port) => coversPort(port, agentPorts.control))
        ? `an ingress rule admits to port ${agentPorts.control}`
        : "";
    }),
  ),
  rulePerPolicy("whoever may open connections may ask the DNS, also that of OpenShift", (policy) => {
    if (!list(at(policy.inputs, "spec", "policyTypes")).includes("Egress")) return [];
    // The DNS may be on the node, outside the network of the pods: a rule with destinations would not reach it.
    const open = list(at(policy.inputs, "spec", "egress")).filter((rule) => at(rule, "to") === undefined);
    const ports = open
      .flatMap((rule) => list(at(rule, "ports")))
      .map((port) => `${String(at(port, "protocol"))} ${String(at(port, "port"))}`);
    return dnsPorts.map((each) => (ports.includes(each) ? "" : `no egress rule allows ${each} to every destination`));
  }),
  {
    name: "no account may start pods, enter them, be another account, or read secrets that it does not name",
    violations: ({ resources }) => [
      ...["Role", "ClusterRole"]
        .flatMap((kind) => ofKind(resources, kind))
        .flatMap(({ urn, inputs }) =>
          list(at(inputs, "rules")).flatMap((rule) => excesses(rule).map((each) => `${urn}: ${each}`)),
        ),
      // A role of Kubernetes itself, such as "edit", is in no list of rules here.
      ...["RoleBinding", "ClusterRoleBinding"]
        .flatMap((kind) => ofKind(resources, kind))
        .filter(({ inputs }) => at(inputs, "roleRef", "kind") !== "Role")
        .map(({ urn }) => `${urn}: binds a role that is no Role of the namespace`),
    ],
  },
  rulePerEnsemble("each ensemble is spread over hosts", (ensemble) => {
    const labels = labelsOf(at(ensemble.inputs, "spec", "template", "metadata", "labels"));
    const hosts = spreadTerms(at(ensemble.inputs, "spec", "template", "spec")).filter(
      (each) => at(each, "topologyKey") === "kubernetes.io/hostname",
    );
    return [
      hosts.length > 0 ? "" : "neither an anti-affinity nor a spread constraint on kubernetes.io/hostname",
      ...hosts.map((each) =>
        matches(at(each, "labelSelector"), labels) ? "" : "the spread does not select its own pods",
      ),
    ];
  }),
  rulePerEnsemble("StatefulSets are named explicitly and start their pods in parallel", (ensemble) => [
    typeof at(ensemble.inputs, "metadata", "name") === "string" ? "" : "metadata.name is missing",
    at(ensemble.inputs, "spec", "podManagementPolicy") === "Parallel" ? "" : "podManagementPolicy is not Parallel",
  ]),
  {
    name: "no secret is in a plain input or output",
    violations: ({ resources, secrets, outputs }) => {
      // Shorter ones, such as the name of a user, are in other words by chance.
      const hidden = secrets.filter((each) => each.length >= 12);
      const forms = hidden.flatMap((each) => [each, Buffer.from(each).toString("base64"), encodeURIComponent(each)]);
      const leaks = (value: unknown): boolean => texts(value).some((text) => forms.some((form) => text.includes(form)));
      return [
        ...resources.filter((each) => leaks(each.inputs)).map((each) => `${each.urn}: an input contains a secret`),
        ...Object.entries(outputs).flatMap(([key, value]) => (leaks(value) ? [`output ${key} contains a secret`] : [])),
      ];
    },
  },
  {
    name: "names of objects are unique and fit",
    violations: ({ resources }) => {
      const seen = new Set<string>();
      return resources.filter(isKubernetesObject).flatMap((each) => {
        const given = at(each.inputs, "metadata", "name");
        // A Job gets a new name with each template: its logical name and a suffix. Others are mounted or called by name.
        const name = given === undefined && kindOf(each) === "Job" ? `${each.name}-01234567` : given;
        if (typeof name !== "string") return [`${each.urn}: metadata.name is missing`];
        // A Job of a CronJob gets a suffix of 11 characters.
        const limit = kindOf(each) === "CronJob" ? 52 : 63;
        const namespace = at(each.inputs, "metadata", "namespace");
        const key = `${kindOf(each)} ${typeof namespace === "string" ? `${namespace}/` : ""}${name}`;
        const again = seen.has(key);
        seen.add(key);
        return [
          ...(name.length > limit ? [`${each.urn}: ${name} has ${name.length} characters, at most ${limit} fit`] : []),
          ...(again ? [`${each.urn}: there is another ${key}`] : []),
        ];
      });
    },
  },
  {
    name: "ports are unique within their pod and their service",
    violations: ({ resources }) => [
      ...podsOf(resources).flatMap((pod) => {
        const ports = list(at(pod.spec, "containers")).flatMap((container) => list(at(container, "ports")));
        return [...repeated(ports, "containerPort"), ...repeated(ports, "name")].map(
          (each) => `${pod.owner.urn}: ${each}`,
        );
      }),
      ...ofKind(resources, "Service").flatMap((service) => {
        const ports = list(at(service.inputs, "spec", "ports"));
        return [...repeated(ports, "port"), ...repeated(ports, "name")].map((each) => `${service.urn}: ${each}`);
      }),
    ],
  },
  {
    name: "every Kubernetes object uses the explicit provider",
    violations: ({ resources }) =>
      resources
        .filter(isKubernetesObject)
        .filter((each) => !(each.options.provider ?? "").includes("::pulumi:providers:kubernetes::"))
        .map((each) => `${each.urn}: no explicit provider`),
  },
];

/** Only where data must survive. */
export const prodRules: Rule[] = [
  {
    name: "what holds data is protected and its volumes are retained",
    violations: ({ resources }) => [
      ...resources
        .filter((each) => ["StatefulSet", "Namespace", "PersistentVolumeClaim"].includes(kindOf(each)))
        .filter((each) => each.options.protect !== true)
        .map((each) => `${each.urn}: not protected`),
      ...ofKind(resources, "StatefulSet")
        .filter((each) => at(each.inputs, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") === "Delete")
        .map((each) => `${each.urn}: volumes are deleted with it`),
    ],
  },
  rulePerEnsemble("members are in three zones", (ensemble) => {
    const constraints = list(at(ensemble.inputs, "spec", "template", "spec", "topologySpreadConstraints"));
    const strict = constraints.some(
      (each) =>
        at(each, "topologyKey") === "topology.kubernetes.io/zone" &&
        at(each, "whenUnsatisfiable") === "DoNotSchedule" &&
        at(each, "minDomains") === 3,
    );
    return [strict ? "" : "no constraint requires three zones"];
  }),
  rulePerEnsemble("volumes are encrypted", (ensemble, resources) => {
    const encrypted = ofKind(resources, "StorageClass")
      .filter((each) => at(each.inputs, "parameters", "encrypted") === "true")
      .map((each) => at(each.inputs, "metadata", "name"));
    return list(at(ensemble.inputs, "spec", "volumeClaimTemplates"))
      .map((claim) => at(claim, "spec", "storageClassName"))
      .map((name) => (encrypted.includes(name) ? "" : `no StorageClass of the stack encrypts ${JSON.stringify(name)}`));
  }),
  {
    name: "buckets are encrypted, and backups are locked for two weeks and expire after it",
    violations: ({ resources }) => {
      const settings = (bucket: Recorded, kind: string): unknown =>
        resources.find(({ type, inputs }) => type.endsWith(`:${kind}`) && inputs["bucket"] === bucket.inputs["bucket"])
          ?.inputs;
      return resources
        .filter(({ type }) => type === "aws:s3/bucket:Bucket")
        .flatMap((bucket) => {
          const [encryption] = list(at(settings(bucket, "BucketServerSideEncryptionConfiguration"), "rules"));
          const isLocked = at(bucket.inputs, "objectLockEnabled") === true;
          const lock = at(settings(bucket, "BucketObjectLockConfiguration"), "rule", "defaultRetention", "days");
          const [rule] = list(at(settings(bucket, "BucketLifecycleConfiguration"), "rules"));
          const expiration = at(rule, "expiration", "days");
          return said([
            at(encryption, "applyServerSideEncryptionByDefault", "sseAlgorithm") === undefined
              ? "is not encrypted"
              : "",
            isLocked && !(Number(lock) >= 14) ? "is not locked for two weeks" : "",
            isLocked && !(Number(expiration) >= Number(lock)) ? "does not expire after its lock" : "",
            !isLocked && expiration !== undefined ? "expires, and is not locked" : "",
          ]).map((each) => `${bucket.urn}: ${each}`);
        });
    },
  },
];

/** What stacks follow when they are told to. */
export const rulesByChoice = {
  families: {
    name: "all Services may have addresses of two families",
    violations: ({ resources }) =>
      ofKind(resources, "Service")
        .filter(({ inputs }) => at(inputs, "spec", "ipFamilyPolicy") !== "PreferDualStack")
        .map(({ urn }) => `${urn}: ipFamilyPolicy is not PreferDualStack`),
  },
  quota: rulePerContainer(
    "a quota on CPU and memory admits each container: it has requests, and limits not below them",
    (container) =>
      Object.entries({ cpu: parseCpu, memory: parseQuantity }).map(([kind, parse]) => {
        const [request, limit] = ["requests", "limits"].map((each) => at(container, "resources", each, kind));
        const [least = Number.NaN, most = Number.NaN] = [request, limit].map((each) => parse(String(each)));
        return most >= least ? "" : `requests ${String(request)} of ${kind}, and is limited to ${String(limit)}`;
      }),
  ),
} satisfies Record<string, Rule>;

function rulePerPod(name: string, check: (pod: Pod) => string[]): Rule {
  return {
    name,
    violations: ({ resources }) =>
      podsOf(resources).flatMap((pod) => said(check(pod)).map((each) => `${pod.owner.urn}: ${each}`)),
  };
}

function rulePerContainer(name: string, check: (container: unknown) => string[]): Rule {
  return {
    name,
    violations: ({ resources }) =>
      podsOf(resources).flatMap((pod) =>
        [...list(at(pod.spec, "initContainers")), ...list(at(pod.spec, "containers"))].flatMap((container) =>
          said(check(container)).map((each) => `${containerText(pod, container)}: ${each}`),
        ),
      ),
  };
}

function rulePerEnsemble(name: string, check: (ensemble: Recorded, resources: Recorded[]) => string[]): Rule {
  return {
    name,
    violations: ({ resources }) =>
      ofKind(resources, "StatefulSet").flatMap((each) =>
        said(check(each, resources)).map((violation) => `${each.urn}: ${violation}`),
      ),
  };
}

function rulePerPolicy(name: string, check: (policy: Recorded) => string[]): Rule {
  return {
    name,
    violations: ({ resources }) =>
      ofKind(resources, "NetworkPolicy").flatMap((each) =>
        said(check(each)).map((violation) => `${each.urn}: ${violation}`),
      ),
  };
}

/** What a rule of a Role allows of that which no account may do. */
function excesses(rule: unknown): string[] {
  const resources = list(at(rule, "resources"));
  const verbs = list(at(rule, "verbs"));
  const found = forbidden.flatMap(({ resource, verbs: refused }) =>
    [resource, "*", resource.replace(/^[^/]+\//, "*/")].some((each) => resources.includes(each))
      ? refused.filter((verb) => verbs.includes(verb) || verbs.includes("*")).map((verb) => `may ${verb} ${resource}`)
      : [],
  );
  const readsAll =
    resources.includes("secrets") && verbs.includes("get") && list(at(rule, "resourceNames")).length === 0;
  return readsAll ? [...found, "may get secrets without naming them"] : found;
}

/** A port by name may be any port. */
function coversPort(given: unknown, wanted: number): boolean {
  const port = at(given, "port");
  const last = at(given, "endPort") ?? port;
  return typeof port !== "number" || typeof last !== "number" || (port <= wanted && wanted <= last);
}

function podsOf(resources: Recorded[]): Pod[] {
  return resources.filter(isKubernetesObject).flatMap((owner) => {
    const template = templates[kindOf(owner)];
    if (template === undefined) return [];
    const pod = at(owner.inputs, ...template.path);
    const spec = at(pod, "spec");
    const labels = labelsOf(at(pod, "metadata", "labels"));
    return [{ owner, serves: template.serves, labels, spec: isObject(spec) ? spec : {} }];
  });
}

/** Both ways to keep pods apart: a topology key with a selector of the pods it is about. */
function spreadTerms(spec: unknown): unknown[] {
  const affinity = at(spec, "affinity", "podAntiAffinity");
  const preferred = list(at(affinity, "preferredDuringSchedulingIgnoredDuringExecution"));
  return [
    ...list(at(spec, "topologySpreadConstraints")),
    ...list(at(affinity, "requiredDuringSchedulingIgnoredDuringExecution")),
    ...preferred.map((each) => at(each, "podAffinityTerm")),
  ];
}

function selects(selector: Recorded, path: string[], ensemble: Recorded): boolean {
  const same = at(selector.inputs, "metadata", "namespace") === at(ensemble.inputs, "metadata", "namespace");
  const labels = labelsOf(at(ensemble.inputs, "spec", "template", "metadata", "labels"));
  return same && matches(at(selector.inputs, ...path), labels);
}

/** As Kubernetes does: an empty selector selects everything, a missing one nothing. */
function matches(selector: unknown, labels: Labels): boolean {
  if (!isObject(selector)) return false;
  const byLabels = Object.entries(labelsOf(selector["matchLabels"])).every(([key, value]) => labels[key] === value);
  const byExpressions = list(selector["matchExpressions"]).every((each) => {
    const value = labels[String(at(each, "key"))];
    const values = list(at(each, "values"));
    switch (at(each, "operator")) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "Exists":
        return value !== undefined;
      default:
        return value === undefined;
    }
  });
  return byLabels && byExpressions;
}

function isKubernetesObject(resource: Recorded): boolean {
  return resource.type.startsWith("kubernetes:");
}

function ofKind(resources: Recorded[], kind: string): Recorded[] {
  return resources.filter((each) => isKubernetesObject(each) && kindOf(each) === kind);
}

function kindOf(resource: Recorded): string {
  return resource.type.split(":").at(-1) ?? "";
}

function containerText(pod: Pod, container: unknown): string {
  return `${pod.owner.urn}: container ${JSON.stringify(at(container, "name"))}`;
}

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((each, key) => (isObject(each) ? each[key] : undefined), value);
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function labelsOf(value: unknown): Labels {
  return isObject(value) ? (value as Labels) : {};
}

function texts(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(texts);
  return isObject(value) ? Object.entries(value).flatMap(([key, each]) => [key, ...texts(each)]) : [];
}

function repeated(ports: unknown[], key: string): string[] {
  const values = ports.map((each) => at(each, key)).filter((each) => each !== undefined);
  const twice = values.filter((each, index) => values.indexOf(each) !== index);
  return twice.map((each) => `two ports have the ${key} ${JSON.stringify(each)}`);
}

function isPositive(value: unknown): boolean {
  return typeof value === "number" && value > 0;
}

function said(lines: string[]): string[] {
  return lines.filter((each) => each !== "");
}

function isReadyBySidecar(pod: Pod): boolean {
  return list(at(pod.spec, "initContainers")).some(
    (container) =>
      at(container, "restartPolicy") === "Always" &&
      at(container, "readinessProbe") !== undefined &&
      at(container, "livenessProbe") !== undefined,
  );
}
