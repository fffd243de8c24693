import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { EtcdCluster, type EtcdClusterArguments } from "../../../components/etcd";
import { at, inputs, listAt, only } from "../../support/graph";
import { type Graph, type Recorded, record, redacted, unknown } from "../../support/recorder";

async function deploy(args: Partial<EtcdClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const etcd = new EtcdCluster("etcd", { namespace: "cells", applications: ["cells"], ...args });
      return {
        url: etcd.url,
        trust: etcd.certificateAuthority,
        check: etcd.checkTarget,
        secret: etcd.application("cells").secret,
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const job = "kubernetes:batch/v1:Job";
const networkPolicy = "kubernetes:networking.k8s.io/v1:NetworkPolicy";

const specOf = (graph: Graph, policy: string): unknown => at(inputs(graph, networkPolicy, policy), "spec");

beforeAll(() => buildAgents(["etcd"]));

describe("an etcd cluster", () => {
  it("gives out one name, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url: "https://etcd.cells.svc:2379",
      trust: "etcd-ca",
      secret: "etcd-application-cells",
      check: {
        service: "etcd",
        name: "etcd",
        namespace: "cells",
        members: ["etcd-0", "etcd-1", "etcd-2"],
        peersService: "etcd-peers",
        clientPort: 2379,
        metricsPort: 2381,
        host: "etcd.cells.svc",
        tls: "required",
        trust: "etcd-ca",
        adminSecret: "etcd-admin",
        durability: null,
        applications: { cells: "etcd-application-cells" },
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("orders certificates and preflight, members, roll, setup", async () => {
    const graph = await deploy();
    const urn = (type: string, name: string): string => only(graph, type, name).urn;
    const servers = only(graph, statefulSet, "etcd").options.dependsOn;
    expect(servers).toContain(urn(job, "etcd-certificates"));
    expect(servers).toContain(urn(job, "etcd-preflight"));
    expect(only(graph, job, "etcd-roll").options.dependsOn).toContain(urn(statefulSet, "etcd"));
    expect(only(graph, job, "etcd-setup").options.dependsOn).toContain(urn(job, "etcd-roll"));
  });

  it("names its Jobs anew for each run, and everything else for life", async () => {
    const { resources } = await deploy();
    for (const { type, name, inputs: given } of resources.filter((each) => each.type.startsWith("kubernetes:"))) {
      if (type === job) expect(at(given, "metadata.name"), name).toBeUndefined();
      else expect(at(given, "metadata.name"), name).toBe(name);
    }
  });

  it("keeps secrets out of everything but Secrets", async () => {
    const { resources, secrets } = await deploy();
    expect(secrets.length).toBeGreaterThan(0);
    for (const { type, inputs: given } of resources) {
      if (type === "kubernetes:core/v1:Secret") {
        const data = at(given, "data") as Record<string, unknown>;
        expect(data["password"] ?? data["key"] ?? data["users.json"]).toBe(redacted);
      } else {
        for (const secret of secrets.filter(({ length }) => length > 15)) {
          expect(JSON.stringify(given)).not.toContain(secret);
        }
      }
    }
  });

  it("restricts rights to names, except for what is made by a POST, which cannot overwrite", async () => {
    const graph = await deploy();
    const rules = graph
      .byType("kubernetes:rbac.authorization.k8s.io/v1:Role")
      .flatMap((each) => listAt(each.inputs, "rules"));
    const open = rules.filter((rule) => rule["resourceNames"] === undefined);
    const lease = { apiGroups: ["coordination.k8s.io"], resources: ["leases"] };
    expect(open).toEqual([
      { ...lease, verbs: ["create"] },
      { apiGroups: [""], resources: ["configmaps"], verbs: ["create"] },
    ]);
    // Nothing but members, whose pods Kubernetes makes again; also of those that may come or leave.
    const members = [0, 1, 2, 3, 4].map((ordinal) => `etcd-${ordinal}`);
    expect(rules.filter((rule) => JSON.stringify(rule["verbs"]).includes("delete"))).toEqual([
      { apiGroups: [""], resources: ["pods"], verbs: ["get", "delete"], resourceNames: members },
      { ...lease, verbs: ["get", "patch", "delete"], resourceNames: ["cells-services-roll"] },
    ]);
    // The owner of the marker follows `deletion`, so the setup patches it.
    const patched = rules.filter((rule) => (rule["verbs"] as string[]).includes("patch"));
    expect(patched).toContainEqual({
      apiGroups: [""],
      resources: ["configmaps"],
      verbs: ["get", "patch"],
      resourceNames: ["etcd-marker"],
    });
  });

  it("has no certificates without TLS", async () => {
    const graph = await deploy({ tls: "off" });
    expect(graph.outputs).toMatchObject({ url: "http://etcd.cells.svc:2379", trust: null });
    expect(graph.resources.filter(({ name }) => name === "etcd-certificates")).toEqual([]);
    const volumes = listAt(inputs(graph, statefulSet, "etcd"), "spec.template.spec.volumes");
    expect(volumes.map(({ name }) => name)).toEqual(["agent", "token", "base", "kept", "admin", "run", "auth-token"]);
  });

  it("lets the preflight ask members that still have TLS, when they are to be without it", async () => {
    const graph = await deploy({ tls: "off" });
    const volumes = listAt(inputs(graph, job, "etcd-preflight"), "spec.template.spec.volumes");
    const trust = volumes.find(({ name }) => name === "trust");
    expect(trust).toEqual({ name: "trust", configMap: { name: "etcd-ca", optional: true } });
  });

  it("asks cert-manager for an intermediate authority when there is an issuer", async () => {
    const graph = await deploy({ certificates: { issuerRef: { name: "vault", kind: "ClusterIssuer" } } });
    const certificates = graph.byType("kubernetes:cert-manager.io/v1:Certificate");
    expect(certificates.map(({ name }) => name)).toEqual(["etcd-intermediate"]);
    expect(at(certificates[0]?.inputs, "spec")).toMatchObject({
      isCA: true,
      commonName: "etcd",
      privateKey: { encoding: "PKCS8" },
    });
    expect(only(graph, job, "etcd-certificates").options.dependsOn).toContain(certificates[0]?.urn);
  });

  it("takes an issuer that is not part of cert-manager", async () => {
    const issuerRef = { name: "private", kind: "AWSPCAClusterIssuer", group: "awspca.cert-manager.io" };
    const graph = await deploy({ certificates: { issuerRef } });
    const [certificate] = graph.byType("kubernetes:cert-manager.io/v1:Certificate");
    expect(at(certificate?.inputs, "spec.issuerRef")).toEqual(issuerRef);
  });

  it("keeps or deletes volumes as told", async () => {
    const policy = async (deletion?: "keep" | "delete") =>
      at(
        inputs(await deploy(deletion === undefined ? {} : { deletion }), statefulSet, "etcd"),
        "spec.persistentVolumeClaimRetentionPolicy",
      );
    expect(await policy()).toEqual({ whenDeleted: "Retain", whenScaled: "Retain" });
    expect(await policy("delete")).toEqual({ whenDeleted: "Delete", whenScaled: "Retain" });
  });

  it("does not touch the members when an application is added", async () => {
    const [before, after] = [await deploy(), await deploy({ applications: ["cells", "other"] })];
    expect(inputs(after, statefulSet, "etcd")).toEqual(inputs(before, statefulSet, "etcd"));
    expect(inputs(after, job, "etcd-setup")).not.toEqual(inputs(before, job, "etcd-setup"));
  });

  it("waits longer for more members", async () => {
    const timeouts = async (members: number) => {
      const graph = await deploy({ members });
      return only(graph, job, "etcd-roll").options.customTimeouts?.create;
    };
    expect(await timeouts(3)).toBe("4610s");
    expect(await timeouts(5)).toBe("5710s");
  });

  it("opens only what is named", async () => {
    const specs = async (args: Partial<EtcdClusterArguments>) => {
      const graph = await deploy(args);
      return { clients: specOf(graph, "etcd"), members: specOf(graph, "etcd-members") };
    };
    const portsOf = (spec: unknown) => listAt(spec, "ingress").map((rule) => at(rule, "ports.0.port"));
    const usual = await specs({});
    expect([portsOf(usual.clients), portsOf(usual.members)]).toEqual([[2379], [2379, 2380]]);
    expect(at(usual.clients, "ingress.0.from.1")).toEqual({ podSelector: { matchLabels: {} } });
    const open = await specs({
      clients: [{ namespaceLabels: { team: "cells" }, podLabels: { app: "cells" } }],
      metrics: { from: [{ namespaceLabels: { "kubernetes.io/metadata.name": "monitoring" } }] },
    });
    expect(at(open.clients, "ingress.0.from.1")).toEqual({
      namespaceSelector: { matchLabels: { team: "cells" } },
      podSelector: { matchLabels: { app: "cells" } },
    });
    expect(at(open.members, "ingress.2")).toEqual({
      from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
      ports: [
        { protocol: "TCP", port: 2381 },
        { protocol: "TCP", port: 8008 },
      ],
    });
  });

  it("lets clients in only after the setup has enabled authentication", async () => {
    const graph = await deploy();
    const [before, after] = [only(graph, networkPolicy, "etcd-members"), only(graph, networkPolicy, "etcd")];
    // Before the guard, and so before the members.
    expect(only(graph, job, "etcd-preflight").options.dependsOn).toContain(before.urn);
    expect(after.options.dependsOn).toContain(only(graph, job, "etcd-setup").urn);
    // Without egress and metrics, which must not wait for the setup.
    expect(at(specOf(graph, "etcd"), "policyTypes")).toEqual(["Ingress"]);
    expect(at(specOf(graph, "etcd-members"), "policyTypes")).toEqual(["Ingress", "Egress"]);
    const own = { podSelector: { matchLabels: at(specOf(graph, "etcd-members"), "podSelector.matchLabels") } };
    expect(at(specOf(graph, "etcd-members"), "ingress.0")).toEqual({
      from: [own],
      ports: [{ protocol: "TCP", port: 2379 }],
    });
    // An application gets its login when it can connect.
    const login = only(graph, "kubernetes:core/v1:Secret", "etcd-application-cells");
    expect(login.options.dependsOn).toContain(after.urn);
  });

  it("admits nobody but its own pods without clients", async () => {
    const graph = await deploy({ clients: [] });
    expect(listAt(specOf(graph, "etcd"), "ingress").map((rule) => listAt(rule, "from").length)).toEqual([1]);
  });

  it("registers nothing when an argument is wrong", async () => {
    const failure = await deploy({ members: 4, applications: ["root"] }).catch((error: unknown) => error);
    expect(at(failure, "message")).toBe(
      [
        'etcd "etcd": 2 arguments are wrong',
        "  - members must be odd so that a majority exists, got 4; use 3 or 5",
        '  - applications must not contain "root", which is the administrator; use another name',
      ].join("\n"),
    );
    expect((at(failure, "resources") as Recorded[]).filter(({ type }) => !type.startsWith("pulumi:"))).toEqual([]);
  });

  it("knows which applications it has", async () => {
    const asking = record(() => {
      new EtcdCluster("etcd", { namespace: "cells", applications: ["cells"] }).application("cell");
    });
    await expect(asking).rejects.toThrow(
      'etcd "etcd": "cell" is not one of its applications, which are "cells"; add it to applications',
    );
  });

  it("can be previewed", async () => {
    await expect(deploy({}, true)).resolves.toBeDefined();
  });
});
