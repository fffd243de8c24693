import { at, isMap, type Path, type PropertyMap, type Value } from "../server/values";

/** A Kubernetes object as plain data. */
export type KubernetesObject = PropertyMap;

export function text(object: Value | undefined, ...path: Path): string | undefined {
  const value = at(object, path);
  return typeof value === "string" ? value : undefined;
}

export function number(object: Value | undefined, ...path: Path): number | undefined {
  const value = at(object, path);
  return typeof value === "number" ? value : undefined;
}

export function list(object: Value | undefined, ...path: Path): Value[] {
  const value = at(object, path);
  return Array.isArray(value) ? value : [];
}

export function map(object: Value | undefined, ...path: Path): PropertyMap {
  const value = at(object, path);
  return isMap(value) ? value : {};
}

export const apiVersionOf = (object: Value | undefined) => text(object, "apiVersion") ?? "";
export const kindOf = (object: Value | undefined) => text(object, "kind") ?? "";
export const nameOf = (object: Value | undefined) => text(object, "metadata", "name") ?? "";
export const namespaceOf = (object: Value | undefined) => text(object, "metadata", "namespace");
export const annotation = (object: Value | undefined, key: string) => text(object, "metadata", "annotations", key);

/** Annotations steer the plugin with the strings "true" and "false". */
export function annotated(object: Value | undefined, key: string): boolean {
  return annotation(object, key)?.toLowerCase() === "true";
}

export function groupOf(apiVersion: string): string {
  return apiVersion.includes("/") ? (apiVersion.split("/")[0] ?? "") : "";
}

/** The name in messages: `StatefulSet cells/etcd`. */
export function title(object: Value | undefined): string {
  const namespace = namespaceOf(object);
  return `${kindOf(object)} ${namespace === undefined ? "" : `${namespace}/`}${nameOf(object)}`;
}

/** The condition of a type in a status: undefined when the controller has not written it. */
export function condition(object: Value | undefined, type: string): PropertyMap | undefined {
  return list(object, "status", "conditions").find(
    (entry): entry is PropertyMap => isMap(entry) && entry["type"] === type,
  );
}

export function without(object: PropertyMap, ...keys: string[]): PropertyMap {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

/** Copies without entries that are null: the API reads them as absent, and so does a comparison. */
export function withoutNulls(value: Value): Value {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== null)
      .map(([key, item]) => [key, withoutNulls(item)]),
  );
}
