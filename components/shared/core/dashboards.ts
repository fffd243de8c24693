/** Dashboards as data, of which `npm run build` makes what Grafana reads. What every ensemble has stands here. */
import { metricPrefix, type Pods } from "./metrics";

export interface Panel {
  title: string;
  /** `now`: the last values. `graph`: over time. */
  kind: "now" | "graph";
  /** As Grafana calls it; `dateTimeFromNow` takes milliseconds, `s` seconds. */
  unit: "short" | "bool_yes_no" | "bytes" | "Bps" | "percentunit" | "s" | "ms" | "ops";
  /** PromQL by legend. */
  queries: Record<string, string>;
  /** Where values become red. Default: nowhere. */
  bad: { below: number } | { from: number } | undefined;
}

export interface Row {
  title: string;
  panels: Panel[];
}

const panel =
  (kind: Panel["kind"]) =>
  (title: string, unit: Panel["unit"], queries: Panel["queries"], bad?: Panel["bad"]): Panel => ({
    title,
    kind,
    unit,
    queries,
    bad,
  });
export const now = panel("now");
export const graph = panel("graph");

/** An average over at least four scrapes, as Grafana knows their interval. */
export const rate = (series: string): string => `rate(${series}[$__rate_interval])`;

/** Of which 1 % is slower, of a histogram. */
export const slowest = (histogram: string, matchers: string): string =>
  `histogram_quantile(0.99, sum by (pod, le) (${rate(`${histogram}_bucket{${matchers}}`)}))`;

const metric = (name: string, matchers: string): string => `${metricPrefix}${name}{${matchers}}`;

/** Of agents beside servers. */
export function memberRows({ member }: Pods): Row[] {
  const [size, available] = [metric("volume_size_bytes", member), metric("volume_available_bytes", member)];
  return [
    {
      title: "Members",
      panels: [
        now("Ready", "bool_yes_no", { "{{pod}}": metric("ready", member) }, { below: 1 }),
        now("Takes writes", "bool_yes_no", { "{{pod}}": metric("primary", member) }),
        now("Refuses to act", "bool_yes_no", { "{{pod}}": metric("refused", member) }, { from: 1 }),
      ],
    },
    {
      title: "Volumes",
      panels: [
        graph("Used", "bytes", { "{{pod}}": `${size} - ${available}` }),
        graph("Free", "percentunit", { "{{pod}}": `${available} / ${size}` }, { below: 0.15 }),
      ],
    },
  ];
}

/** Of agents that run as long as their ensemble. */
export function ensembleRows({ agent }: Pods): Row[] {
  const age = (name: string): string => `time() - max by (kind) (${metric(name, agent)})`;
  const expiry = `min(${metric("certificate_expiry_timestamp_seconds", agent)})`;
  return [
    {
      title: "Certificates and backups",
      panels: [
        now("The server certificate ends in", "s", { "": `${expiry} - time()` }, { below: 0 }),
        now("Last good run ago", "s", { "{{kind}}": age("backup_last_success_timestamp_seconds") }),
        now("Last run by schedule ago", "s", { "{{kind}}": age("backup_last_schedule_timestamp_seconds") }),
        now("Runs", "bool_yes_no", { "{{kind}}": `max by (kind) (${metric("backup_running", agent)})` }),
      ],
    },
  ];
}

export function gatewayRows({ gateway }: Pods): Row[] {
  const [clients, primary] = [`${gateway},proxy="clients"`, `${gateway},proxy="primary"`];
  return [
    {
      title: "Gateway",
      panels: [
        now(
          "Knows the primary",
          "bool_yes_no",
          { "{{pod}}": `haproxy_backend_active_servers{${primary}}` },
          { below: 1 },
        ),
        graph("Sessions", "short", {
          "{{pod}}": `haproxy_frontend_current_sessions{${clients}}`,
          "limit of {{pod}}": `haproxy_frontend_limit_sessions{${clients}}`,
        }),
        graph("Traffic", "Bps", {
          "{{pod}} from clients": rate(`haproxy_frontend_bytes_in_total{${clients}}`),
          "{{pod}} to clients": rate(`haproxy_frontend_bytes_out_total{${clients}}`),
        }),
        graph("Connections that failed", "ops", {
          "{{pod}}": rate(`haproxy_backend_connection_errors_total{${primary}}`),
        }),
      ],
    },
  ];
}
