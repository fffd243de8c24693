import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { ObjectStore, type ObjectStoreArguments } from "../../../components/objectstore";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<ObjectStoreArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const store = new ObjectStore("s3", {
        namespace: "cells",
        buckets: ["files", "thumbnails"],
        applications: ["cells"],
        ...args,
      });
      return {
        endpoint: store.endpoint,
        url: store.url,
        region: store.region,
        buckets: store.buckets,
        trust: store.certificateAuthority,
        check: store.checkTarget,
        secret: (args.applications ?? ["cells"]).includes("cells") ? store.application("cells").secret : "none",
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const job = "kubernetes:batch/v1:Job";
const secret = "kubernetes:core/v1:Secret";

const serverOf = (graph: Graph): Properties =>
  listAt(inputs(graph, statefulSet, "s3"), "spec.template.spec.containers")[0] as Properties;
const annotationsOf = (graph: Graph, type: string, name: string): Properties =>
  at(inputs(graph, type, name), "spec.template.metadata.annotations") as Properties;

beforeAll(() => buildAgents(["objectstore"]));

describe("an object store", () => {
  it("gives out what AWS S3 would, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      endpoint: "https://s3.cells.svc:9000",
      url: "https://s3.cells.svc:9000",
      region: "us-east-1",
      buckets: { files: "files", thumbnails: "thumbnails" },
      trust: "s3-ca",
      secret: "s3-application-cells",
      check: {
        service: "objectstore",
        name: "s3",
        namespace: "cells",
        members: ["s3-0"],
        peersService: "s3-peers",
        clientPort: 9000,
        metricsPort: 9000,
        host: "s3.cells.svc",
        tls: "required",
        trust: "s3-ca",
        adminSecret: "s3-admin",
        durability: null,
        applications: { cells: "s3-application-cells" },
      },
    });
  });

  it("gives out buckets and Secrets only after the setup", async () => {
    const { outputs } = await deploy({}, true);
    expect(outputs["secret"]).toBe(unknown);
    expect(outputs["buckets"]).toBe(unknown);
  });

  it("is one server", async () => {
    const graph = await deploy();
    expect(at(inputs(graph, statefulSet, "s3"), "spec.replicas")).toBe(1);
    expect(graph.byType(statefulSet)).toHaveLength(1);
    expect(serverOf(graph)["image"]).toBe("docker.io/versity/versitygw:v1.8.0");
  });

  it("orders preflight and certificates, server, setup", async () => {
    const graph = await deploy();
    const urn = (type: string, name: string): string => only(graph, type, name).urn;
    const server = only(graph, statefulSet, "s3").options.dependsOn;
    expect(server).toContain(urn(job, "s3-preflight"));
    expect(server).toContain(urn(job, "s3-certificates"));
    expect(server).not.toContain(urn("kubernetes:core/v1:Service", "s3"));
    const setup = only(graph, job, "s3-setup").options.dependsOn;
    expect(setup).toContain(urn(statefulSet, "s3"));
    expect(setup).toContain(urn("kubernetes:core/v1:ConfigMap", "s3-config"));
  });

  it("starts the server without a shell, with the admin API off the port of the clients", async () => {
    const server = serverOf(await deploy({ region: "eu-west-1" }));
    expect(server["command"]).toEqual([
      "/usr/local/bin/versitygw",
      "--port=:9000",
      "--admin-port=:9001",
      "--cert=/etc/objectstore-server-tls/tls.crt",
      "--key=/etc/objectstore-server-tls/tls.key",
      "--admin-cert=/etc/objectstore-server-tls/tls.crt",
      "--admin-cert-key=/etc/objectstore-server-tls/tls.key",
      "--region=eu-west-1",
      "--iam-dir=/data/iam",
      "--iam-cache-disable",
      "--health=/_/health",
      "--keep-alive",
      "--quiet",
      "posix",
      "/data/buckets",
    ]);
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
      expect(at(server, `${probe}.httpGet`)).toEqual({ path: "/_/health", port: "client", scheme: "HTTPS" });
    }
  });

  it("refers to the Secret of the administrator instead of holding its values", async () => {
    const { env } = serverOf(await deploy()) as { env: Properties[] };
    expect(env).toEqual([
      { name: "ROOT_ACCESS_KEY_ID", valueFrom: { secretKeyRef: { name: "s3-admin", key: "username" } } },
      { name: "ROOT_SECRET_ACCESS_KEY", valueFrom: { secretKeyRef: { name: "s3-admin", key: "password" } } },
      { name: "GOMEMLIMIT", value: String(Math.floor(512 * 2 ** 20 * 0.8)) },
    ]);
  });

  it("mounts every volume of the server, and the token in agent containers only", async () => {
    const graph = await deploy();
    const pod = at(inputs(graph, statefulSet, "s3"), "spec.template.spec");
    const volumes = listAt(pod, "volumes").map((volume) => volume["name"]);
    const containers = [...listAt(pod, "initContainers"), ...listAt(pod, "containers")];
    const mounts = containers.flatMap((container) => listAt(container, "volumeMounts").map((mount) => mount["name"]));
    expect([...new Set(mounts)].sort()).toEqual([...volumes, "data"].sort());
    expect(listAt(serverOf(graph), "volumeMounts").map((mount) => mount["name"])).toEqual(["data", "server-tls"]);
  });

  it("keeps passwords in Secrets", async () => {
    const graph = await deploy();
    expect(graph.secrets.length).toBeGreaterThan(0);
    for (const each of graph.resources.filter(
      ({ type }) => !type.endsWith(":Secret") && type.startsWith("kubernetes:"),
    )) {
      const text = JSON.stringify(each.inputs);
      for (const known of graph.secrets.filter((value) => value.length > 8)) {
        expect(text, each.name).not.toContain(known);
      }
    }
    for (const name of ["s3-admin", "s3-application-cells"]) {
      expect(JSON.stringify(inputs(graph, secret, name)["data"]), name).toContain(redacted);
    }
  });

  it("gives an application the words of AWS beside those of all services", async () => {
    const data = inputs(await deploy(), secret, "s3-application-cells")["data"] as Properties;
    expect(Object.keys(data).sort()).toEqual(
      ["accessKeyId", "endpoint", "password", "region", "secretAccessKey", "url", "username"].sort(),
    );
  });

  it("runs the setup again for buckets and applications, and restarts the server for neither", async () => {
    const base = await deploy();
    const setup = (graph: Graph) => annotationsOf(graph, job, "s3-setup")["cells-services/credentials"];
    const changes = [
      { buckets: ["files", "thumbnails", "more"] },
      { applications: ["cells", "backup"], applicationBuckets: { cells: ["files"], backup: ["thumbnails"] } },
    ];
    expect(setup(await deploy())).toBe(setup(base));
    for (const change of changes) {
      const changed = await deploy(change);
      expect(setup(changed)).not.toBe(setup(base));
      expect(inputs(changed, statefulSet, "s3")).toEqual(inputs(base, statefulSet, "s3"));
    }
  });

  it("tells setup and check which bucket is whose", async () => {
    const storeOf = async (args: Partial<ObjectStoreArguments>): Promise<unknown> => {
      const config = inputs(await deploy(args), "kubernetes:core/v1:ConfigMap", "s3-config");
      return JSON.parse(at(config, "data")?.["store.json" as never] ?? "{}");
    };
    expect(await storeOf({})).toEqual({
      region: "us-east-1",
      buckets: ["files", "thumbnails"],
      applicationBuckets: { cells: ["files", "thumbnails"] },
    });
    expect(await storeOf({ applicationBuckets: { cells: ["files"] } })).toMatchObject({
      applicationBuckets: { cells: ["files"] },
    });
    expect(await storeOf({ applications: [] })).toMatchObject({ applicationBuckets: {} });
  });

  it("admits clients to the port of S3 only, and its own pods to the admin API", async () => {
    const policy = inputs(await deploy(), "kubernetes:networking.k8s.io/v1:NetworkPolicy", "s3");
    const rules = listAt(policy, "spec.ingress");
    expect(rules).toHaveLength(2);
    const [clients, admin] = rules;
    expect(listAt(clients, "ports")).toEqual([{ protocol: "TCP", port: 9000 }]);
    expect(listAt(admin, "ports")).toEqual([{ protocol: "TCP", port: 9001 }]);
    expect(listAt(admin, "from")).toEqual([
      {
        podSelector: {
          matchLabels: { "app.kubernetes.io/name": "objectstore", "app.kubernetes.io/instance": "s3" },
        },
      },
    ]);
  });

  it("has neither certificates nor trust without TLS", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ endpoint: "http://s3.cells.svc:9000", trust: null });
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("s3-certificates");
    expect(JSON.stringify(inputs(graph, statefulSet, "s3"))).not.toMatch(/-tls|--cert|s3-ca/);
    expect(at(serverOf(graph), "readinessProbe.httpGet.scheme")).toBe("HTTP");
  });

  it("names the applications that it has", async () => {
    const other = () =>
      new ObjectStore("s3", { namespace: "cells", buckets: ["files"], applications: ["cells"] }).application("portal");
    await expect(record(other)).rejects.toThrow(
      'objectstore "s3": "portal" is not one of its applications, which are "cells"; add it to applications',
    );
  });
});
