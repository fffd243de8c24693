import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { anchorsOf, readPage, root } from "./pages";

const folders = ["checks", "components", "drills", "sandbox", "stacks"];

/** All sources as one text, in which a sentence that is written over several lines is one again. */
const sources = folders
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" }).map((file) => join(folder, file)),
  )
  .filter((file) => file.endsWith(".ts") || file.endsWith(".sh"))
  .map((file) => readFileSync(join(root, file), "utf8"))
  .join("\n")
  .replace(/["`]\s*\+\s*["`]/g, "");

interface Row {
  words: string;
  file: string;
  anchor: string;
}

const rows: Row[] = [...readPage("docs/refusals.md").matchAll(/^\| `(.+?)` \| \[.+?\]\((.+?)#(.+?)\) \|$/gm)].map(
  ([, words = "", file = "", anchor = ""]) => ({ words, file, anchor }),
);

/** Numbers and names in a sentence are examples: what stands between them must be said, or a good part of it. */
const wordsInARow = 3;

function isSaid(sentence: string): boolean {
  return sentence.split(/\.\.\.|NAME\S*|"[^"]*"|\b\d+\b|cells-services(?=:)/).some((part) => {
    const words = part.split(/\s+/).filter(Boolean);
    const length = Math.min(wordsInARow, words.length);
    return (
      words.length > 1 &&
      words.some((_, at) => at + length <= words.length && sources.includes(words.slice(at, at + length).join(" ")))
    );
  });
}

describe("the page of refusals", () => {
  it("is read by this test", () => {
    expect(rows.length).toBeGreaterThan(100);
  });

  it("has sentences that the software still says", () => {
    expect(rows.map(({ words }) => words).filter((words) => !isSaid(words))).toEqual([]);
  });

  it("leads to tables that are there", () => {
    expect(rows.filter(({ file, anchor }) => !anchorsOf(join("docs", file)).includes(anchor))).toEqual([]);
  });
});
