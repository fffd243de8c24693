import { writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { messageOf } from "../components/shared/core/errors";
import { diagnose } from "./diagnostics";
import { openEnvironment } from "./environment";
import { CannotRun, exitCodes } from "./failure";
import { runMain, selected, selectionFlags, selectionUsage, toStderr, toStdout } from "./flags";
import { withMembers } from "./members";
import { createRedaction, redactDeep } from "./redaction";
import { checkOf } from "./registry";
import { renderJunit, renderText } from "./report";
import { runChecks } from "./run";

const usage = `checks the services of a stack with real clients, after \`pulumi up\` or at any later time

  npx cells-services check [flags]

The stack is any that exports the checkTarget of its components, in outputs of any name.

${selectionUsage}
  --timeout SECONDS  for all checks together, default 300
  --wait SECONDS     while a check fails, all are repeated for so long, default 0: right after a deployment, or on a slow machine
  --json             print the result as JSON
  --junit FILE       also write the result as JUnit XML

exit codes: 0 all passed, 1 a check failed, 2 the checks could not run
`;

/** Between two runs; a run itself takes half a minute. */
const pauseSeconds = 5;
/** More at once only compete for the processor of the machine that checks. */
const concurrency = 6;

export async function main(args: string[], print = toStdout, complain = toStderr): Promise<number> {
  const redaction = createRedaction();
  try {
    const flags = readFlags(args);
    if (flags.help === true) {
      print(usage);
      return exitCodes.passed;
    }
    const deadlineSeconds = Number(flags.timeout);
    if (!(deadlineSeconds > 0)) throw new CannotRun(`--timeout must be a number of seconds, got "${flags.timeout}"`);
    const waitSeconds = Number(flags.wait);
    if (!(waitSeconds >= 0)) throw new CannotRun(`--wait must be a number of seconds, got "${flags.wait}"`);
    const { targets, config } = await selected(flags);
    const run = () =>
      runChecks(targets, {
        checkOf: async (service) => withMembers(config, await checkOf(service)),
        open: (target, signal) => openEnvironment(config, target, redaction, signal),
        diagnose: (target) => diagnose(config, target),
        deadlineSeconds,
        concurrency,
        clock: () => performance.now(),
      });
    const end = performance.now() + waitSeconds * 1000;
    let result = await run();
    while (!result.ok && performance.now() < end) {
      complain("checks: not all passed, all are repeated\n");
      await delay(pauseSeconds * 1000);
      result = await run();
    }
    const report = redactDeep(result, redaction);
    print(flags.json === true ? `${JSON.stringify(report, undefined, 2)}\n` : renderText(report));
    if (flags.junit !== undefined) writeFileSync(flags.junit, renderJunit(report));
    return report.ok ? exitCodes.passed : exitCodes.failed;
  } catch (error) {
    const unexpected = error instanceof CannotRun ? "" : "unexpected error: ";
    complain(`checks: ${redaction.redact(unexpected + messageOf(error))}\n`);
    return exitCodes.cannotRun;
  }
}

function readFlags(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        ...selectionFlags,
        timeout: { type: "string", default: "300" },
        wait: { type: "string", default: "0" },
        json: { type: "boolean" },
        junit: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    throw new CannotRun(`${messageOf(error)}; see --help`);
  }
}

if (require.main === module) runMain(main);
