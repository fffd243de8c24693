import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { buildDashboards, dashboard, dashboards } from "../../../components/dashboards";
import { EtcdCluster, type EtcdClusterArguments } from "../../../components/etcd";
import { dashboardFor } from "../../../components/shared/deploy/dashboards";
import { queriesOf, unknownMetrics } from "../../support/dashboards";
import { at, inputs } from "../../support/graph";
import { type Graph, record } from "../../support/recorder";

const configMap = "kubernetes:core/v1:ConfigMap";
const deploy = (args: Partial<EtcdClusterArguments>): Promise<Graph> =>
  record(() => void new EtcdCluster("etcd", { namespace: "cells", metrics: { from: [{}] }, ...args }));

beforeAll(async () => {
  await buildAgents(["etcd"]);
  buildDashboards();
});

describe("a dashboard", () => {
  it.each(Object.keys(dashboards))("of %s asks for metrics that agents serve", (kind) => {
    expect(unknownMetrics(kind)).toEqual([]);
  });

  it.each(Object.entries(dashboards))("of %s looks into one namespace alone", (_, rowsOf) => {
    // Each selector of series is of the namespace, and so of no other ensemble.
    for (const query of queriesOf(rowsOf("$name", "$namespace"))) {
      const selectors = query.match(/\{[^}]*\}/g) ?? [];
      expect(selectors.length, query).toBeGreaterThan(0);
      for (const selector of selectors) expect(selector, query).toContain('namespace="$namespace"');
    }
  });

  it("is the same each time it is built", () => {
    const build = () => JSON.stringify(dashboard("etcd", dashboards["etcd"]?.("$name", "$namespace") ?? []));
    expect(build()).toBe(build());
  });

  it("fills the lines of the grid, and no more", () => {
    for (const [kind, rowsOf] of Object.entries(dashboards)) {
      const { panels = [] } = dashboard(kind, rowsOf("$name", "$namespace"));
      for (const { gridPos } of panels) expect((gridPos?.x ?? 0) + (gridPos?.w ?? 0), kind).toBeLessThanOrEqual(24);
      const places = panels.map(({ gridPos }) => `${gridPos?.x} ${gridPos?.y}`);
      expect(new Set(places).size, kind).toBe(places.length);
    }
  });

  it("has a uid of its own, of 40 characters at most, and the place in its constants", () => {
    const built = dashboard("mongodb", []) as Parameters<typeof dashboardFor>[1];
    const [namespace, name] = ["n".repeat(63), "m".repeat(39)];
    const made = dashboardFor("mongodb", built, { namespace, name });
    expect(made.uid).toMatch(/^[a-z0-9-]{1,40}$/);
    expect(made.title).toBe(`mongodb ${namespace}/${name}`);
    const constants = made.templating.list.filter(({ type }) => type === "constant");
    expect(constants.map((each) => [each.name, each.query])).toEqual([
      ["namespace", namespace],
      ["name", name],
    ]);
    const others = [{ namespace, name: "other" }, { namespace: "other", name }, { namespace }].map(
      (place) => dashboardFor("mongodb", built, place).uid,
    );
    expect(new Set([made.uid, ...others]).size).toBe(4);
    // What was built is loaded once for all components.
    expect(built.uid).toBe("mongodb");
  });
});

describe("the ConfigMap of a dashboard", () => {
  it("has the label of Grafana's sidecar, those given, and the dashboard", async () => {
    const graph = await deploy({ monitoring: { dashboards: true, labels: { grafana: "main" } } });
    const made = inputs(graph, configMap, "etcd-dashboard");
    expect(at(made, "metadata.name")).toBe("etcd-dashboard");
    expect(at(made, "metadata.labels")).toMatchObject({ grafana_dashboard: "1", grafana: "main" });
    const [[file, content] = ["", ""], ...others] = Object.entries(made["data"] as Record<string, string>);
    expect(others).toEqual([]);
    const { uid, title } = JSON.parse(content) as { uid: string; title: string };
    expect([file, title]).toEqual([`${uid}.json`, "etcd cells/etcd"]);
  });

  it("is not made unless somebody asks for it", async () => {
    const graph = await deploy({ monitoring: { rules: "ConfigMap" } });
    expect(graph.byType(configMap).map(({ name }) => name)).not.toContain("etcd-dashboard");
  });
});
