import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";
import { describe, expect, it } from "vitest";
import { ProgramFailure, record, redacted, unknown } from "../../support/recorder";

class Inner extends pulumi.ComponentResource {
  constructor(name: string, options?: pulumi.ComponentResourceOptions) {
    super("test:index:Inner", name, {}, options);
    new kubernetes.core.v1.ConfigMap(`${name}-map`, { data: { a: "1" } }, { parent: this });
    this.registerOutputs({});
  }
}

class Outer extends pulumi.ComponentResource {
  constructor(name: string, options?: pulumi.ComponentResourceOptions) {
    super("test:index:Outer", name, {}, options);
    new Inner(`${name}-inner`, { parent: this });
    this.registerOutputs({});
  }
}

describe("record", () => {
  it("sees resource options", async () => {
    const graph = await record(() => {
      const provider = new kubernetes.Provider("cluster", { context: "test" });
      const first = new kubernetes.core.v1.ConfigMap("first", { data: {} }, { provider });
      const second = new kubernetes.core.v1.ConfigMap(
        "second",
        { data: { first: first.metadata.uid } },
        {
          provider,
          protect: true,
          retainOnDelete: true,
          deleteBeforeReplace: true,
          aliases: [{ name: "old" }],
          ignoreChanges: ["data"],
          replaceOnChanges: ["metadata.name"],
          customTimeouts: { create: "5m" },
          deletedWith: first,
          additionalSecretOutputs: ["data"],
        },
      );
      new kubernetes.core.v1.ConfigMap("third", { data: {} }, { provider, dependsOn: [second] });
    });
    const [first, second, provider] = [graph.get("first"), graph.get("second"), graph.get("cluster")];
    expect(second.options).toMatchObject({
      parent: "urn:pulumi:dev::cells-services::pulumi:pulumi:Stack::cells-services-dev",
      provider: provider.urn,
      protect: true,
      retainOnDelete: true,
      deleteBeforeReplace: true,
      ignoreChanges: ["data"],
      replaceOnChanges: ["metadata.name"],
      customTimeouts: { create: "5m" },
      deletedWith: first.urn,
      additionalSecretOutputs: ["data"],
      propertyDependencies: { data: [first.urn] },
    });
    expect(JSON.stringify(second.options.aliases)).toContain("old");
    expect(second.options.dependsOn).toBeUndefined();
    expect(graph.get("third").options.dependsOn).toEqual([second.urn]);
  });

  it("builds URNs of the whole chain of parents", async () => {
    const graph = await record(() => void new Outer("outer"));
    expect(graph.get("outer-inner-map").urn).toBe(
      "urn:pulumi:dev::cells-services::test:index:Outer$test:index:Inner$kubernetes:core/v1:ConfigMap::outer-inner-map",
    );
    expect(graph.get("outer-inner-map").options.parent).toBe(graph.get("outer-inner").urn);
  });

  it("fails when two resources have one URN", async () => {
    const program = () => [1, 2].map(() => new kubernetes.core.v1.ConfigMap("same", {}));
    await expect(record(program)).rejects.toThrow(
      "two resources have the URN urn:pulumi:dev::cells-services::kubernetes:core/v1:ConfigMap::same",
    );
  });

  it("redacts secrets of inputs and outputs, but not their keys", async () => {
    const graph = await record(() => {
      const password = new random.RandomPassword("password", { length: 24, special: false });
      new kubernetes.core.v1.Secret("secret", { data: { password: password.result, plain: "x" } });
      new kubernetes.core.v1.ConfigMap("map", { data: { leak: pulumi.interpolate`p=${password.result}`, open: "y" } });
      return { password: password.result, nested: [pulumi.secret({ a: "sesame" })], open: "z" };
    });
    expect(graph.get("secret").inputs["data"]).toEqual({ password: redacted, plain: redacted });
    expect(graph.get("map").inputs["data"]).toEqual({ leak: redacted, open: "y" });
    expect(graph.outputs).toEqual({ password: redacted, nested: [{ a: redacted }], open: "z" });
    const generated = graph.secrets.find((each) => /^[A-Za-z0-9]{24}$/.test(each));
    expect(generated).toBeDefined();
    expect(graph.secrets).toContain("sesame");
    expect(JSON.stringify(graph.resources)).not.toContain(generated);
  });

  it("keeps outputs of random secret and the same in each run", async () => {
    const seen: unknown[] = [];
    const program = (): void => {
      const password = new random.RandomPassword("password", { length: 40, special: false });
      seen.push(pulumi.isSecret(password.result));
      pulumi.output(password.result).apply((value) => seen.push(value));
    };
    await record(program);
    await record(program);
    expect(await seen[0]).toBe(true);
    const values = seen.filter((each) => typeof each === "string");
    expect(values[0]).toHaveLength(40);
    expect(values[0]).toBe(values[1]);
  });

  it("names Kubernetes objects as the provider does", async () => {
    const graph = await record(() => {
      const namespace = new kubernetes.core.v1.Namespace("cells", { metadata: { name: "cells" } });
      const anonymous = new kubernetes.core.v1.ConfigMap("anonymous", {
        metadata: { namespace: namespace.metadata.name },
      });
      const metadata = anonymous.metadata;
      return { name: metadata.name, namespace: metadata.namespace, uid: metadata.uid, id: anonymous.id };
    });
    expect(graph.outputs).toEqual({
      name: expect.stringMatching(/^anonymous-[0-9a-f]{8}$/) as string,
      namespace: "cells",
      uid: expect.stringMatching(/^uid-/) as string,
      id: expect.stringMatching(/^cells\/anonymous-/) as string,
    });
  });

  it("leaves unknown in a preview what only a provider can know", async () => {
    let applied = false;
    const program = () => {
      const password = new random.RandomPassword("password", { length: 24 });
      const map = new kubernetes.core.v1.ConfigMap("map", { metadata: { name: "map" }, data: { a: "1" } });
      password.result.apply(() => {
        applied = true;
      });
      new kubernetes.core.v1.ConfigMap("copy", { data: { uid: map.metadata.uid, name: map.metadata.name } });
    };
    const graph = await record(program, { preview: true });
    expect(applied).toBe(false);
    expect(graph.get("copy").inputs["data"]).toEqual({ uid: unknown, name: "map" });
    await record(program);
    expect(applied).toBe(true);
  });

  it("gives the program its configuration, its project and its stack, and forgets them afterwards", async () => {
    const program = () => ({
      size: new pulumi.Config().get("size") ?? "none",
      other: new pulumi.Config("other").get("key") ?? "none",
      stack: pulumi.getStack(),
    });
    const graph = await record(program, { config: { size: "3", "other:key": "x" }, stack: "prod" });
    expect(graph.outputs).toEqual({ size: "3", other: "x", stack: "prod" });
    expect((await record(program)).outputs["size"]).toBe("none");
  });

  it("fails with the error of the program and tells what was registered", async () => {
    const failing = record(() => {
      new kubernetes.core.v1.ConfigMap("before", {});
      throw new pulumi.RunError("no such thing");
    });
    await expect(failing).rejects.toThrow("no such thing");
    const failure = (await failing.catch((error: unknown) => error)) as ProgramFailure;
    expect(failure).toBeInstanceOf(ProgramFailure);
    expect(failure.resources.map((each) => each.name)).toEqual(["cells-services-dev", "before"]);
  });

  it("fails on a rejection that nobody handles", async () => {
    const program = () => {
      pulumi.output(1).apply(() => {
        throw new Error("inside of apply");
      });
      void Promise.reject(new Error("nobody waits"));
    };
    await expect(record(program)).rejects.toThrow(/nobody waits|inside of apply/);
  });

  it("finds what the program reads, which is no resource of the graph", async () => {
    const graph = await record(() => {
      const existing = kubernetes.core.v1.Namespace.get("existing", "cells");
      new kubernetes.core.v1.ConfigMap("map", {}, { dependsOn: existing });
    });
    expect(graph.byType("kubernetes:core/v1:Namespace")).toEqual([]);
    expect(graph.get("map").options.dependsOn).toEqual([expect.stringContaining("existing")]);
  });

  it("supports resource hooks", async () => {
    const graph = await record(() => {
      const hook = new pulumi.ResourceHook("hook", () => {});
      new kubernetes.core.v1.ConfigMap("map", {}, { hooks: { afterCreate: [hook] } });
    });
    expect(graph.byType("kubernetes:core/v1:ConfigMap")).toHaveLength(1);
  });
});
