import { readFileSync } from "node:fs";
import { join } from "node:path";
import { transformSync } from "esbuild";
import { describe, expect, it } from "vitest";
import { type GoldenResource, growthProgram, park, plainProgram } from "../../../drills/programs";

const golden = JSON.parse(readFileSync(join(__dirname, "..", "..", "golden", "dev.json"), "utf8")) as GoldenResource[];
const options = {
  namespaces: { cells: "bench-plain", "cells-app": "bench-plain-app" },
  placeholders: { "[agent bundle of etcd]": "QUJD", "[checksum of etcd agent]": "0123" },
  provider: { context: "sandbox" },
};
interface Registered {
  urn: string;
  type: string;
  name: string;
  inputs: { kind?: string; metadata?: { namespace?: string; name?: string }; binaryData?: object; data?: object };
  parent?: string;
  provider?: string;
  dependsOn?: string[];
}

describe("the plain program", () => {
  const { graph, index } = plainProgram(golden, options);
  const registered = JSON.parse(graph) as Registered[];
  const find = (name: string, kind: string): Registered | undefined =>
    registered.find((each) => each.name === name && each.inputs.kind === kind);

  it("registers every resource of the graph, parents and dependencies first", () => {
    expect(registered).toHaveLength(golden.length - 1);
    const seen = new Set<string>();
    for (const { urn, parent = "", provider = "", dependsOn = [] } of registered) {
      for (const before of [parent, provider, ...dependsOn]) {
        if (before !== "" && !before.includes("pulumi:pulumi:Stack")) expect(seen).toContain(before);
      }
      seen.add(urn);
    }
  });

  it("is in namespaces of its own, with the bundles, and with Secrets that a cluster takes", () => {
    const namespaces = new Set(registered.flatMap(({ inputs }) => inputs.metadata?.namespace ?? []));
    expect([...namespaces].sort()).toEqual(["bench-plain", "bench-plain-app"]);
    const made = registered.filter(({ inputs }) => inputs.kind === "Namespace");
    expect(made.map(({ inputs }) => inputs.metadata?.name).sort()).toEqual(["bench-plain", "bench-plain-app"]);
    expect(registered.find(({ name }) => name.startsWith("etcd-agent-"))?.inputs).toMatchObject({
      metadata: { name: "etcd-agent-0123" },
      binaryData: { "agent.js.br": "QUJD" },
    });
    expect(find("etcd-admin", "Secret")?.inputs.data).toEqual({ username: "c2VjcmV0", password: "c2VjcmV0" });
    expect(Object.values(find("etcd-config", "ConfigMap")?.inputs.data ?? {})[0]).toMatch(/^\{\n/);
  });

  it("uses the classes of the SDKs, which are where it imports them from", () => {
    const imports = [...index.matchAll(/import \{ (\w+) as C\d+ \} from "(.*)";/g)];
    expect(imports.length).toBeGreaterThan(10);
    for (const [, name = "", module = ""] of imports) {
      const file = readFileSync(require.resolve(module), "utf8");
      expect(file, module).toContain(`exports.${name} = `);
    }
    expect(() => transformSync(index, { loader: "ts" })).not.toThrow();
  });
});

describe("an object that is parked", () => {
  it("makes no pods and is not waited for", () => {
    expect(park({ kind: "StatefulSet", metadata: { name: "a" }, spec: { replicas: 3, serviceName: "a" } })).toEqual({
      kind: "StatefulSet",
      metadata: { name: "a", annotations: { "pulumi.com/skipAwait": "true", "pulumi.com/replaceUnready": "false" } },
      spec: { replicas: 0, serviceName: "a" },
    });
    expect(park({ kind: "Job", spec: {} })).toMatchObject({ spec: { suspend: true } });
    expect(park({ kind: "Secret", data: {} })).not.toHaveProperty("spec");
  });
});

describe("the program with many components", () => {
  it("has so many, of each kind by turns, under names of their own", () => {
    const made = [...growthProgram(9, "bench", {}).matchAll(/new (\w+)\("([a-z]+-\d+)"/g)];
    expect(made.map(([, , name]) => name)).toEqual([
      "etcd-0",
      "vault-1",
      "nats-2",
      "redis-3",
      "mongodb-4",
      "mysql-5",
      "objectstore-6",
      "etcd-7",
      "vault-8",
    ]);
    expect(growthProgram(1, "bench", {})).not.toContain("vault");
  });
});
