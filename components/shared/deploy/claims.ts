/** Refuses two components whose objects would have the same names, also of different services. */
import * as pulumi from "@pulumi/pulumi";
import { namesOf } from "../core/names";
import type { Ensemble } from "./arguments";

interface Claim {
  ensemble: Ensemble;
  /** The argument of the component. */
  namespace: pulumi.Input<string>;
}

/** By the resource of the stack: each run of a program has its own. */
const claims = new WeakMap<pulumi.Resource, Claim[]>();

/**
 * Throws before any resource exists when both namespaces are plain text. When one is an output, the namespace of the returned
 * ensemble fails instead, so that none of its objects is created.
 */
export function claimNames<E extends Ensemble>(ensemble: E, namespace: pulumi.Input<string>): E {
  const stack = pulumi.runtime.getStackResource();
  // Tests on the mocks of the SDK have no stack, and may create the same component again and again.
  if (stack === undefined) return ensemble;
  const earlier = claims.get(stack) ?? [];
  claims.set(stack, [...earlier, { ensemble, namespace }]);
  const rivals = earlier.filter((other) => collide(ensemble, other.ensemble));
  for (const rival of rivals) {
    if (typeof namespace === "string" && namespace === rival.namespace) refuse(ensemble, rival.ensemble, namespace);
  }
  const undecided = rivals.filter((rival) => typeof namespace !== "string" || typeof rival.namespace !== "string");
  if (undecided.length === 0) return ensemble;
  const known = [ensemble, ...undecided.map((rival) => rival.ensemble)].map((each) => each.namespace);
  return {
    ...ensemble,
    namespace: pulumi.all(known).apply(([own = "", ...others]) => {
      const rival = undecided[others.indexOf(own)];
      return rival === undefined ? own : refuse(ensemble, rival.ensemble, own);
    }),
  };
}

interface Claimed {
  name: string;
  backups?: unknown;
}

/** The names that objects of the same kind have in all services. */
function collide(one: Claimed, other: Claimed): boolean {
  const taken = ({ name, backups }: Claimed): string[] => {
    const { server, peers, certificates, preflight, setup, backup, proof } = namesOf(name);
    return [server, peers, certificates, preflight, setup, ...(backups === undefined ? [] : [backup, proof])];
  };
  return taken(one).includes(other.name) || taken(other).includes(one.name);
}

function refuse(ensemble: Ensemble, rival: Ensemble, namespace: string): never {
  const message =
    `${ensemble.service} ${JSON.stringify(ensemble.name)}: name must be one that no object of another component has, ` +
    `got one of ${rival.service} ${JSON.stringify(rival.name)} in the same namespace ${JSON.stringify(namespace)}; ` +
    "use another name";
  // Read-only, because the SDK would prepend the path of each property that waits for the namespace.
  throw Object.defineProperty(new pulumi.RunError(message), "message", { get: () => message, set: () => undefined });
}
