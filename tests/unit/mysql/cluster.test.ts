import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { MysqlCluster, type MysqlClusterArguments } from "../../../components/mysql";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, type Recorded, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<MysqlClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const mysql = new MysqlCluster("mysql", { namespace: "cells", applications: ["cells"], ...args });
      return {
        url: mysql.url,
        trust: mysql.certificateAuthority,
        check: mysql.checkTarget,
        secret: (args.applications ?? ["cells"]).includes("cells") ? mysql.application("cells").secret : "none",
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const deployment = "kubernetes:apps/v1:Deployment";
const job = "kubernetes:batch/v1:Job";

const podOf = (each: Recorded): unknown =>
  at(each.inputs, "spec.jobTemplate.spec.template.spec") ?? at(each.inputs, "spec.template.spec");
const serverOf = (graph: Graph): Properties =>
  listAt(inputs(graph, statefulSet, "mysql"), "spec.template.spec.containers")[0] as Properties;
const annotationsOf = (graph: Graph, type: string, name: string): Properties =>
  at(inputs(graph, type, name), "spec.template.metadata.annotations") as Properties;

beforeAll(() => buildAgents(["mysql", "gateway"]));

describe("a MySQL cluster", () => {
  it("gives out one name, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url: "mysql://mysql.cells.svc:3306",
      trust: "mysql-ca",
      secret: "mysql-application-cells",
      check: {
        service: "mysql",
        name: "mysql",
        namespace: "cells",
        members: ["mysql-0", "mysql-1", "mysql-2"],
        peersService: "mysql-peers",
        clientPort: 3306,
        metricsPort: 8008,
        host: "mysql.cells.svc",
        tls: "required",
        trust: "mysql-ca",
        adminSecret: "mysql-admin",
        durability: "fsync",
        applications: { cells: "mysql-application-cells" },
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("orders certificates and preflight, members, setup", async () => {
    const graph = await deploy();
    const urn = (type: string, name: string): string => only(graph, type, name).urn;
    const servers = only(graph, statefulSet, "mysql").options.dependsOn;
    expect(servers).toContain(urn(job, "mysql-certificates"));
    expect(servers).toContain(urn(job, "mysql-preflight"));
    expect(servers).not.toContain(urn("kubernetes:core/v1:Service", "mysql"));
    const setup = only(graph, job, "mysql-setup").options.dependsOn;
    expect(setup).toContain(urn(statefulSet, "mysql"));
    expect(setup).toContain(urn(deployment, "mysql-gateway"));
  });

  it("lets the preflight start before there is anything to log in with", async () => {
    const volumes = listAt(podOf(only(await deploy(), job, "mysql-preflight")), "volumes");
    expect(
      at(
        volumes.find(({ name }) => name === "internal"),
        "secret.optional",
      ),
    ).toBe(true);
    expect(
      at(
        volumes.find(({ name }) => name === "trust"),
        "configMap.optional",
      ),
    ).toBe(true);
  });

  it("needs no shell to start, to be probed and to stop", async () => {
    const graph = await deploy();
    const server = serverOf(graph);
    expect(server["command"]).toEqual(["/usr/sbin/mysqld", "--defaults-file=/run/mysql/mysqld.cnf"]);
    expect(at(server, "lifecycle.preStop.httpGet.path")).toBe("/hand-over");
    for (const probe of ["startupProbe", "livenessProbe"]) expect(at(server, `${probe}.tcpSocket.port`)).toBe("client");
    const names = listAt(inputs(graph, statefulSet, "mysql"), "spec.template.spec.initContainers");
    expect(names.map(({ name }) => name)).toEqual(["member", "initialize", "adopt", "agent"]);
    expect(at(names[1], "command")).toEqual(["/usr/sbin/mysqld", "--defaults-file=/run/mysql/initialize.cnf"]);
    expect(at(names[3], "restartPolicy")).toBe("Always");
  });

  it("keeps passwords in Secrets, and in memory", async () => {
    const graph = await deploy();
    expect(graph.secrets.length).toBeGreaterThan(0);
    for (const each of graph.resources.filter(
      ({ type }) => !type.endsWith(":Secret") && type.startsWith("kubernetes:"),
    )) {
      const text = JSON.stringify(each.inputs);
      for (const secret of graph.secrets.filter((known) => known.length > 8)) {
        expect(text, each.name).not.toContain(secret);
      }
    }
    for (const name of ["mysql-admin", "mysql-application-cells", "mysql-internal"]) {
      const { data } = inputs(graph, "kubernetes:core/v1:Secret", name);
      expect(JSON.stringify(data), name).toContain(redacted);
    }
    const volumes = listAt(inputs(graph, statefulSet, "mysql"), "spec.template.spec.volumes");
    expect(
      at(
        volumes.find(({ name }) => name === "run"),
        "emptyDir.medium",
      ),
    ).toBe("Memory");
  });

  it("gives an application its own database", async () => {
    const graph = await deploy({ applications: ["cells", "my-app"] });
    const { data } = inputs(graph, "kubernetes:core/v1:Secret", "mysql-application-my-app");
    expect(Object.keys(data as Properties).sort()).toEqual(["database", "password", "url", "username"]);
  });

  it("restarts the members for their configuration, and not for an application", async () => {
    const base = await deploy();
    const members = (graph: Graph) => annotationsOf(graph, statefulSet, "mysql")["cells-services/config"];
    expect(members(await deploy())).toBe(members(base));
    expect(members(await deploy({ maxConnections: 1000 }))).not.toBe(members(base));
    expect(inputs(await deploy({ applications: ["cells", "portal"] }), statefulSet, "mysql")).toEqual(
      inputs(base, statefulSet, "mysql"),
    );
  });

  it("gives the server the settings that are asked for", async () => {
    const configOf = async (args: Partial<MysqlClusterArguments>): Promise<string> => {
      const { data } = inputs(await deploy(args), "kubernetes:core/v1:ConfigMap", "mysql-config");
      return String((data as Properties)["mysqld.cnf"]);
    };
    const byDefault = await configOf({});
    for (const line of [
      "sql_mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
      "default_time_zone=SYSTEM",
      "sql_generate_invisible_primary_key=ON",
      "innodb_use_native_aio=ON",
      `group_replication_transaction_size_limit=${64 * 2 ** 20}`,
    ]) {
      expect(byDefault.split("\n")).toContain(line);
    }
    const asked = await configOf({
      transactionSizeLimit: "128Mi",
      sqlMode: ["STRICT_ALL_TABLES"],
      defaultTimeZone: "+14:00",
      generateInvisiblePrimaryKey: false,
      useNativeAio: false,
    });
    for (const line of [
      "sql_mode=STRICT_ALL_TABLES",
      "default_time_zone=+14:00",
      "sql_generate_invisible_primary_key=OFF",
      "innodb_use_native_aio=OFF",
      `group_replication_transaction_size_limit=${128 * 2 ** 20}`,
    ]) {
      expect(asked.split("\n")).toContain(line);
    }
  });

  it("has neither certificates nor trust without TLS", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ url: "mysql://mysql.cells.svc:3306", trust: null });
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("mysql-certificates");
    expect(JSON.stringify(inputs(graph, statefulSet, "mysql"))).not.toMatch(/-tls|mysql-ca|mysql-trust/);
  });

  it.each<[string, Partial<MysqlClusterArguments>, string]>([
    [
      "too few connections",
      { maxConnections: 5 },
      'mysql "mysql": maxConnections must be a whole number from 10 to 10000, got 5; use 500',
    ],
    [
      "no number of connections",
      { maxConnections: "many" as never },
      'mysql "mysql": maxConnections must be a whole number from 10 to 10000, got "many"; use 500',
    ],
    [
      "too little memory",
      { resources: { limits: { memory: "512Mi" }, requests: { memory: "512Mi" } } },
      'mysql "mysql": resources.limits.memory must be at least 768Mi, got "512Mi"; use 768Mi or more',
    ],
    [
      "more connections than there is memory for",
      { resources: { limits: { memory: "768Mi" }, requests: { memory: "512Mi" } } },
      'mysql "mysql": maxConnections must be at most 173 with resources.limits.memory "768Mi", got 500; lower it, or raise the limit',
    ],
    [
      "applications without a connection",
      { maxConnections: 15, applications: ["cells", "portal"] },
      'mysql "mysql": maxConnections must be at least 20, which is 10 for each application, got 15; use 20 or more',
    ],
    [
      "a transaction too large for the memory",
      { transactionSizeLimit: "129Mi" },
      'mysql "mysql": transactionSizeLimit must be at most 128Mi with resources.limits.memory "2Gi" and maxConnections 500, ' +
        'got "129Mi"; lower it, or raise the memory limit',
    ],
    [
      "a transaction that leaves no room for the buffer pool",
      { transactionSizeLimit: "66Mi", resources: { limits: { memory: "1152Mi" } } },
      "transactionSizeLimit must be at most 65Mi with resources.limits.memory",
    ],
    [
      "a transaction too small for the setup",
      { transactionSizeLimit: "1Mi" },
      'mysql "mysql": transactionSizeLimit must be at least 8Mi, got "1Mi"; use 8Mi or more',
    ],
    [
      "transactions without a limit",
      { transactionSizeLimit: "0" },
      'mysql "mysql": transactionSizeLimit must be a whole number with a unit, got "0"; use a size like "96Mi"',
    ],
    [
      "a size that is a number",
      { transactionSizeLimit: 1e8 as never },
      'mysql "mysql": transactionSizeLimit must be a whole number with a unit, got 100000000; use a size like "96Mi"',
    ],
    [
      "a mode that changes how agents read",
      { sqlMode: ["STRICT_TRANS_TABLES", "ANSI_QUOTES" as never] },
      'mysql "mysql": sqlMode[1] must be a mode that decides which values are accepted, got "ANSI_QUOTES"; let the sessions ' +
        "that need it set it, since the agents and members run statements too",
    ],
    [
      "a name for several modes",
      { sqlMode: ["TRADITIONAL" as never] },
      'got "TRADITIONAL"; name the modes that it stands for',
    ],
    [
      "a mode that does not exist",
      { sqlMode: ["NO_AUTO_CREATE_USER" as never] },
      'got "NO_AUTO_CREATE_USER"; use some of ONLY_FULL_GROUP_BY, STRICT_TRANS_TABLES',
    ],
    [
      "modes in one text",
      { sqlMode: "STRICT_TRANS_TABLES" as never },
      'mysql "mysql": sqlMode must be a list of modes, got "STRICT_TRANS_TABLES"; use a list like ["STRICT_TRANS_TABLES"]',
    ],
    ...["Europe/Paris", "+2:00", "-14:00", "+14:01", "-00:00", "system"].map(
      (zone): [string, Partial<MysqlClusterArguments>, string] => [
        `the time zone ${zone}`,
        { defaultTimeZone: zone },
        `mysql "mysql": defaultTimeZone must be SYSTEM or an offset from -13:59 to +14:00, got "${zone}"; use one like "+02:00"; ` +
          "a name is for sessions, because a server with an empty volume knows none and would not start",
      ],
    ),
    [
      "a switch that is none",
      { generateInvisiblePrimaryKey: "off" as never, useNativeAio: 0 as never },
      'mysql "mysql": 2 arguments are wrong\n  - generateInvisiblePrimaryKey must be true or false, got "off"; use one of these\n' +
        "  - useNativeAio must be true or false, got 0; use one of these",
    ],
    [
      "the administrator as an application",
      { applications: ["admin"] },
      'mysql "mysql": applications must not contain "admin", which is a user of the ensemble; use another name',
    ],
    [
      "a database of the server's own",
      { applications: ["performance-schema"] },
      'mysql "mysql": applications must not contain "performance-schema", whose database is the server\'s own; use another name',
    ],
    [
      "a name that is too long",
      { applications: ["a".repeat(33)] },
      "applications must have names of at most 32 characters",
    ],
    ["members", { members: 4 }, 'mysql "mysql": members must be odd so that a majority exists, got 4; use 3 or 5'],
    [
      "a volume too small",
      { storage: { size: "1Gi" } },
      'mysql "mysql": storage.size must be at least 4Gi, got "1Gi"; use 4Gi or more',
    ],
    [
      "a slip of the pen",
      { maxConnection: 5 } as never,
      'mysql "mysql": maxConnection is not an argument; did you mean maxConnections',
    ],
    ["several at once", { members: 2, maxConnections: 0 }, 'mysql "mysql": 2 arguments are wrong'],
  ])("refuses %s", async (_, args, message) => {
    await expect(deploy(args)).rejects.toThrow(message);
  });
});
