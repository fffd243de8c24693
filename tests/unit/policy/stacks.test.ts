import { beforeAll, describe, expect, it } from "vitest";
import type { Graph } from "../../support/recorder";
import { recordStack, stackNames } from "../../support/stacks";
import { prodRules, rules } from "./rules";

describe.each(stackNames)("the stack %s", (stack) => {
  let graph: Graph;

  beforeAll(async () => {
    graph = await recordStack(stack);
  });

  it.each(stack === "prod" ? [...rules, ...prodRules] : rules)("$name", (rule) => {
    expect(rule.violations(graph)).toEqual([]);
  });
});
