/**
 * What a release promises to those who have deployed it: the URN of each resource, and of whatever holds data or opens it
 * the fields whose change makes Pulumi replace it.
 */
import { isObject } from "../support/values";

export interface Resource {
  urn: string;
  type: string;
  inputs: Record<string, unknown>;
}

export interface Promised {
  urn: string;
  /** By path. A field that is not set is null. */
  fixed?: Record<string, unknown>;
}

/** As in the list of the official plugin (`forceNewProperties`), and the name, which identifies the object. */
const identity = ["metadata.name", "metadata.namespace"];
const replacedBy: Record<string, readonly string[]> = {
  "kubernetes:apps/v1:StatefulSet": [
    ...identity,
    "spec.podManagementPolicy",
    "spec.revisionHistoryLimit",
    "spec.selector",
    "spec.serviceName",
    "spec.volumeClaimTemplates",
  ],
  "kubernetes:core/v1:PersistentVolumeClaim": [
    ...identity,
    "spec.accessModes",
    "spec.selector",
    "spec.storageClassName",
    "spec.volumeName",
  ],
  "kubernetes:core/v1:Secret": [...identity, "type", "immutable"],
  "kubernetes:core/v1:Namespace": ["metadata.name"],
  "random:index/randomPassword:RandomPassword": ["length", "special", "keepers"],
  "random:index/randomId:RandomId": ["byteLength", "keepers"],
  "aws:s3/bucket:Bucket": ["bucket", "objectLockEnabled"],
  "pulumi:providers:kubernetes": ["clusterIdentifier"],
};

export function promised(resources: readonly Resource[]): Promised[] {
  return resources
    .map(({ urn, type, inputs }) => {
      const paths = replacedBy[type];
      return paths === undefined ? { urn } : { urn, fixed: Object.fromEntries(paths.map((path) => [path, value(inputs, path)])) };
    })
    .sort((a, b) => (a.urn < b.urn ? -1 : 1));
}

function value(inputs: Record<string, unknown>, path: string): unknown {
  const found = path.split(".").reduce<unknown>((each, key) => (isObject(each) ? each[key] : undefined), inputs);
  return found === undefined ? null : sorted(found);
}

function sorted(item: unknown): unknown {
  if (Array.isArray(item)) return item.map(sorted);
  if (!isObject(item)) return item;
  return Object.fromEntries(
    Object.keys(item)
      .sort()
      .map((key) => [key, sorted(item[key])]),
  );
}
