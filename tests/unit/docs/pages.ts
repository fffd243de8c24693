import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

export const root = join(__dirname, "..", "..", "..");

/** Every page, relative to the root. */
export const pages: string[] = [
  "README.md",
  ...["docs", "examples"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".md") && !file.includes("node_modules"))
      .map((file) => join(folder, file)),
  ),
].sort();

export const readPage = (page: string): string => readFileSync(join(root, page), "utf8");

const fence = /^( *)```(\w*)\n([\s\S]*?)^\1```$/gm;

/** Blocks of code, with their language. */
export const blocksOf = (text: string): { language: string; code: string }[] =>
  [...text.matchAll(fence)].map(([, , language = "", code = ""]) => ({ language, code }));

/** `Code` in sentences and tables. */
export const inlineCodeOf = (text: string): string[] =>
  [...text.replace(fence, "").matchAll(/`([^`\n]+)`/g)].map(([, code = ""]) => code);

/** Rows of the table that has this head, by column. */
export function tableOf(page: string, ...head: string[]): Record<string, string>[] {
  const line = `| ${head.join(" | ")} |`;
  const [, after] = readPage(page).split(`${line}\n`);
  if (after === undefined) throw new Error(`${page} has no table ${line}`);
  const rows = after.split("\n").slice(1);
  return rows.slice(0, rows.indexOf("")).map((row) => {
    const cells = row.slice(2, -2).split(" | ");
    return Object.fromEntries(head.map((column, at) => [column, cells[at] ?? ""]));
  });
}

/** The name that GitHub gives a heading. */
export const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

export const anchorsOf = (page: string): string[] =>
  [
    ...readPage(page)
      .replace(fence, "")
      .matchAll(/^#+ (.+)$/gm),
  ].map(([, heading = ""]) => slug(heading));

/** A link to a file or heading of this repository, as path from the root and anchor. */
export const linksOf = (page: string): { link: string; path: string; anchor: string }[] =>
  [
    ...readPage(page)
      .replace(fence, "")
      .replace(/`[^`\n]*`/g, "")
      .matchAll(/\]\(([^)\s]+)\)/g),
  ]
    .map(([, link = ""]) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
    .map((link) => {
      const [path = "", anchor = ""] = link.split("#", 2);
      return { link, path: path === "" ? page : relative(root, join(root, dirname(page), path)), anchor };
    });
