import { describe, expect, it } from "vitest";
import { isObject } from "../../support/values";
import { prodRules, rules, rulesByChoice, type Subject } from "./rules";
import { sample } from "./sample";

/** One way to break each rule: a path into the sample and what to put there; `undefined` removes. */
interface Breach {
  rule: string;
  resource: string;
  path: (string | number)[];
  value: unknown;
  says: string;
}

const podSpec = ["inputs", "spec", "template", "spec"];
const container = [...podSpec, "containers", 0];
const secret = "Vq8ZrT2mWx7LpN4c";
const hostPath = [{ name: "host", hostPath: { path: "/" } }];
const zones = [...podSpec, "topologySpreadConstraints"];
const retention = ["inputs", "rule", "defaultRetention"];
const expiration = ["inputs", "rules", 0, "expiration"];
const openRule = [{ ports: [{ port: 1 }] }];
const admitted = ["inputs", "spec", "ingress", 0, "ports"];
const egress = ["inputs", "spec", "egress", 0];
const accountRule = ["inputs", "rules", 0];
const bound = ["inputs", "roleRef", "kind"];

const breaches: Breach[] = [
  on(
    "set",
    [...podSpec, "securityContext", "runAsNonRoot"],
    undefined,
    "pods are restricted",
    "runAsNonRoot is not true",
  ),
  on("set", [...podSpec, "securityContext", "runAsUser"], 0, "pods are restricted", "runAsUser is not a user"),
  on(
    "set",
    [...podSpec, "securityContext", "seccompProfile"],
    undefined,
    "pods are restricted",
    "seccompProfile is not",
  ),
  on(
    "set",
    [...podSpec, "automountServiceAccountToken"],
    undefined,
    "pods are restricted",
    "automountServiceAccountToken",
  ),
  on("set", [...podSpec, "hostNetwork"], true, "pods are restricted", "hostNetwork is set"),
  on("set", [...podSpec, "volumes"], hostPath, "pods are restricted", "a hostPath volume"),
  on("set", [...container, "securityContext"], undefined, "containers are restricted", "capabilities.drop lacks ALL"),
  on("set", [...container, "securityContext", "privileged"], true, "containers are restricted", "privileged is set"),
  on(
    "set",
    [...container, "securityContext", "allowPrivilegeEscalation"],
    true,
    "containers are restricted",
    "allowPriv",
  ),
  on(
    "set",
    [...container, "securityContext", "capabilities", "add"],
    ["SYS_ADMIN"],
    "containers are restricted",
    "add",
  ),
  on("set", [...container, "securityContext", "readOnlyRootFilesystem"], false, "root file systems", "is not true"),
  on(
    "set",
    [...container, "resources", "limits"],
    undefined,
    "resources are set",
    "resources.limits.memory is missing",
  ),
  on("set", [...container, "resources", "requests", "cpu"], undefined, "resources are set", "requests.cpu is missing"),
  on(
    "set",
    [...container, "resources", "limits", "ephemeral-storage"],
    "249Mi",
    "holds the log",
    "is 249Mi, less than",
  ),
  on("set", [...container, "resources", "limits", "ephemeral-storage"], undefined, "holds the log", "is undefined"),
  on("set", [...container, "image"], "quay.io/coreos/etcd:latest", "images are those", "is not in components/shared"),
  on("set", [...container, "command"], undefined, "commands are explicit", "command is missing"),
  on("set", [...container, "readinessProbe"], undefined, "containers that serve", "readinessProbe is missing"),
  on("set", [...container, "livenessProbe"], undefined, "containers that serve", "livenessProbe is missing"),
  on(
    "budget",
    ["inputs", "spec", "selector", "matchLabels", "app"],
    "x",
    "one disruption budget",
    "0 PodDisruptionBudgets",
  ),
  on("budget", ["inputs", "metadata", "namespace"], "other", "one disruption budget", "0 PodDisruptionBudgets"),
  on("budget", ["inputs", "spec", "maxUnavailable"], 2, "one disruption budget", "maxUnavailable is not 1"),
  on("policy", ["inputs", "spec", "podSelector"], undefined, "a network policy", "no NetworkPolicy"),
  on("policy", ["inputs", "spec", "policyTypes"], ["Egress"], "a network policy", "no NetworkPolicy of type Ingress"),
  on("policy", ["inputs", "spec", "ingress"], openRule, "a network policy", "admits everybody"),
  on("policy", [...admitted, 0, "port"], 8010, "the hand-over", "admits to port 8010"),
  on("policy", [...admitted, 0], { port: 8000, endPort: 8020 }, "the hand-over", "admits to port 8010"),
  on("policy", [...admitted, 0, "port"], "control", "the hand-over", "admits to port 8010"),
  on("policy", admitted, undefined, "the hand-over", "without ports admits to all of them"),
  on("policy", [...egress, "ports", 3, "protocol"], "UDP", "ask the DNS", "no egress rule allows TCP 5353"),
  on("policy", [...egress, "ports", 0, "port"], 54, "ask the DNS", "no egress rule allows UDP 53 "),
  on("policy", [...egress, "to"], [{ podSelector: {} }], "ask the DNS", "no egress rule allows TCP 53 "),
  on("role", [...accountRule, "verbs"], ["get", "patch"], "no account may start pods", "may patch pods"),
  on("role", [...accountRule, "resources"], ["*"], "no account may start pods", "may get pods/exec"),
  on("role", [...accountRule, "resources"], ["pods/exec"], "no account may start pods", "may get pods/exec"),
  on("role", [...accountRule, "resources"], ["*/attach"], "no account may start pods", "may get pods/attach"),
  on("role", [...accountRule, "resources"], ["rolebindings"], "no account may start pods", "may delete rolebindings"),
  ...["cronjobs", "statefulsets/scale", "serviceaccounts/token", "roles"].map((resource) =>
    on("role", accountRule, { resources: [resource], verbs: ["create"] }, "no account may", `may create ${resource}`),
  ),
  on("role", accountRule, { resources: ["secrets"], verbs: ["*"] }, "no account may start pods", "may list secrets"),
  on("role", accountRule, { resources: ["secrets"], verbs: ["get"] }, "no account may start pods", "without naming"),
  on("binding", bound, "ClusterRole", "no account may start pods", "that is no Role of the namespace"),
  on("set", [...podSpec, "affinity"], undefined, "spread over hosts", "neither an anti-affinity nor"),
  on("set", ["inputs", "spec", "podManagementPolicy"], "OrderedReady", "named explicitly", "is not Parallel"),
  on("set", ["inputs", "metadata", "name"], undefined, "named explicitly", "metadata.name is missing"),
  on("config", ["inputs", "data", "key"], `x=${secret}`, "no secret is in", "config: an input contains a secret"),
  on(
    "config",
    ["inputs", "data", "key"],
    Buffer.from(secret).toString("base64"),
    "no secret is in",
    "an input contains",
  ),
  on("config", ["inputs", "metadata", "name"], undefined, "names of objects", "metadata.name is missing"),
  on("config", ["inputs", "metadata", "name"], "x".repeat(64), "names of objects", "has 64 characters, at most 63 fit"),
  on(
    "service",
    ["inputs", "spec", "ports", 0, "appProtocol"],
    undefined,
    "ports of Services say that they are TCP",
    "port client has no appProtocol tcp",
  ),
  on(
    "config",
    ["inputs", "data", "key"],
    "listen: 0.0.0.0:1",
    "no input names 0.0.0.0",
    "config: an input names 0.0.0.0",
  ),
  on("config", ["type"], "kubernetes:core/v1:Service", "names of objects", "there is another Service cells/db"),
  on(
    "set",
    [...container, "ports", 1, "containerPort"],
    2379,
    "ports are unique",
    "two ports have the containerPort 2379",
  ),
  on("set", [...container, "ports", 1, "name"], "client", "ports are unique", 'two ports have the name "client"'),
  on(
    "service",
    ["inputs", "spec", "ports", 1],
    { name: "b", port: 2379 },
    "ports are unique",
    "two ports have the port",
  ),
  on("config", ["options", "provider"], undefined, "explicit provider", "config: no explicit provider"),
  on("set", ["options", "protect"], undefined, "what holds data", "set: not protected"),
  on("namespace", ["options", "protect"], undefined, "what holds data", "namespace: not protected"),
  on(
    "set",
    ["inputs", "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"],
    "Delete",
    "what holds data",
    "volumes are deleted with it",
  ),
  on("set", zones, undefined, "three zones", "no constraint requires three zones"),
  on("set", [...zones, 0, "whenUnsatisfiable"], "ScheduleAnyway", "three zones", "no constraint requires three zones"),
  on("set", [...zones, 0, "minDomains"], 2, "three zones", "no constraint requires three zones"),
  on("disks", ["inputs", "parameters", "encrypted"], "false", "volumes are encrypted", 'encrypts "disks"'),
  on(
    "set",
    ["inputs", "spec", "volumeClaimTemplates", 0, "spec", "storageClassName"],
    "gp2",
    "volumes are encrypted",
    'encrypts "gp2"',
  ),
  on("bucket-encryption", ["inputs", "rules"], [], "buckets are encrypted", "is not encrypted"),
  on("bucket-lock", [...retention, "days"], 1, "buckets are encrypted", "is not locked for two weeks"),
  on("bucket-lifecycle", [...expiration, "days"], 13, "buckets are encrypted", "does not expire after its lock"),
  on("bucket-lifecycle", expiration, undefined, "buckets are encrypted", "does not expire after its lock"),
  on("service", ["inputs", "spec", "ipFamilyPolicy"], undefined, "two families", "is not PreferDualStack"),
  ...[undefined, "49m"].map((limit) =>
    on(
      "set",
      [...container, "resources", "limits", "cpu"],
      limit,
      "a quota on",
      `requests 50m of cpu, and is limited to ${limit}`,
    ),
  ),
  on("set", [...container, "resources", "requests", "memory"], undefined, "a quota on", "requests undefined of memory"),
  on("bucket", ["inputs", "objectLockEnabled"], false, "buckets are encrypted", "expires, and is not locked"),
];

