import { existsSync, globSync, readFileSync } from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { main as checks } from "../../../checks/cli";
import { main as drills } from "../../../drills/cli";
import { drillNames } from "../../../drills/drill";
import { blocksOf, inlineCodeOf, root } from "./pages";

const readText = (path: string): string => readFileSync(join(root, path), "utf8");

const manifest = JSON.parse(readText("package.json")) as { name: string; scripts: Record<string, string> };
const targets = [...readText("Makefile").matchAll(/^([a-z-]+):/gm)].map(([, target = ""]) => target);
const sandboxCommands = [...readText("sandbox/cli.ts").matchAll(/case "([a-z]+)":/g)].map(([, name = ""]) => name);
const nodeActions = ["stop", "start", "cut", "heal"];

async function usageOf(main: (args: string[], print: (text: string) => void) => Promise<number>): Promise<string> {
  let usage = "";
  await main(["--help"], (text) => {
    usage += text;
  });
  return usage;
}

/** Commands in the cwd where a reader of the page would have them: `cd` counts for the rest of its block. */
export interface Command {
  words: string[];
  folder: string;
}

/** A line as words; quotes keep words together, a comment ends it. */
export function wordsOf(line: string): string[] {
  const withoutComment = line.replace(/(^|\s)#.*$/, "");
  return [...withoutComment.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([word]) => word.replace(/["']/g, ""));
}

const programs = ["make", "npm", "npx", "tsx", "vitest"];

function commandOf(words: string[], folder: string): Command[] {
  const first = words.findIndex((word) => !/^[A-Z_]+=/.test(word));
  return first >= 0 && programs.includes(words[first] ?? "") ? [{ words: words.slice(first), folder }] : [];
}

/** The commands of this project that a page tells its reader to run. */
export function commandsOf(text: string): Command[] {
  const fromBlocks = blocksOf(text)
    .filter(({ language }) => ["sh", "bash", "console"].includes(language))
    .flatMap(({ code }) => {
      let folder = ".";
      return code
        .replace(/\\\n\s*/g, " ")
        .split(/\n|&&|\|\|?|;/)
        .flatMap((line) => {
          const words = wordsOf(line);
          if (words[0] === "cd") folder = join(folder, words[1] ?? "");
          return commandOf(words, folder);
        });
    });
  const fromSentences = inlineCodeOf(text).flatMap((code) =>
    code.split(/&&|;/).flatMap((line) => commandOf(wordsOf(line), ".")),
  );
  return [...fromBlocks, ...fromSentences];
}

const isPlaceholder = (word: string): boolean => /^[A-Z]+$|^\.\.\.$|<.*>/.test(word);

/** What is wrong with the arguments that a target passes on. */
async function problemsOfArguments(target: string, args: string[]): Promise<string[]> {
  const flags = args.filter((each) => each.startsWith("--") && each !== "--help");
  const unknownIn = (usage: string): string[] =>
    flags.filter((flag) => !usage.includes(`${flag} `)).map((flag) => `make ${target} has no flag ${flag}`);
  switch (target) {
    case "check":
      return unknownIn(await usageOf(checks));
    case "drill": {
      // What follows a flag may be its value; `--together` and `--json` have none.
      const names = args.filter(
        (each, at) => !each.startsWith("--") && !/^--(?!together|json)/.test(args[at - 1] ?? ""),
      );
      const known: readonly string[] = [...drillNames, "all"];
      return [
        ...unknownIn(await usageOf(drills)),
        ...names.filter((name) => !known.includes(name)).map((name) => `there is no drill ${name}`),
      ];
    }
    case "node":
      return nodeActions.includes(args[0] ?? "") ? [] : [`make node does not know ${args[0] ?? "nothing"}`];
    default:
      return [];
  }
}

async function problemsOfMake(words: string[]): Promise<string[]> {
  const variables = words.filter((word) => /^[A-Z_]+=/.test(word));
  const [target = "help"] = words.filter((word) => !variables.includes(word));
  if (isPlaceholder(target)) return [];
  if (!targets.includes(target)) return [`there is no make ${target}`];
  const args = variables.find((word) => word.startsWith("ARGS="))?.slice("ARGS=".length) ?? "";
  return args === "" || args === "..." ? [] : problemsOfArguments(target, wordsOf(args));
}

function problemsOfNpm([verb = "", name = "", ...rest]: string[]): string[] {
  if (verb === "test") return "test" in manifest.scripts ? [] : ["there is no npm test"];
  if (verb !== "run") return [];
  if (name.startsWith("--")) return problemsOfNpm([verb, ...rest]);
  if (!(name in manifest.scripts)) return [`there is no npm run ${name}`];
  const command = rest.filter((word) => word !== "--")[0] ?? "";
  return name !== "sandbox" || sandboxCommands.includes(command) ? [] : [`npm run sandbox does not know ${command}`];
}

/** A program that npm brings, and the files of this repository among its arguments. */
function problemsOfProgram(words: string[], folder: string): string[] {
  const [program = "", ...args] = words.filter((word) => !word.startsWith("-"));
  const known = program === manifest.name || existsSync(join(root, "node_modules", ".bin", program));
  return [
    ...(known ? [] : [`npx finds no ${program}`]),
    ...args
      .filter((word) => word.endsWith(".ts") && !isAbsolute(word))
      .map((word) => normalize(join(folder, word)))
      .filter((path) => !existsSync(join(root, path)))
      .map((path) => `there is no ${path}`),
  ];
}

export async function problemsOf({ words: [program = "", ...rest], folder }: Command): Promise<string[]> {
  switch (program) {
    case "make":
      return problemsOfMake(rest);
    case "npm":
      return problemsOfNpm(rest);
    case "npx":
      return problemsOfProgram(rest, folder);
    default:
      return problemsOfProgram([program, ...rest], folder);
  }
}

const folders = ["checks", "components", "docs", "drills", "examples", "sandbox", "stacks", "tests", ".github"];

/** Names of files of this repository in sentences, such as `components/etcd/index.ts` or `tests/golden/*.json`. */
export const pathsOf = (text: string): string[] =>
  inlineCodeOf(text).filter(
    (code) =>
      (folders.some((folder) => code.startsWith(`${folder}/`)) ||
        /^(Pulumi\.\w+\.yaml|package(-lock)?\.json)$/.test(code)) &&
      !/[\s<]|NAME/.test(code),
  );

export const exists = (path: string): boolean =>
  existsSync(join(root, path)) || globSync(path, { cwd: root }).length > 0;
