/**
 * Builds the dashboards: one of each service and one of all, each a file in `dist/dashboards`, the same bytes for the same sources. Where they
 * look is in constants that `dashboardFor` sets when a component is deployed.
 *
 *   npm run build
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  ReduceDataOptionsBuilder,
} from "@grafana/grafana-foundation-sdk/common";
import {
  ConstantVariableBuilder,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  RowBuilder,
  type Threshold,
  ThresholdsConfigBuilder,
  ThresholdsMode,
} from "@grafana/grafana-foundation-sdk/dashboard";
import { DataqueryBuilder } from "@grafana/grafana-foundation-sdk/prometheus";
import { PanelBuilder as StatBuilder } from "@grafana/grafana-foundation-sdk/stat";
import { PanelBuilder as TimeSeriesBuilder } from "@grafana/grafana-foundation-sdk/timeseries";
import { etcdDashboard } from "./etcd/dashboard";
import { mongodbDashboard } from "./mongodb/dashboard";
import { mysqlDashboard } from "./mysql/dashboard";
import { natsDashboard } from "./nats/dashboard";
import { overview } from "./overview";
import { redisDashboard } from "./redis/dashboard";
import type { Panel, Row } from "./shared/core/dashboards";
import { vaultDashboard } from "./vault/dashboard";

/** By the name of their file. */
export const dashboards: Record<string, (name: string, namespace: string) => Row[]> = {
  etcd: etcdDashboard,
  vault: vaultDashboard,
  nats: natsDashboard,
  redis: redisDashboard,
  mongodb: mongodbDashboard,
  mysql: mysqlDashboard,
  overview: (_, namespace) => overview(namespace),
};

export function buildDashboards(): void {
  const folder = join(__dirname, "..", "dist", "dashboards");
  mkdirSync(folder, { recursive: true });
  for (const [name, rowsOf] of Object.entries(dashboards)) {
    const file = join(folder, `${name}.json`);
    // A test may read it right now.
    writeFileSync(`${file}.${process.pid}`, JSON.stringify(dashboard(name, rowsOf("$name", "$namespace"))));
    renameSync(`${file}.${process.pid}`, file);
  }
}

export function dashboard(title: string, rows: Row[]): Dashboard {
  const builder = new DashboardBuilder(title)
    .uid(title)
    .tags([tag])
    .readonly()
    .time({ from: "now-6h", to: "now" })
    .refresh("1m")
    .timezone("browser")
    .tooltip(DashboardCursorSync.Crosshair)
    .link(
      new DashboardLinkBuilder("Services")
        .type(DashboardLinkType.Dashboards)
        .tags([tag])
        .asDropdown(true)
        .keepTime(true),
    )
    .withVariable(new DatasourceVariableBuilder("datasource").label("Data source").type("prometheus"))
    .withVariable(new ConstantVariableBuilder("namespace").value(""))
    .withVariable(new ConstantVariableBuilder("name").value(""));
  let id = 0;
  for (const { title: row, panels } of rows) {
    builder.withRow(new RowBuilder(row).id(++id));
    const height = panels.some(({ kind }) => kind === "graph") ? 8 : 5;
    for (const panel of panels) {
      builder.withPanel(
        drawn(panel)
          .id(++id)
          .span(Math.floor(gridColumns / panels.length))
          .height(height),
      );
    }
  }
  return builder.build();
}

const tag = "cells-services";
const gridColumns = 24;

function drawn({ kind, title, unit, queries, bad }: Panel): StatBuilder | TimeSeriesBuilder {
  const style = new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Line);
  const last = new ReduceDataOptionsBuilder().calcs(["lastNotNull"]);
  const builder =
    kind === "now"
      ? new StatBuilder().reduceOptions(last).colorMode(BigValueColorMode.Value).graphMode(BigValueGraphMode.None)
      : new TimeSeriesBuilder().min(0).thresholdsStyle(style);
  builder
    .title(title)
    .unit(unit)
    .noValue("none")
    .datasource({ type: "prometheus", uid: `\${datasource}` })
    .thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps(bad)));
  for (const [index, [legend, expr]] of Object.entries(queries).entries()) {
    const query = new DataqueryBuilder()
      .refId(String.fromCharCode("A".charCodeAt(0) + index))
      .expr(expr)
      .legendFormat(legend === "" ? title : legend);
    builder.withTarget(kind === "now" ? query.instant() : query.range());
  }
  return builder;
}

/** The first color has no beginning. */
function steps(bad: Panel["bad"]): Threshold[] {
  if (bad === undefined) return [{ value: null, color: "text" }];
  return "below" in bad
    ? [
        { value: null, color: "red" },
        { value: bad.below, color: "green" },
      ]
    : [
        { value: null, color: "green" },
        { value: bad.from, color: "red" },
      ];
}

if (require.main === module) buildDashboards();
