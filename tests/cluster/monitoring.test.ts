import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ports as mysqlPorts } from "../../components/mysql/layout";
import { ports as storePorts } from "../../components/objectstore/layout";
import { ports as redisPorts } from "../../components/redis/layout";
import { applicationSecretName, gatewaySelector, labelSelectorOf, namesOf } from "../../components/shared/core/names";
import { titles } from "../../components/shared/deploy/alerts";
import type { DrilledService } from "../../drills/profiles";
import { apply, kubectl, loadImage } from "../../sandbox/cluster";
import { makeOtherImage, prometheusImage } from "../../sandbox/images";
import { nodeCommand } from "../../sandbox/paths";
import { run, until } from "../../sandbox/shell";
import { type Deployment, openDeployment } from "../support/deployment";
import { crowdOf, holdBack, type Sluggish } from "../support/interference";
import { startClients } from "../support/load";
import { budgetFactor } from "../support/pace";
import { type Prometheus, type Rule, selectorsOf, startPrometheus, type Target } from "../support/prometheus";
import { everything } from "../support/scope";
import { recordStack } from "../support/stacks";
import { allReady, drilledServices, openWorkload } from "../support/workload";

/** Alerts of living services in a real Prometheus. The tests build on each other. */
const stack = "monitoring";
const namespace = `cells-${stack}`;
/** The namespace that `metrics.from` admits, and one that it does not. */
const home = "monitoring-prometheus";
const elsewhere = "monitoring-stranger";
/** One whose agents run beside the servers, with a gateway, and one whose members have metrics of their own. */
const services: DrilledService[] = everything ? drilledServices : ["etcd", "redis"];
let deployment: Deployment;
let prometheus: Prometheus;

/** How many targets there are of the pods with these names. */
const scraped: Record<DrilledService, Record<string, number>> = {
  etcd: { "etcd-[0-9]": 3, "etcd-maintenance-.+": 1 },
  // The agent and the server.
  vault: { "vault-[0-9]": 6 },
  nats: { "nats-reconciler-.+": 1 },
  redis: { "redis-[0-9]": 3, "redis-gateway-.+": 2 },
  mongodb: { "mongodb-[0-9]": 3 },
  mysql: { "mysql-[0-9]": 3, "mysql-gateway-.+": 2 },
};
const wanted = Object.fromEntries(services.flatMap((service) => Object.entries(scraped[service])));

/** Metrics that alerts read and that a healthy service does not have, with the reason. */
const absentInHealth: Record<string, string> = {
  cells_services_backup_last_schedule_timestamp_seconds: "the schedule of the test never comes",
};

const backups = {
  schedule: "0 0 31 2 *",
  proof: { schedule: "0 0 31 2 *" },
  store: {
    url: `https://objectstore.${namespace}.svc:${storePorts.client}`,
    bucket: "cells-backups",
    credentials: applicationSecretName("objectstore", "backup"),
  },
};
const metrics = { from: [{ namespaceLabels: { "kubernetes.io/metadata.name": home } }] };
const settingsOf = (service: DrilledService, monitoring: object): object => ({
  applications: ["cells"],
  tls: "required",
  monitoring,
  metrics,
  ...(service === "redis" ? {} : { backups }),
});
const up = (monitoring: object, more: object = {}) =>
  deployment.up(
    deployment.configurationWith("monitored", {
      "cells-services:services": [...services, "objectstore"],
      ...Object.fromEntries(
        services.map((service) => [`cells-services:${service}`, { ...settingsOf(service, monitoring), ...more }]),
      ),
      "cells-services:objectstore": { tls: "required" },
    }),
  );

async function clear(): Promise<void> {
  await deployment.clear();
  await kubectl("delete", "namespace", home, elsewhere, "--ignore-not-found", "--timeout=120s");
}

/** Pods by pattern, those that are scraped as they should be. */
function scrapedOf(targets: Target[]): Record<string, number> {
  const healthy = targets.filter(({ health }) => health === "up");
  const of = (pattern: string): number =>
    healthy.filter(({ labels }) => labels.namespace === namespace && new RegExp(`^${pattern}$`).test(labels.pod))
      .length;
  return Object.fromEntries(Object.keys(wanted).map((pattern) => [pattern, of(pattern)]));
}

