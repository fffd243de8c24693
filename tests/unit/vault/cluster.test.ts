import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, expect, it } from "vitest";
import { buildAgents } from "../../../components/build";
import { type Seal, VaultCluster, type VaultClusterArguments } from "../../../components/vault";
import { at, inputs, listAt, only, type Properties } from "../../support/graph";
import { type Graph, type Recorded, record, unknown } from "../../support/recorder";

const pgpKey = Buffer.alloc(100, 7).toString("base64");
const kms: Seal = {
  type: "awskms",
  region: "eu-central-1",
  keyId: "alias/vault",
  serviceAccountAnnotations: { "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/vault" },
  recovery: { pgpKeys: [pgpKey] },
};

async function deploy(args: Partial<VaultClusterArguments> = {}, preview = false): Promise<Graph> {
  return record(
    () => {
      const applications = args.applications ?? ["cells"];
      const vault = new VaultCluster("vault", {
        namespace: "cells",
        seal: { type: "shamir" },
        applications,
        mounts: { secret: {}, caddycerts: { maxVersions: 5 } },
        policies: {
          cells: [
            { path: "secret/data/*", capabilities: ["create", "read", "update", "delete"] },
            { path: "caddycerts/metadata/*", capabilities: ["list"] },
          ],
        },
        ...args,
      });
      return {
        url: vault.url,
        trust: vault.certificateAuthority,
        check: vault.checkTarget,
        secret: applications.includes("cells") ? vault.application("cells").secret : "none",
      };
    },
    { preview },
  );
}

const statefulSet = "kubernetes:apps/v1:StatefulSet";
const job = "kubernetes:batch/v1:Job";
const cronJob = "kubernetes:batch/v1:CronJob";
const networkPolicy = "kubernetes:networking.k8s.io/v1:NetworkPolicy";
const role = "kubernetes:rbac.authorization.k8s.io/v1:Role";

const podOf = (each: Recorded): unknown =>
  at(each.inputs, "spec.jobTemplate.spec.template.spec") ?? at(each.inputs, "spec.template.spec");
const serverOf = (graph: Graph): Properties =>
  listAt(inputs(graph, statefulSet, "vault"), "spec.template.spec.containers")[0] as Properties;
const settingsOf = (container: unknown): Properties =>
  JSON.parse(listAt(container, "env").find(({ name }) => name === "SETTINGS")?.["value"] as string) as Properties;

function config(graph: Graph): Properties {
  const data = at(inputs(graph, "kubernetes:core/v1:ConfigMap", "vault-config"), "data") as Properties;
  return JSON.parse(data["vault.json"] as string) as Properties;
}

beforeAll(() => buildAgents(["vault"]));

