/** What the argument `monitoring` makes. */
import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster, type EtcdClusterArguments } from "../../../components/etcd";
import { VaultCluster } from "../../../components/vault";
import { at, inputs, listAt, only } from "../../support/graph";
import { type Graph, record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

type Monitoring = NonNullable<EtcdClusterArguments["monitoring"]>;
const metrics = { from: [{ namespaceLabels: { team: "prometheus" } }] };
const deploy = (monitoring?: Monitoring): Promise<Graph> =>
  record(() => void new EtcdCluster("etcd", { namespace: "cells", metrics, ...(monitoring && { monitoring }) }));
const podMonitor = "kubernetes:monitoring.coreos.com/v1:PodMonitor";
const prometheusRule = "kubernetes:monitoring.coreos.com/v1:PrometheusRule";
const noLeader = (groups: unknown): unknown => listAt(listAt(groups, "groups")[0], "rules")[1];

beforeAll(() => ensureAgentBundles());

describe("rules", () => {
  it("are made where they are wanted, and nothing else", async () => {
    const monitoringOf = (graph: Graph) => graph.resources.filter(({ name }) => name.includes("monitoring"));
    expect(monitoringOf(await deploy())).toEqual([]);
    expect(monitoringOf(await deploy({ rules: "ConfigMap" }))).toHaveLength(1);
  });

  it("name the ensemble, how bad it is, and the page that says what to do", async () => {
    const graph = await deploy({ rules: "PrometheusRule", runbooks: "https://wiki.example.com/cells" });
    expect(noLeader(at(inputs(graph, prometheusRule, "etcd-monitoring"), "spec"))).toEqual({
      alert: "EtcdNoLeader",
      expr: '(sum(etcd_server_has_leader{namespace="cells",pod=~"etcd-[0-9]+"}) or vector(0)) < 2',
      for: "1m",
      labels: { severity: "critical", service: "etcd", name: "etcd", namespace: "cells" },
      annotations: {
        summary:
          "etcd cells/etcd: no majority of the members has a leader, and no member takes writes, or none is scraped",
        runbook_url: "https://wiki.example.com/cells/etcd.md#failure-modes",
      },
    });
  });

  it("are the same in a file", async () => {
    const rule = inputs(await deploy({ rules: "PrometheusRule" }), prometheusRule, "etcd-monitoring");
    const map = inputs(await deploy({ rules: "ConfigMap" }), "kubernetes:core/v1:ConfigMap", "etcd-monitoring");
    const { "cells-etcd.yaml": file } = at(map, "data") as Record<string, string>;
    expect(JSON.parse(file ?? "")).toEqual(at(rule, "spec"));
  });
});

describe("a PodMonitor", () => {
  it("scrapes the port with metrics of every pod, with the labels that an operator selects by", async () => {
    const graph = await deploy({ monitors: true, labels: { release: "prometheus" } });
    const { inputs: given } = only(graph, podMonitor, "etcd-monitoring-pods");
    expect(at(given, "metadata.labels")).toMatchObject({ release: "prometheus" });
    expect(at(given, "spec")).toEqual({
      selector: { matchLabels: { "app.kubernetes.io/name": "etcd", "app.kubernetes.io/instance": "etcd" } },
      podMetricsEndpoints: [{ port: "metrics", interval: "30s" }],
    });
  });

  it("checks the certificate of Vault, whose own metrics have TLS", async () => {
    const graph = await record(
      () =>
        void new VaultCluster("vault", {
          namespace: "cells",
          metrics,
          monitoring: { monitors: true },
          seal: { type: "shamir" },
        }),
    );
    expect(at(inputs(graph, podMonitor, "vault-monitoring-pods"), "spec.podMetricsEndpoints.1")).toEqual({
      port: "telemetry",
      interval: "30s",
      path: "/v1/sys/metrics",
      params: { format: ["prometheus"] },
      scheme: "https",
      tlsConfig: { ca: { configMap: { name: "vault-ca", key: "ca.crt" } }, serverName: "vault.cells.svc" },
    });
  });
});
