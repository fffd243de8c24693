/** The queries of the dashboards before promtool. */
import { expect, it } from "vitest";
import { dashboards } from "../../components/dashboards";
import { queriesOf } from "../support/dashboards";
import { complaints } from "../support/promtool";

it.each(Object.entries(dashboards))("Prometheus can read the queries of %s", async (_, rowsOf) => {
  // Prometheus does not know the variables of Grafana.
  const queries = queriesOf(rowsOf("etcd", "cells")).map((query) => query.replaceAll("$__rate_interval", "4m"));
  const rules = queries.map((expr, index) => ({ record: `query_${index}`, expr }));
  expect(await complaints({ groups: [{ name: "queries", rules }] }, { input_series: [] })).toBe("");
});