describe("a Vault cluster", () => {
  it("gives out one name, the trust and what the check needs", async () => {
    const { outputs } = await deploy();
    expect(outputs).toEqual({
      url: "https://vault.cells.svc:8200",
      trust: "vault-ca",
      secret: "vault-application-cells",
      check: {
        service: "vault",
        name: "vault",
        namespace: "cells",
        members: ["vault-0", "vault-1", "vault-2"],
        peersService: "vault-peers",
        clientPort: 8200,
        metricsPort: 8202,
        host: "vault.cells.svc",
        tls: "required",
        trust: "vault-ca",
        adminSecret: "vault-admin",
        durability: null,
        applications: { cells: "vault-application-cells" },
        seal: "shamir",
        audit: "stdout",
      },
    });
  });

  it("gives out an application's Secret only after the setup", async () => {
    expect((await deploy({}, true)).outputs["secret"]).toBe(unknown);
  });

  it("orders preflight, seal, members, setup, tokens", async () => {
    const graph = await deploy();
    const urn = (type: string, name: string): string => only(graph, type, name).urn;
    expect(only(graph, job, "vault-seal").options.dependsOn).toContain(urn(job, "vault-preflight"));
    const servers = only(graph, statefulSet, "vault").options.dependsOn;
    expect(servers).toContain(urn(job, "vault-seal"));
    expect(servers).toContain(urn(job, "vault-certificates"));
    expect(servers).not.toContain(urn("kubernetes:core/v1:Service", "vault"));
    expect(only(graph, job, "vault-setup").options.dependsOn).toContain(urn(statefulSet, "vault"));
    expect(only(graph, cronJob, "vault-tokens").options.dependsOn).toContain(urn(job, "vault-setup"));
    // What the living members read is not touched before the seal is proven.
    const changed = only(graph, "kubernetes:core/v1:ConfigMap", "vault-config").options.dependsOn;
    expect(changed).toContain(urn(job, "vault-seal"));
  });

  it("needs no shell, and never restarts a member for being sealed, empty, removed or alone", async () => {
    const server = serverOf(await deploy());
    expect(server["command"]).toEqual(["/bin/vault", "server", "-config=/etc/vault/config/vault.json"]);
    for (const probe of ["startupProbe", "livenessProbe"]) {
      const path = at(server, `${probe}.httpGet.path`) as string;
      for (const code of ["sealedcode", "uninitcode", "removedcode", "haunhealthycode"]) {
        expect(path).toContain(`${code}=200`);
      }
    }
    expect(at(server, "readinessProbe.httpGet.path")).toBe("/v1/sys/health?standbyok=true");
    expect(at(server, "readinessProbe.httpGet.scheme")).toBe("HTTPS");
    expect(serverOf(await deploy({ tls: "off" }))).toMatchObject({ readinessProbe: { httpGet: { scheme: "HTTP" } } });
  });

  it("names members by DNS, never by addresses", async () => {
    expect(serverOf(await deploy())["env"]).toEqual(
      expect.arrayContaining([
        { name: "VAULT_API_ADDR", value: "https://$(POD_NAME).vault-peers.$(POD_NAMESPACE).svc:8200" },
        { name: "VAULT_CLUSTER_ADDR", value: "https://$(POD_NAME).vault-peers.$(POD_NAMESPACE).svc:8201" },
      ]),
    );
  });

  it("lets the agent signal the server, and gives it the key shares when there are any", async () => {
    const pod = at(inputs(await deploy(), statefulSet, "vault"), "spec.template.spec");
    expect(at(pod, "shareProcessNamespace")).toBe(true);
    expect(listAt(pod, "volumes")).toContainEqual({
      name: "unseal",
      secret: { secretName: "vault-unseal", optional: true, defaultMode: 0o440 },
    });
    const sealedByAws = at(inputs(await deploy({ seal: kms }), statefulSet, "vault"), "spec.template.spec");
    expect(JSON.stringify(sealedByAws)).not.toContain("vault-unseal");
  });

  it("configures raft, TLS and metrics on a port of their own", async () => {
    const written = config(await deploy());
    expect(written).toMatchObject({
      disable_mlock: true,
      storage: { raft: { path: "/data/vault", performance_multiplier: "1" } },
    });
    expect(written["seal"]).toBeUndefined();
    const [client, metrics] = listAt(written, "listener").map(({ tcp }) => tcp as Properties);
    expect(client).toMatchObject({
      address: ":8200",
      cluster_address: ":8201",
      tls_cert_file: "/etc/vault/server-tls/tls.crt",
    });
    expect(client?.["telemetry"]).toBeUndefined();
    expect(metrics).toMatchObject({
      address: ":8202",
      tls_cert_file: "/etc/vault/server-tls/tls.crt",
      telemetry: { unauthenticated_metrics_access: true },
    });
    const node = JSON.stringify(written);
    // The id lives with the data: a lost volume is a new peer.
    expect(node).not.toContain("node_id");
    // Members are joined by their agents, one at a time.
    expect(node).not.toContain("retry_join");
  });

  it("never sets a limit on CPU by itself", async () => {
    expect(at(serverOf(await deploy()), "resources.limits.cpu")).toBeUndefined();
  });

  it("keeps tokens and keys out of its inputs: they are made in the cluster", async () => {
    const graph = await deploy();
    const data = (name: string) => Object.keys(at(inputs(graph, "kubernetes:core/v1:Secret", name), "data") as object);
    expect(data("vault-admin")).toEqual(["url"]);
    expect(data("vault-application-cells").sort()).toEqual(["mounts", "url"]);
    expect(graph.byType("random:index/randomPassword:RandomPassword")).toEqual([]);
    expect(
      graph
        .byType("kubernetes:core/v1:Secret")
        .map(({ name }) => name)
        .sort(),
    ).toEqual(["vault-admin", "vault-application-cells"]);
  });

  it("gives the jobs a login for Vault alone, for minutes", async () => {
    const graph = await deploy();
    const jobs = ["vault-preflight", "vault-setup"].map((name) => only(graph, job, name));
    for (const each of [...jobs, only(graph, cronJob, "vault-tokens")]) {
      const login = listAt(podOf(each), "volumes").find(({ name }) => name === "login");
      expect(at(login, "projected.sources")).toEqual([
        { serviceAccountToken: { audience: "vault.cells.svc", expirationSeconds: 600, path: "token" } },
      ]);
    }
  });

  it("lets nobody but the members read the keys", async () => {
    for (const [seal, name] of [
      [{ type: "shamir" }, "vault-unseal"],
      [kms, "vault-recovery"],
    ] as [Seal, string][]) {
      const graph = await deploy({ seal });
      const readers = graph.byType(role).filter(({ inputs: given }) => JSON.stringify(given).includes(`"${name}"`));
      expect(readers.map((each) => each.name)).toEqual(["vault"]);
    }
  });

  it("tells setup and tokens what to make, and members nothing of it", async () => {
    const graph = await deploy();
    const [container] = listAt(podOf(only(graph, job, "vault-setup")), "containers");
    expect(settingsOf(container)).toMatchObject({
      mounts: { secret: {}, caddycerts: { maxVersions: 5 } },
      tokenPeriodDays: 30,
      audit: "stdout",
    });
    const members = at(inputs(graph, statefulSet, "vault"), "spec.template.spec");
    const changed = await deploy({ mounts: { secret: {}, caddycerts: {}, more: {} }, tokens: { periodDays: 7 } });
    expect(at(inputs(changed, statefulSet, "vault"), "spec.template.spec")).toEqual(members);
  });

  it("admits clients, peers and, for metrics, nobody", async () => {
    const policy = inputs(await deploy(), networkPolicy, "vault");
    const ports = listAt(policy, "spec.ingress").map((rule) => listAt(rule, "ports").map(({ port }) => port));
    expect(ports).toEqual([[8200], [8201], [8008]]);
  });
});

