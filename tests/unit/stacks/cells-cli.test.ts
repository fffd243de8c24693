import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = join(__dirname, "..", "..", "..");
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cells-cli-"));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The command, with a pulumi that does what the script says. */
function print(script: string, ...args: string[]) {
  const pulumi = join(folder, "pulumi");
  writeFileSync(pulumi, `#!/bin/sh\n${script}\n`);
  chmodSync(pulumi, 0o755);
  const { status, stdout, stderr } = spawnSync(
    join(root, "node_modules", ".bin", "tsx"),
    [join(root, "stacks", "cells", "cli.ts"), ...args],
    {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, PATH: `${folder}${delimiter}${process.env["PATH"] ?? ""}`, PULUMI_STACK: "some" },
    },
  );
  return { status, stdout, stderr };
}

describe("the command that prints a file for Cells", () => {
  it.each([
    ["values", "cellsValues"],
    ["patches", "cellsPatches"],
    ["env", "cellsEnv"],
    ["install", "cellsInstall"],
  ])("prints %s, to the letter and nothing else", (file, output) => {
    // The arguments come back, in a text that JSON has to write differently.
    const echo = `printf '"%s\\\\n\\\\"quoted\\\\" \\\\u00e9\\\\n"\\n' "$*"`;
    expect(print(echo, file)).toEqual({
      status: 0,
      stdout: `stack output ${output} --show-secrets --json --non-interactive --stack some\n"quoted" é\n`,
      stderr: "",
    });
  });

  it("says what is wrong when there is no such output, without what was printed before", () => {
    const { status, stdout, stderr } = print("echo password; echo 'error: no such output' >&2; exit 255", "env");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toBe(
      'cannot read the output cellsEnv of the stack "some": error: no such output; deploy the stack first\n',
    );
  });

  it.each([["passwords"], ["toString"], [""]])("knows no file %s", (file) => {
    expect(print("exit 1", file)).toMatchObject({ status: 2, stdout: "" });
  });
});
