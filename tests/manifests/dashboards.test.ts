/** The queries of the dashboards before promtool. Without promtool they are skipped. */
import { expect, it } from "vitest";
import { dashboards } from "../../components/dashboards";
import { queriesOf } from "../support/dashboards";
import { found, promtool } from "../support/promtool";

it.runIf(found).each(Object.entries(dashboards))("Prometheus can read the queries of %s", (_, rowsOf) => {
  // Prometheus does not know the variables of Grafana.
  const queries = queriesOf(rowsOf("etcd", "cells")).map((query) => query.replaceAll("$__rate_interval", "4m"));
  const rules = queries.map((expr, index) => ({ record: `query_${index}`, expr }));
  expect(promtool({ groups: [{ name: "queries", rules }] }, { input_series: [] })).toBe("");
});
