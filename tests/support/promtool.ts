/** Alerts before promtool: what fires over stories of series, and what does not. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Alert, type Scope, titles } from "../../components/shared/deploy/alerts";
import { ruleGroups } from "../../components/shared/deploy/monitoring";
import { promtool } from "../../sandbox/servers";

/** By series, values a minute apart in the notation of promtool: "1x20 0x30" is a 1 for 21 minutes, then a 0 for 31. */
export type Series = Record<string, string>;

/** Later ones win. */
export function allSeries(...all: Series[]): Series {
  return Object.fromEntries(all.flatMap((each) => Object.entries(each)));
}

export interface Story {
  title: string;
  /** What differs from the healthy series; "": the series is missing. */
  series: Series;
  /** By time, such as "30m": the names of all alerts that fire then. The last one is empty: what fired recovers. */
  firing: Record<string, string[]>;
}

/** Of what every ensemble with agents beside its servers says while all is well, and its stories. Put together with those of the service. */
export function ofMembers(scope: Scope): { healthy: Series; stories: Story[] } {
  const { prefix, title, on } = namesIn(scope);
  const members = [0, 1, 2];
  const each = (metric: string, values: string): Series =>
    Object.fromEntries(members.map((ordinal) => [on(`${prefix}-${ordinal}`, metric), values]));
  const some = (metric: string, values: string): Series => ({ [on(`${prefix}-1`, metric)]: values });
  return {
    healthy: {
      ...each("cells_services_ready", "1x1000"),
      ...each("cells_services_primary", "0x1000"),
      ...{ [on(`${prefix}-0`, "cells_services_primary")]: "1x1000" },
      ...each("cells_services_refused", "0x1000"),
      ...each("cells_services_volume_size_bytes", "1000x1000"),
      ...each("cells_services_volume_available_bytes", "500x1000"),
    },
    stories: [
      {
        title: "a member is not ready",
        series: some("cells_services_ready", "0x30 1x60"),
        firing: { "9m": [], "15m": [`${title}MemberNotReady`], "40m": [] },
      },
      {
        title: "no member is scraped",
        series: {
          ...each("cells_services_ready", "1x5 _x30 1x60"),
          ...each("cells_services_primary", "1x5 _x30 1x60"),
        },
        firing: { "30m": [`${title}MemberNotReady`, `${title}NoPrimary`], "60m": [] },
      },
      {
        title: "no member takes writes",
        series: { [on(`${prefix}-0`, "cells_services_primary")]: "1x5 0x10 1x60" },
        firing: { "6m": [], "10m": [`${title}NoPrimary`], "40m": [] },
      },
      {
        title: "an agent refuses",
        series: some("cells_services_refused", "0x5 1x20 0x60"),
        firing: { "18m": [], "24m": [`${title}Refused`], "30m": [] },
      },
      {
        title: "a volume fills up",
        series: some("cells_services_volume_available_bytes", "500x5 100x20 500x60"),
        firing: { "20m": [`${title}VolumeFillsUp`], "60m": [] },
      },
      {
        title: "a volume is full",
        series: some("cells_services_volume_available_bytes", "500x5 10x20 500x60"),
        firing: { "20m": [`${title}VolumeFillsUp`, `${title}VolumeFull`], "60m": [] },
      },
    ],
  };
}

/** Of what every ensemble says of itself. `agent`: a pod that says it. */
export function ofEnsemble(scope: Scope, agent: string): { healthy: Series; stories: Story[] } {
  const { title, on } = namesIn(scope);
  const expiry = on(agent, "cells_services_certificate_expiry_timestamp_seconds");
  const backup = (metric: string, kind: string): string =>
    on(agent, `cells_services_backup_${metric}`).replace("}", `,kind="${kind}"}`);
  const runs = (kind: string, name: string, minutes: number): { healthy: Series; stories: Story[] } => ({
    healthy: {
      [backup("last_success_timestamp_seconds", kind)]: "500000x1000",
      [backup("last_schedule_timestamp_seconds", kind)]: "400000x1000",
      [backup("running", kind)]: "0x1000",
    },
    stories: [
      {
        title: `a ${kind} fails`,
        series: { [backup("last_schedule_timestamp_seconds", kind)]: "400000x10 600000x30 400000x60" },
        firing: { "15m": [], "25m": [`${title}${name}Failed`], "60m": [] },
      },
      {
        title: `a ${kind} goes on`,
        series: { [backup("last_schedule_timestamp_seconds", kind)]: "600000x60", [backup("running", kind)]: "1x60" },
        firing: { "30m": [] },
      },
      {
        title: `no ${kind} for too long`,
        series: {
          [backup("last_success_timestamp_seconds", kind)]: `0x${minutes + 60} 500000x100`,
          [backup("last_schedule_timestamp_seconds", kind)]: "0x1000",
        },
        firing: { [`${minutes + 5}m`]: [], [`${minutes + 40}m`]: [`${title}${name}TooOld`], [`${minutes + 90}m`]: [] },
      },
    ],
  });
  const both =
    scope.backups === undefined
      ? []
      : [runs("copy", "Backup", scope.backups.copy / 60), runs("proof", "BackupProof", scope.backups.proof / 60)];
  return {
    healthy: { [expiry]: "7776000x1000", ...allSeries(...both.map(({ healthy }) => healthy)) },
    stories: [
      {
        title: "a certificate is not renewed",
        series: { [expiry]: "1200000x100 7776000x100" },
        firing: { "50m": [], "70m": [`${title}CertificateNotRenewed`], "150m": [] },
      },
      {
        title: "nobody says when the certificate ends",
        series: { [expiry]: "7776000x10 _x120 7776000x100" },
        firing: { "60m": [], "100m": [`${title}NotWatched`], "200m": [] },
      },
      ...both.flatMap(({ stories }) => stories),
    ],
  };
}

