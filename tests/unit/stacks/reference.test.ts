/** Compares the pages with the schemas, and with metrics and alerts. After a change: `npm run golden -- --update`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { serviceNames } from "../../../stacks/config";
import {
  alertTables,
  commonArguments,
  configurationReference,
  metricTable,
  ownArguments,
} from "../../../stacks/reference";

const pageOf = (name: string): string => join(__dirname, "..", "..", "..", "docs", `${name}.md`);
/** What is made stands between two comments, which name it. */
function withTable(page: string, what: string, rows: string): string {
  const between = new RegExp(`(<!-- ${what}, made from [^\n]+ -->\n)[^]*?(\n<!-- End of ${what.toLowerCase()} -->)`);
  expect(page).toMatch(between);
  return page.replace(between, (_, start: string, end: string) => `${start}${rows}${end}`);
}

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
      await expect(withTable(page, "Arguments", rows)).toMatchFileSnapshot(pageOf(name));
    },
  );
});

describe("the tables of metrics and alerts", () => {
  it("are what agents serve and rules say", async () => {
    const page = readFileSync(pageOf("monitoring"), "utf8");
    const filled = withTable(withTable(page, "Metrics", metricTable()), "Alerts", alertTables());
    await expect(filled).toMatchFileSnapshot(pageOf("monitoring"));
  });
});
