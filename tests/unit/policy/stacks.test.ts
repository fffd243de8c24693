import { beforeAll, describe, expect, it } from "vitest";
import type { Graph } from "../../support/recorder";
import { ofEachService, recordStack, stackNames } from "../../support/stacks";
import { prodRules, rules, rulesByChoice } from "./rules";

const { families, quota } = rulesByChoice;
const service = "kubernetes:core/v1:Service";

describe.each(stackNames)("the stack %s", (stack) => {
  let graph: Graph;

  beforeAll(async () => {
    graph = await recordStack(stack);
  });

  it.each(stack === "prod" ? [...rules, ...prodRules] : rules)("$name", (rule) => {
    expect(rule.violations(graph)).toEqual([]);
  });

  it(`by choice: ${families.name}, and nothing else changes`, async () => {
    const config = ofEachService(stack, { ipFamilyPolicy: "PreferDualStack" });
    const dual = await recordStack(stack, { config });
    expect(families.violations(dual)).toEqual([]);
    expect(families.violations(graph)).toHaveLength(graph.byType(service).length);
    // By name: they are registered in no certain order.
    const others = ({ resources }: Graph) =>
      new Map(resources.flatMap((each) => (each.custom && each.type !== service ? [[each.urn, each]] : [])));
    expect(others(dual)).toEqual(others(graph));
  });

  it(`by choice: ${quota.name}`, async () => {
    const config = {
      // The least that is accepted.
      pod: JSON.stringify({ agentCpuLimit: "20m" }),
      ...ofEachService(stack, { resources: { limits: { cpu: "1" } } }),
    };
    expect(quota.violations(await recordStack(stack, { config }))).toEqual([]);
    expect(quota.violations(graph)).not.toEqual([]);
  });
});
