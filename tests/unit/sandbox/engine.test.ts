import { describe, expect, it } from "vitest";
import { checkName } from "../../../sandbox/engine";

describe("the name of a stack", () => {
  it.each(["dev", "prod", "app-dev", "apps", "x".repeat(53)])("may be %s", (stack) => {
    expect(() => checkName(stack)).not.toThrow();
  });

  it.each(["app", "blue-app"])("is not %s, whose namespace is that of Cells of another stack", (stack) => {
    expect(() => checkName(stack)).toThrow(
      `STACK must not be "app" or end with "-app", got "${stack}": Cells of another stack is in cells-${stack}`,
    );
  });

  it("leaves room for the names of its namespaces", () => {
    const stack = "x".repeat(54);
    expect(() => checkName(stack)).toThrow(`STACK must have at most 53 characters, got "${stack}", which has 54`);
  });
});
