import { describe, expect, it, vi } from "vitest";
import { maintenanceMetrics } from "../../../components/etcd/metrics";
import { mongodbMetrics } from "../../../components/mongodb/metrics";
import { mysqlMetrics } from "../../../components/mysql/metrics";
import { reconcilerMetrics } from "../../../components/nats/metrics";
import { redisMetrics } from "../../../components/redis/metrics";
import type { KubernetesApi } from "../../../components/shared/agent/kubernetes";
import { backupSamples, ensembleCollector, exposition, volumeSamples } from "../../../components/shared/agent/metrics";
import { ensembleMetrics, type Metric, memberMetrics } from "../../../components/shared/core/metrics";
import { vaultMetrics } from "../../../components/vault/metrics";

const schedule = "2026-01-02T02:13:00Z";
const success = "2026-01-02T02:20:00Z";
const made = "2026-01-01T00:00:00Z";
const seconds = (time: string): number => Date.parse(time) / 1000;
const apiOf = (get: (path: string) => object | undefined) => ({ get: vi.fn(async (path: string) => get(path)) });
const backups = (api: ReturnType<typeof apiOf>) => backupSamples("etcd", "cells", api as unknown as KubernetesApi);

describe("what a scrape says of backups", () => {
  it("are the times that Kubernetes keeps in the CronJobs", async () => {
    const status = { active: [{}], lastScheduleTime: schedule, lastSuccessfulTime: success };
    const api = apiOf((path) =>
      path.endsWith("/etcd-backup") ? { metadata: { creationTimestamp: made }, status } : undefined,
    );
    const labels = { kind: "copy" };
    expect(await backups(api)).toEqual([
      { name: "backup_last_success_timestamp_seconds", labels, value: seconds(success) },
      { name: "backup_last_schedule_timestamp_seconds", labels, value: seconds(schedule) },
      { name: "backup_running", labels, value: 1 },
    ]);
    expect(api.get.mock.calls.flat()).toEqual([
      "/apis/batch/v1/namespaces/cells/cronjobs/etcd-backup",
      "/apis/batch/v1/namespaces/cells/cronjobs/etcd-backup-proof",
    ]);
  });

  it("count from the schedule on before the first run", async () => {
    const samples = await backups(apiOf(() => ({ metadata: { creationTimestamp: made } })));
    expect(samples.filter(({ labels }) => labels?.["kind"] === "proof")).toEqual([
      { name: "backup_last_success_timestamp_seconds", labels: { kind: "proof" }, value: seconds(made) },
      { name: "backup_running", labels: { kind: "proof" }, value: 0 },
    ]);
  });

  it("are asked for once a minute, and an API that is away costs nothing else", async () => {
    const api = apiOf(() => {
      throw new Error("away");
    });
    const ensemble = { name: "etcd", namespace: "cells" };
    const collect = ensembleCollector(ensemble, "/nowhere/tls.crt", api as unknown as KubernetesApi);
    expect([await collect(), await collect()]).toEqual([[], []]);
    expect(api.get).toHaveBeenCalledTimes(2);
  });
});

it("a volume has a size, and what can still be written on it", async () => {
  const [size, available] = await volumeSamples("/");
  expect(size).toMatchObject({ name: "volume_size_bytes" });
  expect(available?.value).toBeGreaterThan(0);
  expect(available?.value).toBeLessThanOrEqual(size?.value ?? 0);
});

it("no label is one that a scrape sets itself", () => {
  const tables = [memberMetrics, ensembleMetrics, redisMetrics, mongodbMetrics, mysqlMetrics, vaultMetrics];
  const all: Metric[] = [...tables, maintenanceMetrics, reconcilerMetrics].flatMap((each) =>
    Object.values<Metric>(each),
  );
  const labels = new Set(all.flatMap(({ labels = [] }) => labels));
  expect([...labels].sort()).toEqual(["alarm", "application", "kind", "member", "storage"]);
});

it("a sample without a meaning is left out", async () => {
  const text = await exposition({ known: { help: "x", labels: ["kind"] } }, [
    { name: "known", labels: { kind: "copy" }, value: 1 },
    { name: "unknown", value: 1 },
  ]);
  expect(text).toBe(
    '# HELP cells_services_known x\n# TYPE cells_services_known gauge\ncells_services_known{kind="copy"} 1\n',
  );
});