describe("with a key of AWS", () => {
  it("seals with it, and puts the role on the members' account alone", async () => {
    const graph = await deploy({ seal: kms });
    expect(config(graph)["seal"]).toEqual({ awskms: { region: "eu-central-1", kms_key_id: "alias/vault" } });
    const annotations = (name: string) =>
      at(inputs(graph, "kubernetes:core/v1:ServiceAccount", name), "metadata.annotations");
    expect(annotations("vault")).toEqual({ "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/vault" });
    expect(annotations("vault-setup")).toBeUndefined();
    expect(at(podOf(only(graph, job, "vault-seal")), "serviceAccountName")).toBe("vault");
  });

  it("reads credentials from a file, never from the environment", async () => {
    const seal: Seal = { type: "awskms", region: "r", keyId: "k", credentialsSecret: "aws", recovery: "none" };
    const graph = await deploy({ seal });
    const [proof] = listAt(podOf(only(graph, job, "vault-seal")), "containers");
    for (const container of [serverOf(graph), proof]) {
      expect(container?.["env"]).toContainEqual({
        name: "AWS_SHARED_CREDENTIALS_FILE",
        value: "/etc/vault/aws/credentials",
      });
    }
    expect(JSON.stringify(graph.resources)).not.toContain("AWS_SECRET_ACCESS_KEY");
  });

  describe("and EKS Pod Identity", () => {
    const seal: Seal = { type: "awskms", region: "eu-central-1", keyId: "k", podIdentity: true, recovery: "none" };
    const agent = {
      to: [{ ipBlock: { cidr: "169.254.170.23/32" } }, { ipBlock: { cidr: "fd00:ec2::23/128" } }],
      ports: [{ protocol: "TCP", port: 80 }],
    };
    const egressOf = (graph: Graph) => at(inputs(graph, networkPolicy, "vault-seal"), "spec.egress");

    it("asks the agent of the node, and may reach nothing else at its port", async () => {
      const graph = await deploy({ seal });
      expect(egressOf(graph)).toEqual([agent]);
      expect(at(inputs(graph, "kubernetes:core/v1:ServiceAccount", "vault"), "metadata.annotations")).toBeUndefined();
      const emulated = await deploy({ seal: { ...seal, endpoint: "http://moto.aws.svc:5000" } });
      expect(egressOf(emulated)).toEqual([{ ports: [{ protocol: "TCP", port: 5000 }] }, agent]);
    });

    it("replaces the members and proves the seal again when it comes or goes: a pod keeps the login that it began with", async () => {
      const [role, podIdentity] = [await deploy({ seal: { ...kms, recovery: "none" } }), await deploy({ seal })];
      const annotations = (graph: Graph, type: string, name: string) =>
        at(inputs(graph, type, name), "spec.template.metadata.annotations");
      for (const [type, name] of [
        [statefulSet, "vault"],
        [job, "vault-seal"],
      ] as const) {
        expect(annotations(podIdentity, type, name)).not.toEqual(annotations(role, type, name));
      }
    });

    it("is not used unless it is asked for", async () => {
      const objects = ({ resources }: Graph) => resources.filter(({ custom }) => custom);
      const graph = await deploy({ seal: { ...kms, podIdentity: false } });
      expect(graph.byType(networkPolicy).map(({ name }) => name)).toEqual(["vault"]);
      expect(objects(graph)).toEqual(objects(await deploy({ seal: kms })));
    });
  });

  it("opens the port of another endpoint, and of no other", async () => {
    const emulated = await deploy({ seal: { ...kms, endpoint: "http://moto.aws.svc:5000" } });
    expect(at(inputs(emulated, networkPolicy, "vault-seal"), "spec.egress")).toEqual([
      { ports: [{ protocol: "TCP", port: 5000 }] },
    ]);
    const real = await deploy({ seal: { ...kms, endpoint: "https://kms.example.org" } });
    expect(real.byType(networkPolicy).map(({ name }) => name)).toEqual(["vault"]);
  });

  it("leaves the services of AWS open where the API of Kubernetes has addresses", async () => {
    const egress = { apiServer: ["10.96.0.1/32"] };
    const opened = async (seal: Seal) =>
      at(inputs(await deploy({ seal, egress }), networkPolicy, "vault-seal"), "spec.egress");
    const ports = (...numbers: number[]) => [{ ports: numbers.map((port) => ({ protocol: "TCP", port })) }];
    expect(await opened(kms)).toEqual(ports(443));
    expect(await opened({ ...kms, endpoint: "http://moto.aws.svc:5000" })).toEqual(ports(443, 5000));
    const shamir = await deploy({ seal: { type: "shamir" }, egress });
    expect(shamir.byType(networkPolicy).map(({ name }) => name)).toEqual(["vault"]);
  });
});

