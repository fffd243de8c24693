/** Compares the pages with the schemas. After a change: `npm run golden -- --update`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { serviceNames } from "../../../stacks/config";
import { commonArguments, configurationReference, ownArguments } from "../../../stacks/reference";

const pageOf = (name: string): string => join(__dirname, "..", "..", "..", "docs", `${name}.md`);
const table =
  /(<!-- Arguments, made from the schemas: npm run golden -- --update -->\n)[^]*?(\n<!-- End of arguments -->)/;

describe("the reference of the configuration", () => {
  it("is what the schemas and the environments say", async () => {
    await expect(configurationReference()).toMatchFileSnapshot(pageOf("configuration"));
  });
});

describe("the table of arguments in the page", () => {
  const tables = serviceNames.map((service): [string, string] => [service, ownArguments(service)]);
  it.each([["services", commonArguments()] as [string, string], ...tables])(
    "%s is what the schema says",
    async (name, rows) => {
      const page = readFileSync(pageOf(name), "utf8");
      expect(page).toMatch(table);
      await expect(page.replace(table, (_, start: string, end: string) => `${start}${rows}${end}`)).toMatchFileSnapshot(
        pageOf(name),
      );
    },
  );
});
