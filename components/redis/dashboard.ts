/** What one looks at in Redis. */
import { ensembleRows, gatewayRows, graph, memberRows, now, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";

export function redisDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace);
  const own = (metric: string): string => `cells_services_redis_${metric}{${pods.member}}`;
  const offset = own("replication_offset_bytes");
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
        graph("Behind the first member", "bytes", { "{{pod}}": `scalar(max(${offset})) - ${offset}` }),
        graph("Replicas that are connected", "short", { "{{pod}}": own("connected_replicas") }),
        now("Uptime", "s", { "{{pod}}": own("uptime_seconds") }),
      ],
    },
    {
      title: "Clients",
      panels: [graph("Connections to the servers", "short", { "{{pod}}": own("connected_clients") })],
    },
    ...gatewayRows(pods),
    ...ensembleRows(pods),
  ];
}