export function ofGateway(scope: Scope): { healthy: Series; stories: Story[] } {
  const { prefix, title, on } = namesIn(scope);
  const pods = [`${prefix}-gateway-5f-a`, `${prefix}-gateway-5f-b`] as const;
  const proxied = (pod: string, metric: string, proxy: string): string =>
    on(pod, metric).replace("}", `,proxy="${proxy}"}`);
  const each = (metric: string, proxy: string, values: string): Series =>
    Object.fromEntries(pods.map((pod) => [proxied(pod, metric, proxy), values]));
  const none = each("haproxy_backend_active_servers", "primary", "1x5 0x10 1x60");
  return {
    healthy: {
      ...Object.fromEntries(pods.map((pod) => [on(pod, "up"), "1x1000"])),
      ...each("haproxy_frontend_current_sessions", "clients", "10x1000"),
      ...each("haproxy_frontend_limit_sessions", "clients", "4096x1000"),
      ...each("haproxy_backend_active_servers", "primary", "1x1000"),
    },
    stories: [
      {
        title: "a proxy is near its limit",
        series: { [proxied(pods[0], "haproxy_frontend_current_sessions", "clients")]: "4000x20 10x60" },
        firing: { "10m": [`${title}GatewayBusy`], "60m": [] },
      },
      {
        title: "no proxy knows the primary",
        series: none,
        firing: { "10m": [`${title}GatewayWithoutPrimary`], "60m": [] },
      },
      {
        title: "a proxy is lost",
        series: { [on(pods[1], "up")]: "1x5 0x30 1x60" },
        firing: { "10m": [], "20m": [`${title}GatewayAlone`], "60m": [] },
      },
    ],
  };
}

function namesIn({ service, name, namespace }: Scope) {
  const on = (pod: string, metric: string): string => `${metric}{namespace="${namespace}",pod="${pod}"}`;
  return { prefix: name, title: titles[service], on };
}

export function describeAlerts(alerts: Alert[], scope: Scope, healthy: Series, stories: Story[]): void {
  const names = alerts.map(({ name }) => name);
  describe(`the alerts of ${scope.service}`, () => {
    it("have names of their own", () => {
      expect(new Set(names).size).toBe(names.length);
    });

    it("fire in a story each, and recover", () => {
      const told = new Set(stories.flatMap(({ firing }) => Object.values(firing).flat()));
      expect([...told].sort()).toEqual([...names].sort());
      for (const { title, firing } of stories) expect(Object.values(firing).at(-1), title).toEqual([]);
    });

    it.each([{ title: "all is well", series: {}, firing: { "9m": [] } }, ...stories])(
      "$title",
      async ({ series, firing }) => {
        const told = Object.entries(firing).flatMap(([time, expected]) =>
          names.map((name) => ({
            expr: `sgn(count(ALERTS{alertname="${name}",alertstate="firing"})) or vector(0)`,
            eval_time: time,
            exp_samples: [{ labels: "{}", value: Number(expected.includes(name)) }],
          })),
        );
        const all = Object.entries({ ...healthy, ...series }).filter(([, values]) => values !== "");
        const test = {
          interval: "1m",
          input_series: all.map(([name, values]) => ({ series: name, values })),
          promql_expr_test: told,
        };
        expect(await complaints(ruleGroups(scope, alerts, "docs"), test)).toBe("");
      },
    );
  });
}

/** What promtool finds wrong. JSON is YAML. */
export async function complaints(rules: object, test: object): Promise<string> {
  const program = await promtool();
  const folder = mkdtempSync(join(tmpdir(), "alerts-"));
  try {
    const write = (file: string, content: object) => writeFileSync(join(folder, file), JSON.stringify(content));
    write("rules.yaml", rules);
    write("test.yaml", { rule_files: ["rules.yaml"], evaluation_interval: "1m", tests: [test] });
    const { status, stdout, stderr } = spawnSync(program, ["test", "rules", "test.yaml"], {
      cwd: folder,
      encoding: "utf8",
    });
    return status === 0 ? "" : `${stdout}${stderr}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
