import { changes } from "../server/changes";
import type { Difference, DiffKind } from "../server/provider";
import { formatPath, isMap, type Path, type PropertyMap } from "../server/values";
import { isAutonamed } from "./check";
import type { Configuration } from "./configuration";
import { apiVersionOf, kindOf, nameOf, namespaceOf, without } from "./object";

const selector = ["spec.selector"];
const statefulSet = [
  "spec.podManagementPolicy",
  "spec.revisionHistoryLimit",
  "spec.selector",
  "spec.serviceName",
  "spec.volumeClaimTemplates",
];
const job = ["spec.completions", "spec.parallelism", "spec.selector", "spec.template"];
const container = [
  ..."args command env image imagePullPolicy lifecycle livenessProbe ports readinessProbe resources".split(" "),
  ..."securityContext stdin stdinOnce terminationMessagePath terminationMessagePolicy tty".split(" "),
  ..."volumeDevices volumeMounts workingDir".split(" "),
];
const pod = [
  ..."affinity automountServiceAccountToken dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC".split(" "),
  ..."hostNetwork hostPID hostname imagePullSecrets nodeName nodeSelector overhead preemptionPolicy".split(" "),
  ..."priority priorityClassName readinessGates restartPolicy runtimeClassName schedulerName".split(" "),
  ..."securityContext serviceAccount serviceAccountName shareProcessNamespace subdomain".split(" "),
  ..."terminationGracePeriodSeconds volumes".split(" "),
  ...["containers[*]", "initContainers[*]"].flatMap((list) => container.map((field) => `${list}.${field}`)),
].map((field) => `spec.${field}`);
const volumeSources = [
  ..."awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk".split(" "),
  ..."glusterfs hostPath iscsi local nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO".split(" "),
  ..."storageos vsphereVolume".split(" "),
].map((source) => `spec.${source}`);

// The fields whose change makes a new object: those of the official plugin, not all that the API server refuses.
const replacing: Record<string, string[]> = {
  "apps/v1/StatefulSet": statefulSet,
  "apps/v1/Deployment": selector,
  "apps/v1/DaemonSet": selector,
  "batch/v1/Job": job,
  "v1/PersistentVolume": volumeSources,
  "v1/PersistentVolumeClaim": ["spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"],
  "v1/Pod": pod,
  "v1/ResourceQuota": ["spec.scopes"],
  "v1/Service": ["spec.clusterIP"],
  "v1/Secret": ["type"],
  "rbac.authorization.k8s.io/v1/RoleBinding": ["roleRef"],
  "rbac.authorization.k8s.io/v1/ClusterRoleBinding": ["roleRef"],
  "storage.k8s.io/v1/StorageClass": ["parameters", "provisioner"],
};

type Mutability = Pick<Configuration, "enableConfigMapMutable" | "enableSecretMutable">;

/** The fields of an object whose change replaces it. `[*]` stands for every element of a list. */
export function replacingFields(object: PropertyMap, mutability: Mutability): string[] {
  const kind = `${apiVersionOf(object)}/${kindOf(object)}`;
  const fields = ["metadata.name", "metadata.namespace", ...(replacing[kind] ?? [])];
  const immutable = object["immutable"] === true;
  if (kind === "v1/ConfigMap" && (immutable || !mutability.enableConfigMapMutable)) fields.push("data", "binaryData");
  if (kind === "v1/Secret" && (immutable || !mutability.enableSecretMutable)) fields.push("data", "stringData");
  return fields;
}

export interface DiffInput {
  oldInputs: PropertyMap;
  news: PropertyMap;
  mutability: Mutability;
  ignoreChanges?: string[];
  /** A Job with `pulumi.com/replaceUnready` that did not complete. */
  unready?: boolean;
}

export function diffObjects({
  oldInputs,
  news,
  mutability,
  ignoreChanges = [],
  unready = false,
}: DiffInput): Difference {
  const found = changes(comparable(oldInputs), comparable(news)).filter(
    ({ path }) => !ignoreChanges.some((ignored) => covers(ignored, path)),
  );
  const renewed = kindOf(oldInputs) !== kindOf(news) || groupChanged(oldInputs, news);
  const fields = replacingFields(news, mutability);
  const detailed: Record<string, DiffKind> = {};
  let replace = false;
  for (const { path, kind } of found) {
    const replaces = renewed || fields.some((field) => covers(field, path) || coveredBy(field, path));
    replace ||= replaces;
    detailed[formatPath(path)] = replaces ? `${kind}-replace` : kind;
  }
  if (unready) {
    replace = true;
    detailed['metadata.annotations["pulumi.com/replaceUnready"]'] = "update-replace";
  }
  // Two objects cannot have one name at one time; with an autoname the new one gets a name of its own.
  const samePlace = nameOf(oldInputs) === nameOf(news) && namespaceOf(oldInputs) === namespaceOf(news);
  return {
    changed: found.length > 0 || unready,
    detailed,
    deleteBeforeReplace: replace && samePlace && !isAutonamed(news),
  };
}

/** `apps/v1beta2` to `apps/v1` is the same object under another version. */
function groupChanged(before: PropertyMap, after: PropertyMap): boolean {
  const group = (object: PropertyMap) => apiVersionOf(object).split("/").slice(0, -1).join("/");
  return group(before) !== group(after);
}

/** Fields that the server writes and a program may have copied; and empty maps, which mean the same as none. */
function comparable(object: PropertyMap): PropertyMap {
  const rest = without(object, "status");
  if (!isMap(rest["metadata"])) return rest;
  const metadata = { ...rest["metadata"] };
  for (const key of ["labels", "annotations"]) {
    const entries = metadata[key];
    if (isMap(entries) && Object.keys(entries).length === 0) delete metadata[key];
  }
  return { ...rest, metadata };
}

function steps(field: string): string[] {
  return [...field.matchAll(/\["([^"]*)"\]|\[([^\]]*)\]|([^.[\]]+)/g)].map(
    (match) => match[1] ?? match[2] ?? match[3] ?? "",
  );
}

function matches(step: string, actual: string | number | undefined): boolean {
  return step === "*" || step === String(actual);
}

/** Whether a path lies at or below a field. */
function covers(field: string, path: Path): boolean {
  const wanted = steps(field);
  return wanted.length <= path.length && wanted.every((step, index) => matches(step, path[index]));
}

/** Whether a changed path contains a field: all of `spec` was added. */
function coveredBy(field: string, path: Path): boolean {
  const wanted = steps(field);
  return wanted.length > path.length && path.every((step, index) => matches(wanted[index] ?? "", step));
}
