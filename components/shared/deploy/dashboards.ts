/** What Grafana gets: a ConfigMap of what `npm run build` made, with the place to look at. */
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import * as pulumi from "@pulumi/pulumi";
import { commonLabels } from "../core/names";
import { built, digest } from "./bundle";

/** What is set in a dashboard; all else stays as it was built. */
interface Dashboard {
  uid: string;
  title: string;
  templating: { list: { type: string; name: string; query?: unknown }[] };
}

/** Without a name: of all components of the namespace. */
interface Place {
  namespace: string;
  name?: string;
}

/** Grafana knows dashboards by their uid, of at most 40 characters: those of two components are two. */
export function dashboardFor(kind: string, built: Dashboard, place: Place): Dashboard {
  const constants: Record<string, string> = { ...place };
  const list = built.templating.list.map((each) =>
    each.type === "constant" ? { ...each, query: constants[each.name] ?? "" } : each,
  );
  const where = Object.values(constants).join("/");
  return { ...built, uid: `${kind}-${digest(where)}`, title: `${kind} ${where}`, templating: { list } };
}

/** By the name of a file, which Grafana's sidecar writes into one folder with all others. */
export function dashboardData(kind: string, load: () => unknown, place: Place): Record<string, string> {
  const loaded = built<Dashboard>(`the dashboard of ${kind}`, `dashboards/${kind}.json`, load);
  const dashboard = dashboardFor(kind, loaded, place);
  return { [`${dashboard.uid}.json`]: JSON.stringify(dashboard) };
}

/** Which the sidecar looks for. */
export const dashboardLabel = { grafana_dashboard: "1" };

/** One look at all components of a namespace. */
export function createOverview(
  namespace: pulumi.Input<string>,
  labels: Record<string, string>,
  options: pulumi.CustomResourceOptions,
): void {
  const name = "cells-services-overview";
  const load = (): unknown => require("../../../dist/dashboards/overview.json");
  const data = pulumi.output(namespace).apply((known) => dashboardData("overview", load, { namespace: known }));
  const metadata = { name, namespace, labels: { ...commonLabels, ...dashboardLabel, ...labels } };
  new ConfigMap(name, { metadata, data }, options);
}
