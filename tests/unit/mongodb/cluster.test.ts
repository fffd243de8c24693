import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { MongodbCluster, type MongodbClusterArguments } from "../../../components/mongodb";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<MongodbClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const mongodb = new MongodbCluster("mongodb", { namespace: "cells", applications: ["cells"], ...args });
      return {
        url: mongodb.url,
        trust: mongodb.certificateAuthority,
        check: mongodb.checkTarget,
        secret: mongodb.application((args.applications ?? ["cells"])[0] ?? "").secret,
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const job = "kubernetes:batch/v1:Job";
const secret = "kubernetes:core/v1:Secret";
const podOf = (graph: Graph): unknown => at(inputs(graph, statefulSet, "mongodb"), "spec.template.spec");
const serverOf = (graph: Graph): Properties => listAt(podOf(graph), "containers")[0] ?? {};

beforeAll(() => buildAgents(["mongodb"]));

describe("a MongoDB ensemble", () => {
  it("gives out the address of all members, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url:
        "mongodb://mongodb-0.mongodb-peers.cells.svc:27017,mongodb-1.mongodb-peers.cells.svc:27017," +
        "mongodb-2.mongodb-peers.cells.svc:27017/?replicaSet=mongodb&w=majority&tls=true",
      trust: "mongodb-ca",
      secret: "mongodb-application-cells",
      check: {
        service: "mongodb",
        name: "mongodb",
        namespace: "cells",
        members: ["mongodb-0", "mongodb-1", "mongodb-2"],
        peersService: "mongodb-peers",
        clientPort: 27017,
        metricsPort: 8008,
        host: "mongodb.cells.svc",
        tls: "required",
        trust: "mongodb-ca",
        adminSecret: "mongodb-admin",
        durability: null,
        applications: { cells: "mongodb-application-cells" },
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("tells each application its own database", async () => {
    const graph = await deploy({ applications: ["my-app"] });
    expect(Object.keys(at(inputs(graph, secret, "mongodb-application-my-app"), "data") as Properties).sort()).toEqual([
      "database",
      "password",
      "url",
      "username",
    ]);
  });

  it("starts certificates, members and setup in this order", async () => {
    const graph = await deploy();
    const members = only(graph, statefulSet, "mongodb");
    expect(members.options.dependsOn).toContain(only(graph, job, "mongodb-certificates").urn);
    expect(only(graph, job, "mongodb-setup").options.dependsOn).toContain(members.urn);
  });

  it("runs an agent before the server, which starts without a shell", async () => {
    const graph = await deploy();
    const first = listAt(podOf(graph), "initContainers").map(({ name, restartPolicy }) => [name, restartPolicy]);
    expect(first).toEqual([
      ["member", undefined],
      ["agent", "Always"],
    ]);
    expect(serverOf(graph)["command"]).toEqual(["/usr/bin/mongod", "--config", "/etc/mongodb/mongod.yaml"]);
  });

  it("is restarted for nothing but a dead server process, after an hour for its recovery", async () => {
    const server = serverOf(await deploy());
    expect(at(server, "livenessProbe.tcpSocket")).toEqual({ port: "client" });
    const [period, failures] = ["periodSeconds", "failureThreshold"].map((key) => at(server, `startupProbe.${key}`));
    expect(Number(period) * Number(failures)).toBe(3600);
    expect(server["readinessProbe"]).toBeUndefined();
  });

  it("has time to step down and to write a checkpoint", async () => {
    expect(at(podOf(await deploy()), "terminationGracePeriodSeconds")).toBe(60);
  });

  it("gives the Kubernetes token and the administrator to the agent only", async () => {
    const mounts = listAt(serverOf(await deploy()), "volumeMounts").map(({ name }) => name);
    expect(mounts).toEqual(["data", "config", "run", "hosts"]);
  });

  it("lets the agent alone write the key and the certificates", async () => {
    expect(serverOf(await deploy())["volumeMounts"]).toContainEqual({
      name: "run",
      mountPath: "/run/mongodb",
      readOnly: true,
    });
  });

  it("keeps passwords and the key of the members in Secrets", async () => {
    const graph = await deploy();
    expect(graph.secrets.length).toBeGreaterThan(0);
    for (const each of graph.resources.filter(
      ({ type }) => !type.endsWith(":Secret") && type.startsWith("kubernetes:"),
    )) {
      const text = JSON.stringify(each.inputs);
      for (const known of graph.secrets.filter(({ length }) => length > 8)) {
        expect(text, each.name).not.toContain(known);
      }
    }
    for (const name of ["mongodb-admin", "mongodb-application-cells", "mongodb-keyfile"]) {
      expect(JSON.stringify(inputs(graph, secret, name)["data"]), name).toContain(redacted);
    }
  });

  it("restarts the members for their configuration, not for their users", async () => {
    const members = (graph: Graph) => at(inputs(graph, statefulSet, "mongodb"), "spec.template");
    const base = members(await deploy());
    expect(members(await deploy({ applications: ["cells", "portal"] }))).toEqual(base);
    expect(members(await deploy({ resources: { limits: { memory: "2Gi" } } }))).not.toEqual(base);
  });

  it("runs the setup again when there is another application", async () => {
    const setup = (graph: Graph) => inputs(graph, job, "mongodb-setup");
    expect(setup(await deploy({ applications: ["cells", "portal"] }))).not.toEqual(setup(await deploy()));
  });

  it("tells the setup the size of the oplogs only when it is given: otherwise they stay as they are", async () => {
    const settings = async (args: Partial<MongodbClusterArguments>): Promise<unknown> => {
      const setup = at(inputs(await deploy(args), job, "mongodb-setup"), "spec.template.spec.containers.0");
      const text = listAt(setup, "env").find(({ name }) => name === "SETTINGS")?.["value"];
      return JSON.parse(String(text)) as unknown;
    };
    expect(await settings({ oplogSize: "2Gi" })).toHaveProperty("oplogMegabytes", 2048);
    expect(await settings({})).not.toHaveProperty("oplogMegabytes");
  });

  it("tells each member its node, to name the one whose processor is refused", async () => {
    const [member] = listAt(podOf(await deploy()), "initContainers");
    expect(listAt(member, "env")).toContainEqual({
      name: "NODE_NAME",
      valueFrom: { fieldRef: { apiVersion: "v1", fieldPath: "spec.nodeName" } },
    });
  });

  it("has neither certificates nor trust without TLS, and members still prove themselves", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ trust: null });
    expect(graph.outputs["url"]).not.toContain("tls");
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("mongodb-certificates");
    expect(JSON.stringify(inputs(graph, statefulSet, "mongodb"))).not.toMatch(/-tls|mongodb-ca|mongodb-trust/);
    expect(JSON.stringify(inputs(graph, "kubernetes:core/v1:ConfigMap", "mongodb-config-plain"))).toContain("keyFile");
  });

  it("has as many members in its address as there are", async () => {
    expect(String((await deploy({ members: 5 })).outputs["url"]).match(/:27017/g)).toHaveLength(5);
  });
});
