import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commandsOf, exists, pathsOf, problemsOf } from "./commands";
import { anchorsOf, linksOf, pages, readPage, root } from "./pages";

const problemsIn = async (text: string): Promise<string[]> =>
  (await Promise.all(commandsOf(text).map(problemsOf))).flat();

describe.each(pages)("%s", (page) => {
  it("names commands that exist", async () => {
    expect(await problemsIn(readPage(page))).toEqual([]);
  });

  it("names files that exist", () => {
    expect(pathsOf(readPage(page)).filter((path) => !exists(path))).toEqual([]);
  });

  it("links to pages and headings that exist", () => {
    const broken = linksOf(page).filter(
      ({ path, anchor }) =>
        !existsSync(join(root, path)) || (anchor !== "" && path.endsWith(".md") && !anchorsOf(path).includes(anchor)),
    );
    expect(broken.map(({ link }) => link)).toEqual([]);
  });
});

describe("a page", () => {
  const block = (...lines: string[]): string => ["```sh", ...lines, "```"].join("\n");

  it.each([
    [block("make up", "STACK=prod make upp"), "there is no make upp"],
    ["run `make nothing`", "there is no make nothing"],
    ["run `make drill ARGS=leader-hurt`", "there is no drill leader-hurt"],
    [block('make drill ARGS="--service etcd leader-kil"'), "there is no drill leader-kil"],
    [block('make check ARGS="--jsn"'), "make check has no flag --jsn"],
    ['`make node ARGS="hurt 2"`', "make node does not know hurt"],
    ["`npm run nothing`", "there is no npm run nothing"],
    [block("npm run sandbox -- run pulumi"), "npm run sandbox does not know run"],
    ["`npx nothing-of-ours`", "npx finds no nothing-of-ours"],
    [block("cd examples/redis", "tsx ../checks/cli.ts --stack dev"), "there is no examples/checks/cli.ts"],
  ])("that says %j is found", async (text, problem) => {
    expect(await problemsIn(text)).toEqual([problem]);
  });

  it.each([
    block(
      "make drill ARGS=all # every drill",
      'make drill ARGS="full-stop --together"',
      "make kubectl ARGS='get pods'",
    ),
    block("cd examples/redis", "tsx ../../checks/cli.ts --stack dev", "KUBE_CONTEXT=name make up"),
    '`make kubectl ARGS="..."`, `npm install --no-save && npm run build`, `npm run golden -- --update`',
  ])("that says %j is right", async (text) => {
    expect(commandsOf(text).length).toBeGreaterThan(1);
    expect(await problemsIn(text)).toEqual([]);
  });

  it("names files in sentences, without placeholders", () => {
    expect(pathsOf("`tests/golden/*.json`, `Pulumi.<stack>.yaml`, `components/x.ts`, `make up`")).toEqual([
      "tests/golden/*.json",
      "components/x.ts",
    ]);
    expect([exists("tests/golden/*.json"), exists("components/x.ts")]).toEqual([true, false]);
  });
});