const said = ({ name, state, query }: Rule): string => `${name} is ${state}: ${query}`;
/** The oplog of a new set reaches back as far as wanted an hour later; the alert waits for two. */
const mayWait = "MongodbOplogShort";
const awake = async (): Promise<Rule[]> =>
  (await prometheus.rules()).filter(
    ({ name, state }) => state === "firing" || (state === "pending" && name !== mayWait),
  );

/** Throws what alerts say after so long. */
const silence = (seconds: number) =>
  until("all alerts to be silent", seconds, async () => {
    const left = await awake();
    if (left.length > 0) throw new Error(left.map(said).join("\n"));
    return true;
  });

/** One alert of each service, by the end of its name. */
const awakened = (end: RegExp, states: Rule["state"][], seconds: number) =>
  until(`alerts that end with ${end.source} to be ${states.join(" or ")}`, seconds, async () => {
    const found = (await prometheus.rules()).filter(({ name, state }) => end.test(name) && states.includes(state));
    const missing = services.filter((service) => !found.some(({ name }) => name.startsWith(titles[service])));
    if (missing.length > 0) throw new Error(`not of ${missing.join(", ")}; ${(await awake()).map(said).join("; ")}`);
    return found;
  });

const scale = (members: number) =>
  Promise.all(
    services.map((service) => kubectl("scale", `statefulset/${service}`, "-n", namespace, `--replicas=${members}`)),
  );
const allBack = async () => {
  await scale(3);
  await Promise.all(services.map((service) => allReady(namespace, service, 300)));
};

beforeAll(async () => {
  deployment = await openDeployment(stack);
  await clear();
  await loadImage(await makeOtherImage(prometheusImage));
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  await apply(
    ...[home, elsewhere].map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } })),
  );
  const made = await up({ rules: "ConfigMap" });
  expect(made.code, made.output).toBe(0);
  prometheus = await startPrometheus(home, namespace, services);
});

afterAll(async () => {
  await prometheus?.close();
  await clear();
});

describe("a Prometheus with the documented configuration", () => {
  it("reaches every member, gateway and agent, and nothing else", async () => {
    const seen = await until("all targets to be up", 90, async () => {
      const targets = await prometheus.targets();
      const bad = targets.filter(({ health }) => health !== "up");
      if (bad.length > 0) {
        throw new Error(bad.map(({ labels, lastError }) => `${labels.pod}: ${lastError}`).join("\n"));
      }
      if (JSON.stringify(scrapedOf(targets)) !== JSON.stringify(wanted)) {
        throw new Error(JSON.stringify(scrapedOf(targets)));
      }
      return targets;
    });
    expect(seen.map(({ labels }) => labels.pod)).toHaveLength(Object.values(wanted).reduce((sum, each) => sum + each));
  });

  it("reaches none where metrics.from does not admit it", async () => {
    const stranger = await startPrometheus(elsewhere, namespace, services);
    try {
      const targets = await until("all targets to be asked", 60, async () => {
        const all = await stranger.targets();
        const asked = all.length > 0 && all.every(({ health }) => health !== "unknown");
        return asked ? all : undefined;
      });
      expect(targets.map(({ labels }) => labels.pod).sort()).toEqual(
        (await prometheus.targets()).map(({ labels }) => labels.pod).sort(),
      );
      expect(targets.filter(({ health }) => health !== "down")).toEqual([]);
    } finally {
      await stranger.close();
      await kubectl("delete", "pod", "prometheus", "-n", elsewhere);
    }
  });

  it("finds all that alerts read, and reports nothing of healthy services", async () => {
    const rules = await until("all rules to be evaluated", 60, async () => {
      const known = await prometheus.rules();
      return known.some(({ health }) => health === "unknown") ? undefined : known;
    });
    await silence(120);
    expect(services.filter((service) => !rules.some(({ labels }) => labels.service === service))).toEqual([]);
    expect(rules.filter(({ health }) => health !== "ok")).toEqual([]);
    const missing: string[] = [];
    for (const { name, query } of rules) {
      const selectors = selectorsOf(query);
      expect(selectors, name).not.toEqual([]);
      for (const selector of new Set(selectors)) {
        const metric = selector.slice(0, selector.indexOf("{"));
        if (!(metric in absentInHealth) && (await prometheus.series(selector)).length === 0) {
          missing.push(`${name}: ${selector}`);
        }
      }
    }
    expect(missing).toEqual([]);
    // What waits for its time would be pending.
    await delay(15_000);
    expect((await awake()).map(said)).toEqual([]);
  });

  it.runIf(everything)("reports nothing while all members are replaced, one after the other", async () => {
    const rolled = await up({ rules: "ConfigMap" }, { resources: { requests: { cpu: "60m" } } });
    expect(rolled.code, rolled.output).toBe(0);
    expect(await prometheus.series('count_over_time(ALERTS{alertstate="firing"}[1h])')).toEqual([]);
    await silence(120);
  });

  it("reports a member that is away, until it is back", async () => {
    await scale(2);
    try {
      await awakened(/MemberNotReady$/, ["pending", "firing"], 60);
    } finally {
      await allBack();
    }
    await silence(120);
  });

  it("reports a service without any member at once, until it is back", async () => {
    await scale(0);
    try {
      const fired = await awakened(/No(Primary|Leader)$/, ["firing"], 150);
      expect(fired.filter(({ labels }) => labels.severity !== "critical")).toEqual([]);
    } finally {
      await allBack();
    }
    await silence(180);
  });
});

