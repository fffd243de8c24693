/** An alert names the page that says what to do. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { serviceNames } from "../../../stacks/config";
import { alertsOf } from "../../../stacks/reference";
import { anchorsOf, inlineCodeOf, readPage, root } from "./pages";

const alerting = serviceNames.filter((each) => each !== "objectstore");

describe("the alerts of", () => {
  it.each(alerting)("%s name a heading that exists", (service) => {
    const pages = alertsOf(service).map(({ page }) => page);
    expect(pages.length).toBeGreaterThan(0);
    const missing = pages.filter((page) => {
      const [file = "", heading = ""] = page.split("#");
      const path = join("docs", file);
      return !existsSync(join(root, path)) || !anchorsOf(path).includes(heading);
    });
    expect(missing).toEqual([]);
  });
});

describe("the page that an alert leads to", () => {
  it.each(alerting.flatMap(alertsOf).map(({ name, page }) => [name, page]))("knows %s: %s", (name, page) => {
    const [file = ""] = page.split("#");
    const named = inlineCodeOf(readPage(join("docs", file)));
    const isNamed = (each: string) => each === name || (each.startsWith("...") && name.endsWith(each.slice(3)));
    expect(named.some(isNamed)).toBe(true);
  });
});

describe("the page of the alerts", () => {
  const known = alerting.flatMap((service) => alertsOf(service).map(({ name }) => name));
  const titles = [...new Set(known.map((name) => /^[A-Z][a-z]+/.exec(name)?.[0]))];

  it("names alerts that exist", () => {
    const named = inlineCodeOf(readPage("docs/monitoring.md"));
    const full = named.filter((each) => titles.some((title) => new RegExp(`^${title}[A-Z]`).test(each)));
    expect(full.length).toBeGreaterThan(10);
    expect(full.filter((each) => !known.includes(each))).toEqual([]);
    const ends = named.flatMap((each) => /^\.\.\.([A-Z]\w+)$/.exec(each)?.[1] ?? []);
    expect(ends.filter((end) => !known.some((name) => name.endsWith(end)))).toEqual([]);
  });
});
