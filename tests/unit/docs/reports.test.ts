/** Holds docs/field-reports.md to the tests: what holds a report must exist under the name that the page gives. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { readPage, root } from "./pages";

/** Files of tests, each with the names that stand behind it: `file`: "name", "name". */
function heldBy(text: string): { file: string; names: string[] }[] {
  return [...text.matchAll(/`(tests\/[^`]+\.test\.ts)`(?:: ("[^"|]+"(?:, "[^"|]+")*))?/g)].map(
    ([, file = "", names = ""]) => ({ file, names: [...names.matchAll(/"([^"]+)"/g)].map(([, name = ""]) => name) }),
  );
}

/** The stacks are held to rules, whose names are those of the tests. */
function namesTest(file: string, name: string): boolean {
  const files = [file, join(dirname(file), "rules.ts")]
    .map((each) => join(root, each))
    .filter((each) => existsSync(each));
  return files.some((each) => readFileSync(each, "utf8").includes(name));
}

function missing({ file, names }: { file: string; names: string[] }): string[] {
  if (!existsSync(join(root, file))) return [file];
  return names.filter((name) => !namesTest(file, name)).map((name) => `${file}: "${name}"`);
}

it("the page of field reports names tests that exist", () => {
  const held = heldBy(readPage("docs/field-reports.md"));
  expect(held.flatMap(({ names }) => names).length).toBeGreaterThan(50);
  expect(held.flatMap(missing)).toEqual([]);
});

it.each([
  ['`tests/unit/docs/nothing.test.ts`: "x"', ["tests/unit/docs/nothing.test.ts"]],
  [
    '`tests/unit/docs/pages.test.ts`: "names files that exist", "names files that are there"; the drill `disk-full`',
    ['tests/unit/docs/pages.test.ts: "names files that are there"'],
  ],
])("of %s it would find what is missing", (text, expected) => {
  expect(heldBy(text).flatMap(missing)).toEqual(expected);
});
