import { describe, expect, it } from "vitest";
import {
  type Live,
  type PropertyMap,
  refreshed,
  refusals,
  replacements,
  unknown,
} from "../../../sandbox/plugins/server/resource";

describe("inputs", () => {
  const accepted = ["bucket", "rules[].id", "rules[].filter.prefix"];
  const refused = (inputs: PropertyMap) => refusals("aws", "a:b:C", accepted, inputs);

  it("are accepted at their places, and where they are not known yet", () => {
    expect(refused({ bucket: "b", rules: [{ id: "i", filter: { prefix: "" } }, { id: unknown }] })).toEqual([]);
    expect(refused({ bucket: unknown, rules: [{ filter: unknown }] })).toEqual([]);
    expect(refused({ rules: unknown })).toEqual([]);
  });

  it("are refused elsewhere", () => {
    expect(refused({ acl: "private" })).toEqual([
      'a:b:C has no input "acl" in the stand-in for aws; ' +
        "it has bucket, rules[].id, rules[].filter.prefix; use the official plugin",
    ]);
    expect(refused({ rule: unknown })).toHaveLength(1);
    expect(refused({ rules: "all" })).toHaveLength(1);
  });
});

it("finds what makes a new resource", () => {
  const type = { replaces: ["bucket", "rule"] };
  expect(replacements(type, { bucket: "a", rule: { b: 1, c: 2 } }, { bucket: "a", rule: { c: 2, b: 1 } })).toEqual([]);
  expect(replacements(type, { bucket: "a", days: 1 }, { bucket: unknown, days: 2 })).toEqual(["bucket"]);
});

describe("refreshed inputs", () => {
  it.each<[string, PropertyMap, Live]>([
    ["nothing is told", { deletionWindowInDays: 7 }, {}],
    ["a policy is written otherwise", { policy: '{"a":1,"b":2}' }, { policy: '{ "b": 2, "a": 1 }' }],
    ["values are added", { rules: [{ id: "a" }] }, { rules: [{ id: "a", status: "on" }] }],
    [
      "what says nothing is left out",
      { flag: false, rules: [{ filter: { prefix: "" } }] },
      { flag: undefined, rules: [{}] },
    ],
    ["the program said nothing", {}, { description: "else" }],
  ])("stay where %s", (_name, inputs, live) => expect(refreshed(inputs, live)).toEqual(inputs));

  it.each<[string, PropertyMap, Live, PropertyMap]>([
    ["a value", { flag: true }, { flag: false }, { flag: false }],
    ["a policy", { policy: '{"a":1}' }, { policy: '{"a":2}' }, { policy: '{"a":2}' }],
    ["a rule that was added", { rules: ["a"] }, { rules: ["a", "b"] }, { rules: ["a", "b"] }],
    ["what is gone", { rule: { days: 1 } }, { rule: undefined }, {}],
  ])("show %s", (_name, inputs, live, now) => expect(refreshed(inputs, live)).toEqual(now));
});
