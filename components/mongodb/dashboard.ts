/** What one looks at in MongoDB. */
import { ensembleRows, graph, memberRows, now, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";

export function mongodbDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace);
  const own = (metric: string): string => `cells_services_mongodb_${metric}{${pods.member}}`;
  return [
    ...memberRows(pods),
    {
      title: "Replica set",
      panels: [
        graph("Healthy members, as each one sees them", "short", { "{{pod}}": own("members_healthy") }),
        graph("Behind the primary", "s", { "{{pod}}": own("lag_seconds") }),
        graph("Reach of the oplog", "s", { "{{pod}}": own("oplog_window_seconds") }),
        now("Votes", "short", { "{{pod}}": own("votes") }),
        now("Feature compatibility version", "short", { "{{pod}}": own("feature_compatibility_version") }),
        now(
          "Did not read its renewed certificate",
          "bool_yes_no",
          { "{{pod}}": own("certificate_reload_failed") },
          { from: 1 },
        ),
      ],
    },
    {
      title: "Clients",
      panels: [
        graph("Connections", "short", { "{{pod}}": own("connections") }),
        graph(
          "Share of the connections",
          "percentunit",
          { "{{pod}}": `${own("connections")} / (${own("connections")} + ${own("connections_available")})` },
          { from: 0.8 },
        ),
      ],
    },
    ...ensembleRows(pods),
  ];
}
