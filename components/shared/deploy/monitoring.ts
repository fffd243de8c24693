/** The argument `monitoring`, and what it makes: rules for Prometheus, what it scrapes, a dashboard. */
import { CustomResource } from "@pulumi/kubernetes/apiextensions";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { instanceLabels, namesOf } from "../core/names";
import { type Alert, type Scope, scopeOf } from "./alerts";
import type { Ensemble } from "./arguments";
import { dashboardData, dashboardLabel } from "./dashboards";
import { metadata } from "./network";
import { says, text } from "./schema";

export const monitoringArgument = z
  .strictObject({
    rules: z
      .enum(["none", "PrometheusRule", "ConfigMap"])
      .describe(
        "alerts: `PrometheusRule` where the Prometheus operator runs, `ConfigMap` for a Prometheus that reads files",
      )
      .default("none"),
    monitors: z
      .boolean()
      .describe("whether a PodMonitor tells the Prometheus operator what to scrape; `metrics.from` must admit it")
      .default(false),
    dashboards: z
      .boolean()
      .describe("whether a dashboard is made, as a ConfigMap with the label that the sidecar of Grafana looks for")
      .default(false),
    labels: z
      .record(z.string(), z.string(), says("labels with texts", 'use some like { release: "prometheus" }'))
      .describe("of these objects, which the operator may select by")
      .default({}),
    runbooks: text(/^\S+[^/\s]$/, "a URL without a slash at its end", 'use one like "https://wiki.example.com/cells"')
      .describe("where the pages of these docs are: each alert links to one; default: `docs`, as in the package")
      .default("docs"),
  })
  .prefault({});

/** `PrometheusRule` and rule files have the same groups. */
export function ruleGroups(scope: Scope, alerts: Alert[], runbooks: string) {
  const { service, name, namespace } = scope;
  const rules = alerts.map(({ name: alert, expr, for: duration, severity, summary, page }) => ({
    alert,
    expr,
    for: duration,
    labels: { severity, service, name, namespace },
    annotations: { summary: `${service} ${namespace}/${name}: ${summary}`, runbook_url: `${runbooks}/${page}` },
  }));
  return { groups: [{ name: `${namespace}/${name}`, rules }] };
}

/** The shortest alerts wait for a minute: what a planned change takes away for seconds must be back in the next scrape but one. */
const scrapeInterval = "30s";

export interface Monitored {
  alerts: (scope: Scope) => Alert[];
  /** Requires what `npm run build` made of its dashboard. */
  dashboard: () => unknown;
  /** Name of the Deployment whose agent runs all the time; without it agents run beside the servers. */
  agent?: string;
  /** What is scraped beside the port `metrics` of each pod. */
  endpoint?: (namespace: string) => object;
}

/** The last of an ensemble: what is not there yet would be reported as missing. */
export function createMonitoring(
  ensemble: Ensemble,
  monitored: Monitored,
  options: pulumi.CustomResourceOptions,
): void {
  const { service, name, namespace, monitoring } = ensemble;
  const { monitoring: objectName, dashboard } = namesOf(name);
  const described = (labels: Record<string, string>, of = objectName) => {
    const own = metadata(ensemble, of);
    return { ...own, labels: { ...own.labels, ...labels, ...monitoring.labels } };
  };
  const groups = namespace.apply((known) => {
    const scope = scopeOf(ensemble, known, monitored.agent);
    return ruleGroups(scope, monitored.alerts(scope), monitoring.runbooks);
  });
  if (monitoring.rules === "PrometheusRule") {
    const rule = {
      apiVersion: "monitoring.coreos.com/v1",
      kind: "PrometheusRule",
      metadata: described({}),
      spec: groups,
    };
    new CustomResource(objectName, rule, options);
  }
  if (monitoring.rules === "ConfigMap") {
    // A sidecar may write those of all ensembles into one folder.
    const data = pulumi
      .all([namespace, groups])
      .apply(([known, content]) => ({ [`${known}-${name}.yaml`]: `${JSON.stringify(content, null, 2)}\n` }));
    new ConfigMap(objectName, { metadata: described({ "cells-services/rules": "prometheus" }), data }, options);
  }
  if (monitoring.monitors) {
    const { endpoint } = monitored;
    const spec = namespace.apply((known) => ({
      selector: { matchLabels: instanceLabels(service, name) },
      podMetricsEndpoints: [{ port: "metrics" }, ...(endpoint === undefined ? [] : [endpoint(known)])].map((each) => ({
        ...each,
        interval: scrapeInterval,
      })),
    }));
    const monitor = { apiVersion: "monitoring.coreos.com/v1", kind: "PodMonitor", metadata: described({}), spec };
    new CustomResource(`${objectName}-pods`, monitor, options);
  }
  if (monitoring.dashboards) {
    const data = namespace.apply((known) => dashboardData(service, monitored.dashboard, { namespace: known, name }));
    new ConfigMap(dashboard, { metadata: described(dashboardLabel, dashboard), data }, options);
  }
}
