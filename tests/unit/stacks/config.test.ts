import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../stacks/config";

const project = "cells-services";

function parse(values: Record<string, unknown>, stack = "dev") {
  const texts = Object.entries(values).map(([key, value]) => [
    `${project}:${key}`,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  return parseConfig(project, stack, Object.fromEntries(texts) as Record<string, string>);
}

/** The lines of the error, without its first one. */
function mistakes(values: Record<string, unknown>, stack = "dev"): string[] {
  try {
    parse(values, stack);
  } catch (error) {
    return (error as Error).message
      .split("\n")
      .slice(1, -1)
      .map((each) => each.replace("  - cells-services:", ""));
  }
  throw new Error("the configuration was accepted");
}

describe("the configuration of a stack", () => {
  it("has defaults for everything but the cluster", () => {
    expect(parse({ kubeContext: "test" })).toEqual({
      environment: "dev",
      namespace: "cells",
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

  it("takes the environment from the name of the stack, or from the configuration", () => {
    expect(parse({ kubeContext: "test" }, "prod").environment).toBe("prod");
    expect(parse({ kubeContext: "test", environment: "prod" }, "staging").environment).toBe("prod");
    expect(parse({ kubeContext: "test", environment: "dev" }, "dev").environment).toBe("dev");
  });

  it("takes arguments of components", () => {
    const etcd = { members: 5, storage: { size: "20Gi", class: "gp3" }, tls: "optional", applications: ["a", "b"] };
    expect(parse({ kubeContext: "test", services: ["etcd"], etcd })).toMatchObject({ services: ["etcd"], etcd });
  });

  it("takes the path of a kubeconfig instead of a context", () => {
    expect(parse({ kubeconfig: "/etc/kube" })).toMatchObject({ kubeconfig: "/etc/kube" });
  });

  it("ignores the configuration of others", () => {
    const values = {
      "cells-services:kubeContext": "test",
      "pulumi:disable-default-providers": '["kubernetes"]',
      "aws:region": "x",
    };
    expect(parseConfig(project, "dev", values).kubeContext).toBe("test");
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
    expect(() => parse(values)).toThrow(
      [
        'stack "dev": 11 configuration values are wrong',
        '  - cells-services:environment must be "dev" or "prod", got "staging"',
        '  - cells-services:namespace must be a DNS label of at most 63 lower case letters, digits and hyphens, such as "cells", got "Cells"',
        '  - cells-services:services[1] must be "etcd", "vault", "nats", "redis", "mongodb", "mysql" or "objectstore", got "postgres"',
        '  - cells-services:etcd.members must be a number, got "three"',
        "  - cells-services:etcd.storage.sise is not a key of the configuration; did you mean size",
        '  - cells-services:etcd.tls must be "required", "optional" or "off", got "on"',
        "  - cells-services:etcd.applications[0] must be a text, got 1",
        "  - cells-services:nats.clients[0].podLabel is not a key of the configuration; did you mean podLabels",
        '  - cells-services:nats.deletion must be "keep" or "delete", got "no"',
        "  - cells-services:kubecontext is not a key of the configuration; did you mean kubeContext",
        "  - cells-services:kubeContext is missing; set it to the name of a context of your kubeconfig, " +
          "or set cells-services:kubeconfig to the path of a kubeconfig of this cluster alone",
        "all keys: docs/configuration.md of cells-services",
      ].join("\n"),
    );
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["an argument of another service", { etcd: { durability: "fsync" } }, "etcd.durability is not a key of the"],
    [
      "an unknown service",
      { postgres: {} },
      "postgres is not a key of the configuration; use one of environment, namespace,",
    ],
    ["no services at all", { services: [] }, "services must be a list that is not empty, got []"],
    ["one service without a list", { services: "etcd" }, 'services must be a list, got "etcd"'],
    ["text for an object", { etcd: "small" }, 'etcd must be an object, got "small"'],
    ["an empty context", { kubeContext: "" }, 'kubeContext must be a text that is not empty, got ""'],
    [
      "a missing part",
      { etcd: { certificates: { issuerRef: {} } } },
      "etcd.certificates.issuerRef.name is missing; it must",
    ],
    [
      "text for a flag",
      { nats: { placement: { zones: "yes" } } },
      'nats.placement.zones must be true or false, got "yes"',
    ],
    [
      "a number as a quantity",
      { etcd: { resources: { limits: { cpu: 1 } } } },
      "etcd.resources.limits.cpu must be a text",
    ],
    ["another version of Cells", { cells: { version: "v3" } }, 'cells.version must be "v4" or "v5", got "v3"'],
    [
      "a namespace of Cells that is none",
      { cells: { namespace: "Cells" } },
      'cells.namespace must be a DNS label of at most 63 lower case letters, digits and hyphens, such as "cells"',
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
    expect(mistakes({ kubeconfig: "" })).toEqual(['kubeconfig must be a text that is not empty, got ""']);
  });

  it("refuses a service that is named twice", () => {
    expect(mistakes({ kubeContext: "test", services: ["etcd", "nats", "etcd"] })).toEqual([
      'services must be a list that names each service once, got ["etcd","nats","etcd"]',
    ]);
  });

  it("refuses an empty reason for a service without TLS", () => {
    expect(mistakes({ kubeContext: "test", etcd: { tlsReason: " " } })).toEqual([
      'etcd.tlsReason must be a text that is not empty, got " "',
    ]);
  });

  it("counts one mistake as one", () => {
    expect(() => parse({ kubeContext: "test", x: "" })).toThrow('stack "dev": 1 configuration value is wrong\n');
  });
});
