/** Prints one of the files for Cells on stdout, and nothing else, from the outputs of the chosen stack. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const outputs: Record<string, string> = {
  values: "cellsValues",
  patches: "cellsPatches",
  env: "cellsEnv",
  install: "cellsInstall",
};

async function main([file = "", ...others]: string[]): Promise<number> {
  const output = Object.hasOwn(outputs, file) ? outputs[file] : undefined;
  if (output === undefined || others.length > 0) {
    process.stderr.write(`usage: tsx stacks/cells/cli.ts ${Object.keys(outputs).join(" | ")}\n`);
    return 2;
  }
  const stack = process.env["PULUMI_STACK"];
  const args = ["stack", "output", output, "--show-secrets", "--json", "--non-interactive"];
  if (stack !== undefined) args.push("--stack", stack);
  try {
    const { stdout } = await promisify(execFile)("pulumi", args, { maxBuffer: 16 * 1024 * 1024 });
    process.stdout.write(JSON.parse(stdout) as string);
    return 0;
  } catch (error) {
    // Never the error itself: it holds what pulumi has printed.
    const words = (error as { stderr?: string }).stderr?.trim().split("\n").at(-1) ?? "";
    const from = stack === undefined ? "the selected stack" : `the stack ${JSON.stringify(stack)}`;
    process.stderr.write(
      `cannot read the output ${output} of ${from}: ${words || "no answer of pulumi"}; deploy the stack first\n`,
    );
    return 1;
  }
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
