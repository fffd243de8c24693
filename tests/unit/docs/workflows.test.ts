import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { versions } from "../../../sandbox/toolchain/catalogue";
import { problemsOf, readWorkflow } from "./workflow-rules";

const github = join(__dirname, "..", "..", "..", ".github");
const read = (name: string): string => readFileSync(join(github, "workflows", name), "utf8");
const names = readdirSync(join(github, "workflows"));

describe("workflows", () => {
  it.each(names)("%s breaks no rule", (name) => {
    expect(problemsOf(read(name))).toEqual([]);
  });

  it.each([
    ["test.yml", /@[0-9a-f]{40} # v7.0.1/, "@v7", /pinned by its digest/],
    ["test.yml", /(@[0-9a-f]{40}) # v7.0.1/, "$1", /pinned by its digest/],
    ["test.yml", "pull_request:", "pull_request_target:", /pull_request_target is not allowed/],
    ["test.yml", "contents: read", "contents: write", /must be contents: read/],
    ["test.yml", "timeout-minutes: 20", "", /timeout-minutes is missing/],
    ["test.yml", "persist-credentials: false", "fetch-depth: 0", /leave its token behind/],
    ["test.yml", "npm ci --ignore-scripts", "npm ci", /run nothing/],
    ["test.yml", "npm ci --ignore-scripts", "npm install --ignore-scripts", /from the lock file/],
    ["test.yml", "run: npm run", `run: echo \${{ github.head_ref }} && npm run`, /through env/],
    ["pulumi.yml", "--suppress-outputs ", "", /needs --suppress-outputs/],
    ["pulumi.yml", "--suppress-progress", "--show-secrets", /decrypt the outputs/],
    ["pulumi.yml", "pulumi-version:", "command: preview\n          pulumi-version:", /install only/],
    ["pulumi.yml", /environment: \$.*/, "", /needs an environment/],
    ["pulumi.yml", "id-token: write", "id-token: write\n      pull-requests: write", /one thing only/],
    ["preview.yml", "pull-requests: write", "pull-requests: write\n      contents: read", /write alone/],
    ["preview.yml", "needs: preview", "needs: preview\n    environment: preview", /no environment/],
    ["preview.yml", "uses: actions/github-script@", "run: node x.js # @", /must not check out or run code/],
    ["drift.yml", "with:", "secrets: inherit\n    with:", /gets no secrets/],
  ])("%s with %s as %s is refused", (name, part, instead, problem) => {
    const changed = read(name).replace(part, instead);
    expect(changed).not.toBe(read(name));
    expect(problemsOf(changed).join("\n")).toMatch(problem);
  });

  it("preview with the engine that is tested", () => {
    expect(read("pulumi.yml")).toContain(`pulumi-version: ${versions.pulumi}\n`);
  });

  it("preview nothing for a fork or a bot, and nothing for documentation alone", () => {
    const { on, jobs } = readWorkflow(read("preview.yml"));
    const { if: condition } = jobs["preview"] as { if: string };
    for (const part of [
      "head.repo.full_name == github.repository",
      "user.type != 'Bot'",
      "!startsWith(github.head_ref, 'dependabot/')",
      "!startsWith(github.head_ref, 'renovate/')",
    ])
      expect(condition).toContain(part);
    expect(on["pull_request"]).toEqual({ "paths-ignore": expect.arrayContaining(["docs/**", "**/*.md"]) as unknown });
  });

  it("test what a merge queue is about to merge", () => {
    expect(readWorkflow(read("test.yml")).on).toHaveProperty("merge_group");
  });

  it("have a bot that raises the digests", () => {
    const { updates } = parse(readFileSync(join(github, "dependabot.yml"), "utf8")) as {
      updates: { "package-ecosystem": string }[];
    };
    expect(updates.map((each) => each["package-ecosystem"])).toContain("github-actions");
  });
});

interface Comment {
  id: number;
  body: string;
  user: { login: string };
}

type Script = (require: NodeJS.Require, process: unknown, context: unknown, github: unknown) => Promise<void>;
const AsyncFunction = (async () => {}).constructor as new (...parametersAndBody: string[]) => Script;

/** The program of the step that comments, as github-script runs it. */
const commentScript = new AsyncFunction(
  "require",
  "process",
  "context",
  "github",
  readWorkflow(read("preview.yml"))
    .jobs["comment"]?.steps?.map((step) => String(step.with?.["script"] ?? ""))
    .join("") ?? "",
);

describe("the comment on a pull request", () => {
  const bot = { login: "github-actions[bot]" };
  const former: Comment = { id: 7, body: "<!-- preview of prod -->\nold", user: bot };
  let folder: string;
  let written: unknown[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "preview-"));
    written = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Runs the script beside a `preview.txt`; `pages` is what GitHub has as comments. */
  async function comment(text: string, pages: Comment[][], result = "success"): Promise<string> {
    writeFileSync(join(folder, "preview.txt"), text);
    const issues = {
      listComments: "listComments",
      createComment: async (request: unknown) => written.push({ created: request }),
      updateComment: async (request: unknown) => written.push({ updated: request }),
    };
    const api = {
      rest: { issues },
      paginate: async (what: string) => (what === "listComments" ? pages.flat() : []),
    };
    const context = {
      repo: { owner: "acme", repo: "cells" },
      payload: { pull_request: { number: 3, head: { sha: "abc" } } },
    };
    const files = { readFileSync: (name: string) => readFileSync(join(folder, name), "utf8") };
    const real = createRequire(__filename);
    const required = ((name: string): unknown => (name === "node:fs" ? files : real(name))) as NodeJS.Require;
    await commentScript(required, { env: { STACK: "prod", RESULT: result } }, context, api);
    const [only] = written as Record<string, { body: string }>[];
    return only?.["created"]?.body ?? only?.["updated"]?.body ?? "";
  }

  it("is a new one at first", async () => {
    await comment("1 to create", [[]]);
    expect(written).toEqual([
      {
        created: {
          owner: "acme",
          repo: "cells",
          issue_number: 3,
          body: "<!-- preview of prod -->\n`pulumi preview` of `prod` at abc\n```\n1 to create\n```",
        },
      },
    ]);
  });

  it("replaces the former one, on whatever page that is", async () => {
    const others = Array.from({ length: 100 }, (_, id): Comment => ({ id: 100 + id, body: "hello", user: bot }));
    await comment("2 to update", [others, [former]]);
    expect(written).toEqual([{ updated: expect.objectContaining({ comment_id: 7 }) as unknown }]);
  });

  it("leaves the comment of a person, and that of another stack, alone", async () => {
    const person: Comment = { ...former, user: { login: "someone" } };
    const other: Comment = { ...former, body: "<!-- preview of dev -->" };
    await comment("", [[person, other]]);
    expect(written).toEqual([{ created: expect.anything() as unknown }]);
  });

  it("quotes the text so that it cannot leave its block", async () => {
    expect(await comment("````\n@everybody", [[]])).toMatch(/\n`{5}\n````\n@everybody\n`{5}$/);
  });

  it("keeps the end of a long text, where the summary is", async () => {
    const body = await comment(`${"x".repeat(70_000)}summary`, [[]]);
    expect(body.length).toBeLessThan(65_536);
    expect(body).toMatch(/xsummary\n```$/);
  });

  it("says that the preview failed", async () => {
    expect(await comment("error", [[]], "failure")).toContain("**failed**");
  });
});
