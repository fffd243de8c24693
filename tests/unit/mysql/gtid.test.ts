import { describe, expect, it } from "vitest";
import { contains, formatGtidSet, parseGtidSet, subtract, union } from "../../../components/mysql/gtid";

const a = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
const b = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee";
const set = parseGtidSet;

describe("a set of transactions", () => {
  it.each([
    ["", "nothing"],
    [`${a}:1-5`, `${a}:1-5`],
    [`${a}:7`, `${a}:7`],
    [`${a}:1-5:6-8:10`, `${a}:1-8:10`],
    [`${a.toUpperCase()}:1-3,\n${b}:2`, `${a}:1-3,${b}:2`],
    [`${a}:1-3:export:1-2:5, ${b}:1`, `${a}:1-3,${a}:export:1-2:5,${b}:1`],
    [`${a}:1-9007199254740993`, `${a}:1-9007199254740993`],
  ])("reads %j", (text, expected) => {
    expect(formatGtidSet(set(text))).toBe(expected);
  });

  it.each(["x", `${a}`, `${a}:-5`, `${a}:1-5;2`, `${a}:1--2`])("does not take %j for an empty one", (text) => {
    expect(() => set(text)).toThrow("not a set of transactions");
  });

  it.each([
    [`${a}:1-10`, `${a}:3-5`, true],
    [`${a}:1-10`, "", true],
    ["", `${a}:1`, false],
    [`${a}:1-3:5`, `${a}:4`, false],
    [`${a}:1-3:5`, `${a}:3-5`, false],
    [`${a}:1-10`, `${a}:1-10,${b}:1`, false],
    [`${a}:1-10`, `${a}:tag:1`, false],
    [`${a}:1-10:1000002-1000005`, `${a}:1-4:1000003`, true],
  ])("%j contains %j: %s", (one, other, expected) => {
    expect(contains(set(one), set(other))).toBe(expected);
  });

  it.each([
    [`${a}:1-10`, `${a}:3-5`, `${a}:1-2:6-10`],
    [`${a}:1-10`, `${a}:1-10`, "nothing"],
    [`${a}:1-10`, `${a}:5-20`, `${a}:1-4`],
    [`${a}:1-4:8-12`, `${a}:4-8`, `${a}:1-3:9-12`],
    [`${a}:1,${b}:1-2`, `${a}:1`, `${b}:1-2`],
    [`${a}:1-10`, `${a}:2:4:6`, `${a}:1:3:5:7-10`],
  ])("%j without %j is %j", (one, other, expected) => {
    expect(formatGtidSet(subtract(set(one), set(other)))).toBe(expected);
  });

  it("unites", () => {
    const all = union(set(`${a}:1-3`), set(`${a}:4-6,${b}:9`), set(`${a}:2-8`));
    expect(formatGtidSet(all)).toBe(`${a}:1-8,${b}:9`);
  });
});
