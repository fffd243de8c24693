/** Compares docs/configuration.md with the schema. After a change: `npm run golden -- --update`. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { configurationReference } from "../../../stacks/reference";

describe("the reference of the configuration", () => {
  it("is what the schema and the environments say", async () => {
    const page = join(__dirname, "..", "..", "..", "docs", "configuration.md");
    await expect(configurationReference()).toMatchFileSnapshot(page);
  });
});
