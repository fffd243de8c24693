/** What one looks at first: all components of a namespace, which are known by their pods. */
import { maintenanceName } from "./etcd/layout";
import { reconcilerName } from "./nats/layout";
import { graph, now, type Row } from "./shared/core/dashboards";
import { serviceKinds } from "./shared/core/names";

/** Pods whose agents run all the time. What stands before the number of a member, or before the agent, is the name of the component. */
const agents = `(.+?)(-[0-9]+|${maintenanceName("")}-.+|${reconcilerName("")}-.+)`;

export function overview(namespace: string): Row[] {
  const own = (metric: string): string => `cells_services_${metric}{namespace="${namespace}"}`;
  const byName = (fold: "min" | "max" | "sum", series: string, labels: string[] = []): string =>
    `${fold} by (${["name", ...labels].join()}) (label_replace(${series}, "name", "$1", "pod", "${agents}"))`;
  const firing = `ALERTS{namespace="${namespace}",alertstate="firing",service=~"${serviceKinds.join("|")}"}`;
  const free = `${own("volume_available_bytes")} / ${own("volume_size_bytes")}`;
  const sessions = (which: string): string =>
    `haproxy_frontend_${which}_sessions{namespace="${namespace}",proxy="clients"}`;
  return [
    {
      title: "Now",
      panels: [
        now(
          "Alerts that fire",
          "short",
          { "{{name}}: {{alertname}}": `count by (name, alertname) (${firing})` },
          { from: 1 },
        ),
        now("Answers no scrape", "bool_yes_no", { "{{pod}}": `1 - (up{namespace="${namespace}"} == 0)` }, { from: 1 }),
        now("Agents that refuse to act", "short", { "{{name}}": byName("sum", own("refused")) }, { from: 1 }),
      ],
    },
    {
      title: "Members",
      panels: [
        graph("Ready", "short", {
          "{{name}}": byName("sum", own("ready")),
          "{{name}} with a leader": byName("sum", `etcd_server_has_leader{namespace="${namespace}"}`),
          "{{name}}, by its reconciler": byName("sum", own("nats_ready")),
        }),
        graph("Take writes", "short", { "{{name}}": byName("sum", own("primary")) }, { below: 1 }),
        graph("Free space of volumes", "percentunit", { "{{pod}}": free }, { below: 0.15 }),
        graph(
          "Sessions of gateways, of their limit",
          "percentunit",
          {
            "{{pod}}": `${sessions("current")} / ${sessions("limit")}`,
          },
          { from: 0.8 },
        ),
      ],
    },
    {
      title: "Certificates and backups",
      panels: [
        now(
          "Server certificates end in",
          "s",
          { "{{name}}": `${byName("min", own("certificate_expiry_timestamp_seconds"))} - time()` },
          { below: 0 },
        ),
        now("Last good runs ago", "s", {
          "{{name}} {{kind}}": `time() - ${byName("max", own("backup_last_success_timestamp_seconds"), ["kind"])}`,
        }),
      ],
    },
  ];
}
