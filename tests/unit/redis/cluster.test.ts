import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { RedisCluster, type RedisClusterArguments } from "../../../components/redis";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<RedisClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const redis = new RedisCluster("redis", { namespace: "cells", applications: ["cells"], ...args });
      return {
        url: redis.url,
        trust: redis.certificateAuthority,
        check: redis.checkTarget,
        secret: redis.application((args.applications ?? ["cells"])[0] ?? "").secret,
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const deployment = "kubernetes:apps/v1:Deployment";
const job = "kubernetes:batch/v1:Job";
const podOf = (graph: Graph): unknown => at(inputs(graph, statefulSet, "redis"), "spec.template.spec");
const containersOf = (graph: Graph): Properties[] => listAt(podOf(graph), "containers");

beforeAll(() => buildAgents(["redis", "gateway"]));

describe("a Redis ensemble", () => {
  it("gives out one name, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url: "rediss://redis.cells.svc:6379",
      trust: "redis-ca",
      secret: "redis-application-cells",
      check: {
        service: "redis",
        name: "redis",
        namespace: "cells",
        members: ["redis-0", "redis-1", "redis-2"],
        peersService: "redis-peers",
        clientPort: 6379,
        metricsPort: 8008,
        host: "redis.cells.svc",
        tls: "required",
        trust: "redis-ca",
        adminSecret: "redis-admin",
        durability: "everysecond",
        applications: { cells: "redis-application-cells" },
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("starts members, gateway and setup in this order", async () => {
    const graph = await deploy();
    const setup = only(graph, job, "redis-setup").options.dependsOn;
    expect(setup).toContain(only(graph, statefulSet, "redis").urn);
    expect(setup).toContain(only(graph, deployment, "redis-gateway").urn);
    expect(only(graph, statefulSet, "redis").options.dependsOn).toContain(only(graph, job, "redis-certificates").urn);
  });

  it("runs an agent before server and Sentinel, which both wait for the hand-over", async () => {
    const graph = await deploy();
    const first = listAt(podOf(graph), "initContainers").map(({ name, restartPolicy }) => [name, restartPolicy]);
    expect(first).toEqual([
      ["member", undefined],
      ["agent", "Always"],
    ]);
    expect(containersOf(graph).map(({ name }) => name)).toEqual(["redis", "sentinel"]);
    for (const each of containersOf(graph)) {
      expect(at(each, "lifecycle.preStop.httpGet.path"), String(each["name"])).toBe("/hand-over");
    }
  });

  it("never lets a server write what it starts with", async () => {
    const [server] = containersOf(await deploy());
    expect(server?.["command"]).toEqual(["redis-server", "/run/redis/redis.conf"]);
    expect(server?.["volumeMounts"]).toContainEqual({ name: "run", mountPath: "/run/redis", readOnly: true });
  });

  it("asks for life without a password", async () => {
    for (const container of containersOf(await deploy())) {
      expect(JSON.stringify(container["livenessProbe"])).not.toMatch(/--user|--pass|-a"/);
    }
  });

  it("keeps passwords in Secrets", async () => {
    const { resources, secrets } = await deploy();
    expect(secrets.length).toBeGreaterThan(0);
    for (const each of resources.filter(({ type }) => !type.endsWith(":Secret") && type.startsWith("kubernetes:"))) {
      const text = JSON.stringify(each.inputs);
      for (const secret of secrets.filter((known) => known.length > 8)) expect(text, each.name).not.toContain(secret);
    }
    const graph = await deploy();
    for (const name of ["redis-admin", "redis-application-cells", "redis-users", "redis-internal"]) {
      expect(JSON.stringify(inputs(graph, "kubernetes:core/v1:Secret", name)["data"]), name).toContain(redacted);
    }
  });

  it("restarts the members for their configuration, not for their users", async () => {
    const members = (graph: Graph) => at(inputs(graph, statefulSet, "redis"), "spec.template");
    const base = members(await deploy());
    expect(members(await deploy({ applications: ["cells", "portal"] }))).toEqual(base);
    expect(members(await deploy({ durability: "fsync" }))).not.toEqual(base);
    expect(members(await deploy({ eviction: "allkeys-lru" }))).not.toEqual(base);
  });

  it("lets clients reach the gateway only", async () => {
    const graph = await deploy();
    const policy = inputs(graph, "kubernetes:networking.k8s.io/v1:NetworkPolicy", "redis");
    const data = listAt(policy, "spec.ingress").filter((rule) =>
      listAt(rule, "ports").some(({ port }) => port === 6379),
    );
    expect(data).toHaveLength(1);
    expect(listAt(data[0], "from")).toEqual([
      {
        podSelector: {
          matchLabels: { "app.kubernetes.io/name": "redis", "app.kubernetes.io/instance": "redis" },
        },
      },
    ]);
    expect(at(inputs(graph, "kubernetes:core/v1:Service", "redis"), "spec.selector")).toMatchObject({
      "app.kubernetes.io/component": "gateway",
    });
  });

  it("keeps its proxies apart as its members, and soon off a lost node", async () => {
    const graph = await deploy({
      placement: { spread: "required", tolerations: [{ key: "databases", operator: "Exists" }] },
    });
    const pod = at(inputs(graph, deployment, "redis-gateway"), "spec.template.spec");
    const [apart] = listAt(pod, "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    expect(at(apart, "labelSelector.matchLabels")).toMatchObject({ "app.kubernetes.io/component": "gateway" });
    expect(listAt(pod, "tolerations").map(({ key, tolerationSeconds }) => [key, tolerationSeconds])).toEqual([
      ["databases", undefined],
      ["node.kubernetes.io/not-ready", 30],
      ["node.kubernetes.io/unreachable", 30],
    ]);
  });

  it("has neither certificates nor trust without TLS", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ url: "redis://redis.cells.svc:6379", trust: null });
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("redis-certificates");
    expect(JSON.stringify(inputs(graph, statefulSet, "redis"))).not.toMatch(/-tls|redis-ca|redis-trust/);
  });

  it.each<[string, Partial<RedisClusterArguments>, string]>([
    [
      "durability",
      { durability: "replicated" as never },
      'redis "redis": durability must be "everysecond" or "fsync", got "replicated"; use one of these',
    ],
    [
      "eviction",
      { eviction: "volatile-lru" as never },
      'redis "redis": eviction must be "none" or "allkeys-lru", got "volatile-lru"; use one of these',
    ],
    [
      "TLS and plain text on one port",
      { tls: "optional" as never },
      'redis "redis": tls must be "required" or "off" because Redis cannot speak both on one port, got "optional"; use one of these',
    ],
    [
      "a user of the ensemble as an application",
      { applications: ["cells", "sentinel"] },
      'redis "redis": applications must not contain "sentinel", which is a user of the ensemble; use another name',
    ],
    ["members", { members: 4 }, 'redis "redis": members must be odd so that a majority exists, got 4; use 3 or 5'],
    [
      "a volume too small",
      { storage: { size: "512Mi" }, resources: { limits: { memory: "256Mi" } } },
      'redis "redis": storage.size must be at least 1Gi, got "512Mi"; use 1Gi or more',
    ],
    [
      "memory for less than the backlog of replicas",
      { resources: { requests: { memory: "64Mi" }, limits: { memory: "64Mi" } } },
      'redis "redis": resources.limits.memory must be at least 128Mi, got "64Mi"; use 128Mi or more',
    ],
    [
      "a volume on which the files cannot be rewritten",
      { resources: { limits: { memory: "6Gi" } } },
      'redis "redis": storage.size must be at least 2 times resources.limits.memory (6Gi) so that the files can be rewritten, ' +
        'got "8Gi"; use 12Gi or more',
    ],
    [
      "a slip of the pen",
      { evicton: "none" } as never,
      'redis "redis": evicton is not an argument; did you mean eviction',
    ],
    [
      "several at once",
      { members: 2, applications: ["default", "agent"] },
      'redis "redis": 3 arguments are wrong\n' +
        "  - members must be odd so that a majority exists, got 2; use 3 or 5\n" +
        '  - applications must not contain "default", which is a user of the ensemble; use another name\n' +
        '  - applications must not contain "agent", which is a user of the ensemble; use another name',
    ],
  ])("refuses %s", async (_, args, message) => {
    await expect(deploy(args)).rejects.toThrow(message);
  });
});
