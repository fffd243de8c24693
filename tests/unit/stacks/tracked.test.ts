import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { stackNames } from "../../support/stacks";

describe.each(stackNames)("Pulumi.%s.yaml", (stack) => {
  const text = readFileSync(join(__dirname, "..", "..", "..", `Pulumi.${stack}.yaml`), "utf8");
  const file = parse(text) as { config: Record<string, unknown> };

  it("forbids default providers, which would use the current context and account", () => {
    expect(file.config["pulumi:disable-default-providers"]).toEqual(["kubernetes", "aws"]);
  });

  it("says which environment it is", () => {
    expect(file.config["cells-services:environment"]).toBe(stack);
  });

  it("holds no password", () => {
    expect(text).not.toMatch(/passw(or)?d|token|secret:/i);
  });
});
