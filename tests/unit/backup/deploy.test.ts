/** What the argument `backups` makes, with etcd, and what its pods may do. */
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { EtcdCluster, type EtcdClusterArguments, resolveEtcd } from "../../../components/etcd";
import { VaultCluster } from "../../../components/vault";
import { at, inputs, listAt, only } from "../../support/graph";
import { type Graph, record } from "../../support/recorder";
import { ensureAgentBundles } from "../../support/stacks";

type Backups = NonNullable<EtcdClusterArguments["backups"]>;
const store: Backups["store"] = { url: "https://s3.example.com", bucket: "backups", credentials: "keys" };

const deploy = (backups?: Partial<Backups>, args: Partial<EtcdClusterArguments> = {}): Promise<Graph> =>
  record(() => {
    const given = backups === undefined ? {} : { backups: { store, ...backups } };
    return void new EtcdCluster("etcd", { namespace: "cells", ...given, ...args });
  });

const cronJob = "kubernetes:batch/v1:CronJob";
const networkPolicy = "kubernetes:networking.k8s.io/v1:NetworkPolicy";
const template = (graph: Graph, name: string) => at(inputs(graph, cronJob, name), "spec.jobTemplate.spec.template");
const settingsOf = (graph: Graph, name: string): unknown => settingsIn(template(graph, name));
const settingsOfJob = (graph: Graph, name: string): unknown =>
  settingsIn(at(inputs(graph, "kubernetes:batch/v1:Job", name), "spec.template"));
const settingsIn = (pod: unknown): unknown => {
  const [container] = listAt(pod, "spec.containers");
  const [settings] = listAt(container, "env");
  return JSON.parse(String(at(settings, "value")));
};

beforeAll(() => ensureAgentBundles());

describe("without the argument", () => {
  it("nothing of it is made", async () => {
    const { resources } = await deploy();
    expect(resources.filter(({ name }) => name.includes("backup"))).toEqual([]);
  });

  it("the maintenance holds no Lease", async () => {
    const graph = await deploy();
    const role = inputs(graph, "kubernetes:rbac.authorization.k8s.io/v1:Role", "etcd-maintenance");
    expect(listAt(role, "rules").map((rule) => at(rule, "resources"))).toEqual([["cronjobs"]]);
    const settings = (given: Graph): unknown =>
      settingsIn(at(inputs(given, "kubernetes:apps/v1:Deployment", "etcd-maintenance"), "spec.template"));
    expect(settings(graph)).not.toHaveProperty("copied");
    expect(settings(await deploy({}))).toMatchObject({ copied: true });
  });

  it("members are the same as with it", async () => {
    const statefulSet = async (backups?: Partial<Backups>) =>
      inputs(await deploy(backups), "kubernetes:apps/v1:StatefulSet", "etcd");
    expect(await statefulSet({})).toEqual(await statefulSet());
  });
});

