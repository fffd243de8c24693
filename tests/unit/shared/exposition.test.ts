import { describe, expect, it } from "vitest";
import { samplesIn, valueIn } from "../../../components/shared/core/exposition";

describe("the text format of Prometheus", () => {
  it.each<[string, object[]]>([
    ["a 1", [{ name: "a", labels: {}, value: 1 }]],
    ["a:b 1.5e+02 1395066363000", [{ name: "a:b", labels: {}, value: 150 }]],
    ["a +Inf", [{ name: "a", labels: {}, value: Infinity }]],
    ["a -Inf", [{ name: "a", labels: {}, value: -Infinity }]],
    ["a NaN", [{ name: "a", labels: {}, value: Number.NaN }]],
    ['a{x="1",y="2"} 3', [{ name: "a", labels: { x: "1", y: "2" }, value: 3 }]],
    ['a{x="1",} 3', [{ name: "a", labels: { x: "1" }, value: 3 }]],
    [String.raw`a{x="} 1 \"\\\n"} 2`, [{ name: "a", labels: { x: '} 1 "\\\n' }, value: 2 }]],
    ["# HELP a 1\n# TYPE a gauge\n\n", []],
    ["nothing observed yet", []],
  ])("%j has its samples", (text, samples) => {
    expect(samplesIn(text)).toEqual(samples);
  });

  it("has one value for a metric without labels", () => {
    const text = '# HELP a_count help\na_count_other 1\na_count{x="1"} 2\na_count 1.5e+02\n';
    expect(valueIn(text, "a_count")).toBe(150);
    expect(() => valueIn(text, "b")).toThrow("the metric b is missing");
  });
});
