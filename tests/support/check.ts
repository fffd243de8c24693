/** What a check is given in unit tests: a target, and a place where nobody answers. */
import type { CheckEnvironment, CheckTarget } from "../../components/shared/core/check";

export function targetOf(
  service: CheckTarget["service"],
  own: Pick<CheckTarget, "clientPort" | "metricsPort"> & Partial<CheckTarget>,
): CheckTarget {
  const name = own.name ?? service;
  return {
    service,
    name,
    namespace: "cells",
    members: [0, 1, 2].map((ordinal) => `${name}-${ordinal}`),
    peersService: `${name}-peers`,
    host: `${name}.cells.svc`,
    tls: "required",
    trust: `${name}-ca`,
    adminSecret: `${name}-admin`,
    durability: null,
    applications: { cells: `${name}-application-cells` },
    ...own,
  };
}

/** Must be in no finding. */
export const password = "hidden-value";

export function unreachable(changes: Partial<CheckEnvironment> = {}): CheckEnvironment {
  return {
    tunnel: {
      dial: async (pod) => Promise.reject(new Error(`the pod ${pod} is not running`)),
      service: async (name) => Promise.reject(new Error(`no pod is ready behind ${name}`)),
    },
    secret: async () => ({ username: "admin", password }),
    configMap: async () => ({ "ca.crt": "PEM" }),
    clock: () => 0,
    signal: new AbortController().signal,
    ...changes,
  };
}
