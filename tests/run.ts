import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

/**
 * Tests in the order in which they are cheap, and one line at the end that counts them. A failed static check or unit test
 * ends the run before the cluster is bothered.
 *
 *   make unit       static checks and unit tests
 *   make test       these, then the manifests by the rules of others, the installed package, and one proof of each kind, end to end
 *                   on the sandbox cluster
 *   make test-all   these, then everything
 */
const root = join(__dirname, "..");
const counts = { passed: 0, failed: 0 };
/** What failed, once more at the very end: often nobody has more of a log than its last lines. */
const failures: string[] = [];

async function execute(command: string, args: string[]): Promise<boolean> {
  const child = spawn(command, args, { cwd: root, stdio: "inherit" });
  const [code] = (await once(child, "close")) as [number | null];
  return code === 0;
}

async function check(name: string, command: string, ...args: string[]): Promise<void> {
  process.stdout.write(`\n== ${name}\n`);
  if (await execute(command, args)) counts.passed += 1;
  else {
    counts.failed += 1;
    failures.push(name);
  }
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  testResults: { name: string; assertionResults: { fullName: string; status: string; failureMessages: string[] }[] }[];
}

/** A command that a test ran says at its end what is wrong. */
const messageTail = 1000;

function failuresOf({ testResults }: VitestReport): string[] {
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter(({ status }) => status === "failed")
      .map(({ fullName, failureMessages }) => {
        const [message = ""] = (failureMessages[0] ?? "").split(/\n\s+at /, 1);
        return `${relative(root, name)}: ${fullName}\n${message.trim().slice(-messageTail)}`;
      }),
  );
}

async function vitest(project: string): Promise<void> {
  process.stdout.write(`\n== ${project} tests\n`);
  const folder = mkdtempSync(join(tmpdir(), "cells-services-"));
  const file = join(folder, "report.json");
  try {
    const args = ["run", "--project", project, "--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
    const ok = await execute("vitest", args);
    const report = JSON.parse(readFileSync(file, "utf8")) as VitestReport;
    counts.passed += report.numPassedTests;
    counts.failed += report.numFailedTests;
    failures.push(...failuresOf(report));
    // A file that could not be loaded, or an error outside of any test, is a failure too.
    if (!ok && report.numFailedTests === 0) counts.failed += Math.max(1, report.numFailedTestSuites);
    if (ok && report.numPassedTests === 0) counts.failed += 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(scope = "test"): Promise<void> {
  process.env["TEST_SCOPE"] = scope;
  await check("format", "biome", "check", ".");
  await check("lint", "eslint", ".", "--max-warnings", "0");
  await check("unused code", "knip");
  await check("types", "tsc", "--noEmit");
  await vitest("unit");
  if (scope !== "unit") {
    await vitest("manifests");
    await vitest("package");
  }
  if (scope !== "unit" && counts.failed === 0) {
    await check("workflows", "go", "run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12");
    await check("cluster", "tsx", "sandbox/cli.ts", "cluster");
    if (counts.failed === 0) await vitest("sandbox");
    if (counts.failed === 0) await vitest("cluster");
  }
  for (const failure of failures) process.stdout.write(`\nFAILED ${failure}\n`);
  process.stdout.write(`\n${counts.passed} passed, ${counts.failed} failed\n`);
  process.exitCode = counts.failed === 0 ? 0 : 1;
}

void main(process.argv[2]);