describe("wrong arguments", () => {
  it.each<[string, Partial<VaultClusterArguments>, string]>([
    ["no seal", { seal: undefined as never }, 'vault "vault": seal is missing; use { type: "shamir" } for development'],
    [
      "another seal",
      { seal: { type: "gcpckms" } as never },
      'vault "vault": seal.type must be "shamir" or "awskms", got "gcpckms"; use one of these',
    ],
    [
      "shares of a key that is in one Secret anyway",
      { seal: { type: "shamir", shares: 3 } as never },
      'vault "vault": seal.shares is not an argument; use one of type',
    ],
    [
      "a threshold above the owners of recovery keys",
      { seal: { ...kms, recovery: { pgpKeys: ["A".repeat(120), "B".repeat(120)], threshold: 3 } } },
      'vault "vault": seal.recovery.threshold must be a whole number from 2 to the number of keys (2), got 3; use 2',
    ],
    [
      "an output as the key, which decides what is created",
      { seal: { ...kms, keyId: pulumi.output("k") as never } },
      'vault "vault": seal.keyId must be a plain value, got an Output; it decides what is created',
    ],
    [
      "no way to AWS, and nobody who may make a root token",
      { seal: { type: "awskms", region: "eu-central-1", keyId: "k" } as never },
      'vault "vault": 2 arguments are wrong\n' +
        '  - seal.recovery is missing; give { pgpKeys } of the persons who may make a root token one day, or "none" when nobody ' +
        "ever shall\n" +
        "  - seal has no way to log in to AWS; give serviceAccountAnnotations with a role (IRSA), podIdentity: true with an " +
        "association of EKS Pod Identity, or the name of a Secret in credentialsSecret",
    ],
    [
      "Pod Identity that is switched off, and no other way to AWS",
      { seal: { type: "awskms", region: "eu-central-1", keyId: "k", podIdentity: false, recovery: "none" } },
      'vault "vault": seal has no way to log in to AWS; give serviceAccountAnnotations',
    ],
    [
      "Pod Identity in words",
      { seal: { ...kms, podIdentity: "yes" as never } },
      'vault "vault": seal.podIdentity must be true or false, got "yes"; use one of these',
    ],
    [
      "tls optional",
      { tls: "optional" as never },
      'vault "vault": tls must be "required" or "off" because Vault has one protocol on a port, got "optional"; use one of these',
    ],
    [
      "an application without a policy",
      { applications: ["cells", "portal"] },
      'vault "vault": policies.portal is missing, and without it the application may do nothing; give its rules',
    ],
    [
      "a policy for nobody",
      {
        policies: {
          cells: [{ path: "secret/data/*", capabilities: ["read"] }],
          cels: [{ path: "secret/data/*", capabilities: ["read"] }],
        },
      },
      'vault "vault": policies.cels is for no application; did you mean cells',
    ],
    [
      "a path outside of the mounts",
      { policies: { cells: [{ path: "sys/*", capabilities: ["read"] }] } },
      'vault "vault": policies.cells[0].path must begin with one of the mounts (secret, caddycerts), got "sys/*"; ' +
        'use one like "secret/data/*"',
    ],
    [
      "a capability too much",
      { policies: { cells: [{ path: "secret/data/*", capabilities: ["sudo" as never] }] } },
      'vault "vault": policies.cells[0].capabilities[0] must be "create", "read", "update", "patch", "delete" or "list", ' +
        'got "sudo"; use one of these',
    ],
    [
      "a mount of Vault's own",
      { mounts: { secret: {}, caddycerts: {}, sys: {} } },
      'vault "vault": mounts must have paths of one part in lower case that are not sys, auth, identity, cubbyhole, audit',
    ],
    [
      "a period that Vault would cut",
      { tokens: { periodDays: 60 } },
      'vault "vault": tokens.periodDays must be a whole number from 3 to 31, got 60; use 30',
    ],
    ["a slip of the pen", { mount: {} } as never, 'vault "vault": mount is not an argument; did you mean mounts'],
  ])("%s", async (_, args, message) => {
    await expect(deploy(args)).rejects.toThrow(message);
  });
});
