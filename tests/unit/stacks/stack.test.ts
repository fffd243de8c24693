import { beforeAll, describe, expect, it } from "vitest";
import { buildDashboards } from "../../../components/dashboards";
import { tlsDefaults } from "../../../stacks/cells";
import { type CellsVersion, serviceNames } from "../../../stacks/config";
import { deployStack } from "../../../stacks/stack";
import { at, inputs, listAt } from "../../support/graph";
import { type ProgramFailure, type RecordOptions, record, redacted } from "../../support/recorder";
import { ensureAgentBundles, recordStack, stackNames } from "../../support/stacks";

beforeAll(ensureAgentBundles);

const tlsOf = (service: (typeof serviceNames)[number], version: CellsVersion = "v5") =>
  tlsDefaults[service][version].mode;

/** prod keeps files in AWS S3. */
const servicesOf = { dev: serviceNames, prod: serviceNames.filter((each) => each !== "objectstore") };

async function failure(options: RecordOptions): Promise<ProgramFailure> {
  return record(deployStack, options).then(
    () => Promise.reject(new Error("the stack was accepted")),
    (error: unknown) => error as ProgramFailure,
  );
}

describe("a stack", () => {
  it("refuses a bad configuration before any resource exists", async () => {
    const config = { environment: "dev", kubContext: "test", etcd: '{"members":"three"}', nats: '{"deletion":"no"}' };
    const { message, resources } = await failure({ config });
    expect(message.split("\n")).toEqual([
      'stack "dev": 4 configuration values are wrong',
      '  - cells-services:etcd.members must be 3 or 5, got "three"; use 3 or 5',
      '  - cells-services:nats.deletion must be "keep" or "delete", got "no"; use one of these',
      "  - cells-services:kubContext is not a key of the configuration; did you mean kubeContext",
      expect.stringContaining("cells-services:kubeContext is missing"),
      "all keys: docs/configuration.md of cells-services",
    ]);
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("refuses what only the components know to be wrong, of all services at once and before any resource exists", async () => {
    const config = { kubeContext: "test", etcd: '{"members":4}', nats: '{"storage":{"size":"big"}}' };
    const { message, resources } = await failure({ config });
    expect(message).toBe(
      [
        'stack "dev": 2 configuration values are wrong',
        "  - cells-services:etcd.members must be odd so that a majority exists, got 4; use 3 or 5",
        '  - cells-services:nats.storage.size must be a whole number with a unit, got "big"; use a size like "8Gi"',
        "all keys: docs/configuration.md of cells-services",
      ].join("\n"),
    );
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("refuses what only one of the components knows to be wrong, before any resource exists", async () => {
    const config = {
      kubeContext: "test",
      etcd: '{"storage":{"size":"1Gi"},"applications":["root"]}',
      nats: '{"applications":["admin"]}',
    };
    const { message, resources } = await failure({ config });
    expect(message).toBe(
      [
        'stack "dev": 3 configuration values are wrong',
        '  - cells-services:etcd.storage.size must be at least 2Gi, got "1Gi"; use 2Gi or more',
        '  - cells-services:etcd.applications must not contain "root", which is the administrator; use another name',
        '  - cells-services:nats.applications must not contain "admin", which is the administrator; use another name',
        "all keys: docs/configuration.md of cells-services",
      ].join("\n"),
    );
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("reports together what the configuration, the components and the environment refuse", async () => {
    const config = {
      kubeContext: "test",
      kubContext: "x",
      redis: '{"members":4,"tls":"optional","resources":{"limits":{"memory":"6Gi"}}}',
      etcd: '{"storage":{"size":"8"},"certificates":{"issuerRef":{}}}',
      services: '["etcd","redis"]',
    };
    const { message } = await failure({ config });
    expect(message.split("\n")).toEqual([
      'stack "dev": 6 configuration values are wrong',
      '  - cells-services:etcd.storage.size must be a whole number with a unit, got "8"; use a size like "8Gi"',
      "  - cells-services:redis.members must be odd so that a majority exists, got 4; use 3 or 5",
      '  - cells-services:redis.tls must be "required" or "off" because Redis cannot speak both on one port, got "optional"; use one of these',
      "  - cells-services:kubContext is not a key of the configuration; did you mean kubeContext",
      "  - cells-services:etcd.certificates.issuerRef.name is missing; give the name of a cert-manager issuer",
      "  - cells-services:redis.storage.size must be at least 2 times resources.limits.memory (6Gi) so that the files can be " +
        'rewritten, got "1Gi"; use 12Gi or more',
      "all keys: docs/configuration.md of cells-services",
    ]);
  });

  it.each([
    ["etcd", { backups: { store: { url: "store:9000", bucket: "copies", credentials: "keys" } } }, "backups.store.url"],
    [
      "etcd",
      { backups: { store: { url: "https://s3", bucket: "copies", credentials: "" } } },
      "backups.store.credentials",
    ],
    ["vault", { seal: { type: "awskms", region: "eu-central-1", keyId: 5, recovery: "none" } }, "seal.keyId"],
  ])("says once what is wrong with %s, and not that it is missing: %j", async (service, given, key) => {
    const { message } = await failure({ config: { kubeContext: "test", [service]: JSON.stringify(given) } });
    expect(message.split("\n")).toEqual([
      'stack "dev": 1 configuration value is wrong',
      expect.stringContaining(`  - cells-services:${service}.${key} `),
      "all keys: docs/configuration.md of cells-services",
    ]);
  });

  it("goes on to judge the rest of what lacks a part that is wrong", async () => {
    const storage = JSON.stringify({ sise: "2Gi", size: "1Gi" });
    const { message } = await failure({ config: { kubeContext: "test", etcd: `{"storage":${storage}}` } });
    expect(message).toContain("etcd.storage.sise is not a key");
    expect(message).toContain("etcd.storage.size must be at least 2Gi");
  });

  it.each(["v4", "v5"] as const)("uses TLS as far as Cells %s can", async (version) => {
    const { outputs } = await recordStack("dev", { config: { cells: JSON.stringify({ version }) } });
    expect(outputs["checks"]).toMatchObject(serviceNames.map((service) => ({ service, tls: tlsOf(service, version) })));
  });

  it("prefers what the configuration says about TLS", async () => {
    const { outputs } = await recordStack("dev", { config: { services: '["redis"]', redis: '{"tls":"required"}' } });
    expect(outputs["checks"]).toMatchObject([{ service: "redis", tls: "required" }]);
  });

  it("deploys only the services that are asked for", async () => {
    const graph = await recordStack("dev", { config: { services: '["etcd"]' } });
    expect(graph.byType("cells-services:index:EtcdCluster")).toHaveLength(1);
    expect(graph.byType("cells-services:index:NatsCluster")).toHaveLength(0);
    expect(Object.keys(graph.outputs["urls"] as object)).toEqual(["etcd"]);
  });

  it("lets the configuration change single arguments", async () => {
    const graph = await recordStack("dev", { config: { etcd: '{"members":5,"storage":{"class":"fast"}}' } });
    const set = graph.byType("kubernetes:apps/v1:StatefulSet").find((each) => each.name.includes("etcd"));
    expect(set?.inputs["spec"]).toMatchObject({
      replicas: 5,
      volumeClaimTemplates: [{ spec: { storageClassName: "fast", resources: { requests: { storage: "2Gi" } } } }],
    });
  });

  it("refuses a wrong pod once, not for each service", async () => {
    const { message, resources } = await failure({ config: { kubeContext: "test", pod: '{"labels":{"a b":"x"}}' } });
    expect(message.split("\n")).toEqual([
      'stack "dev": 1 configuration value is wrong',
      expect.stringMatching(/^ {2}- cells-services:pod\.labels must have keys of .* got "a b"; use one like/),
      "all keys: docs/configuration.md of cells-services",
    ]);
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("gives one pod to all services, and each service its own over it, without dropping the rest", async () => {
    const ofStack = {
      labels: { team: "platform", stage: "test" },
      annotations: { "example.com/contact": "a" },
      imagePullSecrets: ["registry"],
      priorityClassName: "databases",
      imageRegistry: "registry.example.com",
      userId: 2000,
    };
    const own = {
      labels: { team: "cache" },
      annotations: { "example.com/page": "b" },
      imagePullSecrets: ["cache", "registry"],
      priorityClassName: "caches",
    };
    const graph = await recordStack("dev", {
      config: { services: '["etcd","redis"]', pod: JSON.stringify(ofStack), redis: JSON.stringify({ pod: own }) },
    });
    const podOf = (name: string) => inputs(graph, "kubernetes:apps/v1:StatefulSet", name)["spec"];
    expect(podOf("etcd")).toMatchObject({
      template: {
        metadata: { labels: { team: "platform", stage: "test" }, annotations: { "example.com/contact": "a" } },
        spec: {
          imagePullSecrets: [{ name: "registry" }],
          priorityClassName: "databases",
          securityContext: { runAsUser: 2000 },
          containers: [{ image: "registry.example.com/etcd-development/etcd:v3.6.16" }],
        },
      },
    });
    expect(podOf("redis")).toMatchObject({
      template: {
        metadata: {
          labels: { team: "cache", stage: "test" },
          annotations: { "example.com/contact": "a", "example.com/page": "b" },
        },
        spec: {
          imagePullSecrets: [{ name: "registry" }, { name: "cache" }],
          priorityClassName: "caches",
          securityContext: { runAsUser: 2000 },
        },
      },
    });
    const proxies = inputs(graph, "kubernetes:apps/v1:Deployment", "redis-gateway");
    expect(at(proxies, "spec.template.metadata.labels")).toMatchObject({ team: "cache", stage: "test" });
    expect(listAt(proxies, "spec.template.spec.containers").map(({ image }) => image)).toEqual([
      expect.stringMatching(/^registry\.example\.com\/library\/haproxy:/),
    ]);
  });

  it("gives one monitoring to all services, and each service its own over it", async () => {
    buildDashboards();
    const [prometheus, other] = ["monitoring", "metrics"].map((name) => ({
      namespaceLabels: { "kubernetes.io/metadata.name": name },
    }));
    const ofStack = { rules: "ConfigMap", dashboards: true, labels: { team: "platform" }, from: [prometheus] };
    const own = { monitoring: { rules: "PrometheusRule", labels: { tier: "cache" } }, metrics: { from: [other] } };
    const graph = await recordStack("dev", {
      config: {
        services: '["etcd","redis","objectstore"]',
        monitoring: JSON.stringify(ofStack),
        redis: JSON.stringify(own),
      },
    });
    const configMap = "kubernetes:core/v1:ConfigMap";
    const named = (type: string, suffix: RegExp) =>
      graph.byType(type).flatMap(({ name }) => (suffix.test(name) ? [name] : []));
    expect(named(configMap, /-monitoring$/)).toEqual(["etcd-monitoring"]);
    expect(named("kubernetes:monitoring.coreos.com/v1:PrometheusRule", /./)).toEqual(["redis-monitoring"]);
    const dashboards = ["cells-services-overview", "etcd-dashboard", "redis-dashboard"];
    expect(named(configMap, /-(dashboard|overview)$/).sort()).toEqual(dashboards);
    const labels = dashboards.map((name) => at(inputs(graph, configMap, name), "metadata.labels"));
    for (const each of labels) expect(each).toMatchObject({ grafana_dashboard: "1", team: "platform" });
    expect(labels.map((each) => at(each, "tier"))).toEqual([undefined, undefined, "cache"]);
    const admitted = (name: string) =>
      JSON.stringify(inputs(graph, "kubernetes:networking.k8s.io/v1:NetworkPolicy", name));
    expect(admitted("etcd-members")).toContain('{"kubernetes.io/metadata.name":"monitoring"}');
    expect(admitted("redis")).not.toContain('{"kubernetes.io/metadata.name":"monitoring"}');
    expect(admitted("redis")).toContain('{"kubernetes.io/metadata.name":"metrics"}');
  });

  it("refuses a wrong monitoring once, not for each service", async () => {
    const { message } = await failure({ config: { kubeContext: "test", monitoring: '{"rules":"both"}' } });
    expect(message.split("\n")).toEqual([
      'stack "dev": 1 configuration value is wrong',
      expect.stringMatching(/^ {2}- cells-services:monitoring\.rules must be /),
      "all keys: docs/configuration.md of cells-services",
    ]);
  });

  it("names each service with alerts that admits no Prometheus", async () => {
    const services = '["etcd","redis"]';
    const redis = '{"metrics":{"from":[{"podLabels":{"app":"prometheus"}}]}}';
    const config = { kubeContext: "test", services, redis, monitoring: '{"rules":"ConfigMap"}' };
    const { message } = await failure({ config });
    expect(message).toContain("cells-services:etcd.monitoring.rules needs metrics.from");
    expect(message).not.toContain("redis");
  });

  it("uses the cluster of its configuration, never the current context", async () => {
    const graph = await recordStack("dev", { config: { kubeContext: "other", kubeconfig: "/etc/kube" } });
    const providers = graph.byType("pulumi:providers:kubernetes");
    expect(providers.map(({ name }) => name).sort()).toEqual(["cluster", "cluster-namespaces"]);
    for (const { inputs } of providers) {
      expect(inputs).toMatchObject({
        context: "other",
        kubeconfig: "/etc/kube",
        clusterIdentifier: "cells-services-dev",
      });
    }
  });

  it("stays in its cluster when it is renamed: another identifier would replace everything", async () => {
    const identifierOf = async (stack: string, config = {}): Promise<unknown> =>
      (await recordStack("dev", { stack, config: { services: '["etcd"]', ...config } })).get("cluster").inputs[
        "clusterIdentifier"
      ];
    expect(await identifierOf("dev")).toBe("cells-services-dev");
    expect(await identifierOf("renamed")).toBe("cells-services-dev");
    expect(await identifierOf("dev", { clusterIdentifier: "11" })).toBe("11");
  });
});

describe.each(stackNames)("the stack %s", (stack) => {
  it("uses a namespace that exists when it is told to, and does not own it", async () => {
    const config = { services: '["etcd"]', createNamespace: "false", cells: '{"createNamespace":false}' };
    const graph = await recordStack(stack, { config });
    expect(graph.byType("kubernetes:core/v1:Namespace")).toEqual([]);
    expect(graph.byType("pulumi:providers:kubernetes").map(({ name }) => name)).toEqual(["cluster"]);
    expect(graph.outputs["checks"]).toMatchObject([{ namespace: "cells", host: "etcd.cells.svc" }]);
  });

  it("makes its namespace restricted", async () => {
    const graph = await recordStack(stack);
    expect(graph.get("namespace").inputs["metadata"]).toMatchObject({
      name: "cells",
      labels: {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
      },
    });
  });

  it("tells the checks and the users where the services are, without a secret", async () => {
    const { cellsValues, cellsPatches, cellsEnv, cellsInstall, ...outputs } = (await recordStack(stack)).outputs;
    for (const file of [cellsValues, cellsPatches, cellsEnv, cellsInstall]) expect(file).toBe(redacted);
    expect(JSON.stringify(outputs)).not.toContain(redacted);
    expect(outputs["checks"]).toMatchObject(
      servicesOf[stack].map((service) => ({
        service,
        name: service,
        namespace: "cells",
        tls: tlsOf(service),
        host: `${service}.cells.svc`,
      })),
    );
    expect(outputs["services"]).toMatchObject({
      etcd: {
        host: "etcd.cells.svc",
        url: "https://etcd.cells.svc:2379",
        applications: { cells: "etcd-application-cells" },
      },
      mysql: { host: "mysql.cells.svc", applications: { cells: "mysql-application-cells" } },
    });
  });

  it("runs three members of each service but the object store", async () => {
    const sets = (await recordStack(stack)).byType("kubernetes:apps/v1:StatefulSet");
    const replicas = sets.map(({ name, inputs }) => [name, (inputs["spec"] as { replicas: number }).replicas]);
    const expected = servicesOf[stack].map((service) => [service, service === "objectstore" ? 1 : 3]);
    expect(Object.fromEntries(replicas)).toEqual(Object.fromEntries(expected));
  });
});

describe("the stack prod", () => {
  it("requires hosts and zones of their own", async () => {
    const sets = (await recordStack("prod")).byType("kubernetes:apps/v1:StatefulSet");
    expect(sets).toHaveLength(servicesOf.prod.length);
    for (const set of sets) {
      const text = JSON.stringify(set.inputs);
      expect(text).toContain('"requiredDuringSchedulingIgnoredDuringExecution":[{"');
      expect(text).toContain(
        '"minDomains":3,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"DoNotSchedule"',
      );
    }
  });

  it("protects nothing in the cluster that updates must replace", async () => {
    const protectedTypes = (await recordStack("prod")).resources
      .filter((each) => each.options.protect && each.type.startsWith("kubernetes:"))
      .map((each) => each.type.split(":").at(-1));
    expect(new Set(protectedTypes)).toEqual(new Set(["Namespace", "StatefulSet", "Secret"]));
  });

  it("refuses all that would make it weaker, and what components refuse, at once and before any resource exists", async () => {
    const { message, resources } = await failure({
      stack: "prod",
      config: {
        kubeContext: "test",
        namespace: "kube-system",
        services: '["etcd","vault","nats","objectstore"]',
        etcd: '{"members":4,"tls":"optional","deletion":"delete"}',
        vault: '{"seal":{"type":"shamir"}}',
        nats: '{"placement":{"spread":"preferred","zones":false},"tls":"off","durability":"replicated","deletion":"delete"}',
      },
    });
    expect(message.split("\n")).toEqual([
      'stack "prod": 12 configuration values are wrong',
      "  - cells-services:etcd.members must be odd so that a majority exists, got 4; use 3 or 5",
      '  - cells-services:services must be a list of etcd, vault, nats, redis, mongodb, mysql in prod, got "objectstore"; remove it',
      '  - cells-services:namespace must be a namespace of the services alone in prod, got "kube-system"; use a name like "cells"',
      "  - cells-services:aws is missing in prod, which keeps the key of Vault, files and backups there; give region, prefix, and oidcProvider or cluster",
      '  - cells-services:etcd.tls must be "required" in prod, got "optional"; remove it, or say why in cells-services:etcd.tlsReason',
      '  - cells-services:etcd.deletion must be "keep" in prod, got "delete"; remove it, and delete the volumes by hand after a destroy',
      '  - cells-services:vault.seal.type must be "awskms" in prod, got "shamir"; give the region and the id of a KMS key, so that no key lies in the cluster',
      '  - cells-services:nats.placement.spread must be "required" in prod, got "preferred"; remove it, and give the cluster a node for each member',
      "  - cells-services:nats.placement.zones must be true in prod, got false; remove it, and give the cluster nodes in three zones",
      '  - cells-services:nats.tls must be "required" in prod, got "off"; remove it, or say why in cells-services:nats.tlsReason',
      '  - cells-services:nats.durability must be "fsync" in prod, got "replicated"; remove it, since acknowledged messages must survive a power failure of all members',
      '  - cells-services:nats.deletion must be "keep" in prod, got "delete"; remove it, and delete the volumes by hand after a destroy',
      "all keys: docs/configuration.md of cells-services",
    ]);
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("refuses a weaker lock, fewer zones and volumes that may not be encrypted, each in one sentence", async () => {
    const aws = {
      region: "eu-central-1",
      prefix: "acme",
      oidcProvider: "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE",
      lockDays: 1,
    };
    const { message, resources } = await failure({
      stack: "prod",
      config: {
        kubeContext: "test",
        aws: JSON.stringify(aws),
        vault: '{"seal":{"recovery":"none"}}',
        etcd: '{"storage":{"class":"gp2"}}',
        mysql: '{"placement":{"zones":false}}',
      },
    });
    expect(message.split("\n")).toEqual([
      'stack "prod": 3 configuration values are wrong',
      "  - cells-services:aws.lockDays must be a whole number of days from 14 to 36500, got 1; use 30",
      '  - cells-services:etcd.storage.class must be "acme-gp3", whose volumes are encrypted, in prod, got "gp2"; remove it, or say how ' +
        "it encrypts in cells-services:etcd.storageReason",
      "  - cells-services:mysql.placement.zones must be true in prod, got false; remove it, and give the cluster nodes in three zones",
      "all keys: docs/configuration.md of cells-services",
    ]);
    expect(resources.map((each) => each.type)).toEqual(["pulumi:pulumi:Stack"]);
  });

  it("takes another class of volumes for a reason, which is no argument of the component", async () => {
    const etcd = JSON.stringify({ storage: { class: "own" }, storageReason: "the class encrypts with our key" });
    const graph = await recordStack("prod", { config: { etcd } });
    const set = graph.byType("kubernetes:apps/v1:StatefulSet").find(({ name }) => name === "etcd");
    expect(JSON.stringify(set?.inputs)).toContain('"storageClassName":"own"');
    expect(JSON.stringify(graph.resources)).not.toContain("our key");
  });

  it("takes its own class of volumes by name", async () => {
    const etcd = JSON.stringify({ storage: { class: "example-cells-gp3" } });
    expect((await recordStack("prod", { config: { etcd } })).byType("kubernetes:apps/v1:StatefulSet")).toHaveLength(6);
  });

  it("refuses the namespace default", async () => {
    const { message } = await failure({ stack: "prod", config: { kubeContext: "test", namespace: "default" } });
    expect(message).toContain(
      'cells-services:namespace must be a namespace of the services alone in prod, got "default"',
    );
  });

  it("does without TLS for a reason, which is no argument of the component", async () => {
    const etcd = JSON.stringify({ tls: "off", tlsReason: "a service mesh encrypts all connections" });
    const graph = await recordStack("prod", { config: { etcd } });
    expect(graph.outputs["checks"]).toMatchObject([
      { tls: "off" },
      ...servicesOf.prod.slice(1).map((service) => ({ tls: tlsOf(service) })),
    ]);
    expect(JSON.stringify(graph.resources)).not.toContain("service mesh");
  });

  it("says nothing about a service that it does not deploy", async () => {
    const config = { services: '["etcd"]', nats: '{"durability":"replicated"}' };
    expect((await recordStack("prod", { config })).byType("cells-services:index:EtcdCluster")).toHaveLength(1);
  });
});