/** Of alerts with a longer time it is enough that their condition is met: the replay of their rules shows when they fire. */
describe.runIf(everything)("a real fault", () => {
  const gatewaysOf = (service: DrilledService): string => labelSelectorOf(gatewaySelector(service, service));
  /** All of them, by name. */
  const alerted = (names: string[], seconds: number) =>
    until(`${names.join(", ")} to be pending or firing`, seconds, async () => {
      const found = (await prometheus.rules()).filter(({ state }) => state !== "inactive").map(({ name }) => name);
      const missing = names.filter((name) => !found.includes(name));
      if (missing.length > 0) throw new Error(`${missing.join(", ")} not among ${found.join(", ") || "none"}`);
      return true;
    });

  it("that fills all volumes is reported of each service whose agents see them", async () => {
    const flags = ["--together", "--writers", "2", "--steady", "5", "--budget-factor", `${await budgetFactor()}`];
    const { code, output } = await deployment.tsx("drills/cli.ts", "disk-full", ...flags);
    expect(code, output).toBe(0);
    const seen = await prometheus.series(
      'sum by (alertname) (count_over_time(ALERTS{alertname=~".*VolumeFull"}[10m]))',
    );
    expect(seen.map(({ alertname }) => alertname).sort()).toEqual(
      ["Vault", "Redis", "Mongodb", "Mysql"].map((title) => `${title}VolumeFull`).sort(),
    );
    await silence(240);
  });

  it("that cuts off a node is reported of each service", async () => {
    const nodesOf = async (at: string, ...pods: string[]): Promise<string[]> => {
      const path = "jsonpath={.items[*].spec.nodeName}";
      return (await kubectl("get", "pods", "-n", at, ...pods, "-o", path)).split(" ");
    };
    const [own] = await nodesOf(home);
    const proxied = await nodesOf(namespace, "-l", gatewaysOf("redis"));
    expect(new Set(proxied).size, "nodes of the proxies").toBe(2);
    const lost = proxied.find((node) => node !== own)?.replace("node-", "");
    await run("bash", ["-c", `${nodeCommand} cut ${lost}`]);
    try {
      // Nobody else looks at the members of NATS.
      await awakened(/MemberNotReady$|^NatsReconcilerAway$/, ["pending"], 90);
      await alerted(["RedisGatewayAlone"], 60);
    } finally {
      await run("bash", ["-c", `${nodeCommand} heal ${lost}`]);
    }
    await silence(300);
  });

  it("of the store fails the backups, and is reported of each service that has some", async () => {
    await kubectl("scale", "statefulset/objectstore", "-n", namespace, "--replicas=0");
    const backedUp = services.filter((service) => service !== "redis");
    const each = <T>(act: (cronJob: string) => Promise<T>) =>
      Promise.all(backedUp.map((service) => act(namesOf(service).backup)));
    const timesOf = (key: string) =>
      each((name) => kubectl("get", "cronjob", name, "-n", namespace, "-o", `jsonpath={.status.${key}}`));
    /** One run of each by schedule: those that Kubernetes does not start itself do not count. */
    const runOnce = async (): Promise<void> => {
      const schedule = (cron: string) =>
        each((name) => {
          const patch = JSON.stringify({ spec: { schedule: cron } });
          return kubectl("patch", "cronjob", name, "-n", namespace, "--type=merge", "-p", patch);
        });
      const former = await timesOf("lastScheduleTime");
      try {
        await schedule("* * * * *");
        await until("a run of each", 120, async () => {
          const times = await timesOf("lastScheduleTime");
          return times.every((time, index) => time !== former[index]) ? true : undefined;
        });
      } finally {
        await schedule(backups.schedule);
      }
    };
    try {
      await runOnce();
      await alerted(
        backedUp.map((service) => `${titles[service]}BackupFailed`),
        420,
      );
    } finally {
      await kubectl("scale", "statefulset/objectstore", "-n", namespace, "--replicas=1");
    }
    await runOnce();
    await until("a copy of each", 120, async () => {
      const [begun, succeeded] = await Promise.all(["lastScheduleTime", "lastSuccessfulTime"].map(timesOf));
      return begun?.every((time, index) => time <= (succeeded?.[index] ?? "")) ? true : undefined;
    });
    await silence(120);
  });

  it.each<[Sluggish, string]>([
    ["mongodb", "MongodbReplicaBehind"],
    ["mysql", "MysqlReplicaBehind"],
  ])("that keeps a member of %s behind is reported", async (service, alert) => {
    const { members, workload, close } = await openWorkload(stack, service, `behind${Date.now().toString(36)}`);
    try {
      await workload.prepare();
      const { member: leader } = await workload.leader();
      const release = await holdBack(stack, service, members.find((member) => member !== leader) ?? "");
      try {
        const writers = startClients(workload, "behind");
        await alerted([alert], 180).finally(() => writers.stop());
      } finally {
        await release();
      }
    } finally {
      await close();
    }
    await silence(120);
  });

  it.each<[DrilledService, number, number, string]>([
    ["redis", redisPorts.client, 3600, "RedisGatewayBusy"],
    ["mysql", mysqlPorts.client, 450, "MysqlConnectionsNearLimit"],
  ])("of clients of %s that leave connections open is reported", async (service, port, count, alert) => {
    const path = "jsonpath={.items[0].status.podIP}";
    const address = await kubectl("get", "pods", "-n", namespace, "-l", gatewaysOf(service), "-o", path);
    const leave = await crowdOf(namespace, "crowd", { address, port, count });
    try {
      await alerted([alert], 120);
    } finally {
      await leave();
    }
    await silence(120);
  });
});

