import { describe, expect, it } from "vitest";
import { cellsNamespace, isElsewhere, parseConfig, report } from "../../../stacks/config";

const project = "cells-services";

function parse(values: Record<string, unknown>, stack = "dev") {
  const texts = Object.entries(values).map(([key, value]) => [
    `${project}:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  return parseConfig(project, stack, Object.fromEntries(texts) as Record<string, string>);
}

/** Without the name of the project. */
function mistakes(values: Record<string, unknown>, stack = "dev"): string[] {
  return parse(values, stack).problems.map((each) => each.replace(/^cells-services:/, ""));
}

describe("the configuration of a stack", () => {
  it("has defaults for everything but the cluster", () => {
    expect(parse({ kubeContext: "test" }).config).toEqual({
      environment: "dev",
      namespace: "cells",
      createNamespace: true,
      kubeContext: "test",
      cells: { version: "v5" },
      etcd: {},
      vault: {},
      nats: {},
      redis: {},
      mongodb: {},
      mysql: {},
      objectstore: {},
    });
  });

  it.each([
    [{}, "cells-app", true],
    [{ namespace: "data" }, "data-app", true],
    [{ namespace: "data", cells: { namespace: "app" } }, "app", true],
    [{ namespace: "data", cells: { namespace: "data" } }, "data", false],
  ])("has Cells, with %j, in the namespace %s", (values, name, elsewhere) => {
    const { config } = parse({ kubeContext: "test", ...values });
    if (config === undefined) throw new Error("the configuration was refused");
    expect([cellsNamespace(config), isElsewhere(config)]).toEqual([name, elsewhere]);
  });

  it("takes the environment from the name of the stack, or from the configuration", () => {
    expect(parse({ kubeContext: "test" }, "prod").config?.environment).toBe("prod");
    expect(parse({ kubeContext: "test", environment: "prod" }, "staging").config?.environment).toBe("prod");
    expect(parse({ kubeContext: "test", environment: "dev" }, "dev").config?.environment).toBe("dev");
  });

  it("takes namespaces that exist", () => {
    const cells = { namespace: "app", createNamespace: false };
    expect(parse({ kubeContext: "test", createNamespace: "false", cells }).config).toMatchObject({
      createNamespace: false,
      cells,
    });
  });

  it.each([
    ["of the longest default", { namespace: "a".repeat(59) }],
    ["of another name beside the longest of the services", { namespace: "a".repeat(63), cells: { namespace: "app" } }],
    ["of the default name that exists", { cells: { createNamespace: false } }],
  ])("takes a namespace of Cells %s", (_, values) => {
    expect(mistakes({ kubeContext: "test", ...values })).toEqual([]);
  });

  it("takes arguments of components", () => {
    const etcd = { members: 5, storage: { size: "20Gi", class: "gp3" }, tls: "optional", applications: ["a", "b"] };
    expect(parse({ kubeContext: "test", services: ["etcd"], etcd }).config).toMatchObject({ services: ["etcd"], etcd });
  });

  it("takes the path of a kubeconfig instead of a context", () => {
    expect(parse({ kubeconfig: "/etc/kube" }).config).toMatchObject({ kubeconfig: "/etc/kube" });
  });

  it("ignores the configuration of others", () => {
    const values = {
      "cells-services:kubeContext": "test",
      "pulumi:disable-default-providers": '["kubernetes"]',
      "aws:region": "x",
    };
    expect(parseConfig(project, "dev", values).config?.kubeContext).toBe("test");
  });

  it("reports every mistake at once, each with its key, its value and what is accepted", () => {
    const values = {
      environment: "staging",
      kubecontext: "test",
      namespace: "Cells",
      services: ["etcd", "postgres"],
      etcd: { members: "three", tls: "on", storage: { sise: "8Gi" }, applications: [1] },
      nats: { clients: [{ podLabel: {} }], deletion: "no" },
    };
    expect(parse(values)).toMatchObject({
      config: undefined,
      problems: [
        'cells-services:environment must be "dev" or "prod", got "staging"; use one of these',
        "cells-services:namespace must be a DNS label of at most 63 lower case letters, digits and hyphens, " +
          'got "Cells"; use a name like "cells"',
        'cells-services:services[1] must be "etcd", "vault", "nats", "redis", "mongodb", "mysql" or "objectstore", ' +
          'got "postgres"; use one of these',
        'cells-services:etcd.members must be 3 or 5, got "three"; use 3 or 5',
        "cells-services:etcd.storage.sise is not a key of the configuration; did you mean size",
        'cells-services:etcd.tls must be "required", "optional" or "off", got "on"; use one of these',
        "cells-services:etcd.applications[0] must be a text, got 1; give a text",
        "cells-services:nats.clients[0].podLabel is not a key of the configuration; did you mean podLabels",
        'cells-services:nats.deletion must be "keep" or "delete", got "no"; use one of these',
        "cells-services:kubecontext is not a key of the configuration; did you mean kubeContext",
        "cells-services:kubeContext is missing; set it to the name of a context of your kubeconfig, " +
          "or set cells-services:kubeconfig to the path of a kubeconfig of this cluster alone",
      ],
    });
  });

  it("judges values as the components do, beside keys that do not exist", () => {
    const values = {
      kubContext: "test",
      kubeconfig: "/etc/kube",
      redis: { members: 4, tls: "optional" },
      etcd: { storage: { size: "8" } },
    };
    expect(mistakes(values)).toEqual([
      'etcd.storage.size must be a whole number with a unit, got "8"; use a size like "8Gi"',
      "redis.members must be odd so that a majority exists, got 4; use 3 or 5",
      'redis.tls must be "required" or "off" because Redis cannot speak both on one port, got "optional"; use one of these',
      "kubContext is not a key of the configuration; did you mean kubeContext",
    ]);
  });

  it("keeps what is sound beside a mistake, so that the rest can be judged too", () => {
    const etcd = { members: 4, storage: { size: "20Gi" }, clients: [{}, { podLabel: {} }] };
    expect(parse({ kubeContext: "test", etcd }).config?.etcd).toEqual({ storage: { size: "20Gi" } });
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["an argument of another service", { etcd: { durability: "fsync" } }, "etcd.durability is not a key of the"],
    [
      "an unknown service",
      { postgres: {} },
      "postgres is not a key of the configuration; use one of environment, namespace,",
    ],
    ["no services at all", { services: [] }, "services must be a list that is not empty, got []; give at least one"],
    ["one service without a list", { services: "etcd" }, 'services must be a list, got "etcd"'],
    ["text for an object", { etcd: "small" }, "etcd must be an object with members, version,"],
    ["an empty context", { kubeContext: "" }, 'kubeContext must be a text that is not empty, got ""; give one'],
    [
      "text for a flag",
      { nats: { placement: { zones: "yes" } } },
      'nats.placement.zones must be true or false, got "yes"',
    ],
    [
      "a number as a quantity",
      { etcd: { resources: { limits: { cpu: 1 } } } },
      "etcd.resources.limits.cpu must be a Kubernetes quantity, got 1",
    ],
    [
      "a label that a component sets",
      { redis: { pod: { labels: { "cells-services/role": "x" } } } },
      'redis.pod.labels must not contain "cells-services/role", which the component or Kubernetes sets',
    ],
    ["another version of Cells", { cells: { version: "v3" } }, 'cells.version must be "v4" or "v5", got "v3"'],
    [
      "a namespace of Cells that is none",
      { cells: { namespace: "Cells" } },
      "cells.namespace must be a DNS label of at most 63 lower case letters, digits and hyphens",
    ],
    [
      "whether the stack makes the namespace of Cells when that is the one of the services",
      { namespace: "data", cells: { namespace: "data", createNamespace: false } },
      "cells.createNamespace must be given only when cells.namespace is not the namespace of the services " +
        '("data"), got false; remove it, or give Cells a namespace of its own',
    ],
    [
      "a namespace without room for what that of Cells adds",
      { namespace: "a".repeat(60) },
      'namespace must have at most 59 characters without cells.namespace, whose default ends with "-app", ' +
        `got "${"a".repeat(60)}"; use a shorter name, or give cells.namespace`,
    ],
    [
      "a word for whether the stack makes the namespace",
      { createNamespace: "never" },
      'createNamespace must be true or false, got "never"; use one of these',
    ],
    [
      "a key far from any other",
      { etcd: { x: 1 } },
      "etcd.x is not a key of the configuration; use one of members, version",
    ],
  ])("refuses %s", (_, values, expected) => {
    const lines = mistakes({ kubeContext: "test", ...values });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain(expected);
  });

  describe("of AWS", () => {
    const sound = {
      region: "eu-central-1",
      prefix: "acme",
      oidcProvider: "arn:aws:iam::111122223333:oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/EXAMPLE",
    };
    const cluster = "arn:aws:eks:eu-central-1:111122223333:cluster/production";
    const inChina = { region: "cn-north-1", oidcProvider: sound.oidcProvider.replace("arn:aws:", "arn:aws-cn:") };

    it.each([
      ["the least", {}],
      ["a cluster beside the provider", { cluster }],
      ["a cluster instead of the provider", { oidcProvider: undefined, cluster }],
      ["the shortest lock, and an expiry with its end", { lockDays: 14, expirationDays: 14 }],
      ["the longest lock", { lockDays: 36_500 }],
      ["a rotated access key", { accessKey: { rotation: 3 } }],
      ["China", inChina],
      [
        "GovCloud",
        { region: "us-gov-west-1", oidcProvider: sound.oidcProvider.replace("arn:aws:", "arn:aws-us-gov:") },
      ],
    ])("takes %s", (_, aws) => {
      expect(mistakes({ kubeContext: "test", aws: { ...sound, ...aws } })).toEqual([]);
    });

    it.each<[string, Record<string, unknown>, string]>([
      ["a lock of a day", { lockDays: 1 }, "lockDays must be a whole number of days from 14 to 36500, got 1; use 30"],
      [
        "a lock that AWS does not take",
        { lockDays: 36_501 },
        "lockDays must be a whole number of days from 14 to 36500, got 36501; use 30",
      ],
      [
        "an expiry before the end of the lock",
        { lockDays: 60, expirationDays: 30 },
        "expirationDays must be at least lockDays (60), got 30; use 60 or more",
      ],
      [
        "an expiry at once",
        { expirationDays: 0 },
        "expirationDays must be a whole number of days from 1 to 36500, got 0; use 90",
      ],
      [
        "a rotation that is no number of times",
        { accessKey: { rotation: -1 } },
        "accessKey.rotation must be a whole number from 0 up, got -1; raise it by one to rotate",
      ],
      [
        "neither a provider nor a cluster",
        { oidcProvider: undefined },
        "oidcProvider is missing; give the ARN of the IAM OIDC provider of the cluster, or that of the cluster in aws.cluster",
      ],
      [
        "a cluster by its name",
        { cluster: "production" },
        'cluster must be the ARN of an EKS cluster, got "production"; give that of the cluster',
      ],
      [
        "a provider of another partition",
        { ...inChina, oidcProvider: sound.oidcProvider },
        `oidcProvider must be of the partition aws-cn, as the region cn-north-1, got "${sound.oidcProvider}"; correct one of them`,
      ],
      [
        "a cluster of another partition",
        { ...inChina, cluster },
        `cluster must be of the partition aws-cn, as the region cn-north-1, got "${cluster}"; correct one of them`,
      ],
      [
        "a cluster in another region",
        { cluster: "arn:aws:eks:eu-west-1:111122223333:cluster/production" },
        "cluster must be in the region eu-central-1, got " +
          '"arn:aws:eks:eu-west-1:111122223333:cluster/production"; correct one of them',
      ],
      [
        "a cluster of another account",
        { cluster: cluster.replace("111122223333", "444455556666") },
        "cluster must be of the account of oidcProvider, 111122223333, got " +
          '"arn:aws:eks:eu-central-1:444455556666:cluster/production"; correct one of them',
      ],
    ])("refuses %s", (_, aws, expected) => {
      expect(mistakes({ kubeContext: "test", aws: { ...sound, ...aws } })).toEqual([`aws.${expected}`]);
    });
  });

  it("names mistakes in pod where they are given, once", () => {
    const pod = { label: {}, imageRegistry: "mirror", imagePullSecrets: "registry", agentCpuLimit: "10m" };
    const etcd = { pod: { userId: 0 } };
    expect(mistakes({ kubeContext: "test", pod, etcd })).toEqual([
      'pod.imagePullSecrets must be a list of names, got "registry"; use a list like ["registry"]',
      'pod.imageRegistry must be the host of a registry, which may have a port and a path, got "mirror"; ' +
        'use one like "registry.example.com/mirror"',
      'pod.agentCpuLimit must be at least 20m, which one of the containers requests, got "10m"; use "500m"',
      "pod.label is not a key of the configuration; did you mean labels",
      'etcd.pod.userId must be a number from 1 (0 is root) to 2147483647, or "namespace", got 0; ' +
        'use 1000, or "namespace" where the namespace has a range of users',
    ]);
  });

  it("refuses an empty reason for another class of volumes", () => {
    expect(mistakes({ kubeContext: "test", etcd: { storageReason: "" } })).toEqual([
      'etcd.storageReason must be a text that is not empty, got ""; give one',
    ]);
  });

  it("refuses a stack of another name without an environment", () => {
    expect(mistakes({ kubeContext: "test" }, "staging")).toEqual([
      'environment is missing and the stack is called "staging"; set it to dev or prod',
    ]);
  });

  it.each([
    ["dev", "prod"],
    ["prod", "dev"],
  ])("refuses a stack that is called %s and asks for %s", (stack, environment) => {
    expect(mistakes({ kubeContext: "test", environment }, stack)).toEqual([
      `environment must be "${stack}" in the stack of that name, got "${environment}"; ` +
        "remove it, or give the stack another name",
    ]);
  });

  it.each([
    ["YAML", "apiVersion: v1\nusers: [{ user: { token: hidden } }]"],
    ["one line of YAML", "kind: Config, apiVersion: v1, token: hidden"],
    ["several lines", "users:\n- user: { token: hidden }"],
    ["JSON", '{"users":[{"user":{"token":"hidden"}}]}'],
  ])("refuses the content of a kubeconfig in %s, without showing it", (_, kubeconfig) => {
    expect(mistakes({ kubeconfig })).toEqual([
      "kubeconfig must be the path of a kubeconfig, got the content of one; write it to a file and give its path",
    ]);
  });

  it("refuses an empty path of a kubeconfig", () => {
    expect(mistakes({ kubeconfig: "" })).toEqual(['kubeconfig must be a text that is not empty, got ""; give one']);
  });

  it("refuses a service that is named twice", () => {
    expect(mistakes({ kubeContext: "test", services: ["etcd", "nats", "etcd"] })).toEqual([
      'services must be a list that names each service once, got ["etcd","nats","etcd"]; remove what is there twice',
    ]);
  });

  it("refuses an empty reason for a service without TLS", () => {
    expect(mistakes({ kubeContext: "test", etcd: { tlsReason: " " } })).toEqual([
      'etcd.tlsReason must be a text that is not empty, got " "; give one',
    ]);
  });

  it("counts one mistake as one", () => {
    expect(() => report("dev", mistakes({ kubeContext: "test", x: "" }))).toThrow(
      'stack "dev": 1 configuration value is wrong\n',
    );
  });
});
