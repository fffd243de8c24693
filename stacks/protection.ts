import type { ResourceTransformation } from "@pulumi/pulumi";

/**
 * A StatefulSet owns the claims of its members: it must not be replaced or deleted in passing. Jobs, Services and
 * policies stay unprotected, since updates replace them; passwords too, since their rotation does.
 */
const dataTypes: readonly string[] = ["kubernetes:apps/v1:StatefulSet", "kubernetes:core/v1:PersistentVolumeClaim"];

/** Protects what holds data. A seat belt, not a lock: `pulumi state unprotect` opens it. */
export const protectData: ResourceTransformation = ({ type, props, opts }) =>
  dataTypes.includes(type) ? { props, opts: { ...opts, protect: true } } : undefined;