describe("the Prometheus operator", () => {
  const wantedByOperator = { rules: "PrometheusRule", monitors: true, labels: { release: "prometheus" } };
  const definitions = ["podmonitors", "prometheusrules"].map((each) => `${each}.monitoring.coreos.com`);

  beforeAll(async () => {
    const module = "github.com/prometheus-operator/prometheus-operator@v0.85.0";
    const { Dir } = JSON.parse(await run("go", ["mod", "download", "-json", module], { cwd: tmpdir() })) as {
      Dir: string;
    };
    const files = ["podmonitors", "prometheusrules"].flatMap((each) => [
      "-f",
      join(Dir, "example", "prometheus-operator-crd", `monitoring.coreos.com_${each}.yaml`),
    ]);
    await kubectl("apply", "--server-side", ...files);
    await kubectl("wait", "crd", ...definitions, "--for=condition=Established", "--timeout=60s");
  });

  afterAll(async () => {
    await kubectl("delete", "crd", ...definitions, "--ignore-not-found", "--timeout=120s");
  });

  it("knows every field of the rules and monitors of all services", async () => {
    const monitoring = { ...wantedByOperator, from: metrics.from };
    const config = { monitoring: JSON.stringify(monitoring) };
    const { resources } = await recordStack("dev", { config });
    const objects = resources
      .filter(({ type }) => type.startsWith("kubernetes:monitoring.coreos.com/v1:"))
      .map(({ inputs }) => {
        const { metadata, ...rest } = inputs as { metadata: object };
        return { ...rest, metadata: { ...metadata, namespace: home } };
      });
    expect(objects).toHaveLength(2 * drilledServices.length);
    const folder = mkdtempSync(join(tmpdir(), "monitoring-"));
    try {
      const file = join(folder, "objects.json");
      writeFileSync(file, objects.map((each) => JSON.stringify(each)).join("\n---\n"));
      await kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.runIf(everything)("gets them by pulumi up", async () => {
    const made = await up(wantedByOperator);
    expect(made.code, made.output).toBe(0);
    const found = await kubectl("get", "podmonitors,prometheusrules", "-n", namespace, "-o", "name");
    expect(found.trim().split("\n")).toHaveLength(2 * services.length);
    const back = await up({ rules: "ConfigMap" });
    expect(back.code, back.output).toBe(0);
  });
});
