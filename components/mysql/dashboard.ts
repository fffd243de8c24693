/** What one looks at in MySQL. */
import { ensembleRows, gatewayRows, graph, memberRows, now, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";

export function mysqlDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace);
  const own = (metric: string): string => `cells_services_mysql_${metric}{${pods.member}}`;
  return [
    ...memberRows(pods),
    {
      title: "Group",
      panels: [
        now("Sees a majority", "bool_yes_no", { "{{pod}}": own("majority") }, { below: 1 }),
        graph("Members that are online, as each one sees them", "short", { "{{pod}}": own("members_online") }),
        graph("Age of the transaction that is applied", "s", { "{{pod}}": own("applier_lag_seconds") }),
        graph("Transactions that wait to be applied", "short", { "{{pod}}": own("applier_queue") }),
      ],
    },
    {
      title: "Clients",
      panels: [
        graph("Connections", "short", { "{{pod}}": own("connections"), limit: `min(${own("max_connections")})` }),
        graph(
          "Share of the connections",
          "percentunit",
          { "{{pod}}": `${own("connections")} / ${own("max_connections")}` },
          { from: 0.8 },
        ),
      ],
    },
    ...gatewayRows(pods),
    ...ensembleRows(pods),
  ];
}
