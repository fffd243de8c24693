/** What one looks at in NATS: what the reconciler sees. */
import { ensembleRows, graph, now, type Row } from "../shared/core/dashboards";
import { podsOf } from "../shared/core/metrics";
import { reconcilerName } from "./layout";

export function natsDashboard(name: string, namespace: string): Row[] {
  const pods = podsOf(name, namespace, reconcilerName(name));
  // While the reconciler is replaced, two of its pods say the same of a member.
  const of = (fold: "min" | "max", metric: string, by = "member"): string =>
    `${fold} by (${by}) (cells_services_nats_${metric}{${pods.agent}})`;
  const store = (which: string): string => of("max", `store_${which}_bytes`, "member, storage");
  return [
    {
      title: "Members",
      panels: [
        now("Answers", "bool_yes_no", { "{{member}}": of("min", "up") }, { below: 1 }),
        now("Ready", "bool_yes_no", { "{{member}}": of("min", "ready") }, { below: 1 }),
        now("Streams are current", "bool_yes_no", { "{{member}}": of("min", "streams_current") }, { below: 1 }),
        now("Leads the meta group", "bool_yes_no", { "{{member}}": of("max", "meta_leader") }),
      ],
    },
    {
      title: "Store",
      panels: [
        graph("Used", "bytes", { "{{member}}, {{storage}}": store("used") }),
        graph(
          "Share of the limit",
          "percentunit",
          { "{{member}}, {{storage}}": `${store("used")} / ${store("limit")}` },
          { from: 0.8 },
        ),
      ],
    },
    {
      title: "Streams",
      panels: [
        graph(
          "With fewer replicas than they are to have",
          "short",
          {
            "{{application}}": of("max", "streams_under_replicated", "application"),
          },
          { from: 1 },
        ),
        now("Last look ago", "s", {
          "{{application}}": `time() - ${of("max", "last_pass_timestamp_seconds", "application")}`,
        }),
      ],
    },
    {
      title: "Clients and processes",
      panels: [
        graph("Connections", "short", {
          "{{member}}": of("max", "connections"),
          limit: `min(${of("max", "max_connections")})`,
        }),
        graph("Clients that read too slowly, in an hour", "short", {
          "{{member}}": `max by (member) (increase(cells_services_nats_slow_consumers{${pods.agent}}[1h]))`,
        }),
        graph("Memory", "bytes", { "{{member}}": of("max", "memory_bytes") }),
      ],
    },
    ...ensembleRows(pods),
  ];
}
