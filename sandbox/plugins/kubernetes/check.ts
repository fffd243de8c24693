import { createHash, randomBytes } from "node:crypto";
import { type Failure, secretPaths } from "../server/provider";
import {
  containsUnknown,
  isMap,
  type Path,
  type Properties,
  type PropertyMap,
  unknown,
  type Value,
} from "../server/values";
import { annotated, kindOf, map, nameOf, namespaceOf, text, withoutNulls } from "./object";

const autonamed = "pulumi.com/autonamed";

export interface CheckInput {
  /** `kubernetes:apps/v1:StatefulSet` */
  type: string;
  logicalName: string;
  olds: Properties | undefined;
  news: Properties;
  randomSeed: Buffer;
  /** Namespace for objects that name none; undefined when the kind is not namespaced. */
  namespace: string | undefined;
}

export interface CheckOutput {
  inputs: Properties;
  failures: Failure[];
}

/** Completes what the program gave: apiVersion and kind, namespace, a name, secret marks. */
export function checkInputs({ type, logicalName, olds, news, randomSeed, namespace }: CheckInput): CheckOutput {
  const object = withoutNulls(news.value) as PropertyMap;
  const failures: Failure[] = [];
  const refused = refusal(type);
  if (refused !== undefined) failures.push({ property: "", reason: refused });
  const [, module = "", kind = ""] = type.split(":");
  object["apiVersion"] ??= module.replace(/^core\//, "");
  object["kind"] ??= kind;
  if (object["metadata"] === undefined) object["metadata"] = {};
  const metadata = object["metadata"];
  if (metadata === unknown) return { inputs: { value: object, secrets: news.secrets }, failures };
  if (!isMap(metadata)) {
    failures.push({ property: "metadata", reason: "metadata must be an object" });
    return { inputs: { value: object, secrets: news.secrets }, failures };
  }
  if (namespace !== undefined && (metadata["namespace"] ?? "") === "") metadata["namespace"] = namespace;
  if ((metadata["name"] ?? "") === "") {
    if ((metadata["generateName"] ?? "") !== "") {
      failures.push({ property: "metadata.generateName", reason: "metadata.generateName is not supported; omit it" });
    }
    const kept = olds !== undefined && isAutonamed(olds.value) ? nameOf(olds.value) : "";
    metadata["name"] = kept || autoname(logicalName, kindOf(object), randomSeed);
    metadata["annotations"] =
      metadata["annotations"] === unknown ? unknown : { ...map(metadata, "annotations"), [autonamed]: "true" };
  }
  failures.push(...invalid(object));
  return { inputs: { value: object, secrets: secretPaths(news.secrets, objectSecrets(object)) }, failures };
}

export function isAutonamed(object: Value | undefined): boolean {
  return annotated(object, autonamed);
}

/** `<logical name>-<8 hexadecimal digits>`, the same for the same seed so that a preview shows the name of the update. */
export function autoname(logicalName: string, kind: string, seed: Buffer): string {
  // 253 for most names; some kinds end up in labels or DNS labels, which hold 63.
  const limit = shortNames.has(kind) ? 63 : 253;
  const digits = (seed.length > 0 ? createHash("sha256").update(seed).digest() : randomBytes(4))
    .toString("hex")
    .slice(0, 8);
  const prefix = logicalName
    .toLowerCase()
    .replace(/[^a-z0-9.-]+/g, "-")
    .slice(0, limit - 9);
  return `${prefix}-${digits}`;
}

const shortNames = new Set(["Namespace", "Service", "Job", "CronJob", "StatefulSet", "Pod"]);

/** What of an object is secret by its nature. */
export function objectSecrets(object: PropertyMap): Path[] {
  if (kindOf(object) !== "Secret" || text(object, "apiVersion") !== "v1") return [];
  return ["data", "stringData"].filter((key) => object[key] !== undefined).map((key) => [key]);
}

/** Resources that are programs of the official plugin rather than objects of the API. */
export function refusal(type: string): string | undefined {
  const [, module = "", kind = ""] = type.split(":");
  const official = "is not part of the stand-in for kubernetes; it needs the official plugin";
  if (/^(helm\.sh|yaml|kustomize)(\/|$)/.test(module)) return `${module}:${kind} ${official}`;
  if (kind.endsWith("Patch") && module !== "apiextensions.k8s.io") return `${module}:${kind} ${official}`;
  if (kind.endsWith("List")) return `${module}:${kind} ${official}; declare the objects one by one`;
  return undefined;
}

function invalid(object: PropertyMap): Failure[] {
  const failures: Failure[] = [];
  for (const [key, value] of [
    ["metadata.name", nameOf(object)],
    ["metadata.namespace", namespaceOf(object)],
  ] as const) {
    if (value === undefined || value === unknown || containsUnknown(value)) continue;
    if (!/^[A-Za-z0-9]([A-Za-z0-9.:_-]*[A-Za-z0-9])?$/.test(value) || value.length > 253) {
      failures.push({
        property: key,
        reason: `${key} must be a DNS name of at most 253 characters, got ${JSON.stringify(value)}`,
      });
    }
  }
  return failures;
}