const all = [...rules, ...prodRules, ...Object.values(rulesByChoice)];

describe("rules", () => {
  it.each(all)("accepts a stack that follows it: $name", (rule) => {
    expect(rule.violations(sample())).toEqual([]);
  });

  it.each(breaches)("refuses $says ($resource)", ({ rule, resource, path, value, says }) => {
    const subject = sample();
    put(subject, resource, path, value);
    const broken = all.filter((each) => each.name.includes(rule));
    expect(broken).toHaveLength(1);
    expect(broken[0]?.violations(subject).join("\n")).toContain(says);
  });

  it("refuses a secret in an output", () => {
    const subject = { ...sample(), outputs: { url: `https://u:${secret}@db` } };
    const violations = all.flatMap((each) => each.violations(subject));
    expect(violations).toEqual(["output url contains a secret"]);
  });

  it.each(all)("is shown to be able to fail: $name", (rule) => {
    expect(breaches.some((each) => rule.name.includes(each.rule))).toBe(true);
  });
});

function on(resource: string, path: (string | number)[], value: unknown, rule: string, says: string): Breach {
  return { rule, resource, path, value, says };
}

function put(subject: Subject, resource: string, path: (string | number)[], value: unknown): void {
  const target: unknown = subject.resources.find((each) => each.name === resource);
  const last = path.at(-1);
  const parent = path
    .slice(0, -1)
    .reduce<unknown>((each, key) => (each as Record<string | number, unknown>)[key], target);
  if (last === undefined || (!isObject(parent) && !Array.isArray(parent))) throw new Error(`no ${path.join(".")}`);
  const holder = parent as Record<string | number, unknown>;
  if (value === undefined) delete holder[last];
  else holder[last] = value;
}
