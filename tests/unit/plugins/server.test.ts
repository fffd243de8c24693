import { expect, it } from "vitest";
import { resource } from "../../../sandbox/plugins/server";
import { decode, encode, equal, formatPath, wrap } from "../../../sandbox/plugins/server/values";

const secret = (value: string) => ({ "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", value });

it("unwraps secrets and remembers their places", () => {
  const struct = encode({ value: { a: { b: ["x", "y"] }, c: 1 }, secrets: [["a", "b", 1]] });
  expect(struct.toJavaScript()).toEqual({ a: { b: ["x", secret("y")] }, c: 1 });
  expect(decode(struct)).toEqual({ value: { a: { b: ["x", "y"] }, c: 1 }, secrets: [["a", "b", 1]] });
});

it("passes over places that are not there", () => {
  expect(wrap({ a: 1 }, [["b"], ["a", "c"]])).toEqual({ a: 1 });
});

it("prints paths as the engine reads them", () => {
  expect(formatPath(["spec", "ports", 0, "port"])).toBe("spec.ports[0].port");
  expect(formatPath(["metadata", "labels", "a.b/c"])).toBe('metadata.labels["a.b/c"]');
});

it("compares by value", () => {
  expect(equal({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] })).toBe(true);
  expect(equal({ a: 1 }, { a: 1, b: null })).toBe(false);
});

it("takes type and name from a URN", () => {
  const urn = "urn:pulumi:dev::project::a:b:Parent$kubernetes:apps/v1:StatefulSet::etcd::x";
  expect(resource(urn)).toEqual({ urn, type: "kubernetes:apps/v1:StatefulSet", name: "etcd::x" });
});
