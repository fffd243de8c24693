/** What one looks at in Redis. */
import { ensembleRows, gatewayRows, graph, memberRows, now, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";

export function redisDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace);
  const own = (metric: string): string => `cells_services_redis_${metric}{${pods.member}}`;
  return [
    ...memberRows(pods),
    {
      title: "Memory and data",
      panels: [
        graph("Memory", "bytes", { "{{pod}}": own("used_memory_bytes"), limit: `max(${own("maxmemory_bytes")})` }),
        graph("Keys", "short", { "{{pod}}": own("keys") }),
        now("The file of changes is written", "bool_yes_no", { "{{pod}}": own("aof_last_write_ok") }, { below: 1 }),
      ],
    },
    {
      title: "Replication",
      panels: [
        now("Replica is connected", "bool_yes_no", { "{{pod}}": own("replication_link_up") }, { below: 1 }),
        graph("Behind the master", "bytes", { "{{pod}}": own("replication_lag_bytes") }),
        graph("Sentinels that agree", "short", { "{{pod}}": own("sentinels_agreed") }),
        now("Uptime", "s", { "{{pod}}": own("uptime_seconds") }),
      ],
    },
    {
      title: "Clients of the servers",
      panels: [
        graph("Connections", "short", { "{{pod}}": own("connected_clients") }),
        graph(
          "Share of the connections",
          "percentunit",
          { "{{pod}}": `${own("connected_clients")} / ${own("max_clients")}` },
          { from: 0.8 },
        ),
      ],
    },
    ...gatewayRows(pods),
    ...ensembleRows(pods),
  ];
}