describe("the CronJobs", () => {
  it("run as they are told, one at a time", async () => {
    const graph = await deploy({ schedule: "0 1 * * *", proof: { schedule: "@monthly" } });
    const specs = ["etcd-backup", "etcd-backup-proof"].map((name) => at(inputs(graph, cronJob, name), "spec"));
    expect(specs.map((spec) => at(spec, "schedule"))).toEqual(["0 1 * * *", "@monthly"]);
    for (const spec of specs) expect(spec).toMatchObject({ concurrencyPolicy: "Forbid", timeZone: "Etc/UTC" });
  });

  it("are told where the store is, and not its keys", async () => {
    const graph = await deploy({ keep: 5, store: { ...store, prefix: "one" } });
    for (const name of ["etcd-backup", "etcd-backup-proof"]) {
      expect(settingsOf(graph, name)).toMatchObject({
        name: "etcd",
        keep: 5,
        store: { url: store.url, region: "us-east-1", bucket: "backups", prefix: "one" },
      });
      const volumes = listAt(template(graph, name), "spec.volumes");
      expect(volumes.find((each) => each["name"] === "store")).toMatchObject({ secret: { secretName: "keys" } });
    }
  });

  it("take a store that is an output", async () => {
    const graph = await deploy({ store: { ...store, url: pulumi.output("http://store.cells.svc:9000") } });
    expect(settingsOf(graph, "etcd-backup")).toMatchObject({ store: { url: "http://store.cells.svc:9000" } });
    expect(JSON.stringify(inputs(graph, networkPolicy, "etcd-backup"))).toContain("9000");
  });

  it("do not take an output that is no URL", async () => {
    const wrong = deploy({ store: { ...store, url: pulumi.output("store.cells.svc") } });
    await expect(wrong).rejects.toThrow('backups.store.url must be an http or https URL, got "store.cells.svc"');
  });

  it("restore, start the server beside, and compare, in this order", async () => {
    const spec = at(template(await deploy({}), "etcd-backup-proof"), "spec");
    const first = listAt(spec, "initContainers");
    expect(first.map(({ name }) => name)).toEqual(["fetch", "restore", "etcd"]);
    expect(first.map(({ restartPolicy }) => restartPolicy)).toEqual([undefined, undefined, "Always"]);
    expect(listAt(spec, "containers").map(({ name }) => name)).toEqual(["prove"]);
    // Nothing but its own pod reaches the server.
    expect(JSON.stringify(first[2]?.["args"])).toContain("--listen-client-urls=http://127.0.0.1:2379");
  });

  it("wait for all that their pods need", async () => {
    const graph = await deploy({});
    const needed = only(graph, cronJob, "etcd-backup").options.dependsOn;
    for (const [type, name] of [
      [networkPolicy, "etcd-backup"],
      [networkPolicy, "etcd-backup-proof"],
      ["kubernetes:core/v1:ServiceAccount", "etcd-backup-proof"],
      ["kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "etcd-backup"],
    ] as const) {
      expect(needed).toContain(only(graph, type, name).urn);
    }
  });
});

describe("the pods", () => {
  it("of a copy may only hold their Leases, and those of a proof nothing", async () => {
    const graph = await deploy({});
    const roles = graph.byType("kubernetes:rbac.authorization.k8s.io/v1:Role");
    const ofBackups = roles.filter(({ name }) => name.includes("backup") || name === "etcd-maintenance");
    const lease = { apiGroups: ["coordination.k8s.io"], resources: ["leases"] };
    const ofMembers = ["etcd-backup-0", "etcd-backup-1", "etcd-backup-2"];
    expect(ofBackups.map(({ name, inputs: given }) => [name, at(given, "rules")])).toEqual([
      [
        // A copy and a defragmentation of the same member exclude each other.
        "etcd-maintenance",
        [
          {
            apiGroups: ["batch"],
            resources: ["cronjobs"],
            verbs: ["get"],
            resourceNames: ["etcd-backup", "etcd-backup-proof"],
          },
          { ...lease, verbs: ["create"] },
          { ...lease, verbs: ["get", "patch", "delete"], resourceNames: ofMembers },
        ],
      ],
      [
        "etcd-backup",
        [
          { ...lease, verbs: ["create"] },
          { ...lease, verbs: ["get", "patch", "delete"], resourceNames: ["etcd-backup", ...ofMembers] },
          // Whether a restore is under way.
          { apiGroups: [""], resources: ["configmaps"], verbs: ["get"], resourceNames: ["etcd-marker"] },
        ],
      ],
    ]);
  });

  it("of a proof are no pods of the ensemble: no policy lets them reach its members", async () => {
    const graph = await deploy({});
    const own = at(template(graph, "etcd-backup-proof"), "metadata.labels") as Record<string, string>;
    const selecting = graph.byType(networkPolicy).filter(({ inputs: given }) => {
      const wanted = at(given, "spec.podSelector.matchLabels") as Record<string, string>;
      return Object.entries(wanted).every(([key, value]) => own[key] === value);
    });
    expect(selecting.map(({ name }) => name)).toEqual(["etcd-backup-proof"]);
    const spec = at(selecting[0]?.inputs, "spec");
    expect(at(spec, "policyTypes")).toEqual(["Ingress", "Egress"]);
    expect(at(spec, "ingress")).toBeUndefined();
    const ports = listAt(spec, "egress").flatMap((rule) => listAt(rule, "ports").map(({ port }) => port));
    expect(ports).toEqual([53, 53, 5353, 5353, 443]);
  });

  it.each<[Partial<Backups["store"]>, number[], string[]]>([
    [{ credentials: "keys" }, [9000], []],
    // The token service of AWS besides.
    [{ serviceAccountAnnotations: { "eks.amazonaws.com/role-arn": "arn:role" } }, [9000, 443], []],
    [{ podIdentity: true }, [9000, 80], ["169.254.170.23/32", "fd00:ec2::23/128"]],
  ])("with %j connect to what they need, and have no other login", async (login, ports, addresses) => {
    const place = { url: "https://s3.example.com:9000", bucket: "backups", ...login };
    const graph = await deploy({ store: place, restoreFrom: { copy: "latest" } });
    for (const name of ["etcd-backup", "etcd-backup-proof"]) {
      const [, ...rules] = listAt(inputs(graph, networkPolicy, name), "spec.egress");
      expect(rules.flatMap((rule) => listAt(rule, "ports").map(({ port }) => port))).toEqual(ports);
      const blocks = rules.flatMap(({ to }) => (to ?? []) as object[]);
      expect(blocks.map((each) => at(each, "ipBlock.cidr"))).toEqual(addresses);
      const mounted = listAt(template(graph, name), "spec.volumes").some((each) => each["name"] === "store");
      expect(mounted).toBe("credentials" in login);
    }
    for (const name of ["etcd-backup", "etcd-backup-proof", "etcd-restore"]) {
      const account = inputs(graph, "kubernetes:core/v1:ServiceAccount", name);
      expect(at(account, "metadata.annotations")).toEqual(login.serviceAccountAnnotations);
    }
  });

  it("of a proof have room for the copy, the restored data and its log", async () => {
    const graph = await deploy({}, { storage: { size: "8Gi" } });
    const volumes = listAt(template(graph, "etcd-backup-proof"), "spec.volumes");
    const [work] = volumes.filter(({ name }) => name === "work");
    expect(at(work, "emptyDir.sizeLimit")).toBe(`${2 * 4096 + 512}Mi`);
    const [, restore] = listAt(template(graph, "etcd-backup-proof"), "spec.initContainers");
    expect(at(restore, "resources.limits.ephemeral-storage")).toBe(`${2 * 4096 + 512 + 1024}Mi`);
  });
});

describe("the role of a proof", () => {
  const ofStore = { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/store" };
  const ofSeal = { "eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/seal" };
  const { credentials, ...open } = store;
  it.each<[string, Partial<Backups["store"]>, object | undefined]>([
    ["of the store, where that takes one", { serviceAccountAnnotations: ofStore }, ofStore],
    ["of the association, where the store takes that", { podIdentity: true }, undefined],
    ["of the seal, where the store has keys", { credentials }, ofSeal],
  ])("is that %s", async (_, login, annotations) => {
    const seal = { type: "awskms", region: "eu-central-1", keyId: "alias/vault", recovery: "none" } as const;
    const graph = await record(
      () =>
        void new VaultCluster("vault", {
          namespace: "cells",
          seal: { ...seal, serviceAccountAnnotations: ofSeal },
          backups: { store: { ...open, ...login } },
        }),
    );
    const account = inputs(graph, "kubernetes:core/v1:ServiceAccount", "vault-backup-proof");
    expect(at(account, "metadata.annotations")).toEqual(annotations);
  });
});

describe("a restore", () => {
  const job = "kubernetes:batch/v1:Job";
  const restoreFrom = { copy: "latest" };

  it("is no part of an ensemble that is not told so", async () => {
    const graph = await deploy({});
    expect(graph.byType(job).map(({ name }) => name)).not.toContain("etcd-restore");
    expect(settingsOfJob(graph, "etcd-preflight")).not.toHaveProperty("restores");
  });

  it("is a proof with the login of a copy, and may change the marker", async () => {
    const graph = await deploy({ restoreFrom });
    const spec = at(inputs(graph, job, "etcd-restore"), "spec.template.spec");
    const containers = [...listAt(spec, "initContainers"), ...listAt(spec, "containers")];
    expect(containers.map(({ name }) => name)).toEqual(["fetch", "restore", "etcd", "load"]);
    expect(listAt(spec, "volumes").map(({ name }) => name)).toEqual(expect.arrayContaining(["store", "admin", "work"]));
    const [role] = graph
      .byType("kubernetes:rbac.authorization.k8s.io/v1:Role")
      .filter(({ name }) => name === "etcd-restore");
    expect(at(role?.inputs, "rules")).toEqual([
      { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
      {
        apiGroups: ["coordination.k8s.io"],
        resources: ["leases"],
        verbs: ["get", "patch", "delete"],
        resourceNames: ["etcd-backup"],
      },
      { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "patch"], resourceNames: ["etcd-marker"] },
    ]);
    expect(settingsOfJob(graph, "etcd-preflight")).toMatchObject({ restores: true });
  });

  it.each([
    [restoreFrom, { namespace: "cells", name: "etcd" }],
    [
      { ...restoreFrom, namespace: "old", name: "registry" },
      { namespace: "old", name: "registry" },
    ],
  ])("of %j reads the copies of %j", async (given, from) => {
    const { restore } = settingsOfJob(await deploy({ restoreFrom: given }), "etcd-restore") as { restore: object };
    expect(restore).toMatchObject({ copy: "latest", from });
  });

  it("is judged before, by a container whose words pulumi shows", async () => {
    const graph = await deploy({ restoreFrom });
    const judge = only(graph, job, "etcd-restore-preflight");
    const spec = at(judge.inputs, "spec.template.spec");
    expect(at(spec, "initContainers")).toBeUndefined();
    expect(listAt(spec, "containers")).toMatchObject([{ args: ["judge"] }]);
    expect(only(graph, job, "etcd-restore").options.dependsOn).toContain(judge.urn);
    expect(settingsOfJob(graph, "etcd-restore-preflight")).toEqual(settingsOfJob(graph, "etcd-restore"));
  });

  it("comes after the setup, and before clients and before the next copy", async () => {
    const graph = await deploy({ restoreFrom });
    const { urn, options } = only(graph, job, "etcd-restore");
    expect(options.dependsOn).toContain(only(graph, job, "etcd-setup").urn);
    expect(only(graph, networkPolicy, "etcd").options.dependsOn).toContain(urn);
    expect(only(graph, cronJob, "etcd-backup").options.dependsOn).toContain(urn);
  });
});

describe("the argument", () => {
  it.each<[object, string]>([
    [{ schedule: "nightly" }, 'backups.schedule must be a schedule of five fields, as in a CronJob, got "nightly"'],
    [{ keep: 1 }, "backups.keep must be a whole number from 2 to 10000, got 1"],
    [{ store: { ...store, bucket: "" } }, "backups.store.bucket is missing; give the name of a bucket"],
    [
      { store: { ...store, url: "s3.example.com" } },
      'backups.store.url must be an http or https URL, got "s3.example.com"',
    ],
    [{ store: { ...store, url: "ftp://s3" } }, 'backups.store.url must be an http or https URL, got "ftp://s3"'],
    [{ store: { ...store, prefix: "/one" } }, "backups.store.prefix must be names with slashes between them"],
    [{ store: { ...store, keys: "x" } }, "backups.store.keys is not an argument"],
    [{ store: undefined }, "backups.store is missing"],
    [
      { store: { ...store, credentials: undefined } },
      "backups.store must have exactly one way to log in, got none; give",
    ],
    [
      { store: { ...store, credentials: undefined, podIdentity: false } },
      "backups.store must have exactly one way to log in, got none; give",
    ],
    [
      { store: { ...store, podIdentity: true } },
      "backups.store must have exactly one way to log in, got credentials and podIdentity; give",
    ],
    [
      { restoreFrom: { copy: "yesterday" } },
      'backups.restoreFrom.copy must be "latest", the id of a copy or a time in UTC, got "yesterday"',
    ],
    [{ restoreFrom: {} }, "backups.restoreFrom.copy is missing"],
  ])("%j is refused", (given, message) => {
    const backups = { store, ...given } as Backups;
    expect(() => resolveEtcd("etcd", { namespace: "cells", backups })).toThrow(message);
  });
});
