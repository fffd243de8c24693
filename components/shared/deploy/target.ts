/** What a component tells the checks about itself. */

import type { CheckTarget } from "../core/check";
import { applicationSecretName, memberNames, namesOf } from "../core/names";
import type { Ensemble } from "./arguments";

export interface TargetDetails extends Pick<CheckTarget, "seal" | "audit"> {
  namespace: string;
  host: string;
  ports: { client: number; metrics: number };
  durability: CheckTarget["durability"];
}

export function checkTarget(
  ensemble: Ensemble,
  { namespace, host, ports, durability, ...more }: TargetDetails,
): CheckTarget {
  const names = namesOf(ensemble.name);
  return {
    service: ensemble.service,
    name: ensemble.name,
    namespace,
    members: memberNames(ensemble.name, ensemble.members),
    peersService: names.peers,
    clientPort: ports.client,
    metricsPort: ports.metrics,
    host,
    tls: ensemble.tls,
    trust: ensemble.tls === "off" ? null : names.trust,
    adminSecret: names.admin,
    durability,
    applications: Object.fromEntries(
      ensemble.applications.map((application) => [application, applicationSecretName(ensemble.name, application)]),
    ),
    ...more,
  };
}
